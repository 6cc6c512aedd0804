# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Patterns of readiness lines, tried in child interpreters for all servers of this process; see `pattern_child`.

A pattern takes long for its own sake or for the output it is tried on, which a server's process writes as it likes. So it is given up for
the run whose output it was, and for no other. From then on it is tried in a second child, where it holds up its like alone.
"""

from __future__ import annotations

import threading
from collections.abc import Hashable, Sequence

from ..host.regex_sandbox import NotStarted, PatternChild, RegexTimeout
from ..model.cancellation import Deadline
from ..model.clock import SYSTEM_CLOCK
from ..model.server import Run

#: Patterns that are remembered as slow, and runs that one was given up for.
_MOST_SLOW, _MOST_GIVEN_UP = 1000, 10_000
#: Seconds until a child is started again where one could not be.
_AGAIN_SECONDS = 10.0
#: Seconds that a slow pattern waits for its turn among its like; a second is what each of these may take, once.
_TURN_SECONDS = 1.0
_TOO_SLOW = "takes too long, or too much memory, and is not looked for any more"

#: What the child runs. Many lines may take a pattern long that is not to blame, so it stops between two of them. The second is one from
#: the last answer on, rounded up.
_CHILD = r"""
def lift():
    limit(resource.RLIMIT_CPU, int(time.process_time()) + 1 + seconds)

def found(pattern, lines):
    search = re.compile(pattern).search
    until = time.process_time() + 0.5
    for line in lines:
        if search(line):
            return True
        if time.process_time() >= until:
            break
    return False

lift()
print(flush=True)
for question in sys.stdin:
    answer = found(*json.loads(question))
    lift()
    print(json.dumps(answer), flush=True)
"""


class NotTried(Exception):
    """A pattern was not tried, or for too long. Its text says so of the pattern."""


class _Seat:
    """A child for all who ask, started with the first question and again after one that it did not survive. ``lock`` is held to ask it."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.child: PatternChild | None = None
        self._next_start = Deadline(SYSTEM_CLOCK, 0.0)

    def found(self, pattern: str, lines: Sequence[str]) -> bool | None:
        """Tell if the pattern is found; None for one that the child did not survive. Raises `NotTried` where there is no child."""
        # A child may have been ended by somebody, or by what earlier patterns left of its memory: another one is asked, once.
        for _unused in range(2):
            child, self.child = self.child or self._start(), None
            try:
                found = bool(child.ask(pattern, lines))
            except RegexTimeout as fault:
                if fault.spent:
                    break
            else:
                self.child = child
                return found
        return None

    def _start(self) -> PatternChild:
        if self._next_start.is_over:
            try:
                return PatternChild(_CHILD)
            except NotStarted:
                self._next_start = Deadline.after(SYSTEM_CLOCK, _AGAIN_SECONDS)
        raise NotTried("is not looked for: the interpreter that would do it cannot be started")


class _Latest:
    """Keeps what came in last, so many. Any thread may ask and add."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._known: dict[Hashable, None] = {}

    def __contains__(self, item: Hashable) -> bool:
        return item in self._known

    def __len__(self) -> int:
        return len(self._known)

    def add(self, item: Hashable) -> None:
        """Remember it, in place of the oldest where there are too many."""
        with self._lock:
            self._known[item] = None
            if len(self._known) > self._most:
                del self._known[next(iter(self._known))]


class ReadyPatterns:
    """Tries patterns for all who ask. Any thread may."""

    def __init__(self) -> None:
        self._seat = _Seat()
        self._slow_seat = _Seat()
        self._slow = _Latest(_MOST_SLOW)
        self._given_up = _Latest(_MOST_GIVEN_UP)

    def find(self, pattern: str, lines: Sequence[str], run: Run | None = None) -> bool:
        """Tell if ``pattern`` is found in one of the lines, or in those of them that half a second of processor time is enough for.

        False as well for a pattern that was slow for others where its turn does not come soon: whoever looks again finds it then.
        Raises `NotTried` for one that took more than about a second for a line of ``run``, now or before, and where there is no child.
        """
        if pattern not in self._slow:
            with self._seat.lock:
                # It may have turned out to be slow while this one waited for its turn.
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
            self._slow.add(pattern)
            self._given_up.add((run, pattern))
            raise NotTried(_TOO_SLOW)
        return found


#: The one of this process.
ready_patterns = ReadyPatterns()
