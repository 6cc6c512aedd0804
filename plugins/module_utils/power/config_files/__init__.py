# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Editing a server's configuration files before it starts: one small file per parser, text in, text out, nothing else touched.

What a rule does not speak of stays byte for byte, so that a second run changes nothing. Text that is not UTF-8 comes and goes as
surrogate escapes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from ..definition import ConfigRule
from . import line

__all__ = ["PARSERS", "Parser"]

#: Takes the text of a file ("" for one that is missing) and the rules in their order, and returns the new text.
Parser = Callable[[str, Sequence[ConfigRule]], str]

#: By the names that definitions use. The file of a parser that is not here is left as it is.
PARSERS: Mapping[str, Parser] = MappingProxyType({"file": line.replace_lines})
