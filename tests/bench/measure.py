# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measure several ways to do the same thing in turn, so that other load on the machine affects all of them equally."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

#: One round: prepare outside the measured time, then return the seconds.
Round = Callable[[], float]

#: More than the noise of medians of one run.
_WORSE = 1.15
#: For each unit, the factor and the number of decimals. Samples of time are always seconds.
_SHOWN: Mapping[str, tuple[float, int]] = {
    "ms": (1000, 1),
    "s": (1, 2),
    "MB": (1, 1),
    "KB": (1, 1),
    "inspects": (1, 0),
    "1/s": (1, 0),
    "percent": (1, 2),
    "crashes": (1, 0),
}


@dataclass(frozen=True)
class Spread:
    """Samples of one way, in seconds or in ``unit``."""

    samples: tuple[float, ...]
    unit: str = "ms"

    @property
    def median(self) -> float:
        return statistics.median(self.samples)

    def quantile(self, share: float) -> float:
        """Return the sample that ``share`` of all samples do not exceed."""
        return sorted(self.samples)[max(0, math.ceil(share * len(self.samples)) - 1)]

    def text(self) -> str:
        factor, decimals = _SHOWN[self.unit]
        median, low, high = (f"{factor * value:.{decimals}f}" for value in (self.median, self.quantile(0.1), self.quantile(0.9)))
        return f"{median} {self.unit} ({low} to {high})"

    def shown_in(self, unit: str) -> Spread:
        return Spread(self.samples, unit)


@dataclass(frozen=True)
class Row:
    """One line of the table. It is met if ``value``, in ``unit``, is at most ``target``. ``other`` is None without a comparison."""

    what: str
    ours: Spread
    other: Spread | None
    other_name: str
    value: float
    target: float
    unit: str
    notes: tuple[str, ...] = field(default=())

    @property
    def met(self) -> bool:
        return self.value <= self.target

    def facts(self) -> dict[str, Any]:
        medians = {"ours_median": self.ours.median, "other_median": None if self.other is None else self.other.median}
        return {**asdict(self), **medians, "met": self.met}


def alternately(ways: Sequence[Round], rounds: int, warm_up: int = 0) -> list[Spread]:
    """Return the samples of each way, without the warm-up. Each round runs all ways and begins with the next one."""
    samples: list[list[float]] = [[] for _way in ways]
    for number in range(warm_up + rounds):
        for step in range(len(ways)):
            index = (number + step) % len(ways)
            seconds = ways[index]()
            if number >= warm_up:
                samples[index].append(seconds)
    return [Spread(tuple(each)) for each in samples]


def in_turn(ours: Round, other: Round, rounds: int, warm_up: int = 2) -> tuple[Spread, Spread]:
    mine, others = alternately([ours, other], rounds, warm_up)
    return mine, others


def ratio(what: str, ours: Spread, other: Spread, other_name: str, target: float, notes: Sequence[str] = ()) -> Row:
    return Row(what, ours, other, other_name, ours.median / other.median, target, "times", tuple(notes))


def difference(what: str, ours: Spread, other: Spread, other_name: str, target: float, notes: Sequence[str] = ()) -> Row:
    """Compare medians by subtraction, in milliseconds."""
    return Row(what, ours, other, other_name, 1000 * (ours.median - other.median), target, "ms more", tuple(notes))


def bound(what: str, ours: Spread, target: float, notes: Sequence[str] = ()) -> Row:
    """Compare the median with the target only, in its own unit."""
    return Row(what, ours, None, "", _SHOWN[ours.unit][0] * ours.median, target, ours.unit, tuple(notes))


def worse(rows: Sequence[Row], released: Mapping[str, float]) -> list[str]:
    """Return a line for each row that is worse than that of the last release by more than `_WORSE`."""
    return [
        f"WORSE THAN THE LAST RELEASE: {row.what}: {row.value:.2f} {row.unit}, then {released[row.what]:.2f}"
        for row in rows
        if row.what in released and row.value > _WORSE * released[row.what]
    ]


def table(rows: Sequence[Row]) -> str:
    """Return the rows as text: medians, with the range from 10 % to 90 % in parentheses."""
    heads = ("row", "ours", "other", "result", "target", "met")
    lines = [heads, *(_cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(heads))]
    shown = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in lines]
    notes = [f"  {row.what}: {note}" for row in rows for note in row.notes]
    return "\n".join([shown[0], "-" * len(shown[0]), *shown[1:], *notes])


def _cells(row: Row) -> tuple[str, ...]:
    number = ".2f" if row.unit in ("times", "s", "MB", "percent") else ".0f" if float(row.value).is_integer() else ".1f"
    return (
        row.what,
        row.ours.text(),
        "" if row.other is None else f"{row.other_name} {row.other.text()}",
        f"{row.value:{number}} {row.unit}",
        f"{row.target:g}",
        "yes" if row.met else "NO",
    )
