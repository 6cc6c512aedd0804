# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How deep JSON goes and how many values it holds, known before it is parsed; pure.

Some Pythons crash on what is too deep for the stack of a thread. A value of three bytes takes a hundred once it is parsed."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any, Final

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


class _Default:
    """A default that nothing a user writes can be."""

    def __init__(self, words: str) -> None:
        self._words = words

    def __repr__(self) -> str:
        return self._words


#: The default of a key that must be given, and of one whose absence means something else than null.
REQUIRED: Final = _Default("required")
ABSENT: Final = _Default("none")

#: Numbers that are only passed on must fit what the engine and other programs can hold.
_NUMBER_BITS = 64
_SHOWN_CHARACTERS = 60
#: More than anybody reads; a hostile list has a hundred thousand.
_MOST_FAULTS = 100
#: What stands at the end of a sentence that was cut.
CUT = "..."


class Mismatch(ValueError):
    """A value that is not what its key takes. ``key`` is dotted, items of lists as ``[0]``; the sentence never shows a secret.

    ``every`` has all that was found wrong at once, this one first.
    """

    def __init__(self, key: str, reason: str) -> None:
        super().__init__(f"{key} {reason}" if key else f"the top level {reason}")
        self.key = key
        self.every: tuple[Mismatch, ...] = (self,)


class Gathered:
    """The faults of values that are read one after the other, so that a reader of a file learns of all of them at once."""

    def __init__(self) -> None:
        self._faults: list[Mismatch] = []

    def read(self, read: Callable[..., Any], *arguments: object) -> Any:
        """Return what ``read`` returns; None, and a fault more, where it raises `Mismatch`."""
        try:
            return read(*arguments)
        except Mismatch as mismatch:
            self.note(*mismatch.every)
        return None

    def note(self, *faults: Mismatch) -> None:
        """Add faults."""
        self._faults += faults[: _MOST_FAULTS - len(self._faults)]

    def end(self) -> None:
        """Raise the first fault, with every other, if there is any."""
        if self._faults:
            first = self._faults[0]
            first.every = tuple(self._faults)
            raise first


@dataclass(frozen=True)
class KeyLocation:
    """The place of a value. What nobody knows is added to ``unknown``."""

    key: str
    unknown: list[str]
    secret: bool = False

    def entry(self, name: str) -> KeyLocation:
        """A key of the map that stands here; what follows a ``=`` in it is not shown, since it was meant for a value."""
        shown = _cut(name, "=")
        return replace(self, key=f"{self.key}.{shown}" if self.key else shown)

    def item(self, index: int) -> KeyLocation:
        """An item of the list that stands here."""
        return replace(self, key=f"{self.key}[{index}]")

    def wrong(self, found: object, expected: str) -> Mismatch:
        """The error for a value that is not ``expected``."""
        return Mismatch(self.key, f"is {describe(found, secret=self.secret)}, expected {expected}")

    def no_collection(self, found: object, expected: str) -> Mismatch:
        """The error for a value that is no map or list: a missing blank or dash makes text of what holds secrets, so it is not shown."""
        return replace(self, secret=True).wrong(found, expected)

    def note_unknown(self, name: str) -> None:
        """Remember a key that no table knows; without a blank after its colon, a value is part of it."""
        self.unknown.append(self.entry(_cut(name, ":")).key)


@dataclass(frozen=True)
class ValueType:
    """A type of value: ``words`` name it to users, ``read`` turns what was written into what the core uses or raises `Mismatch`.

    ``keys`` is the table of the items where the value is a list or map of records; ``takes_null``: null is a value, not the absence of one.
    """

    words: str
    read: Callable[[object, KeyLocation], Any]
    keys: tuple[KeySpec, ...] = ()
    takes_null: bool = False


@dataclass(frozen=True)
class KeySpec:
    """One key: dotted name, type, default, whether this collection uses it, and what it means.

    ``field`` is the name under which the core knows the value; a secret value is never shown.
    """

    name: str
    type: ValueType
    default: Any
    meaning: str
    field: str = ""
    used: bool = True
    secret: bool = False


@dataclass(frozen=True)
class ReadValues:
    """The values given, by dotted name, null counted as not given, and the keys that no table knows."""

    values: Mapping[str, Any] = field(repr=False)
    place: KeyLocation

    @property
    def unknown(self) -> tuple[str, ...]:
        """The keys that no table knows, dotted."""
        return tuple(self.place.unknown)

    def complete(self, keys: Sequence[KeySpec]) -> dict[str, Any]:
        """A value for every key, the default where none was given."""
        return {key.name: self.values.get(key.name, key.default) for key in keys}


@dataclass(frozen=True)
class Check:
    """A rule about keys of a table. ``require`` gets every value and raises `Mismatch`; it is not asked if one of ``keys`` is wrong, or is
    required and missing."""

    keys: tuple[str, ...]
    require: Callable[[Mapping[str, Any]], object]


def read_keys(raw: object, keys: Sequence[KeySpec], place: KeyLocation | None = None, checks: Sequence[Check] = ()) -> ReadValues:
    """Read a map by its table. Raises `Mismatch` for anything that is not of its key's type, for a required key that is missing and for a
    check that fails; never anything else."""
    reader = _TableReader(keys, place or KeyLocation("", []))
    reader.walk(raw, "", reader.place)
    return reader.end(keys, checks)


class _TableReader:
    """One pass over a map of maps; it descends only where the table does, so that no nesting is too deep."""

    def __init__(self, keys: Sequence[KeySpec], place: KeyLocation) -> None:
        self.place = place
        self.values: dict[str, Any] = {}
        self._gathered = Gathered()
        self._wrong: set[str] = set()
        self._keys = {key.name: key for key in keys}
        self._branches = {key.name[:index] for key in keys for index, character in enumerate(key.name) if character == "."}

    def walk(self, raw: object, prefix: str, place: KeyLocation) -> None:
        for name, value in as_map(raw, place).items():
            full = prefix + name
            try:
                if "." in name:
                    place.note_unknown(name)
                elif full in self._keys:
                    self._leaf(self._keys[full], value, place.entry(name))
                elif full in self._branches:
                    self.walk({} if value is None else value, f"{full}.", place.entry(name))
                else:
                    place.note_unknown(name)
            except Mismatch as mismatch:
                self._gathered.note(*mismatch.every)
                self._wrong.add(full)

    def end(self, keys: Sequence[KeySpec], checks: Sequence[Check]) -> ReadValues:
        """Return what was read, once nothing is missing and every check has been made."""
        for key in keys:
            if key.default is REQUIRED and key.name not in self.values and not self._is_wrong(key.name):
                self._gathered.note(Mismatch(self.place.entry(key.name).key, f"is missing, expected {key.type.words}"))
                self._wrong.add(key.name)
        found = ReadValues(self.values, self.place)
        for check in checks:
            if not any(map(self._is_wrong, check.keys)):
                self._gathered.read(check.require, found.complete(keys))
        self._gathered.end()
        return found

    def _is_wrong(self, name: str) -> bool:
        return any(name == wrong or name.startswith(f"{wrong}.") for wrong in self._wrong)

    def _leaf(self, key: KeySpec, value: object, place: KeyLocation) -> None:
        if value is not None or key.type.takes_null:
            self.values[key.name] = key.type.read(value, replace(place, secret=place.secret or key.secret))


def every_key(keys: Sequence[KeySpec], prefix: str = "") -> Iterator[KeySpec]:
    """The table with the tables of its records laid open: ``settings.mounts``, ``settings.mounts[].source`` and so on."""
    for key in keys:
        yield replace(key, name=prefix + key.name)
        yield from every_key(key.type.keys, f"{prefix}{key.name}[].")


def _cut(name: str, end: str) -> str:
    """A name for a message, without what follows ``end`` in it."""
    head, found, _value = name.partition(end)
    return f"{printable(head)}{end}..." if found else printable(name)


def printable(text: str) -> str:
    """Text from outside, fit for a message: no control characters, at most 60 characters."""
    shown = "".join(character if character.isprintable() else "?" for character in text[: _SHOWN_CHARACTERS + 1])
    return shown if len(shown) <= _SHOWN_CHARACTERS else f"{shown[: _SHOWN_CHARACTERS - 3]}..."


def visible(text: str, kept: str = "") -> str:
    """Text from outside with what a terminal acts on, or does not show, written as escapes; the characters in ``kept`` stay."""
    return "".join(each if each.isprintable() or each in kept else each.encode("unicode_escape").decode("ascii") for each in text)


def blanked(text: str) -> str:
    """Text from outside with a blank for each character that a terminal acts on, or does not show."""
    return text if text.isprintable() else "".join(each if each.isprintable() else " " for each in text)


def one_line(text: str, longest: int = 1000) -> str:
    """Somebody else's sentence as one line that a terminal and a log can bear, at most so many characters long."""
    line = blanked(text[: longest + 1]).strip()
    return line if len(text) <= longest else line[: longest - len(CUT)] + CUT


def describe(value: object, *, secret: bool = False) -> str:
    """A value and its type in words; of a secret the type alone."""
    if value is None:
        return "null"
    if isinstance(value, str):
        return "text" if secret else f'"{printable(value)}" (text)'
    if isinstance(value, bool):
        return "a boolean" if secret else f"{str(value).lower()} (a boolean)"
    if isinstance(value, int):
        return "a whole number" if secret or value.bit_length() > _NUMBER_BITS else f"{value} (a whole number)"
    if isinstance(value, float):
        return "a number" if secret else f"{value} (a number)"
    if isinstance(value, Mapping):
        return "a map"
    return "a list" if isinstance(value, (list, tuple)) else f"of type {printable(type(value).__name__)}"


def as_map(value: object, place: KeyLocation) -> Mapping[str, Any]:
    """A map whose keys are text. An empty list is an empty map: PHP cannot tell them apart, so a Panel sends one for the other."""
    if isinstance(value, (list, tuple)) and not value:
        return {}
    if not isinstance(value, Mapping):
        raise place.no_collection(value, "a map")
    gathered = Gathered()
    for name in value:
        if not isinstance(name, str):
            told = describe(name, secret=place.secret)
            gathered.note(Mismatch(place.key, f"has a key that is {told}, expected text (put it in quotes)"))
    gathered.end()
    return value


def as_list(value: object, place: KeyLocation, expected: str) -> Sequence[Any]:
    """A list."""
    if not isinstance(value, (list, tuple)):
        raise place.no_collection(value, expected)
    return value


def as_text(value: object, place: KeyLocation, expected: str = "text") -> str:
    """Text that a container, a file name and a UTF-8 file can hold."""
    if not isinstance(value, str):
        raise place.wrong(value, f"{expected} (put it in quotes)" if isinstance(value, (bool, int, float, date)) else expected)
    if "\x00" in value:
        raise Mismatch(place.key, "holds a NUL character, which nothing it is used for can hold")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise Mismatch(place.key, "holds half of a surrogate pair, expected text that UTF-8 can write") from None
    return str(value)


def as_scalar_text(value: object, place: KeyLocation, expected: str = "text, a number, a boolean or null") -> str:
    """Text, or what was written without quotes as text: ``5`` is "5", true and false in lower case, null is empty."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return str(as_number(value, place))
    return as_text(value, place, expected)


def as_number(value: object, place: KeyLocation) -> int | float:
    """A finite number; a whole one of at most 64 bits."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise place.wrong(value, "a number")
    if isinstance(value, int) and value.bit_length() > _NUMBER_BITS:
        raise Mismatch(place.key, f"is a whole number of more than {_NUMBER_BITS} bits, expected a smaller one (or put it in quotes)")
    if not math.isfinite(value):
        raise place.wrong(value, "a finite number")
    return value
