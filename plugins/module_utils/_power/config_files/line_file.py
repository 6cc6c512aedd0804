# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Parser ``file``: replaces whole lines that begin with a rule's ``match``; pure.

As in Wings, a rule without a match adds nothing, and ``if_value`` has no meaning. Unlike Wings, line ends stay, lines may have any length,
and only the longest matching ``match`` applies, the first of equals. An empty ``match`` matches nothing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from ..model.config_rule import ConfigRule
from .rules import value_text
from .splice import lines_of

_LINE_END = re.compile(r"\r*\n")


def replace_lines(text: str, rules: Sequence[ConfigRule]) -> str:
    """Apply ``rules`` to ``text``. A second run changes nothing, unless a rule writes text that another one matches."""
    read = lines_of(text)
    lines, ends = [line for line, _end in read], [end for _line, end in read]
    longest_first = sorted((rule for rule in rules if rule.match), key=lambda rule: -len(rule.match))
    # A replacement of several lines is recognized as a whole; else the file would grow at every boot.
    blocks = [block for block in (_lines_of(rule) for rule in longest_first) if len(block) > 1]
    pieces: list[str] = []
    position = 0
    while position < len(lines):
        standing = next((len(block) for block in blocks if lines[position : position + len(block)] == block), 0)
        for place in range(position, position + standing):
            pieces += lines[place], ends[place]
        if not standing:
            rule = next((rule for rule in longest_first if lines[position].startswith(rule.match)), None)
            written = [lines[position]] if rule is None else _lines_of(rule)
            pieces += (ends[position] or "\n").join(written), ends[position]
        position += standing or 1
    return "".join(pieces)


def _lines_of(rule: ConfigRule) -> list[str]:
    """Return the lines of a rule, without line ends at its end: the replaced line's end stays."""
    return _LINE_END.split(value_text(rule.replace_with).rstrip("\r\n"))
