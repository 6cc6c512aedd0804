# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bodies of requests: read within limits, and a power request in each of its forms."""

from __future__ import annotations

import asyncio
import functools
import json
import math
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

from ..._power.model.clock import read_timestamp
from ..._power.model.errors import SettingsInvalid
from ..._power.model.players import PlayerPolicy, read_policy
from ..._power.model.records import dataclass, replace
from ..._power.model.request import CONTAINER_UP, OnFailedStart, PowerAction, Readiness, WaitFor
from ..._power.model.schema import is_nested_deeper, joined
from ..._power.options import POWER_OPTIONS, WAIT_SECONDS
from . import replies
from .replies import Refused

if TYPE_CHECKING:
    from aiohttp import StreamReader, web

_T = TypeVar("_T")
_BLANKS = b" \t\r\n"
_DEEPEST = 100
_USUAL_BYTES = 100
#: Digits and sign of the longest 64-bit number.
_LONGEST_NUMBER = 20
_LEAST, _MOST = -(2**63), 2**63 - 1
LARGEST_BODY = 64 * 1024


class BodyEmpty(ValueError):
    """The body has only white space."""


class BodyInvalid(ValueError):
    """The body is not a whole JSON object, or a field has the wrong type. The text is the reason."""


@dataclass(frozen=True)
class PowerBody:
    """The body of a power request; ``action`` is None if unknown. ``ready``: when a start counts as done, and what happens if it is not.
    ``players``: the policy for players. Wings has neither."""

    action: PowerAction | None
    wait_seconds: int = WAIT_SECONDS.default
    players: PlayerPolicy | None = None
    ready: Readiness = CONTAINER_UP


class _Object(list[tuple[str, Any]]):
    """The members of a JSON object in their order, with repetitions."""


def read_object(body: bytes) -> list[tuple[str, Any]]:
    """Return the members of the JSON object that ``body`` begins with; null has none. Raises `BodyEmpty`, `BodyInvalid`."""
    stripped = body.strip(_BLANKS)
    if not stripped:
        raise BodyEmpty
    text = stripped.decode("utf-8", "replace")
    if is_nested_deeper(text, _DEEPEST):
        raise BodyInvalid("the body is nested too deeply")
    try:
        value, _end = _DECODER.raw_decode(text)
    except ValueError:
        raise BodyInvalid("the body is not JSON") from None
    if value is None:
        return []
    if not isinstance(value, _Object):
        raise BodyInvalid("the body is not a JSON object")
    return value


def read_power_body(body: bytes) -> PowerBody:
    """Read the body of a power request. Raises `BodyEmpty`, `BodyInvalid`, and `Refused` for an invalid option."""
    return _read_usual(body) if len(body) <= _USUAL_BYTES else _read_power_body(body)


def _read_power_body(body: bytes) -> PowerBody:
    members = read_object(body)
    action = last_of(members, "action", _text)
    wait = last_of(members, "wait_seconds", _whole_number)
    options = {name: last_of(members, name, typed) for name, typed in _OUR_OPTIONS.items()} if len(members) > 1 else {}
    read = PowerBody(
        action=PowerAction.asked(action),
        wait_seconds=wait if wait is not None and WAIT_SECONDS.holds(wait) else WAIT_SECONDS.default,
    )
    return read if all(value is None for value in options.values()) else _with_options(read, options)


def _with_options(body: PowerBody, options: Mapping[str, Any]) -> PowerBody:
    if body.action is None:
        return body
    try:
        policy, ready = read_policy(body.action.value, body.action.traits.affects_players, options), _readiness(options)
        return replace(body, ready=ready if body.action.boots else CONTAINER_UP, players=policy)
    except SettingsInvalid as error:
        raise Refused(replies.explained(422, SettingsInvalid.code, str(error))) from None


def _readiness(options: Mapping[str, Any]) -> Readiness:
    """Return the moment at which a start counts as done. Raises `SettingsInvalid`."""
    for name in ("wait_for", "on_failed_start"):
        if options[name] not in (None, *POWER_OPTIONS[name].choices):
            raise SettingsInvalid(f"Cannot use this {name}: expected {joined(POWER_OPTIONS[name].choices)}")
    for name in ("wait_timeout", "settle"):
        seconds, bounds = options[name], POWER_OPTIONS[name]
        if seconds is not None and not bounds.holds(seconds):
            raise SettingsInvalid(f"Cannot use {name}={seconds}: expected a whole number {bounds.limit}")
    wait_for, wait_timeout, on_failed_start = options["wait_for"], options["wait_timeout"], options["on_failed_start"]
    return Readiness(
        CONTAINER_UP.wait_for if wait_for is None else WaitFor(wait_for),
        CONTAINER_UP.wait_timeout if wait_timeout is None else wait_timeout,
        None if on_failed_start is None else OnFailedStart(on_failed_start),
        options["settle"],
    )


def last_of(members: list[tuple[str, Any]], name: str, read: Callable[[Any], _T]) -> _T | None:
    """Return the last value of a key that is not null; None if there is none. ``read`` checks every one of them."""
    found: _T | None = None
    for key, value in members:
        if value is not None and len(key) == len(name) and key.casefold() == name:
            try:
                found = read(value)
            except BodyInvalid:
                raise BodyInvalid(f"{name} has the wrong type") from None
    return found


def read_texts(body: bytes, name: str) -> list[str]:
    """Return the texts of a list in a JSON object, empty for null; no texts if the list is missing. Raises `BodyEmpty`, `BodyInvalid`."""
    return last_of(read_object(body), name, _texts) or []


def read_freeze(body: bytes) -> dict[str, Any]:
    """Return end, reason and ``supervisor`` of a freeze. Raises `Refused` with a sentence."""
    keys: Mapping[str, Callable[[Any], Any]] = {"until": _moment, "reason": _text, "supervisor": _flag}
    try:
        members = read_object(body)
        found = {name: last_of(members, name, read) for name, read in keys.items()}
        if found["until"] is None:
            raise BodyInvalid("until is missing")
        return {**found, "reason": found["reason"] or "", "supervisor": bool(found["supervisor"])}
    except (BodyEmpty, BodyInvalid) as error:
        text = f"Cannot freeze: {str(error) or 'the body is empty'}; until has a date, a time and a zone: 2026-01-31T06:00:00+01:00"
        raise Refused(replies.explained(422, SettingsInvalid.code, text)) from None


def _moment(value: Any) -> datetime:
    try:
        moment = read_timestamp(_text(value))
    except ValueError:
        raise BodyInvalid from None
    if moment.tzinfo is None:
        raise BodyInvalid
    return moment


def _texts(value: Any) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(each, (str, type(None))) for each in value):
        raise BodyInvalid
    return [each or "" for each in value]


def _reader_of(kind: type[_T]) -> Callable[[Any], _T]:
    """Return a reader of values of exactly this type: true is no number."""

    def read(value: _T) -> _T:
        if type(value) is not kind:
            raise BodyInvalid
        return value

    return read


_text, _flag, _whole_number = _reader_of(str), _reader_of(bool), _reader_of(int)


def _whole_numbers(value: Any) -> list[int]:
    if not isinstance(value, list):
        raise BodyInvalid
    return [0 if each is None else _whole_number(each) for each in value]


def _read_number(text: str) -> float:
    """Return a whole number of 64 bits, and a float, which no field takes, for any other."""
    number = int(text) if len(text) <= _LONGEST_NUMBER else math.inf
    return number if _LEAST <= number <= _MOST else math.nan


def _refuse(_word: str) -> Any:
    """Refuse NaN and Infinity: Python reads them, but they are not JSON."""
    raise BodyInvalid


_OUR_OPTIONS: Mapping[str, Callable[[Any], Any]] = {
    "wait_for": _text,
    "wait_timeout": _whole_number,
    "on_failed_start": _text,
    "settle": _whole_number,
    "players_at_most": _whole_number,
    "max_delay": _whole_number,
    "on_max_delay": _text,
    "warn": _whole_numbers,
    "warn_message": _text,
}

_read_usual = functools.lru_cache(maxsize=256)(_read_power_body)
_DECODER = json.JSONDecoder(object_pairs_hook=_Object, parse_int=_read_number, parse_constant=_refuse)


async def read_body(request: web.BaseRequest, seconds: float) -> bytes:
    """Return the body. Raises `Refused` if it is too large or too slow."""
    _refuse_large(request.content_length or 0)
    if not request.can_read_body:
        return b""
    if request.content.is_eof():
        return _arrived(request.content)
    if request.headers.get("Expect", "").lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        # These bytes are not part of the reply.
        request.writer.output_size = 0
    try:
        return await asyncio.wait_for(_read(request), seconds)
    except asyncio.TimeoutError:
        raise Refused(replies.TOO_SLOW) from None


def _arrived(content: StreamReader) -> bytes:
    """Return a body that has arrived whole. If its sender is gone by now, the request is still performed."""
    if isinstance(content.exception(), OSError):
        content.set_exception(None)  # type: ignore[arg-type]
    found = content.read_nowait()
    _refuse_large(len(found))
    return found


async def _read(request: web.BaseRequest) -> bytes:
    gathered = bytearray()
    async for chunk in request.content.iter_any():
        gathered += chunk
        _refuse_large(len(gathered))
    return bytes(gathered)


def _refuse_large(size: int) -> None:
    if size > LARGEST_BODY:
        raise Refused(replies.TOO_LARGE)
