# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The effect of a rule on a value: whether it changes, to what, and of which type. The same for all parsers.

Regular expressions of rules may take forever, so only a `Sandbox` applies them. A value keeps its type if possible (see `typed`).
"""

from __future__ import annotations

import contextlib
import enum
import re
from collections.abc import Sequence
from datetime import datetime, time
from decimal import Decimal, InvalidOperation
from typing import Final, Union

from ..model.config_rule import LARGEST_FILE, ConfigRule
from ..model.re2_pattern import translated
from ..model.records import dataclass

#: A group in a template, or an escaped dollar. As in Go, a $ takes the longest possible name.
_GROUP = re.compile(r"\$(?:(\$)|(\w+)|\{(\w+)\})", re.ASCII)
REGEX = "regex:"
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
#: All readers hold up to 15 digits exactly. Longer ones are usually identifiers, and JavaScript would round them.
_NEW_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]{0,14})")
_HALF = re.compile(r"[\ud800-\udfff]")
#: Panels send user variables as text: "1" and "0" are their booleans; the rest is YAML's.
_BOOLEANS = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}


class ConfigFault(Exception):
    """A bad file or rule: the reason without content, which may be secret, and the ``rule``, or None for the file or if unknown."""

    def __init__(self, reason: str, rule: ConfigRule | None = None) -> None:
        super().__init__(reason)
        self.rule = rule


def substitute(pattern: str, text: str, template: str) -> str | None:
    """Return ``text`` with each match of ``pattern`` replaced by ``template``, or None without a match.

    ``$1``, ``${1}``, ``$name`` and ``${name}`` stand for groups and ``$$`` for a dollar, as in Go. Patterns are Python's, with RE2's
    ``\\z``, ``(?<name>...)`` and ``$`` (the very end of the text), and ASCII-only ``\\d``, ``\\w``, ``\\s`` and ``\\b``. Raises
    `ConfigFault` for a bad pattern, or for one that writes more than 16 MiB.
    """
    try:
        pattern = translated(pattern)
    except ValueError as fault:
        raise ConfigFault(f"the regular expression in if_value {fault}") from None
    try:
        return _substituted(re.compile(pattern, re.ASCII), text, template)
    except (re.error, ValueError, OverflowError, RecursionError):
        raise ConfigFault("the regular expression in if_value is not valid") from None


def _substituted(pattern: re.Pattern[str], text: str, template: str) -> str | None:
    pieces: list[str] = []
    position, size, is_found = 0, 0, False
    for match in pattern.finditer(text):
        # As in Go, an empty match right behind another match does not count.
        if match.end() == match.start() == position and is_found:
            continue
        is_found = True
        pieces += text[position : match.start()], _filled(match, template)
        size += len(pieces[-2]) + len(pieces[-1])
        if size > LARGEST_FILE:
            raise ConfigFault("what the regular expression in if_value writes is larger than 16 MiB")
        position = match.end()
    return "".join(pieces) + text[position:] if is_found else None


def _filled(match: re.Match[str], template: str) -> str:
    def text(group: re.Match[str]) -> str:
        name = group[2] or group[3] or ""
        try:
            # As in Go, a missing or unused group is empty.
            return group[1] or match.group(int(name) if name.isdigit() else name) or ""
        except (IndexError, ValueError):
            return ""

    return _GROUP.sub(text, template)


@dataclass(frozen=True)
class Number:
    """A number with its spelling, which stays. Numbers that this file creates have JSON's spelling."""

    text: str


class Absent(enum.Enum):
    ABSENT = "absent"


class Keep(enum.Enum):
    KEEP = "keep"


ABSENT: Final = Absent.ABSENT
KEEP: Final = Keep.KEEP

Value = Union[str, bool, Number, None]
Present = Union[str, bool, Number, None, Absent]


def wanted(rule: ConfigRule, present: Present) -> Value | Keep:
    """Return the value that ``rule`` writes over ``present``, or `KEEP` for no change, also if they are equal.

    Without ``if_value`` the rule always applies. Else it applies if the value's text equals it or, with ``regex:PATTERN``, contains a
    match: then ``replace_with`` replaces each match, with ``$1`` and ``${name}`` for groups. A rule with ``if_value`` never creates a
    missing key. Raises `ConfigFault` with the rule for a bad pattern or value.
    """
    try:
        value = _value(rule, present)
    except ConfigFault as fault:
        raise ConfigFault(str(fault), rule) from None
    return KEEP if value is KEEP or (present is not ABSENT and same(value, present)) else value


def _value(rule: ConfigRule, present: Present) -> Value | Keep:
    _refuse_halves(rule.match, "match")
    template = value_text(rule.replace_with)
    if rule.if_value is None:
        return typed(rule.replace_with, present)
    if present is ABSENT:
        return KEEP
    if rule.if_value.startswith(REGEX):
        text = substitute(rule.if_value[len(REGEX) :], text_of(present), template)
        return KEEP if text is None else typed(text, present)
    return typed(rule.replace_with, present) if _equals(present, rule.if_value) else KEEP


def _equals(present: Value, text: str) -> bool:
    """Tell whether a value equals an ``if_value``; a number may be spelled otherwise, null is both ``null`` and empty."""
    if isinstance(present, Number):
        return same(present, Number(text))
    return text == text_of(present) or (present is None and text == "null")


def typed(value: str | int | float | bool | None, present: Present) -> Value:
    """A rule's value in the type that stands at its place.

    - Null is null, whatever stands: it can be said in no other way.
    - Where text stands: text. ``5`` becomes ``"5"``, ``true`` becomes ``"true"``.
    - Where a number stands: a number, if the value is one or is text that JSON would read as one. Other text is text.
    - Where a boolean stands: a boolean, if the value is one, is 1 or 0, or is text that says true, yes, on, 1, false, no, off or 0.
    - Where nothing or null stands: numbers and booleans as they are. Text that is a whole number of at most 15 digits, written without
      ``+`` or leading zeros, is a number (ports of a Panel are text). Other text, ``"true"`` and ``"0.5"`` too, is text, as in Wings.
    """
    if value is None:
        return None
    text = value if isinstance(value, str) else value_text(value)
    if isinstance(present, str):
        return text
    if isinstance(present, bool):
        truth = value if isinstance(value, bool) else _BOOLEANS.get(text.lower())
        if truth is not None:
            return truth
    if isinstance(value, bool):
        return value
    numeric = _NUMBER if not isinstance(value, str) or isinstance(present, Number) else _NEW_INTEGER
    return Number(text) if numeric.fullmatch(text) else text


def same(one: Value, other: Value) -> bool:
    """Tell whether two values have one type and are equal; numbers may differ in spelling: ``1.50`` and ``1.5``."""
    if not isinstance(one, Number) or not isinstance(other, Number):
        return type(one) is type(other) and one == other
    if one.text != other.text and _NUMBER.fullmatch(one.text) and _NUMBER.fullmatch(other.text):
        # An exponent may be too large.
        with contextlib.suppress(InvalidOperation):
            return Decimal(one.text) == Decimal(other.text)
    return one.text == other.text


def is_moment(parts: Sequence[str | None]) -> bool:
    """Tell whether a date or time exists: year, month, day, hour, minute, second, and hour and minute of the offset; None if not given."""
    year, month, day = (1 if part is None else int(part) for part in parts[:3])
    hour, minute, second, offset_hour, offset_minute = (int(part or 0) for part in parts[3:])
    try:
        datetime(year, month, day, hour, minute, second)
        time(offset_hour, offset_minute)
    except ValueError:
        return False
    return True


def text_of(value: Value) -> str:
    """Return a value as text for ``if_value`` and patterns: numbers as spelled, booleans in lower case, null empty."""
    if value is None:
        return ""
    if isinstance(value, Number):
        return value.text
    if isinstance(value, bool):
        return "true" if value else "false"
    return value


def value_text(value: str | int | float | bool | Number | None) -> str:
    """Return a rule's value as text, like `text_of`. Raises `ConfigFault` for lone surrogates and thousands of digits."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        text = text_of(value)
        _refuse_halves(text, "replace_with")
        return text
    try:
        return str(value)
    except ValueError:
        raise ConfigFault("its replace_with is a number of thousands of digits") from None


def _refuse_halves(text: str, name: str) -> None:
    """Refuse a lone surrogate: JSON can escape one, but no file can hold it."""
    if _HALF.search(text):
        raise ConfigFault(f"its {name} holds half of a character (an unpaired surrogate)")
