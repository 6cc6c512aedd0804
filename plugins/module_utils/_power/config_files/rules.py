# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The effect of a rule on the value that stands: whether it is replaced, by what, of which type. The same for all parsers; pure.

A value keeps its type where that is possible: ``"25565"`` replaces a number by a number, ``1`` a boolean by ``true``.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Final, Union

from ..definitions.definition import ConfigRule
from .fault import ConfigFault
from .regex import substitute

__all__ = ["ABSENT", "KEEP", "Absent", "Keep", "Number", "Present", "Value", "same", "text_of", "typed", "value_text", "wanted"]


@dataclass(frozen=True)
class Number:
    """A number as it is spelled: its digits are nobody's to change. What this file makes is spelled as JSON spells numbers."""

    text: str


class Absent(enum.Enum):
    """The type of `ABSENT`."""

    ABSENT = "absent"


class Keep(enum.Enum):
    """The type of `KEEP`."""

    KEEP = "keep"


#: There is no such key.
ABSENT: Final = Absent.ABSENT
#: What stands, or that nothing does, is left as it is.
KEEP: Final = Keep.KEEP

Value = Union[str, bool, Number, None]
Present = Union[str, bool, Number, None, Absent]

_REGEX = "regex:"
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
#: Up to 15 digits every reader holds them exactly. More are identifiers more often than not, and JavaScript would round them.
_NEW_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]{0,14})")
_HALF = re.compile(r"[\ud800-\udfff]")
#: Panels have the variables of users as text: "1" and "0" are their booleans; the rest is YAML's.
_BOOLEANS = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}


def wanted(rule: ConfigRule, present: Present) -> Value | Keep:
    """Return what ``rule`` writes where ``present`` stands, or `KEEP` where nothing is to be written, also because it stands there already.

    Without ``if_value`` the rule holds always. With one it holds where the value's text equals it or, as ``regex:PATTERN``, where the
    pattern is found in that text: then each match is replaced by ``replace_with``, with ``$1`` and ``${name}`` for groups. A key that
    does not exist has no value: a rule with an ``if_value`` does not create it. Raises `ConfigFault`, naming the rule, for a pattern or
    value that cannot be used.
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
    if rule.if_value.startswith(_REGEX):
        text = substitute(rule.if_value[len(_REGEX) :], text_of(present), template)
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
    """Tell whether two values are of one type and equal; numbers are equal whatever their spelling: ``1.50`` and ``1.5``."""
    if isinstance(one, Number) and isinstance(other, Number):
        return one.text == other.text or _equal_numbers(one.text, other.text)
    return type(one) is type(other) and one == other


def _equal_numbers(one: str, other: str) -> bool:
    if not (_NUMBER.fullmatch(one) and _NUMBER.fullmatch(other)):
        return False
    try:
        return Decimal(one) == Decimal(other)
    except InvalidOperation:
        # An exponent beyond all bounds.
        return False


def text_of(value: Value) -> str:
    """A value as text, as ``if_value`` and patterns see it: numbers as they are spelled, booleans in lower case, null empty."""
    if value is None:
        return ""
    if isinstance(value, Number):
        return value.text
    if isinstance(value, bool):
        return "true" if value else "false"
    return value


def value_text(value: str | int | float | bool | Number | None) -> str:
    """A rule's value as text: as `text_of`. Wings writes null as ``<nil>``.

    Raises `ConfigFault` for what no file can hold: a number of thousands of digits, half a character.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        text = text_of(value)
        _refuse_halves(text, "replace_with")
        return text
    try:
        return str(value)
    except ValueError:
        raise ConfigFault("its replace_with is a number of thousands of digits") from None


def _refuse_halves(text: str, name: str) -> None:
    """JSON can escape one half of a character alone, but nothing can write it."""
    if _HALF.search(text):
        raise ConfigFault(f"its {name} holds half of a character (an unpaired surrogate)")
