# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The system log is told of ends by a thread of its own, since nobody's acceptance is to wait for that."""

from __future__ import annotations

import queue
import threading
from collections.abc import Sequence

from ..._power.host.system_log import announce
from ..._power.model.request import Request
from .writes import Abandoned


class EndAnnouncer:
    """Tells the system log of ends that nobody who performed the action can tell of."""

    def __init__(self) -> None:
        self._ends: queue.SimpleQueue[Sequence[Abandoned]] = queue.SimpleQueue()

    def start(self) -> None:
        """Begin to tell."""
        threading.Thread(target=self._announce, name="announce", daemon=True).start()

    def tell(self, ends: Sequence[Abandoned]) -> None:
        """Have these told; returns at once."""
        if ends:
            self._ends.put(ends)

    def _announce(self) -> None:
        while True:
            for end in self._ends.get():
                announce(end.result, _request_of(end))


def _request_of(end: Abandoned) -> Request:
    result = end.result
    return Request(result.server.uuid, result.action, result.operation, result.requested_at, origin=end.origin)
