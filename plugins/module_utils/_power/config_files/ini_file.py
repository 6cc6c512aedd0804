# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Parser ``ini``: sections in brackets, a key and a value per line; pure. A rule's ``match`` is ``section.key``, divided at the first dot.

Without a dot the key belongs before the first section. Dots within brackets do not divide, and the section's brackets are dropped:
``[/Script/Engine.GameSession].MaxPlayers``. Names match exactly, also the case and the ``+`` of Unreal's ``+Key=...``. The last of repeated
keys counts. ``=`` divides key and value; a colon does before a blank, or in a line without ``=``. Blanks, quotes around the value and a
comment behind it stay: ``;`` or ``# `` after a blank, outside quotes. A new value that would read as a comment gets quotes if some value of
the file has them, else it is a fault. Missing keys go behind the last one of their section, missing sections to the end.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

from ..model.config_rule import ConfigRule
from ..model.records import dataclass, field
from .rules import ABSENT, KEEP, ConfigFault, value_text, wanted
from .splice import lines_of

_HEADER = re.compile(r"\[(.*?)\]\s*(?:[;#].*)?", re.DOTALL)
_DIVISION = re.compile(r"=|:(?=\s|\Z)")
#: A mark that may begin a comment, or quoted text around one. An apostrophe is a quote only around the whole value.
_MARK = re.compile(r"""\A'[^']*'(?=\s*(?:[;#]|\Z))|"[^"]*"|[;#]""")


@dataclass
class _Line:
    """One line without its end, with its key and value if any; ``value`` includes its quotes."""

    text: str
    end: str
    key: str = ""
    value: str = ""
    start: int = 0
    #: The end of value and comment, before trailing blanks.
    stop: int = 0


@dataclass
class _Section:
    """A section, from all of its parts: its last line with each key, and the line after which a new key goes."""

    keys: dict[str, _Line] = field(default_factory=dict)
    behind: int = -1
    last: _Line | None = None
    added: list[_Line] = field(default_factory=list)


def replace_ini(text: str, rules: Sequence[ConfigRule]) -> str:
    """Apply ``rules`` to ``text``. Raises `ConfigFault` for values that such a file cannot hold, and as `wanted`."""
    file = _IniFile(text)
    for rule in rules:
        file.apply(rule)
    return file.text()


class _IniFile:
    def __init__(self, text: str) -> None:
        self._lines = [_Line(line, end) for line, end in lines_of(text)]
        self._end = self._lines[0].end if self._lines and self._lines[0].end else "\n"
        self._sections: dict[str, _Section] = {"": _Section()}
        self._new: list[str] = []
        self._latest: _Line | None = None
        self._parse()

    def apply(self, rule: ConfigRule) -> None:
        name, key = _section_and_key(rule)
        section = self._sections.get(name)
        line = section.keys.get(key) if section else None
        bare = "" if line is None else line.value[: _comment(line.value)]
        value = wanted(rule, ABSENT if line is None else bare[1:-1] if _quote(bare) else bare)
        if value is KEEP:
            return
        text = _plain(value_text(value), rule)
        if line is None:
            self._add(name, key, text, rule)
        else:
            self._replace(line, text, rule)

    def text(self) -> str:
        behind: dict[int, list[_Line]] = {}
        for name, section in self._sections.items():
            if name not in self._new:
                behind.setdefault(section.behind, []).extend(section.added)
        lines = list(behind.get(-1, ()))
        for number, line in enumerate(self._lines):
            lines += line, *behind.get(number, ())
        is_complete = not self._lines or self._lines[-1].end != ""
        for name in self._new:
            if lines and lines[-1].text.strip():
                lines.append(_Line("", self._end))
            lines += _Line(f"[{name}]", self._end), *self._sections[name].added
        for line in lines[:-1]:
            line.end = line.end or self._end
        if lines and not is_complete:
            lines[-1].end = ""
        return "".join(line.text + line.end for line in lines)

    def _parse(self) -> None:
        section = self._sections[""]
        for number, line in enumerate(self._lines):
            stripped = line.text.strip()
            if stripped.startswith("["):
                header = _HEADER.fullmatch(stripped)
                if header is not None:
                    section = self._sections.setdefault(header.group(1).strip(), _Section())
                    section.behind = number
            elif stripped and stripped[0] not in ";#":
                _divide(line)
                if line.key:
                    section.keys[line.key] = section.last = self._latest = line
                # A line without a key continues the line above it.
                section.behind = number

    def _replace(self, line: _Line, value: str, rule: ConfigRule) -> None:
        """Write a value, unless the line has it already, also with text that looks like a comment."""
        place = _comment(line.value)
        quote = _quote(line.value[:place])
        written = f"{quote}{value}{quote}" if quote and quote not in value else value.strip()
        if _stands(line, written) or _stands(line, value.strip()):
            return
        before, behind = line.text[: line.start], line.value[place:] + line.text[line.stop :]
        # A bare colon does not divide if the value holds an =; a colon and a blank do.
        new = self._written(line.key, (before, f"{before} "), chain((written,), self._quoted(value)), behind, rule)
        line.text = new.text
        _divide(line)

    def _quoted(self, value: str) -> Iterator[str]:
        lines = [line for section in self._sections.values() for line in section.keys.values()]
        present = {_quote(line.value[: _comment(line.value)]) for line in lines}
        yield from (f"{quote}{value}{quote}" for quote in ('"', "'") if quote in present and quote not in value)

    def _written(self, key: str, befores: Sequence[str], values: Iterable[str], behind: str, rule: ConfigRule) -> _Line:
        for value in values:
            apart = " " if value and behind[:1] in (";", "#") else ""
            for before in befores:
                line = _Line(f"{before}{value}{apart}{behind}", self._end)
                _divide(line)
                if line.key == key and line.value.startswith(value) and _comment(line.value) == len(value):
                    return line
        raise ConfigFault("its replace_with would read as a comment in this file, at least in part", rule)

    def _add(self, name: str, key: str, value: str, rule: ConfigRule) -> None:
        if name not in self._sections:
            self._sections[name] = _Section()
            self._new.append(name)
        section = self._sections[name]
        model = section.last or self._latest
        indent, division = ("", "=") if model is None else _style(model)
        befores = f"{indent}{key}{division}", f"{indent}{key}="
        line = self._written(key, befores, chain((value.strip(),), self._quoted(value)), "", rule)
        section.keys[key] = line
        section.added.append(line)


def _section_and_key(rule: ConfigRule) -> tuple[str, str]:
    depth, section, key = 0, "", rule.match
    for place, character in enumerate(rule.match):
        depth += (character == "[") - (character == "]")
        if character == "." and depth <= 0:
            section, key = rule.match[:place], rule.match[place + 1 :]
            break
    section = re.sub(r"[\[\]]", "", section).strip()
    # A key's brackets count: PerLevelStatsMultiplier_Player[0]. A key in brackets as a whole loses them.
    key = (key[1:-1] if key.startswith("[") and key.endswith("]") else key).strip()
    if not key:
        raise ConfigFault("its match names no key", rule)
    if re.search(r"[\r\n=]|:\s|\A[;#\[\ufeff]", key) or re.search(r"[\r\n]", section):
        raise ConfigFault("its match names a section or key that such a file cannot hold", rule)
    return section, key


def _divide(line: _Line) -> None:
    division = _DIVISION.search(line.text)
    place = line.text.find(":") if division is None else division.start()
    if place < 0:
        return
    rest = line.text[place + 1 :]
    blanks = len(rest) - len(rest.lstrip())
    if _comment(rest) == 0:
        # Without a value, only the first blank belongs before a new one.
        blanks = min(blanks, 1)
    line.key = line.text[:place].strip()
    line.start = place + 1 + blanks
    line.stop = len(line.text.rstrip()) if rest.strip() else line.start
    line.value = line.text[line.start : line.stop]


def _comment(value: str) -> int:
    """Return where the comment behind a value begins, with its blanks; the whole length without one."""
    for mark in _MARK.finditer(value):
        place, follows = mark.start(), value[mark.end() : mark.end() + 1]
        is_sign = mark.group() == ";" or (mark.group() == "#" and (not follows or follows.isspace()))
        if is_sign and (place == 0 or value[place - 1].isspace()):
            return len(value[:place].rstrip())
    return len(value)


def _quote(bare: str) -> str:
    quote = bare[:1]
    is_quoted = quote in ('"', "'") and len(bare) > 1 and bare.endswith(quote) and quote not in bare[1:-1]
    return quote if is_quoted else ""


def _plain(value: str, rule: ConfigRule) -> str:
    """Return a new value for one line; line ends at its end are dropped, as from a block in a definition."""
    value = value.rstrip("\r\n")
    if "\n" in value or "\r" in value:
        raise ConfigFault("its replace_with holds a line end, which no value of such a file can hold", rule)
    return value


def _stands(line: _Line, written: str) -> bool:
    rest = line.value[len(written) :]
    is_apart = not rest or not written or rest[0].isspace()
    return line.value.startswith(written) and is_apart and (not rest or _comment(rest) == 0)


def _style(model: _Line) -> tuple[str, str]:
    begin = model.text.index(model.key)
    return model.text[:begin], model.text[begin + len(model.key) : model.start]
