# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How deep JSON goes, known before it is parsed: some Pythons crash on what is too deep for the stack of a thread; pure."""

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
