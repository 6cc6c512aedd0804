# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The kill generations, with a count of how often this process itself raised each.

An action that was accepted behind a kill runs after it, and must not be cancelled by it: what this process raises between the action's
acceptance and its turn is the work of kills that were accepted before it, and is added to what the action remembers.
"""

from __future__ import annotations

import threading
from collections import Counter

from ..._power.locking.generation import KillGenerations


class OwnGenerations(KillGenerations):
    """Kill generations that know what was raised by this process. Threads may share them."""

    def __init__(self, state_directory: str, group: str) -> None:
        super().__init__(state_directory, group)
        self._raises: Counter[str] = Counter()
        self._guard = threading.Lock()

    def raise_for(self, uuid: str) -> None:
        """Raise the generation of a server, and count that. Raises `LockUnavailable`."""
        with self._guard:
            super().raise_for(uuid)
            self._raises[uuid] += 1

    def read_both(self, uuid: str) -> tuple[int, int]:
        """Return the generation, and how often this process had raised it at that moment. Raises `LockUnavailable`."""
        with self._guard:
            return self.read(uuid), self._raises[uuid]

    def own_raises(self, uuid: str) -> int:
        """Return how often this process raised it so far. Waits for nothing: not even for a disk that is being written to."""
        return self._raises[uuid]
