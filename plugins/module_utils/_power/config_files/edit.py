# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The edit of one file by its rules, from its bytes to its new bytes; pure. Content may be hostile: see `sandboxed_edit`."""

from __future__ import annotations

import codecs
from collections.abc import Sequence

from ..model.config_rule import LARGEST_FILE, ConfigRule
from . import parser_of
from .rules import ConfigFault

#: Longer files are no configuration, and each line costs more than its bytes.
_MOST_LINES = 500_000
#: Marks of encodings other than UTF-8; UTF-32's first mark begins like UTF-16's.
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


def edited(before: bytes, parser: str, rules: Sequence[ConfigRule]) -> bytes:
    """Return the content after the edit. Raises `ConfigFault`, and `MissingLibrary` for YAML without PyYAML."""
    if before.count(b"\n") + before.count(b"\r") > _MOST_LINES:
        raise ConfigFault(f"it has more than {_MOST_LINES} lines")
    marked = next((name for mark, name in _MARKS if before.startswith(mark)), "")
    encoding, errors = (marked, "strict") if marked else ("utf-8", "surrogateescape")
    try:
        after = parser_of(parser)(before.decode(encoding, errors), rules).encode(encoding, errors)
    except UnicodeError:
        raise ConfigFault(f"it would no longer be valid {encoding.upper()}") from None
    if len(after) > LARGEST_FILE:
        raise ConfigFault(f"it would be larger than {LARGEST_FILE} bytes")
    return after
