# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Replaces pieces of a text, and copies the style of neighbouring text; pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import AnyStr

#: Start, end (both in bytes in XML), and the new text.
Edit = tuple[int, int, str]

_SEPARATOR = re.compile(r"[ \t]*,?[ \t]*(?:\r?\n[ \t]*)?,?[ \t]*")
#: A comma and the rest of the line, if that begins with a comment. Patterns for the comment itself would need a hundred times its memory.
_COMMENTED = re.compile(r"[ \t]*(,?)[ \t]*((?://|#|/\*)[^\r\n]*)(?=\r?\n)")


def spliced(text: AnyStr, edits: Iterable[tuple[int, int, AnyStr]]) -> AnyStr:
    """Return the text with the edits; edits at one place keep their order."""
    pieces: list[AnyStr] = []
    position = 0
    for start, end, piece in sorted(edits, key=lambda edit: edit[:2]):
        pieces += text[position:start], piece
        position = end
    pieces.append(text[position:])
    return text[:0].join(pieces)


def lines_of(text: str) -> list[tuple[str, str]]:
    """Return each line and its end, empty without one. Unlike str.splitlines, only line feeds end a line."""
    *pieces, last = re.split(r"(\r?\n)", text)
    return [*zip(pieces[::2], pieces[1::2]), *([(last, "")] if last else [])]


def line_end(text: str) -> str:
    """Return the first line end of a text, a line feed if it has none."""
    first = text.find("\n")
    return "\r\n" if first > 0 and text[first - 1] == "\r" else "\n"


def indentation(text: str, position: int) -> str:
    start = text.rfind("\n", 0, position) + 1
    found = re.compile(r"[ \t]*").match(text, start)
    return "" if found is None else found.group()


def between(text: str, start: int, end: int) -> str:
    """Return the separator of two entries within brackets, for one more entry, without comments and empty lines."""
    stretch = text[start:end]
    if _SEPARATOR.fullmatch(stretch):
        return stretch if "," in stretch else "," + (stretch or " ")
    if "\n" in stretch:
        return "," + line_end(text) + indentation(text, end)
    return ", "


def appended(text: str, position: int, separator: str, entries: Sequence[str]) -> list[Edit]:
    """Return edits that add entries behind a value within brackets. On separate lines, a comment stays beside its entry."""
    commented = _COMMENTED.match(text, position) if separator.startswith(",") and "\n" in separator else None
    if commented is None or not _is_comment(commented.group(2)):
        return [(position, position, "".join(separator + entry for entry in entries))]
    comma, end = commented.group(1), commented.end()
    lines = separator[1:] + separator.join(entries) + comma
    return [(position, position, "" if comma else ","), (end, end, lines)]


def _is_comment(rest: str) -> bool:
    """Tell if nothing follows the comment that a line's rest begins with."""
    return not rest.startswith("/*") or rest.find("*/", 2) == len(rest.rstrip(" \t")) - 2
