# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The answers of `web`: parsed, with the token masked, and with a limited number of values; pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..host.library_faults import compression_fault
from ..model.redaction import TokenMask
from ..model.schema import is_nested_deeper, one_line, values_in

_SHOWN_CHARACTERS = 500
#: Python before 3.11 turns digits into a number in quadratic time.
_LONGEST_NUMBER = 1000
_DEEPEST = 100
#: A page of 100 servers holds some thousand values each; this many need up to 75 MiB. A masked answer is a second copy.
_MOST_VALUES, _MOST_MASKED = 360_000, 180_000


class WebFault(Exception):
    """No usable answer. The text is the reason, as the end of a sentence; ``lasting``: a retry soon does not help."""

    def __init__(self, reason: str, *, lasting: bool = False) -> None:
        super().__init__(reason)
        self.lasting = lasting


class Untrusted(WebFault):
    """The other side may not have the token; nothing was sent."""


@dataclass(frozen=True)
class Answer:
    """An answer. ``headers`` have lower case names; ``value`` is the parsed JSON or None; ``text`` is its beginning.

    The token is masked everywhere; see `Web` for the one exception. ``size`` is that of the body in bytes; ``values`` is the count of
    `values_in`.
    """

    status: int
    headers: Mapping[str, str] = field(repr=False)
    value: Any = field(repr=False)
    text: str = field(repr=False)
    size: int = 0
    values: int = 0


def refuse_compressed(response: Any, mask: TokenMask) -> None:
    why = compression_fault(mask.text(response.headers.get("Content-Encoding", "")))
    if why:
        raise WebFault(why, lasting=response.status_code < 500)


def answer_of(response: Any, body: bytes, mask: TokenMask, *, verbatim: bool) -> Answer:
    """Return the answer in a response of the library, with its body. Raises `WebFault` if it holds too many values."""
    status, values = int(response.status_code), values_in(body)
    is_plain = verbatim and 200 <= status < 300
    most = _MOST_VALUES if is_plain else _MOST_MASKED
    if values > most:
        # A server error may pass.
        raise WebFault(f"its answer holds more than {most} values", lasting=status < 500)
    value = _parsed(body)
    beginning = mask.text(body[: _SHOWN_CHARACTERS * 4].decode("utf-8", "replace"), is_cut=True)[:_SHOWN_CHARACTERS]
    given = value if is_plain else mask.value(value)
    return Answer(status, _headers(response, mask), given, one_line(beginning), len(body), values)


def head_of(response: Any, mask: TokenMask) -> Answer:
    """Return the answer in the head of a response, without its body."""
    return Answer(int(response.status_code), _headers(response, mask), None, "")


def _headers(response: Any, mask: TokenMask) -> dict[str, str]:
    return {str(name).lower(): mask.text(str(value)) for name, value in response.headers.items()}


def _parsed(body: bytes) -> Any:
    def number(digits: str) -> int:
        if len(digits) > _LONGEST_NUMBER:
            raise ValueError("too long for a number")
        return int(digits)

    try:
        text = body.decode(json.detect_encoding(body), "surrogatepass")
        return None if not text or is_nested_deeper(text, _DEEPEST) else json.loads(text, parse_int=number)
    except (ValueError, RecursionError):
        return None
