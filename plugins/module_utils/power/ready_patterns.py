# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Patterns of readiness lines, tried in one child interpreter for all servers of this process; see `pattern_child`."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

from .pattern_child import NoAnswer, NotStarted, PatternChild

#: Patterns that are remembered as too slow.
_MOST_GIVEN_UP = 1000
#: Seconds until a child is started again where one could not be.
_AGAIN_SECONDS = 10.0
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


class ReadyPatterns:
    """A child for all who ask, started with the first question and again after one that it did not survive. Any thread may ask."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._child: PatternChild | None = None
        self._start_at = 0.0
        self._given_up: set[str] = set()

    def find(self, pattern: str, lines: Sequence[str]) -> bool:
        """Whether ``pattern`` is found in one of the lines, or in those of them that half a second of processor time is enough for.

        Raises `NotTried` for one that took more than about a second for a line, now or before, and where there is no child.
        """
        with self._lock:
            if pattern in self._given_up:
                raise NotTried(_TOO_SLOW)
            # A child may have been ended by somebody, or by what earlier patterns left of its memory: another one is asked, once.
            for _unused in range(2):
                child, self._child = self._child or self._start(), None
                try:
                    found = bool(child.ask(pattern, lines))
                except NoAnswer as fault:
                    if fault.spent:
                        break
                else:
                    self._child = child
                    return found
            if len(self._given_up) >= _MOST_GIVEN_UP:
                self._given_up.pop()
            self._given_up.add(pattern)
            raise NotTried(_TOO_SLOW)

    def _start(self) -> PatternChild:
        if time.monotonic() >= self._start_at:
            try:
                return PatternChild(_CHILD)
            except NotStarted:
                self._start_at = time.monotonic() + _AGAIN_SECONDS
        raise NotTried("is not looked for: the interpreter that would do it cannot be started")


#: The one of this process.
ready_patterns = ReadyPatterns()
