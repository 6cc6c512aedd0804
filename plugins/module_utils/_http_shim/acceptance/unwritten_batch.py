# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Acceptances and ends that one turn of the event loop brings, handed to the acceptor together. Lives in the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from .writes import Unwritten


class UnwrittenBatch:
    """Gathers what is to be written until this turn of the loop is over."""

    def __init__(self, write: Callable[[Sequence[Unwritten]], None]) -> None:
        self._write = write
        self._loop = asyncio.get_running_loop()
        self._gathered: list[Unwritten] = []

    def add(self, what: Unwritten) -> None:
        """Have it written with whatever else this turn brings."""
        if not self._gathered:
            self._loop.call_soon(self.hand_over)
        self._gathered.append(what)

    def hand_over(self) -> None:
        """Have what was gathered written now."""
        gathered, self._gathered = self._gathered, []
        if gathered:
            self._write(gathered)
