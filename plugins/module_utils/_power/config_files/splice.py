# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pieces of a text replaced, and the style of what stands copied for what comes beside it; pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

BYTE_ORDER_MARK = "\ufeff"

#: From, up to, and what stands there then.
Edit = tuple[int, int, str]

_SEPARATOR = re.compile(r"[ \t]*,?[ \t]*(?:\r?\n[ \t]*)?,?[ \t]*")
#: What follows a value on its line, if that is a comment.
_COMMENTED = re.compile(r"[ \t]*(,?)[ \t]*(?:(?://|#)[^\r\n]*|/\*(?:(?!\*/)[^\r\n])*\*/[ \t]*)(?=\r?\n)")


def spliced(text: str, edits: Iterable[Edit]) -> str:
    """The text with the edits made; those at the same place in the order given."""
    pieces: list[str] = []
    position = 0
    for start, end, piece in sorted(edits, key=lambda edit: edit[:2]):
        pieces += text[position:start], piece
        position = end
    return "".join((*pieces, text[position:]))


def line_end(text: str) -> str:
    """The line end that a text uses first, a line feed where it has none."""
    first = text.find("\n")
    return "\r\n" if first > 0 and text[first - 1] == "\r" else "\n"


def indentation(text: str, position: int) -> str:
    """The blanks that the line of a place begins with."""
    start = text.rfind("\n", 0, position) + 1
    found = re.compile(r"[ \t]*").match(text, start)
    return "" if found is None else found.group()


def between(text: str, start: int, end: int) -> str:
    """Return what separates two entries within brackets, for one more entry: a comma, and the blanks or new line that stand there.

    Comments and empty lines are left out.
    """
    stretch = text[start:end]
    if _SEPARATOR.fullmatch(stretch):
        return stretch if "," in stretch else "," + (stretch or " ")
    if "\n" in stretch:
        return "," + line_end(text) + indentation(text, end)
    return ", "


def appended(text: str, position: int, separator: str, entries: Sequence[str]) -> list[Edit]:
    """Entries behind the last one within brackets, whose value ends at ``position``.

    On lines of their own they come below its line, so that a comment there stays beside what it speaks of.
    """
    commented = _COMMENTED.match(text, position) if separator.startswith(",") and "\n" in separator else None
    if commented is None:
        return [(position, position, "".join(separator + entry for entry in entries))]
    comma, end = commented.group(1), commented.end()
    lines = separator[1:] + separator.join(entries) + comma
    return [(position, position, "" if comma else ","), (end, end, lines)]
