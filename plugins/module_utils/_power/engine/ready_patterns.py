# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Patterns of readiness lines, tried in child interpreters for all servers of this process; see `Sandbox`.

A pattern may be slow by itself, or because of the output of one server. So it is given up only for the run of that output. Then it moves to
a second child, which only slow patterns share.
"""

from __future__ import annotations

import threading
from collections.abc import Hashable, Sequence

from ..host.sandbox import Limits, NotStarted, Sandbox, SandboxEnded
from ..model.cancellation import Deadline
from ..model.clock import SYSTEM_CLOCK
from ..model.server import Run

#: Remembered slow patterns, and remembered pairs of run and given-up pattern.
_MOST_SLOW, _MOST_GIVEN_UP = 1000, 10_000
_AGAIN_SECONDS = 10.0
#: Seconds that a slow pattern waits for its turn; each may take one second once.
_TURN_SECONDS = 1.0
_TOO_SLOW = "takes too long, or too much memory, and is not looked for any more"

_LIMITS = Limits(seconds=1, memory=96, patience=10.0)
#: The child's code. It stops between two lines: many lines may take a good pattern long.
_PROGRAM = r"""
import re

def found(_content, pattern, lines):
    search = re.compile(pattern).search
    until = time.process_time() + 0.5
    for line in lines:
        if search(line):
            return [True]
        if time.process_time() >= until:
            break
    return [False]

serve(found)
"""


class NotTried(Exception):
    """A pattern was not tried, or took too long. Its text continues a sentence about the pattern."""


class _Seat:
    """A shared child, started on demand and again after its death. Hold ``lock`` to ask it."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.child: Sandbox | None = None
        self._next_start = Deadline(SYSTEM_CLOCK, 0.0)

    def found(self, pattern: str, lines: Sequence[str]) -> bool | None:
        """Tell if the pattern is found; None if the child did not survive. Raises `NotTried` if there is no child."""
        # Something else may have killed the child, or earlier patterns used its memory: another child gets one try.
        for _unused in range(2):
            child, self.child = self.child or self._start(), None
            try:
                found = bool(child.ask(pattern, lines)[0])
            except SandboxEnded as fault:
                if fault.spent:
                    break
            else:
                self.child = child
                return found
        return None

    def _start(self) -> Sandbox:
        if self._next_start.is_over:
            try:
                return Sandbox(_PROGRAM, _LIMITS)
            except NotStarted:
                self._next_start = Deadline.after(SYSTEM_CLOCK, _AGAIN_SECONDS)
        raise NotTried("is not looked for: the interpreter that would do it cannot be started")


class ReadyPatterns:
    """Tries patterns. Thread-safe."""

    def __init__(self) -> None:
        self._seat = _Seat()
        self._slow_seat = _Seat()
        self._noting = threading.Lock()
        self._slow: dict[Hashable, None] = {}
        self._given_up: dict[Hashable, None] = {}

    def find(self, pattern: str, lines: Sequence[str], run: Run | None = None) -> bool:
        """Tell if ``pattern`` is found in the lines, within half a second of CPU time.

        False also if a slow pattern gets no turn soon; a later call may find it. Raises `NotTried` without a child, and if the pattern ever
        took more than about a second for a line of ``run``.
        """
        if pattern not in self._slow:
            with self._seat.lock:
                # Another thread may have found it slow in the meantime.
                if pattern not in self._slow:
                    return self._tried(self._seat, pattern, lines, run)
        if (run, pattern) in self._given_up:
            raise NotTried(_TOO_SLOW)
        if not self._slow_seat.lock.acquire(timeout=_TURN_SECONDS):
            return False
        try:
            return self._tried(self._slow_seat, pattern, lines, run)
        finally:
            self._slow_seat.lock.release()

    def _tried(self, seat: _Seat, pattern: str, lines: Sequence[str], run: Run | None) -> bool:
        found = None if (run, pattern) in self._given_up else seat.found(pattern, lines)
        if found is None:
            with self._noting:
                _note(self._slow, pattern, _MOST_SLOW)
                _note(self._given_up, (run, pattern), _MOST_GIVEN_UP)
            raise NotTried(_TOO_SLOW)
        return found


def _note(known: dict[Hashable, None], item: Hashable, most: int) -> None:
    """Add an item, and forget the oldest one above the ``most``."""
    known[item] = None
    if len(known) > most:
        del known[next(iter(known))]


ready_patterns = ReadyPatterns()
