# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Parser ``properties``: Java's properties files, such as ``server.properties``. A rule's ``match`` is a whole key; pure.

A value is replaced in place, with its separator and blanks kept; a missing key is appended as ``key=value``. The last of repeated keys
counts, as in Java. Escapes and line continuations are Java's. Characters beyond ASCII become ``\\uXXXX``, which every version reads, unless
the file holds such characters unescaped in UTF-8. Unlike in Wings ``${x}`` is plain text, in the file and in rules.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from ..model.config_rule import ConfigRule
from ..model.records import dataclass
from .rules import ABSENT, KEEP, ConfigFault, value_text, wanted
from .splice import spliced

#: Java also ends a line at a carriage return.
_LINE = re.compile(r"([^\r\n]*)(\r\n|\r|\n|\Z)")
_NO_BLANK = re.compile(r"[^ \t\f\r\n]")
_CONTINUED = r"\\(?:\r\n|\r|\n)[ \t\f]*"
#: Characters that may end a key, and escapes that hide them.
_MARK = re.compile(rf"{_CONTINUED}|\\.|[=: \t\f]", re.DOTALL)
_BLANKS = rf"(?:[ \t\f]+|{_CONTINUED})*"
_SEPARATOR = re.compile(rf"{_BLANKS}(?:([=:]){_BLANKS})?")
_ESCAPE = re.compile(rf"({_CONTINUED})|\\u([0-9a-fA-F]{{4}})|\\(.|\Z)", re.DOTALL)
_CONTROLS = {"t": "\t", "n": "\n", "r": "\r", "f": "\f"}
_WRITTEN = {"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r", "\f": "\\f"}
_TO_ESCAPE = re.compile(r"[\\\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_TO_ESCAPE_IN_ASCII = re.compile(r"[^\x20-\x5b\x5d-\x7e]")
_BEYOND_ASCII = re.compile(r"[^\x00-\x7f]")
_NO_UTF8 = re.compile(r"[\udc80-\udcff]")
_PAIR = re.compile(r"[\ud800-\udbff][\udc00-\udfff]")


@dataclass(frozen=True)
class _Entry:
    """A key and its value: the place of the value, and the separator before it, which is blank (``key value``) or empty."""

    key: str
    value: str
    start: int
    stop: int
    separator: str
    #: It ends in a backslash that would continue in the next line.
    open: bool


def replace_properties(text: str, rules: Sequence[ConfigRule]) -> str:
    """Apply ``rules`` to ``text``. Raises `ConfigFault` for an empty ``match`` and as `wanted`."""
    file = _PropertiesFile(text)
    for rule in rules:
        file.apply(rule)
    return file.text()


class _PropertiesFile:
    def __init__(self, text: str) -> None:
        self._text = text
        self._is_latin = _NO_UTF8.search(text) is not None
        self._last: _Entry | None = None
        self._entries: dict[str, _Entry] = {}
        self._is_ascii = True
        self._parse()
        #: New values of existing keys, then of missing ones.
        self._changed: dict[str, str] = {}
        self._added: dict[str, str] = {}

    def apply(self, rule: ConfigRule) -> None:
        key = rule.match
        if not key:
            raise ConfigFault("its match is empty and names no key", rule)
        entry = self._entries.get(key)
        present = self._changed.get(key, self._added.get(key, ABSENT if entry is None else entry.value))
        value = wanted(rule, present)
        if value is not KEEP:
            (self._added if entry is None else self._changed)[key] = value_text(value)

    def text(self) -> str:
        entries = [self._entries[key] for key, value in self._changed.items() if value != self._entries[key].value]
        body = spliced(self._text, ((entry.start, entry.stop, self._written(entry)) for entry in entries))
        lines = [f"{self._escaped_key(key)}={self._escaped(value)}" for key, value in self._added.items()]
        return self._append(body, lines) if lines else body

    def _append(self, body: str, lines: list[str]) -> str:
        # Checked in the result: an empty new value may leave a backslash before it without a continuation.
        last = _PropertiesFile(body)._last
        end = _LINE.match(self._text)
        # Behind a lone carriage return a line feed would belong to the same line end.
        line_end = "\r" if body.endswith("\r") else (end.group(2) if end else "") or "\n"
        is_complete = not body or body.endswith(("\n", "\r"))
        # An empty line ends a continuation.
        gap = ("" if is_complete else line_end) + (line_end if last is not None and last.open else "")
        return body + gap + line_end.join(lines) + (line_end if is_complete else "")

    def _parse(self) -> None:
        position = 0
        while first := _NO_BLANK.search(self._text, position):
            stop, position, is_open = _logical_line(self._text, first.start())
            if first.group() not in "#!":
                self._last = entry = self._entry(first.start(), stop, is_open)
                self._entries[entry.key] = entry
                if self._is_ascii and not self._is_latin:
                    self._is_ascii = _BEYOND_ASCII.search(self._text, first.start(), stop) is None

    def _entry(self, start: int, stop: int, is_open: bool) -> _Entry:
        # A backslash without a continuation is no part of the value, and a new value replaces it.
        last = stop - 1 if is_open else stop
        key_stop = next((mark.start() for mark in _MARK.finditer(self._text, start, last) if mark.group()[0] != "\\"), last)
        separator = _SEPARATOR.match(self._text, key_stop, last)
        value_start = separator.end() if separator else key_stop
        shown = "" if value_start == key_stop else (separator and separator.group(1)) or " "
        return _Entry(self._read(start, key_stop), self._read(value_start, last), value_start, stop, shown, is_open)

    def _read(self, start: int, stop: int) -> str:
        """Read text as Java does. Bytes that are not UTF-8 are Latin-1, as in Minecraft."""
        raw = self._text[start:stop]
        if self._is_latin:
            raw = raw.encode("utf-8", "surrogateescape").decode("latin-1")
        if "\\" not in raw:
            return raw
        return _PAIR.sub(lambda pair: pair.group().encode("utf-16", "surrogatepass").decode("utf-16"), _ESCAPE.sub(_unescaped, raw))

    def _written(self, entry: _Entry) -> str:
        value = self._changed[entry.key]
        text = self._escaped(value)
        if not entry.separator:
            return f"={text}"
        # After a separating blank, these would be the separator.
        return f"\\{text}" if entry.separator == " " and value[:1] in ("=", ":") else text

    def _escaped(self, value: str) -> str:
        pattern = _TO_ESCAPE_IN_ASCII if self._is_ascii else _TO_ESCAPE
        text = pattern.sub(_escape, value)
        return f"\\{text}" if text.startswith(" ") else text

    def _escaped_key(self, key: str) -> str:
        pattern = _TO_ESCAPE_IN_ASCII if self._is_ascii else _TO_ESCAPE
        return re.sub(r"[ =:#!]", r"\\\g<0>", pattern.sub(_escape, key))


def _logical_line(text: str, position: int) -> tuple[int, int, bool]:
    """Return the end of a logical line, the start of the next, and whether the line ends in an open continuation."""
    is_comment = text[position] in "#!"
    for line in _LINE.finditer(text, position):
        content = line.group(1)
        continued = not is_comment and (len(content) - len(content.rstrip("\\"))) % 2 == 1
        if not continued or line.end() == len(text):
            return line.end(1), line.end(), continued
    return len(text), len(text), False


def _unescaped(found: re.Match[str]) -> str:
    continued, unit, character = found.groups()
    if continued:
        return ""
    return chr(int(unit, 16)) if unit else _CONTROLS.get(character, character)


def _escape(found: re.Match[str]) -> str:
    character = found.group()
    if character in _WRITTEN:
        return _WRITTEN[character]
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[place]:02X}{units[place + 1]:02X}" for place in range(0, len(units), 2))
