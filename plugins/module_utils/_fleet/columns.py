# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tables that are as wide as a terminal at most: which columns go, how wide the others are, and what is cut or wrapped; pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .table import GAP, aligned, cut, numeric, text_of, width_of, wrapped


@dataclass(frozen=True)
class Column:
    """A column, how much of it must be seen, and which others it gives way to.

    ``enough`` columns of the terminal are as good as all of it: rather than have less, a column that may go is left out. ``least`` is what
    is left of one that never goes. ``goes`` is when it is left out, the lowest first; None is never. ``fills`` is when it gets what is left
    of the terminal, the lowest first.
    """

    heading: str
    enough: int = 0
    least: int = 0
    goes: int | None = None
    fills: int = 0
    #: Cut in its middle: names that belong together often differ at their end alone.
    ends_count: bool = False


def render_within(columns: Sequence[Column], rows: Sequence[Sequence[object]], width: int) -> str:
    """The table as `render` has it, in so many columns of a terminal. What has no room is left out, or cut with an ellipsis."""
    lines = [[text_of(cell) for cell in line] for line in ([column.heading for column in columns], *rows)]
    taken = [max(width_of(line[index]) for line in lines) for index in range(len(columns))]
    empty = [all(row[index] is None for row in rows) for index in range(len(columns))]
    shown = [
        (index, column.ends_count, given)
        for index, (column, given) in enumerate(zip(columns, fitted(columns, taken, empty, width)))
        if given is not None
    ]
    to_the_right = numeric(rows, len(columns))
    texts = [[cut(line[index], given, ends_count=ends_count) for index, ends_count, given in shown] for line in lines]
    return aligned(texts, [to_the_right[index] for index, _ends_count, _given in shown])


def render_wrapped(headings: tuple[str, str], rows: Sequence[tuple[str, str]], width: int) -> str:
    """A table of names and sentences in so many columns of a terminal. The sentences are whole, on as many lines as they take."""
    named = max(width_of(text_of(line[0])) for line in (headings, *rows))
    # Beside a name that fills the terminal there would be no room for a sentence.
    named = min(named, width // 2)
    lines = []
    for name, sentence in (headings, *rows):
        beside = wrapped(sentence, width - named - len(GAP))
        lines += [[cut(text_of(name), named, ends_count=True) if number == 0 else "", text] for number, text in enumerate(beside)]
    return aligned(lines, [False, False])


def fitted(columns: Sequence[Column], widths: Sequence[int], empty: Sequence[bool], width: int) -> list[int | None]:
    """Return how wide each column is to be, None for one that is left out. ``widths`` are what they would take, ``empty`` says nothing.

    What is empty goes before all else, as far as it may go. Where even what never goes does not fit, the table is wider.
    """
    kept = list(range(len(columns)))
    enough = [min(taken, column.enough or taken) for column, taken in zip(columns, widths)]
    leaving = sorted((not empty[index], columns[index].goes or 0, index) for index in kept if columns[index].goes is not None)
    if _whole(kept, widths) > width:
        while leaving and (_whole(kept, enough) > width or not leaving[0][0]):
            kept.remove(leaving.pop(0)[2])
    given = {index: enough[index] for index in kept}
    _shrink(given, columns, width)
    for index in sorted(kept, key=lambda each: columns[each].fills):
        given[index] += max(0, min(widths[index] - given[index], width - _whole(kept, given)))
    return [given.get(index) for index in range(len(columns))]


def _whole(kept: Sequence[int], widths: Sequence[int] | dict[int, int]) -> int:
    return sum(widths[index] for index in kept) + len(GAP) * (len(kept) - 1)


def _shrink(given: dict[int, int], columns: Sequence[Column], width: int) -> None:
    """Take from what is widest, one by one, until it fits or all have no more than their least."""
    while _whole(list(given), given) > width:
        spare = {index: wide - min(wide, columns[index].least or wide) for index, wide in given.items()}
        if not any(spare.values()):
            return
        given[max(spare, key=lambda index: spare[index])] -= 1
