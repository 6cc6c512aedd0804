# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measuring two ways of doing the same thing in turn, so that whatever else the machine does meets both alike."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

#: One round: what has to be so is made so outside the time, then the seconds it took are returned.
Round = Callable[[], float]


@dataclass(frozen=True)
class Spread:
    """Samples of one way, in seconds."""

    samples: tuple[float, ...]

    @property
    def median(self) -> float:
        """The middle one."""
        return statistics.median(self.samples)

    def quantile(self, share: float) -> float:
        """The sample that ``share`` of all do not exceed."""
        return sorted(self.samples)[max(0, math.ceil(share * len(self.samples)) - 1)]

    def text(self) -> str:
        """Median, and the range of all but the outermost tenths, in milliseconds."""
        return f"{1000 * self.median:.1f} ms ({1000 * self.quantile(0.1):.1f} to {1000 * self.quantile(0.9):.1f})"


@dataclass(frozen=True)
class Row:
    """One line of the table. ``value`` is a ratio or a difference in milliseconds, and met if it is at most ``target``."""

    what: str
    ours: Spread
    other: Spread
    other_name: str
    value: float
    target: float
    unit: str
    notes: tuple[str, ...] = field(default=())

    @property
    def met(self) -> bool:
        """Whether the target is met."""
        return self.value <= self.target

    def facts(self) -> dict[str, Any]:
        """The row as plain values."""
        return {**asdict(self), "ours_median": self.ours.median, "other_median": self.other.median, "met": self.met}


def in_turn(ours: Round, other: Round, rounds: int, warm_up: int = 2) -> tuple[Spread, Spread]:
    """The samples of both, taken alternately, which of the two comes first alternating too; the first rounds are not counted."""
    samples: tuple[list[float], list[float]] = ([], [])
    for number in range(warm_up + rounds):
        for index in (0, 1) if number % 2 == 0 else (1, 0):
            seconds = (ours, other)[index]()
            if number >= warm_up:
                samples[index].append(seconds)
    return Spread(tuple(samples[0])), Spread(tuple(samples[1]))


def ratio(what: str, ours: Spread, other: Spread, other_name: str, target: float, notes: Sequence[str] = ()) -> Row:
    """A row that compares medians by division."""
    return Row(what, ours, other, other_name, ours.median / other.median, target, "times", tuple(notes))


def difference(what: str, ours: Spread, other: Spread, other_name: str, target: float, notes: Sequence[str] = ()) -> Row:
    """A row that compares medians by subtraction, in milliseconds."""
    return Row(what, ours, other, other_name, 1000 * (ours.median - other.median), target, "ms more", tuple(notes))


def table(rows: Sequence[Row]) -> str:
    """The rows for a person: medians, and within parentheses the range without the outermost tenths."""
    heads = ("what", "ours", "beside", "result", "to reach", "met")
    lines = [heads, *(_cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(heads))]
    shown = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in lines]
    notes = [f"  {row.what}: {note}" for row in rows for note in row.notes]
    return "\n".join([shown[0], "-" * len(shown[0]), *shown[1:], *notes])


def _cells(row: Row) -> tuple[str, ...]:
    number = ".2f" if row.unit == "times" else ".1f"
    return (
        row.what,
        row.ours.text(),
        f"{row.other_name} {row.other.text()}",
        f"{row.value:{number}} {row.unit}",
        f"{row.target:g}",
        "yes" if row.met else "NO",
    )
