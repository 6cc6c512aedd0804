# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Types of values for tables of keys. Each ``read`` raises only `Mismatch`."""

from __future__ import annotations

import functools
import ipaddress
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..host.machine import is_timezone
from ..model.request import OnFailedStart
from ..model.schema import (
    Gathered,
    KeyLocation,
    KeySpec,
    Mismatch,
    ValueType,
    as_map,
    as_number,
    as_scalar_text,
    as_text,
    describe,
    joined,
    read_keys,
)
from ..model.server import parse_uuid
from .stop_way import LONGEST_STOP_SECONDS

#: Larger than any real amount (MB, MiB, percent); products stay within 64 bits.
MOST = 10**9
_CPUS = re.compile(r"[0-9]{1,4}(-[0-9]{1,4})?(,[0-9]{1,4}(-[0-9]{1,4})?)*")
#: Limits of Linux; a longer path would fail only at use.
_LONGEST_NAME, _LONGEST_PATH = 255, 4095
_IMAGE = re.compile(r"~?[^\s\x00-\x1f\x7f~]+")


def whole_number(least: int, most: int = MOST, words: str = "a whole number") -> ValueType:
    """A whole number within bounds; a boolean is none. Messages omit a bound that only keeps numbers small, unless it is exceeded."""
    both = f"{words} from {least} to {most}"
    bounds = both if most != MOST else words if least == -MOST else f"{words} of {least} or more"

    def read(value: object, place: KeyLocation) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise place.wrong(value, bounds)
        if not least <= value <= most:
            raise place.wrong(value, both if abs(value) > MOST else bounds)
        return int(value)

    return ValueType(bounds, read)


def checked(words: str, holds: Callable[[Any], object], read: Callable[[Any, KeyLocation], Any] = lambda value, _place: value) -> ValueType:
    """A value for which ``holds`` is true after ``read`` has converted it."""

    def read_checked(value: object, place: KeyLocation) -> Any:
        found = read(value, place)
        if not holds(found):
            raise place.wrong(value, words)
        return found

    return ValueType(words, read_checked)


def text_that(words: str, holds: Callable[[str], object], *, strip: bool = False) -> ValueType:
    """A text for which ``holds`` is true; ``strip``: without the blanks around it."""

    def read(value: object, place: KeyLocation) -> str:
        text = as_text(value, place, words)
        return text.strip() if strip else text

    return checked(words, holds, read)


def zero_or_between(least: int, most: int) -> ValueType:
    def holds(value: object) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and (value == 0 or least <= value <= most)

    return checked(f"0 or a whole number from {least} to {most}", holds)


def one_of(*choices: str) -> ValueType:
    return checked(joined(choices), choices.__contains__)


def list_of(kind: ValueType, words: str) -> ValueType:
    """A list, read as a tuple; null is empty."""

    def read(value: object, place: KeyLocation) -> tuple[Any, ...]:
        if not isinstance(value, (list, tuple, type(None))):
            raise place.no_collection(value, words)
        gathered = Gathered()
        found = tuple(gathered.read(kind.read, item, place.item(index)) for index, item in enumerate(value or ()))
        gathered.end()
        return found

    return ValueType(words, read, kind.keys)


def list_of_known(kind: ValueType, words: str, noun: str) -> ValueType:
    """A list of records in which an unknown key is a fault: without it, a rule could apply to other servers. ``noun`` names a record."""
    items = list_of(kind, words)

    def read(value: object, place: KeyLocation) -> tuple[Any, ...]:
        known, gathered = len(place.unknown), Gathered()
        found: tuple[Any, ...] = gathered.read(items.read, value, place)
        gathered.note(*place.take_unknown(known, noun))
        gathered.end()
        return found

    return ValueType(words, read, kind.keys)


def map_of(kind: ValueType, words: str, name_of: Callable[[str, KeyLocation], str] = as_text) -> ValueType:
    """A map from text to values of one type, in the written order. ``name_of`` reads its keys."""

    def read(value: object, place: KeyLocation) -> dict[str, Any]:
        gathered = Gathered()
        found = {
            gathered.read(name_of, name, place.entry(name)): gathered.read(kind.read, item, place.entry(name))
            for name, item in as_map(value, place).items()
        }
        gathered.end()
        return found

    return ValueType(words, read, kind.keys)


def record(keys: Sequence[KeySpec], words: str) -> ValueType:
    """A map with its own table, read as values by name with all defaults."""

    def read(value: object, place: KeyLocation) -> dict[str, Any]:
        return read_keys(value, keys, place).complete(keys)

    return ValueType(words, read, tuple(keys))


def _text_or_number(value: object, place: KeyLocation) -> str:
    if isinstance(value, bool):
        raise place.wrong(value, TEXT_OR_NUMBER.words)
    return as_scalar_text(value, place, TEXT_OR_NUMBER.words)


def _scalar(value: object, place: KeyLocation) -> str | int | float | bool | None:
    if value is None or isinstance(value, bool):
        return value
    return as_number(value, place) if isinstance(value, (int, float)) else as_text(value, place, SCALAR.words)


def _multipliers(value: object, place: KeyLocation) -> tuple[tuple[int, float], ...]:
    # The only map in Wings' file with numeric keys.
    if isinstance(value, Mapping):
        value = {str(name) if isinstance(name, int) and abs(name) <= MOST else name: item for name, item in value.items()}
    gathered, found = Gathered(), {}
    for name, item in as_map(value, place).items():
        if re.fullmatch(r"[0-9]{1,9}", name):
            found[int(name)] = gathered.read(FACTOR.read, item, place.entry(name))
        else:
            gathered.note(Mismatch(place.key, f"has a key that is {describe(name)}, expected whole numbers (MB)"))
    gathered.end()
    return tuple(sorted(found.items()))


def _absolute_path(value: object, place: KeyLocation) -> str:
    text = as_text(value, place, ABSOLUTE_PATH.words)
    if not text.startswith("/"):
        raise place.wrong(value, ABSOLUTE_PATH.words)
    if len(text.encode()) > _LONGEST_PATH or any(len(name.encode()) > _LONGEST_NAME for name in text.split("/")):
        raise place.wrong(value, f"a path of at most {_LONGEST_PATH} bytes, and at most {_LONGEST_NAME} bytes between two slashes")
    return text


def _accepts(parse: Callable[[str], object], text: str) -> bool:
    try:
        parse(text)
    except ValueError:
        return False
    return True


def _address(value: object, place: KeyLocation) -> str:
    text = as_text(value, place, ADDRESS.words)
    if not _accepts(ipaddress.ip_address, text):
        raise place.wrong(value, ADDRESS.words)
    if "%" in text:
        raise place.wrong(value, "an IP address without a zone")
    return text


def _cpus(value: object, place: KeyLocation) -> str:
    text = _text_or_number(value, place).replace(" ", "")
    ranges = [part.split("-") for part in text.split(",")] if _CPUS.fullmatch(text) else None
    if text and (ranges is None or any(int(part[0]) > int(part[-1]) for part in ranges)):
        raise place.wrong(value, CPUS.words)
    return text


def _variable(value: object, place: KeyLocation) -> str | None:
    if isinstance(value, (Mapping, list, tuple)):
        return None
    return as_scalar_text(value, place)


def _variable_name(name: str, place: KeyLocation) -> str:
    if "=" in name:
        raise Mismatch(place.key, "is not the name of a variable, expected text without =")
    return as_text(name, place)


def _variables(value: object, place: KeyLocation) -> dict[str, str | None]:
    gathered = Gathered()
    if "" in as_map(value, place):
        gathered.note(Mismatch(place.key, "has a variable whose name is empty"))
    found: dict[str, str | None] = gathered.read(_VARIABLES.read, value, place)
    gathered.end()
    return found


def _published_on(name: str, place: KeyLocation) -> str:
    if not _accepts(ipaddress.ip_address, name):
        raise Mismatch(place.key, "is not an IP address; ports are listed by the address they are published on")
    if "%" in name:
        raise Mismatch(place.key, "is an address with a zone, which the engine cannot publish on")
    return as_text(name, place)


def _egg(value: object, place: KeyLocation) -> str | None:
    """No action needs the egg, so no form of it makes a definition invalid."""
    egg = value.get("id") if isinstance(value, Mapping) else value
    if isinstance(egg, bool) or not isinstance(egg, (str, int)):
        return None
    try:
        return as_scalar_text(egg, place) or None
    except Mismatch:
        return None


TEXT = ValueType("text", as_text)
FILLED_TEXT = checked("text that is not empty", str.strip, as_text)
TEXT_OR_NUMBER = ValueType("text", _text_or_number)
SCALAR_TEXT = ValueType("text, a number, a boolean or null", as_scalar_text)
SCALAR = ValueType("text, a number, a boolean or null", _scalar, takes_null=True)
ON_FAILED_START = one_of(*(each.value for each in OnFailedStart))
BOOLEAN = checked("true or false", lambda value: isinstance(value, bool))
SECONDS = whole_number(0, LONGEST_STOP_SECONDS, "a whole number of seconds")
FACTOR = checked("a number from 1 to 100", lambda number: 1 <= number <= 100, lambda value, place: float(as_number(value, place)))
ABSOLUTE_PATH = ValueType("a path that begins with /", _absolute_path)
ADDRESS = ValueType("an IP address", _address)
OPTIONAL_ADDRESS = ValueType("an IP address or empty text", lambda value, place: "" if value == "" else _address(value, place))
_as_network = functools.partial(ipaddress.ip_network, strict=False)
NETWORK = text_that("an IP network such as 172.18.0.0/16, or empty text", lambda text: not text or _accepts(_as_network, text))
UUID = checked("a UUID with hyphens", bool, lambda value, _place: parse_uuid(value) if isinstance(value, str) else None)
CPUS = ValueType("numbers of CPUs such as 0,2-3", _cpus)
IMAGE = checked("an image without blanks, with ~ before it if it is never pulled", _IMAGE.fullmatch, as_text)
MULTIPLIERS = ValueType("a map of memory limits in MB to numbers from 1 to 100", _multipliers)
TIMEZONE = text_that("a time zone this node knows, such as Europe/Berlin", is_timezone, strip=True)
#: Variables of a container by name; a list or map, which no variable can hold, becomes None.
VARIABLES = ValueType("a map of text, numbers, booleans and null", _variables)
_VARIABLES = map_of(ValueType("text", _variable), VARIABLES.words, _variable_name)
PORTS = map_of(list_of(whole_number(-MOST), "a list of ports"), "a map of IP addresses to lists of ports", _published_on)
#: The id of an egg as text, alone or in a map; None if there is none.
EGG = ValueType("a map with an id, or text", _egg)
ANYTHING = ValueType("anything", lambda value, _place: value)
