# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How deep JSON goes and how many values it holds, known before it is parsed; pure.

Some Pythons crash on what is too deep for the stack of a thread. A value of three bytes takes a hundred once it is parsed.
"""

from __future__ import annotations

import re

#: A string, to its end or to that of the text, or a bracket.
_TOKEN = re.compile(r'"(?:[^"\\]+|\\.)*(?:"|\\?\Z)|[\[\]{}]', re.DOTALL)


def is_nested_deeper(text: str, most: int) -> bool:
    """Return True if lists and maps of a JSON text are nested deeper than ``most``. Text that is not JSON has some depth as well."""
    if text.count("[") + text.count("{") <= most:
        return False
    depth = 0
    for token in _TOKEN.finditer(text):
        first = text[token.start()]
        depth += (first in "[{") - (first in "]}")
        if depth > most:
            return True
    return False


def values_in(text: bytes) -> int:
    """Count the lists, the maps and the commas of a JSON text, commas in strings too: at least half of its values."""
    return sum(text.count(mark) for mark in (b"[", b"{", b","))
