# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The words of TOML: keys, scalars and separators, read by position; pure. `toml_tree` makes a tree of them.

TOML 1.1 (line breaks in inline tables, ``\\e``, ``\\xHH``, times without seconds) is read too: the server decides whether it accepts it.
"""

from __future__ import annotations

import re

from ..model.records import dataclass
from .rules import ConfigFault, Number, is_moment

#: Forbidden control characters, for a class. Tabs are allowed; line feeds are handled separately.
_CONTROL = r"\x00-\x08\x0b-\x1f\x7f"
_BLANKS = re.compile(r"[ \t]*")
_LINES = re.compile(r"[ \t\r\n]*")
_COMMENT = re.compile(rf"#[^\n{_CONTROL}]*(?=\r?\n|\Z)")
_LINE_END = re.compile(rf"[ \t]*(?:#[^\n{_CONTROL}]*)?(?:\r?\n|\Z)")

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_BASIC = re.compile(rf'"([^"\\\n{_CONTROL}]*(?:\\[^\n{_CONTROL}][^"\\\n{_CONTROL}]*)*)"')
_LITERAL = re.compile(rf"'([^'\n{_CONTROL}]*)'")
_LONG_BASIC = re.compile(r'"""(?:\r?\n)?([^"\\]*(?:(?:\\.|"{1,2}(?!"))[^"\\]*)*)("{3,5})', re.DOTALL)
_LONG_LITERAL = re.compile(r"'''(?:\r?\n)?([^']*(?:'{1,2}(?!')[^']*)*)('{3,5})")
_BAD_IN_LONG = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|\r(?!\n)")
_ESCAPE = re.compile(r"\\(?:([btnfre\"\\])|x([0-9A-Fa-f]{2})|u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8})|([ \t]*\r?\n[ \t\r\n]*)|)")
_ESCAPED = {"b": "\b", "t": "\t", "n": "\n", "f": "\f", "r": "\r", "e": "\x1b", '"': '"', "\\": "\\"}

_TIME = r"[0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]+)?)?"
_DATE = rf"[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}(?:[Tt ]{_TIME}(?:[Zz]|[+-][0-9]{{2}}:[0-9]{{2}})?)?|{_TIME}"
_DIGITS = r"[0-9](?:_?[0-9])*"
_INTEGER = r"[+-]?(?:0|[1-9](?:_?[0-9])*)"
_FLOAT = rf"{_INTEGER}(?:\.{_DIGITS}(?:[eE][+-]?{_DIGITS})?|[eE][+-]?{_DIGITS})|[+-]?(?:inf|nan)"
_BASED = r"0x[0-9A-Fa-f](?:_?[0-9A-Fa-f])*|0o[0-7](?:_?[0-7])*|0b[01](?:_?[01])*"
_SCALAR = re.compile(
    rf"(?:(?P<date>{_DATE})|(?P<float>{_FLOAT})|(?P<based>{_BASED})|(?P<integer>{_INTEGER})|(?P<bool>true|false))(?=[ \t\r\n,\]}}#]|\Z)"
)
_DATE_ALONE = re.compile(_DATE)
#: Year, month, day; hour, minute, second; hour and minute of the offset.
_DATE_PARTS = re.compile(
    r"(?:([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt ]?)?(?:([0-9]{2}):([0-9]{2})(?::([0-9]{2}))?)?(?:\.[0-9]+)?[Zz]?(?:[+-]([0-9]{2}):([0-9]{2}))?"
)
#: Characters of a string, number, comment or white space: patterns may need a hundred bytes of memory for each.
_LONGEST = 1024 * 1024
_NOT_TOML = "is not valid TOML"
_UNCLOSED = "a quote is not closed in its line, or a control character stands in the text"
_MOST_NAMES = 64
#: Python is slow for longer numbers; these keep their spelling.
_LONGEST_BASED = 1000

#: Short escapes in a basic string; other control characters have numeric ones.
_SHORT = {"\b": "\\b", "\t": "\\t", "\n": "\\n", "\f": "\\f", "\r": "\\r", '"': '\\"', "\\": "\\\\"}
_TO_ESCAPE = re.compile(r'[\x00-\x1f"\\\x7f]')
#: Surrogates that stand for no byte, so that no file can hold them.
_UNWRITABLE = re.compile("[\ud800-\udc7f\udd00-\udfff]")


@dataclass(eq=False)
class TomlScalar:
    """A scalar: position, form (basic, literal, date, float, integer, bool), value for rules, and a rule's new text."""

    start: int
    end: int
    form: str
    value: str | bool | Number
    written: str = ""

    def spelled(self, value: str | bool | Number) -> str:
        """Return ``value`` in the style of this one. Raises `ConfigFault` for text that no file can hold."""
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, Number):
            whole = self.form == "float" and not re.search(r"[.eE]", value.text)
            return f"{value.text}.0" if whole else value.text
        if self.form == "date" and _is_date(value, isinstance(self.value, str) and _lacks_seconds(self.value)):
            return value
        literal = f"'{value}'"
        return literal if self.form == "literal" and _LITERAL.fullmatch(literal) and not _UNWRITABLE.search(value) else string_text(value)


def _is_date(text: str, without_seconds: bool) -> bool:
    """Tell whether all readers accept a text as date or time: it exists, and has seconds unless it may lack them."""
    parts = _DATE_PARTS.fullmatch(text) if _DATE_ALONE.fullmatch(text) else None
    return parts is not None and (without_seconds or not _lacks_seconds(text)) and is_moment(parts.groups())


def _lacks_seconds(text: str) -> bool:
    parts = _DATE_PARTS.fullmatch(text)
    return parts is not None and parts.group(4) is not None and parts.group(6) is None


def string_text(value: str) -> str:
    """Return a text as a basic string. Raises `ConfigFault` for text that no file can hold."""
    if _UNWRITABLE.search(value):
        raise ConfigFault("it has half of a character, which cannot be stored")
    return '"' + _TO_ESCAPE.sub(lambda found: _SHORT.get(found.group(), f"\\u{ord(found.group()):04X}"), value) + '"'


def key_text(name: str) -> str:
    """Return a key, in quotes only if needed."""
    return name if _BARE_KEY.fullmatch(name) else string_text(name)


class Words:
    """A text that is read from ``position`` on. Methods move it, and raise `ConfigFault` with the line for invalid TOML."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.position = 0

    def fault(self, reason: str = _NOT_TOML, expected: str = "") -> ConfigFault:
        """Return a fault at this position; ``expected`` says what could stand here."""
        line, column = self.text.count("\n", 0, self.position) + 1, self.position - self.text.rfind("\n", 0, self.position)
        return ConfigFault(f"the file {reason} at line {line}, column {column}" + (f": {expected}" if expected else ""))

    def at(self, sign: str) -> bool:
        return self.text.startswith(sign, self.position)

    def take(self, sign: str) -> None:
        if not self.at(sign):
            raise self.fault(expected=f"there is no {sign} where one is expected")
        self.position += len(sign)

    def _match(self, pattern: re.Pattern[str], expected: str = "") -> re.Match[str]:
        limit = self.position + _LONGEST
        found = pattern.match(self.text, self.position, limit)
        if found is None:
            if limit < len(self.text):
                raise self.fault(f"has a word of {_LONGEST} characters or more, or is not valid TOML,")
            raise self.fault(expected=expected)
        if found.end() == limit < len(self.text):
            # The rest may belong to the same word.
            raise self.fault(f"has a word of {_LONGEST} characters or more")
        self.position = found.end()
        return found

    def skip_blanks(self) -> None:
        self._match(_BLANKS)

    def skip_lines(self) -> None:
        """Skip blanks, line ends and comments."""
        self._match(_LINES)
        while self.at("#"):
            self._match(_COMMENT, "a comment holds a control character")
            self._match(_LINES)

    def end_line(self) -> None:
        """Skip the end of the line; only a comment may precede it."""
        self._match(_LINE_END, "something follows a value or a header that is complete")

    def key(self) -> list[str]:
        """Read a key: at most 64 names between dots."""
        names = [self._name()]
        self.skip_blanks()
        while self.at("."):
            self.position += 1
            self.skip_blanks()
            names.append(self._name())
            self.skip_blanks()
            if len(names) > _MOST_NAMES:
                raise self.fault(f"has a key of more than {_MOST_NAMES} names")
        return names

    def _name(self) -> str:
        if self.at('"'):
            return self._unescaped(self._match(_BASIC, _UNCLOSED).group(1))
        if self.at("'"):
            return self._match(_LITERAL, _UNCLOSED).group(1)
        return self._match(_BARE_KEY, "a key is missing, or needs quotes").group()

    def scalar(self) -> TomlScalar:
        """Read a string, number, boolean, date or time."""
        start = self.position
        if self.at('"""') or self.at("'''"):
            found = self._match(_LONG_BASIC if self.at('"') else _LONG_LITERAL, "three quotes are never closed")
            if _BAD_IN_LONG.search(found.group(1)):
                raise self.fault("has a control character in a string that ends")
            text = (found.group(1) + found.group(2)[3:]).replace("\r\n", "\n")
            return TomlScalar(start, self.position, "basic", self._unescaped(text) if self.text[start] == '"' else text)
        if self.at('"') or self.at("'"):
            value = self._name()
            return TomlScalar(start, self.position, "basic" if self.text[start] == '"' else "literal", value)
        found = self._match(_SCALAR, "a value is missing, or needs quotes")
        return _plain(found.lastgroup or "", found.group(), start, self.position)

    def _unescaped(self, text: str) -> str:
        return _ESCAPE.sub(self._character, text) if "\\" in text else text

    def _character(self, found: re.Match[str]) -> str:
        short, two, four, eight, line = found.groups()
        if short is not None:
            return _ESCAPED[short]
        if line is not None:
            return ""
        number = int(two or four or eight or "110000", 16)
        if number > 0x10FFFF or 0xD800 <= number <= 0xDFFF:
            raise self.fault("has an escape that is not valid in a string that ends")
        return chr(number)


def _plain(form: str, text: str, start: int, end: int) -> TomlScalar:
    """Return a scalar without quotes; numbers get JSON's spelling for comparisons."""
    if form == "date":
        return TomlScalar(start, end, form, text)
    if form == "bool":
        return TomlScalar(start, end, form, text == "true")
    if form == "based":
        return TomlScalar(start, end, "integer", Number(str(int(text, 0)) if len(text) <= _LONGEST_BASED else text))
    return TomlScalar(start, end, form, Number(text.replace("_", "").removeprefix("+")))
