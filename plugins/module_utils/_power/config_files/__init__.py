# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Edits a server's configuration files before it starts: one file per parser, text in, text out.

Text without a rule stays byte for byte, so a second run changes nothing. Bytes that are not UTF-8 are surrogate escapes. `actions` may
import this package.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from ..definitions.definition import ConfigRule

__all__ = ["PARSERS", "Parser"]

#: Takes the text of a file ("" if it is missing) and the ordered rules; returns the new text.
Parser = Callable[[str, Sequence[ConfigRule]], str]


def _file() -> Parser:
    from .line_file import replace_lines

    return replace_lines


def _ini() -> Parser:
    from .ini_file import replace_ini

    return replace_ini


def _json() -> Parser:
    from .json_file import replace_json

    return replace_json


def _properties() -> Parser:
    from .properties_file import replace_properties

    return replace_properties


def _toml() -> Parser:
    from .toml_file import replace_toml

    return replace_toml


def _xml() -> Parser:
    from .xml_file import replace_xml

    return replace_xml


def _yaml() -> Parser:
    from .yaml_file import replace_yaml

    return replace_yaml


class _Parsers(Mapping[str, Parser]):
    """Loads each parser on demand: a call needs one or two of them, and compiles its modules anew."""

    _loaders: Mapping[str, Callable[[], Parser]] = {
        "file": _file,
        "ini": _ini,
        "json": _json,
        "properties": _properties,
        "toml": _toml,
        "xml": _xml,
        "yaml": _yaml,
        "yml": _yaml,
    }

    def __getitem__(self, name: str) -> Parser:
        return self._loaders[name]()

    def __iter__(self) -> Iterator[str]:
        return iter(self._loaders)

    def __len__(self) -> int:
        return len(self._loaders)


#: By the names that definitions use. Files of unknown parsers stay as they are.
PARSERS: Mapping[str, Parser] = _Parsers()
