# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine's events, read by one thread for all websockets: they say which servers to look at."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from ..._power.model.cancellation import Deadline
from ..._power.model.clock import SYSTEM_CLOCK
from ..._power.model.errors import PowerError
from ..acceptance.shared_node import SharedNode

#: The events are asked for by pieces of so many seconds: a read that blocks cannot be woken, and nobody may want the next piece.
_WINDOW_SECONDS = 5.0
#: How much earlier a piece may end than it was asked for.
_SLACK_SECONDS = 0.25
#: Where the engine tells nothing, everything is looked at so often.
_BLIND_SECONDS = 2.0


class Changes:
    """One stream of changes, read for as long as anybody ``wants`` it.

    ``changed`` is told of each server that something happened to, ``blind`` when anything may have happened; both by the thread.
    """

    def __init__(self, node: SharedNode, changed: Callable[[str], None], blind: Callable[[], None]) -> None:
        self._node = node
        self._changed = changed
        self._blind = blind
        self._guard = threading.Lock()
        self._wanted = False
        self._reading = False

    def want(self, wanted: bool) -> None:
        """Read, or stop reading."""
        with self._guard:
            self._wanted = wanted
            if wanted and not self._reading:
                try:
                    threading.Thread(target=self._read, name="changes", daemon=True).start()
                except RuntimeError:
                    # The system has no thread for it now; it is asked for again in a moment.
                    return
                self._reading = True

    def _read(self) -> None:
        since = time.time()
        while self._goes_on():
            until = time.time() + _WINDOW_SECONDS
            if self._listen(since, until):
                since = until
            else:
                since = time.time()
                self._blind()
                time.sleep(_BLIND_SECONDS)

    def _listen(self, since: float, until: float) -> bool:
        """Read a piece of the events; tell whether all that happened was told. Only an engine on this machine has our clock."""
        engine = self._node.now().engine
        if not engine.local:
            return False
        window = Deadline.after(SYSTEM_CLOCK, _WINDOW_SECONDS)
        try:
            for uuid in engine.events.changed_servers(since, until):
                self._changed(uuid)
        except (PowerError, LookupError, RuntimeError, TypeError, ValueError, AttributeError):
            # An engine that cannot tell, or tells what cannot be read.
            return False
        return window.left <= _SLACK_SECONDS

    def _goes_on(self) -> bool:
        with self._guard:
            self._reading = self._wanted
            return self._reading
