# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an endpoint says, read as values one by one. What it leaves out, or says in another type, is not known; pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from ..model.players import COUNTING, WAITING, PlayerCount
from ..model.request import PowerAction
from ..model.result import Outcome, PlanStep
from ..model.server import PowerState

_Word = TypeVar("_Word", Outcome, PowerAction, PowerState, PlanStep)
#: What replaces the token in a text, should the endpoint repeat it.
Masked = Callable[[str], str]
ReadText = Callable[[object], str]
_LONGEST_TEXT = 1000
#: No more of a text is read: enough for what masks leave of it to be longer than what is shown.
_LONGEST_READ = 100 * _LONGEST_TEXT
_CODE = re.compile(r"[a-z][a-z_]{0,63}")
_COUNTDOWN = ("action", "phase", "due", "origin", "reason", "since", "operation")


def unmasked(text: str) -> str:
    """Return the text as it is."""
    return text


def plain_text(value: object, masked: Masked = unmasked) -> str:
    """Return text from outside as one line that a terminal can bear, masked, then cut at 1000 characters; empty for what is no text."""
    if not isinstance(value, str):
        return ""
    line = "".join(character if character.isprintable() else " " for character in value[:_LONGEST_READ])
    return masked(line)[:_LONGEST_TEXT].strip()


def text_reader(masked: Masked) -> ReadText:
    """Return what reads text as one plain line, masked."""
    return lambda value: plain_text(value, masked)


def read_code(value: object, masked: Masked) -> str:
    """Return a code, such as ``source_unreachable``; empty for what is none."""
    return value if isinstance(value, str) and _CODE.fullmatch(value) and masked(value) == value else ""


def read_codes(text: str) -> tuple[str, ...]:
    """Return the codes in a header, such as ``source_unreachable``; a word that is none is ``unknown``, so that no fault is lost."""
    words = [word.strip() for word in text.split(",") if word.strip()]
    return tuple(dict.fromkeys(word if _CODE.fullmatch(word) else "unknown" for word in words))


def as_map(value: object) -> Mapping[str, Any]:
    """Return an object; one without members for what is none."""
    return value if isinstance(value, Mapping) else {}


def as_list(value: object) -> Sequence[Any]:
    """Return a list; an empty one for what is none."""
    return value if isinstance(value, list) else ()


def read_number(value: object) -> float | None:
    """Return a number that is one: neither a boolean nor beyond what a counter of bytes can reach."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not -1e18 < value < 1e18:
        return None
    return value


def read_word(kind: type[_Word], value: object) -> _Word | None:
    """Return the word that this is, None if it is none of its kind."""
    return next((each for each in kind if each.value == value), None)


def read_whole(value: object) -> int | None:
    """Return a whole number that something can be counted with."""
    number = read_number(value)
    return number if isinstance(number, int) and number >= 0 else None


def plain_values(fields: Mapping[str, Any], text: ReadText) -> Iterator[tuple[str, Any]]:
    """Yield the names and values of an object that are text or numbers."""
    for name, value in fields.items():
        if isinstance(value, str):
            yield text(name), text(value)
        elif read_number(value) is not None:
            yield text(name), value


def read_countdown(value: object, text: ReadText) -> Mapping[str, Any] | None:
    """Read what our own HTTP face tells of a countdown, all of it text."""
    fields = as_map(value)
    told = {name: text(fields[name]) for name in _COUNTDOWN if isinstance(fields.get(name), str)}
    return told if told.get("phase") in (WAITING, COUNTING) else None


def read_players(value: object, text: ReadText) -> PlayerCount | None:
    """Read what our own HTTP face tells of players; None where it tells nothing."""
    fields = as_map(value)
    if "online" not in fields:
        return None
    online, most = read_whole(fields["online"]), read_whole(fields.get("max"))
    return PlayerCount(online, most, "" if online is not None else text(fields.get("unknown_reason")) or "the endpoint does not tell why")
