# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Text for a terminal: rows of values as a table, and numbers of things; pure."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

_GAP = "  "
#: A cell is cut here: one long message must not push all others off the screen.
_LONGEST_CELL = 200


def render(headings: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """The table, a line of headings and one for each row, without a newline at its end.

    None is shown as ``-``, what a terminal would act on as ``?``, blanks as a blank. Columns of numbers are aligned to the right; a
    character that takes two columns counts as two. Raises ValueError for a row that has not as many cells as there are headings.
    """
    for row in rows:
        if len(row) != len(headings):
            raise ValueError(f"a row has {len(row)} cells, expected {len(headings)}")
    lines = [[_text(cell) for cell in line] for line in (headings, *rows)]
    numbers = [_is_numeric([row[column] for row in rows]) for column in range(len(headings))]
    widths = [max(_width(line[column]) for line in lines) for column in range(len(headings))]
    return "\n".join(
        _GAP.join(_aligned(cell, width, right) for cell, width, right in zip(line, widths, numbers)).rstrip() for line in lines
    )


def plural(count: int, noun: str, nouns: str = "") -> str:
    """A number of things; ``nouns`` is their plural where that is not the noun with an s."""
    return f"{count} {noun if count == 1 else nouns or f'{noun}s'}"


def _text(cell: object) -> str:
    if cell is None:
        return "-"
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    text = str(cell)
    if len(text) > _LONGEST_CELL:
        text = f"{text[: _LONGEST_CELL - 3]}..."
    return "".join(_shown(character) for character in text) or "-"


def _shown(character: str) -> str:
    if character.isspace():
        return " "
    return character if character.isprintable() else "?"


def _is_numeric(cells: Sequence[object]) -> bool:
    known = [cell for cell in cells if cell is not None]
    return bool(known) and all(isinstance(cell, (int, float)) and not isinstance(cell, bool) for cell in known)


def _width(text: str) -> int:
    """How many columns of a terminal a text takes."""
    return len(text) if text.isascii() else sum(_columns(character) for character in text)


def _columns(character: str) -> int:
    if unicodedata.category(character) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in ("W", "F") else 1


def _aligned(text: str, width: int, right: bool) -> str:
    blanks = " " * (width - _width(text))
    return blanks + text if right else text + blanks
