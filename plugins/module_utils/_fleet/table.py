# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Text for a terminal: tables, columns that fit its width, numbers of things, and moments; pure."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

GAP = "  "
#: One long cell must not push the others off the screen.
_LONGEST_CELL = 400
#: A word; a time such as "(58 s ago)" is one, so that no line ends in it.
_WORD = re.compile(r"\(?\d+ (?:s|min|h|d)\b(?: ago| from now)?\S*|\S+")
_ELLIPSIS = "…"
#: Beyond this the year says more than the time of day.
_NEAR = timedelta(days=180)


def render(headings: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return the table: a line of headings and one for each row, without a final newline.

    None becomes ``-``, a control character ``?``, white space a blank. Columns of numbers are right-aligned; wide characters count as two.
    Raises ValueError for a row of another length.
    """
    for row in rows:
        if len(row) != len(headings):
            raise ValueError(f"a row has {len(row)} cells, expected {len(headings)}")
    return aligned([[text_of(cell) for cell in line] for line in (headings, *rows)], numeric(rows, len(headings)))


def numeric(rows: Sequence[Sequence[object]], columns: int) -> list[bool]:
    """Tell for each column whether it has only numbers, and at least one."""
    known = [[row[column] for row in rows if row[column] is not None] for column in range(columns)]
    return [bool(cells) and all(isinstance(cell, (int, float)) and not isinstance(cell, bool) for cell in cells) for cells in known]


def aligned(lines: Sequence[Sequence[str]], to_the_right: Sequence[bool]) -> str:
    """Return the table of these texts, each column as wide as its widest."""
    widths = [max(width_of(line[column]) for line in lines) for column in range(len(to_the_right))]
    return "\n".join(
        GAP.join(_aligned(cell, width, right) for cell, width, right in zip(line, widths, to_the_right)).rstrip() for line in lines
    )


def plural(count: int, noun: str, nouns: str = "") -> str:
    """Return a number of things; ``nouns`` is an irregular plural."""
    return f"{count} {noun if count == 1 else nouns or f'{noun}s'}"


def short_moment(timestamp: object, now: datetime) -> str | None:
    """Return a timestamp in short: today's without the date, an old one without the time."""
    if timestamp is None:
        return None
    text = str(timestamp)[:19]
    try:
        then = datetime.fromisoformat(text)
    except ValueError:
        return text
    today = now.replace(tzinfo=None)
    if then.date() == today.date():
        return f"{then:%H:%M:%S}"
    return f"{then:%m-%d %H:%M}" if abs(today - then) < _NEAR else f"{then:%Y-%m-%d}"


def text_of(cell: object) -> str:
    if cell is None:
        return "-"
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    text = str(cell)
    if len(text) > _LONGEST_CELL:
        # The reason of an engine's message is at its end.
        half = _LONGEST_CELL // 2
        text = f"{text[: half - 1]}{_ELLIPSIS}{text[-half:]}"
    return _printed(text) or "-"


def width_of(text: str) -> int:
    """Return the number of terminal columns of a text."""
    return len(text) if text.isascii() else sum(_columns(character) for character in text)


def cut(text: str, width: int, *, ends_count: bool = False) -> str:
    """Return a text cut to a width. An ellipsis replaces its end or, with ``ends_count``, its middle."""
    if width_of(text) <= width:
        return text
    room = max(0, width - 1)
    tail = _beginning(reversed(text), room // 2)[::-1] if ends_count else ""
    while tail and not _columns(tail[0]):
        # A leading combining mark would attach to the ellipsis.
        tail = tail[1:]
    head = _beginning(text, room - width_of(tail))
    return f"{head}{_ELLIPSIS}{tail}" if width > 0 else ""


def wrapped(text: str, width: int) -> list[str]:
    """Return a text in lines of a width, broken between words if possible."""
    lines: list[str] = []
    for word in _WORD.findall(_printed(text)):
        if lines and width_of(f"{lines[-1]} {word}") <= width:
            lines[-1] += f" {word}"
        else:
            lines.extend(_pieces(word, width))
    return lines or [""]


def _pieces(word: str, width: int) -> Iterator[str]:
    while width_of(word) > width:
        head = _beginning(word, max(2, width))
        yield head
        word = word[len(head) :]
    yield word


def _beginning(characters: Iterable[str], width: int) -> str:
    found = ""
    for character in characters:
        width -= _columns(character)
        if width < 0:
            break
        found += character
    return found


def _printed(text: str) -> str:
    return "".join(" " if character.isspace() else character if character.isprintable() else "?" for character in text)


def _columns(character: str) -> int:
    if unicodedata.category(character) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in ("W", "F") else 1


def _aligned(text: str, width: int, right: bool) -> str:
    blanks = " " * (width - width_of(text))
    return blanks + text if right else text + blanks


@dataclass(frozen=True)
class Column:
    """A column, its least width, and when it gives way to others."""

    heading: str
    #: So many columns of the terminal are as good as its full width; with less, a column that can go is left out.
    enough: int = 0
    #: The least width of a column that never goes.
    least: int = 0
    #: The order of the columns that are left out, the lowest first; None: never. And of those that get the spare width.
    goes: int | None = None
    fills: int = 0
    #: Cut in its middle: names of one group often differ only at their end.
    ends_count: bool = False


def render_within(columns: Sequence[Column], rows: Sequence[Sequence[object]], width: int) -> str:
    """Return the table as `render` does, in a terminal's width. It leaves out or cuts columns without room."""
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
    """Return a table of names and sentences in a terminal's width. Sentences wrap and stay whole."""
    named = max(width_of(text_of(line[0])) for line in (headings, *rows))
    # Leave room for a sentence beside a very long name.
    named = min(named, width // 2)
    lines = []
    for name, sentence in (headings, *rows):
        beside = wrapped(sentence, width - named - len(GAP))
        lines += [[cut(text_of(name), named, ends_count=True) if number == 0 else "", text] for number, text in enumerate(beside)]
    return aligned(lines, [False, False])


def fitted(columns: Sequence[Column], widths: Sequence[int], empty: Sequence[bool], width: int) -> list[int | None]:
    """Return the width of each column, None for one that is left out. ``widths`` are the full widths, ``empty`` marks empty columns.

    Empty columns go first. If even the columns that never go do not fit, the table is wider.
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
    """Narrow the widest columns, one by one, until the table fits or all have their least width."""
    while _whole(list(given), given) > width:
        spare = {index: wide - min(wide, columns[index].least or wide) for index, wide in given.items()}
        if not any(spare.values()):
            return
        given[max(spare, key=lambda index: spare[index])] -= 1
