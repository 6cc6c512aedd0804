# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Edits a server's configuration files before it starts: one file per parser, text in, text out.

Text without a rule stays byte for byte, so a second run changes nothing. Bytes that are not UTF-8 are surrogate escapes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..model.config_rule import ConfigRule

#: Takes the text of a file ("" if it is missing) and the ordered rules; returns the new text.
Parser = Callable[[str, Sequence[ConfigRule]], str]
#: The names that definitions use. Files of unknown parsers stay as they are.
PARSERS = ("file", "ini", "json", "properties", "toml", "xml", "yaml", "yml")
_BYTE_ORDER_MARK = "\ufeff"


def parser_of(name: str) -> Parser:
    """Load one of `PARSERS`: a call needs one or two of them, and compiles their modules each time."""
    if name == "xml":
        # Its text is bytes to expat, with their mark.
        from .xml_file import replace_xml

        return replace_xml
    if name == "file":
        from .line_file import replace_lines as replace
    elif name == "ini":
        from .ini_file import replace_ini as replace
    elif name == "json":
        from .json_file import replace_json as replace
    elif name == "properties":
        from .properties_file import replace_properties as replace
    elif name == "toml":
        from .toml_file import replace_toml as replace
    else:
        from .yaml_file import replace_yaml as replace

    def replace_behind_mark(text: str, rules: Sequence[ConfigRule]) -> str:
        bare = text.removeprefix(_BYTE_ORDER_MARK)
        return text[: len(text) - len(bare)] + replace(bare, rules)

    return replace_behind_mark
