# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Scalars and keys as YAML writes them: quoted as what stood there was, and always so that they read back as what they are; pure."""

from __future__ import annotations

import re
from datetime import datetime, time

from ..rules import Number, Value, text_of
from .yaml_read import LONGEST_TYPED, kind_of

__all__ = ["anchor_of", "key", "scalar"]

#: The characters of plain text that mean nothing to YAML wherever they stand, and in a block also brackets and commas. Within brackets
#: some readers end plain text at a question mark.
_PLAIN = re.compile(r"[^\s,\[\]{}#&*!|>'\"%@`?:=<~\-](?:[^\n:#]|:(?! |\Z)|(?<! )#)*")
_FLOW = re.compile(r"[^,\[\]{}:?]*")
#: Booleans by the letter of YAML 1.1, though hardly a reader takes them so.
_LETTERS = frozenset("yYnN")
_ANCHOR = re.compile(r"&[^\s,\[\]{}]+(?:[ \t]+|\Z)")
#: What YAML 1.1 takes for a date; a reader fails at one that looks so and is none.
_DATE = re.compile(
    r"([0-9]{4})-([0-9]{1,2})-([0-9]{1,2})"
    r"(?:(?:[Tt]|[ \t]+)([0-9]{1,2}):([0-9]{2}):([0-9]{2})(?:\.[0-9]*)?(?:[ \t]*(?:Z|[-+]([0-9]{1,2})(?::([0-9]{2}))?))?)?"
)
_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r", "\0": "\\0", "\x1b": "\\e"}
_BYTES = ("\udc80", "\udcff")


def scalar(value: Value, *, style: str = "", flow: bool = False) -> str:
    """A value in the style of what stood at its place; ``flow`` within brackets."""
    if isinstance(value, Number):
        return _number(value.text)
    if not isinstance(value, str):
        return "null" if value is None else text_of(value)
    return _text(value, style, flow)


def anchor_of(written: str) -> tuple[str, str]:
    """Part the beginning of a node, its anchor and a blank or nothing, from the rest."""
    found = _ANCHOR.match(written)
    return ("", written) if found is None else (found.group().rstrip() + " ", written[found.end() :])


def key(name: str, *, quoted: bool = False, flow: bool = False) -> str:
    """A key, without quotes where it needs none and its neighbours have none."""
    return _text(name, '"' if quoted else "", flow)


def _number(text: str) -> str:
    """A number that every reader takes for one: YAML 1.1 wants a dot and a sign with an exponent."""
    found = re.fullmatch(r"(-?[0-9]+)(\.[0-9]+)?[eE]([+-]?)([0-9]+)", text)
    if found is None:
        return text
    whole, fraction, sign, exponent = found.groups()
    return f"{whole}{fraction or '.0'}e{sign or '+'}{exponent}"


def _text(value: str, style: str, flow: bool) -> str:
    one_line = all(character.isprintable() or _BYTES[0] <= character <= _BYTES[1] for character in value)
    if not one_line or style.startswith('"'):
        return _double_quoted(value)
    if not style.startswith("'") and _may_be_plain(value, style, flow):
        return value
    return "'" + value.replace("'", "''") + "'"


def _may_be_plain(value: str, style: str, flow: bool) -> bool:
    # Whoever looks at a long one may take it for a number.
    if len(value) > LONGEST_TYPED:
        return False
    if not _PLAIN.fullmatch(value) or value.endswith(" ") or value in _LETTERS or (flow and not _FLOW.fullmatch(value)):
        return False
    kind = kind_of(value)
    # A date stays a date, if there is such a day.
    return kind == "str" or (kind == "timestamp" == kind_of(style) and _is_date(value))


def _is_date(text: str) -> bool:
    found = _DATE.fullmatch(text)
    if found is None:
        return False
    year, month, day, hour, minute, second, offset_hour, offset_minute = (int(part or 0) for part in found.groups())
    try:
        datetime(year, month, day, hour, minute, second)
        time(offset_hour, offset_minute)
    except ValueError:
        return False
    return True


def _double_quoted(value: str) -> str:
    return '"' + "".join(_escaped(character) for character in value) + '"'


def _escaped(character: str) -> str:
    if character in _ESCAPES:
        return _ESCAPES[character]
    if character.isprintable() or _BYTES[0] <= character <= _BYTES[1]:
        return character
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
