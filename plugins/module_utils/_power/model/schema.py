# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""JSON depth and size before parsing, and tables of keys that read and check a map; pure.

Some Pythons crash on deep JSON in a thread. A value of three bytes takes a hundred once parsed.
"""

from __future__ import annotations

import functools
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date
from typing import Any, Final, TypeVar

from .records import dataclass, field, fields, replace

T = TypeVar("T")

#: Python before 3.11 turns digits into a number in quadratic time.
_LONGEST_NUMBER = 1000
#: One token at a time: a pattern for a whole string keeps a place to return to for each escape.
_TOKEN = re.compile(r'["\[\]{}]|\\.', re.DOTALL)


def is_nested_deeper(text: str, most: int) -> bool:
    """Return True if a JSON text nests deeper than ``most``. Text that is not JSON has a depth too."""
    if text.count("[") + text.count("{") <= most:
        return False
    depth, in_string = 0, False
    for token in _TOKEN.finditer(text):
        mark = text[token.start()]
        if mark == '"':
            in_string = not in_string
        elif in_string:
            continue
        elif mark in "[{":
            depth += 1
            if depth > most:
                return True
        elif mark in "]}":
            depth -= 1
    return False


def values_in(text: bytes) -> int:
    """Count lists, maps and commas (also in strings) of a JSON text: at least half of its values."""
    return sum(text.count(mark) for mark in (b"[", b"{", b","))


def read_fields(kind: type[T], readers: Mapping[str, Callable[[Any], Any]], value_of: Callable[[str], Any], **given: Any) -> T:
    """Return a dataclass of ``given`` fields. The reader for the type of each other field reads ``value_of`` its name."""
    read = {name: readers[written](value_of(name)) for name, written in _types_of(kind).items() if name not in given}  # type: ignore[arg-type]
    return kind(**given, **read)


@functools.cache
def _types_of(kind: type) -> dict[str, str]:
    """Return the fields of a dataclass with their types as written: a page of the journal reads thousands of rows of one kind."""
    return {each.name: str(each.type) for each in fields(kind)}


def parsed_json(content: str | bytes, deepest: int) -> Any:
    """Return the value of a JSON text, as `json.loads`; None if it is no JSON, nests deeper, or has an overlong number."""
    try:
        text = content if isinstance(content, str) else content.decode(json.detect_encoding(content), "surrogatepass")
        return None if is_nested_deeper(text, deepest) else json.loads(text, parse_int=_whole_number)
    except (ValueError, RecursionError):
        return None


def _whole_number(digits: str) -> int:
    if len(digits) > _LONGEST_NUMBER:
        raise ValueError("too long for a number")
    return int(digits)


#: Defaults of a required key, and of a key whose absence differs from null.
REQUIRED: Final = object()
ABSENT: Final = object()

#: The engine and other programs hold no larger numbers.
_NUMBER_BITS = 64
_SHOWN_CHARACTERS = 60
#: A hostile list has a hundred thousand.
_MOST_FAULTS = 100
CUT = "..."


class Mismatch(ValueError):
    """A value that does not fit its dotted key, without secrets. ``every`` has all faults found together, this one first."""

    def __init__(self, key: str, reason: str) -> None:
        super().__init__(f"{key} {reason}" if key else f"the top level {reason}")
        self.key = key
        self.every: tuple[Mismatch, ...] = (self,)


class Gathered:
    """Collects the faults of several values, so that the user gets all at once."""

    def __init__(self) -> None:
        self._faults: list[Mismatch] = []

    def read(self, read: Callable[..., Any], *arguments: object) -> Any:
        """Return the result of ``read``; if it raises `Mismatch`, note the fault and return None."""
        try:
            return read(*arguments)
        except Mismatch as mismatch:
            self.note(*mismatch.every)
        return None

    def note(self, *faults: Mismatch) -> None:
        self._faults += faults[: _MOST_FAULTS - len(self._faults)]

    def end(self) -> None:
        """Raise the first fault with all others, if there are any."""
        if self._faults:
            first = self._faults[0]
            first.every = tuple(self._faults)
            raise first


@dataclass(frozen=True)
class KeyLocation:
    """The place of a value. Unknown keys are added to ``unknown``."""

    key: str
    unknown: list[str]
    secret: bool = False
    #: What an unknown key probably stands for, as `did_you_mean`.
    hints: dict[str, str] = field(default_factory=dict)

    def entry(self, name: str) -> KeyLocation:
        """Return the place of a key in this map. Text after ``=`` in the key is hidden: it may be a secret value."""
        shown = _cut(name, "=")
        return replace(self, key=f"{self.key}.{shown}" if self.key else shown)

    def item(self, index: int) -> KeyLocation:
        return replace(self, key=f"{self.key}[{index}]")

    def wrong(self, found: object, expected: str) -> Mismatch:
        return Mismatch(self.key, f"is {describe(found, secret=self.secret)}, expected {expected}")

    def no_collection(self, found: object, expected: str) -> Mismatch:
        """Return the error for a value that is no map or list. It hides the value: a missing blank or dash turns secrets into text."""
        return replace(self, secret=True).wrong(found, expected)

    def note_unknown(self, name: str, known: Iterable[str] = ()) -> None:
        """Note an unknown key, without its value if the blank after the colon is missing."""
        shown = _cut(name, ":")
        key = self.entry(shown).key
        self.unknown.append(key)
        if len(self.unknown) <= _MOST_FAULTS:
            self.hints[key] = did_you_mean(shown, known)

    def take_unknown(self, known: int, noun: str) -> list[Mismatch]:
        """Take out the unknown keys after the first ``known`` ones, as faults. ``noun`` names the record that lacks them."""
        faults = [Mismatch(key, f"is not a key of {noun}{self.hints.get(key, '')}") for key in self.unknown[known:]]
        del self.unknown[known:]
        return faults


@dataclass(frozen=True)
class ValueType:
    """A type of value: ``words`` name it to users; ``read`` converts a value or raises `Mismatch`.

    ``keys`` is the table of a list or map of records. ``takes_null``: null is a value, not absence.
    """

    words: str
    read: Callable[[object, KeyLocation], Any]
    keys: tuple[KeySpec, ...] = ()
    takes_null: bool = False


@dataclass(frozen=True)
class KeySpec:
    """One key. ``field`` names the value in the core if ``name`` does not. A secret value is never shown; ``used``: by this collection."""

    name: str
    type: ValueType
    default: Any
    meaning: str
    field: str = ""
    used: bool = True
    secret: bool = False


@dataclass(frozen=True)
class ReadValues:
    """The given values by dotted name (null is not given), and unknown keys."""

    values: Mapping[str, Any] = field(repr=False)
    place: KeyLocation

    @property
    def unknown(self) -> tuple[str, ...]:
        return tuple(key + self.place.hints.get(key, "") for key in self.place.unknown)

    def complete(self, keys: Sequence[KeySpec]) -> dict[str, Any]:
        return {key.name: self.values.get(key.name, key.default) for key in keys}


@dataclass(frozen=True)
class Check:
    """A rule of several keys, on all values. It is skipped if one of ``keys`` is wrong, or required and missing."""

    keys: tuple[str, ...]
    require: Callable[[Mapping[str, Any]], object]


def read_keys(raw: object, keys: Sequence[KeySpec], place: KeyLocation | None = None, checks: Sequence[Check] = ()) -> ReadValues:
    """Read a map by its table. Raises only `Mismatch`: for a wrong type, a missing required key or a failed check."""
    reader = _TableReader(keys, place or KeyLocation("", []))
    reader.walk(raw, "", reader.place)
    return reader.end(keys, checks)


class _TableReader:
    """Reads a map of maps. It descends only as deep as the table."""

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
                    place.note_unknown(name, {key[len(prefix) :].partition(".")[0] for key in self._keys if key.startswith(prefix)})
            except Mismatch as mismatch:
                self._gathered.note(*mismatch.every)
                self._wrong.add(full)

    def end(self, keys: Sequence[KeySpec], checks: Sequence[Check]) -> ReadValues:
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


def _cut(name: str, end: str) -> str:
    head, found, _value = name.partition(end)
    return f"{printable(head)}{end}..." if found else printable(name)


def printable(text: str) -> str:
    """Return text for a message: no control characters, at most 60 characters."""
    shown = blanked(text[: _SHOWN_CHARACTERS + 1], "?")
    return shown if len(shown) <= _SHOWN_CHARACTERS else f"{shown[: _SHOWN_CHARACTERS - 3]}..."


def visible(text: str, kept: str = "") -> str:
    """Escape characters that a terminal interprets or hides, except those in ``kept``."""
    return "".join(each if each.isprintable() or each in kept else each.encode("unicode_escape").decode("ascii") for each in text)


def blanked(text: str, instead: str = " ") -> str:
    """Replace each character that a terminal interprets or hides by a blank, or by ``instead``."""
    return text if text.isprintable() else "".join(each if each.isprintable() else instead for each in text)


def one_line(text: str, longest: int = 1000) -> str:
    """Return foreign text as one safe line of limited length."""
    line = blanked(text[: longest + 1]).strip()
    return line if len(text) <= longest else line[: longest - len(CUT)] + CUT


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return what follows an unknown name in a sentence: the known name that resembles it most; empty without one."""
    # Rarely needed.
    import difflib

    return "".join(f" (did you mean {printable(near)}?)" for near in difflib.get_close_matches(name, known, 1))


def few(texts: Sequence[str], most: int = 3, between: str = ", ") -> str:
    """Return the first texts in a row, and the number of the others."""
    return between.join(texts[:most]) + (f" and {len(texts) - most} more" if len(texts) > most else "")


def joined(words: Sequence[str], conjunction: str = "or") -> str:
    """Return ``a, b or c``."""
    return f" {conjunction} ".join(filter(None, (", ".join(words[:-1]), words[-1])))


def describe(value: object, *, secret: bool = False) -> str:
    """Return a value and its type in words; of a secret only the type."""
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
    """Return a map with text keys. An empty list counts as an empty map: PHP, and so the Panel, cannot tell them apart."""
    if isinstance(value, (list, tuple)) and not value:
        return {}
    if not isinstance(value, Mapping):
        raise place.no_collection(value, "a map")
    gathered = Gathered()
    for name in value:
        if not isinstance(name, str):
            kind = describe(name, secret=place.secret)
            gathered.note(Mismatch(place.key, f"has a key that is {kind}, expected text (put it in quotes)"))
    gathered.end()
    return value


def as_text(value: object, place: KeyLocation, expected: str = "text") -> str:
    """Return text that containers, file names and UTF-8 files can hold."""
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
    """Return text, also for unquoted values: ``5`` is "5", true and false are lower case, null is empty."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return str(as_number(value, place))
    return as_text(value, place, expected)


def as_number(value: object, place: KeyLocation) -> int | float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise place.wrong(value, "a number")
    if isinstance(value, int) and value.bit_length() > _NUMBER_BITS:
        raise Mismatch(place.key, f"is a whole number of more than {_NUMBER_BITS} bits, expected a smaller one (or put it in quotes)")
    if not math.isfinite(value):
        raise place.wrong(value, "a finite number")
    return value
