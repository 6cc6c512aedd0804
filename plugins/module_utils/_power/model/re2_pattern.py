# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""RE2 patterns of definitions, translated for Python; pure.

Definitions have patterns for Wings, so for RE2, whose time is linear. Python's matcher may take forever, cannot be interrupted, and blocks
all other threads. So it runs in a `Sandbox`. google-re2 cannot replace that: it has no wheels for musl (Alpine), its newest release has
none for Python 3.9, and it rejects surrogate escapes, which stand for bytes that are not UTF-8. Nodes without it would still need the
sandbox, and two engines would differ.
"""

from __future__ import annotations

import re

#: Characters of a pattern; the search here may take quadratic time.
_LONGEST_PATTERN = 4096

#: Parts of a pattern that may need translation: an escaped character, a whole class, a named group and the end.
_PART = re.compile(r"\\.|\[\^?\]?(?:\\.|\[:\^?\w+:\]|[^\]\\])*\]|\(\?<(?![=!])|\(\?[a-zA-Z]*m[a-zA-Z]*[-:)]|\$", re.DOTALL)


def translated(pattern: str) -> str:
    """Return an RE2 pattern in Python's syntax. Raises `ValueError`, with the reason, if that is impossible."""
    if len(pattern) > _LONGEST_PATTERN:
        raise ValueError(f"is longer than {_LONGEST_PATTERN} characters")
    several_lines = False

    def translate(found: re.Match[str]) -> str:
        nonlocal several_lines
        part = found.group()
        if part.startswith("[") and re.search(r"\[:\^?\w+:\]", part):
            raise ValueError("has a class like [:digit:], which is not known here; write 0-9")
        if part.startswith("(?") and part != "(?<":
            several_lines = True
        if part == "$" and several_lines:
            return part
        return {"$": r"\Z", r"\z": r"\Z", "(?<": "(?P<"}.get(part, part)

    return _PART.sub(translate, pattern)
