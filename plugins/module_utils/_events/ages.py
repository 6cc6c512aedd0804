# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How old the events of an outbox are at least; pure.

Ages count the time for which the node ran, so that a clock that is set makes no event old. The time for which it was off is unknown.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

#: Seconds between two marks. An event may seem younger by so much, and never older.
MARK_SECONDS = 300.0


class OutboxAges:
    """Marks in an outbox: each event up to the number of a mark is as old as that, or older."""

    def __init__(self, boot: str = "", seconds: float = 0.0, marks: Sequence[tuple[int, float]] = ()) -> None:
        """``seconds`` is the age of the life of the machine, ``boot``, in which the marks had these ages."""
        self._boot, self._seconds = boot, seconds
        self._marks = list(marks)

    @classmethod
    def read(cls, text: str) -> OutboxAges:
        """Return the ages of a text that `written` made; of any other those of events that are all new."""
        try:
            found = json.loads(text)
            return cls(str(found["boot"]), float(found["seconds"]), [(int(number), float(age)) for number, age in found["marks"]])
        except (ValueError, TypeError, KeyError):
            return cls()

    def written(self) -> str:
        """Return these ages as a text."""
        marks = [[number, round(age)] for number, age in self._marks]
        return json.dumps({"boot": self._boot, "seconds": round(self._seconds, 3), "marks": marks}, separators=(",", ":"))

    def pass_to(self, boot: str, seconds: float, last: int) -> None:
        """It is that moment of that life of the machine, and ``last`` is the number of the newest event."""
        passed = max(0.0, seconds - self._seconds) if boot == self._boot else seconds
        self._boot, self._seconds = boot, seconds
        self._marks = [(number, age + passed) for number, age in self._marks]
        marked, age = self._marks[-1] if self._marks else (0, MARK_SECONDS)
        if marked < last and age >= MARK_SECONDS:
            self._marks.append((last, 0.0))

    def older_than(self, seconds: float) -> int:
        """Return the number up to which all events are older than that, 0 for none."""
        return max((number for number, age in self._marks if age > seconds), default=0)

    def forget(self, number: int) -> None:
        """The events up to a number are gone."""
        # One mark is left in any case: it says that there is nothing before it.
        self._marks = [mark for mark in self._marks if mark[0] > number] or self._marks[-1:]
