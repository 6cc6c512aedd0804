# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Servers and operations as an HTTP endpoint tells of them, as values. What it leaves out, or says in another type, is not known; pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from ..model.described import Unseen
from ..model.errors import EndpointError
from ..model.redaction import secrets_in
from ..model.request import PowerAction
from ..model.result import Outcome, PlanStep, PrebootStep, StopReport
from ..model.server import PowerState, Server, parse_uuid

_Word = TypeVar("_Word", Outcome, PowerAction, PowerState, PlanStep)
#: What replaces the token in a text, should the endpoint repeat it.
Masked = Callable[[str], str]
_Text = Callable[[object], str]
_LONGEST_TEXT = 1000
#: No more of a text is read: enough for what masks leave of it to be longer than what is shown.
_LONGEST_READ = 100 * _LONGEST_TEXT
_LOG_LINES = 20
_CODE = re.compile(r"[a-z][a-z_]{0,63}")
#: What is worth showing of a server's use, by the endpoint's own names.
_USES = ("memory_bytes", "memory_limit_bytes", "cpu_absolute", "disk_bytes", "uptime")
_NETWORK = ("rx_bytes", "tx_bytes")
_SUPERVISION = (
    *("state", "why", "running", "paused", "verdict", "exit_code", "oom_killed", "ended_at", "code", "msg"),
    *("next_at", "in_row", "crashes_today"),
)
_SUPERVISION_FLAGS = ("running", "oom_killed")


@dataclass(frozen=True)
class Seen:
    """One server at one moment. ``uptime`` is that of its process in milliseconds, 0 where none is told; ``labels`` None is not told."""

    server: Server
    state: PowerState
    suspended: bool = False
    uptime: int = 0
    image: str = ""
    egg: str = ""
    labels: Mapping[str, str] | None = None
    utilization: Mapping[str, Any] = field(default_factory=dict)
    #: As ours tells it; None where it is not told.
    supervision: Mapping[str, Any] | None = None
    #: What its output must not show; an endpoint tells the whole environment.
    secrets: frozenset[str] = field(default=frozenset(), repr=False)

    @property
    def up(self) -> bool:
        """Tell whether it is said to be starting or running."""
        return self.state in (PowerState.STARTING, PowerState.RUNNING)


@dataclass(frozen=True)
class Operation:
    """How an operation of the endpoint ended; ``outcome`` is None while it goes on.

    ``id``, ``server`` and ``action`` are as they are told, empty where they are not.
    """

    outcome: Outcome | None
    id: str = ""
    server: str = ""
    action: str = ""
    code: str = ""
    msg: str = ""
    changed: bool = False
    state_before: PowerState | None = None
    state: PowerState | None = None
    stop: StopReport | None = None
    waited_seconds: float = 0.0
    holder: Mapping[str, Any] | None = None
    plan: tuple[PlanStep, ...] = ()
    preboot: tuple[PrebootStep, ...] = ()
    cancelled: PowerAction | None = None
    exit_code: int | None = None
    log: tuple[str, ...] = ()

    def is_of(self, operation: str, uuid: str, action: PowerAction) -> bool:
        """Tell whether it is this operation, of this server and this action, as far as it tells."""
        servers = ("", uuid, Server(uuid).short_id)
        return self.id in ("", operation) and self.server.lower() in servers and self.action in ("", action.value)


def unmasked(text: str) -> str:
    """Return the text as it is."""
    return text


def read_server(value: object, uuid: str | None = None, masked: Masked = unmasked) -> Seen:
    """Read a server of ``GET /api/servers`` or, with the ``uuid`` asked for, of ``GET /api/servers/{uuid}``.

    Raises `ValueError`, whose text is the reason, where its state or its UUID is not told.
    """
    fields = _map(value)
    state = _word(PowerState, fields.get("state"))
    if state is None:
        raise ValueError("no server with a state we know")
    configuration, utilization = _map(fields.get("configuration")), _map(fields.get("utilization"))
    told = configuration.get("uuid")
    found = parse_uuid(told) if isinstance(told, str) else uuid
    if found is None or (uuid is not None and found != uuid):
        raise ValueError("another server than the one asked for" if uuid else "a server without its UUID")
    flags, text = (fields.get("is_suspended"), configuration.get("suspended")), _text(masked)
    return Seen(
        server=Server(found, text(_map(configuration.get("meta")).get("name"))),
        state=state,
        suspended=any(flag is True for flag in flags),
        uptime=max(0, int(_number(utilization.get("uptime")) or 0)),
        image=text(_map(configuration.get("container")).get("image")),
        egg=text(_map(configuration.get("egg")).get("id")),
        labels=_labels(configuration, text),
        utilization=_use(utilization),
        supervision=_supervision(fields.get("supervision"), text),
        secrets=secrets_in(str(each) for each in _map(configuration.get("environment")).values()),
    )


def read_codes(text: str) -> tuple[str, ...]:
    """Return the codes in a header, such as ``source_unreachable``; a word that is none is ``unknown``, so that no fault is lost."""
    words = [word.strip() for word in text.split(",") if word.strip()]
    return tuple(dict.fromkeys(word if _CODE.fullmatch(word) else "unknown" for word in words))


def read_servers(value: object, masked: Masked = unmasked) -> tuple[Seen | Unseen, ...]:
    """Read the servers of ``GET /api/servers``, each once, by UUID; of one whose state is not told, what is told in its place.

    Raises `ValueError`, whose text is the reason.
    """
    if not isinstance(value, list):
        raise ValueError("no list of servers")
    found: dict[str, Seen | Unseen] = {}
    for each in value:
        seen = _read_unseen(each, masked) or read_server(each, masked=masked)
        found.setdefault(seen.server.uuid, seen)
    return tuple(found[uuid] for uuid in sorted(found))


def _read_unseen(value: object, masked: Masked) -> Unseen | None:
    """Read a server of a list that the endpoint could not see itself; None for any other."""
    fields = _map(value)
    configuration, text = _map(fields.get("configuration")), _text(masked)
    told = configuration.get("uuid")
    uuid = parse_uuid(told) if isinstance(told, str) else None
    if uuid is None or _word(PowerState, fields.get("state")) is not None:
        return None
    code, msg = _code(fields.get("code"), masked), text(fields.get("msg"))
    server = Server(uuid, text(_map(configuration.get("meta")).get("name")))
    return Unseen(server, code or EndpointError.code, msg or f"Cannot look at server {uuid}: the endpoint does not tell its state")


def read_operation(value: object, masked: Masked = unmasked) -> Operation:
    """Read an operation: the fields of a result, as far as they are told. Raises `ValueError`, whose text is the reason."""
    if not isinstance(value, Mapping):
        raise ValueError("no operation")
    outcome = _word(Outcome, value.get("outcome"))
    if outcome is None and value.get("outcome") not in (None, ""):
        raise ValueError("an operation with an outcome we do not know")
    changed, exit_code = value.get("changed"), value.get("exit_code")
    lock, text = _map(value.get("lock")), _text(masked)
    return Operation(
        outcome=outcome,
        id=text(value.get("id")),
        server=text(value.get("server")),
        action=text(value.get("action")),
        code=_code(value.get("code"), masked),
        msg=text(value.get("msg")),
        changed=changed if isinstance(changed, bool) else outcome is Outcome.DONE,
        state_before=_word(PowerState, value.get("state_before")),
        state=_word(PowerState, value.get("state")),
        stop=_stop(_map(value.get("stop")), text),
        waited_seconds=_number(lock.get("waited_seconds")) or 0.0,
        holder=dict(_plain_values(_map(lock.get("holder")), text)) or None,
        plan=tuple(step for step in (_word(PlanStep, each) for each in _list(value.get("plan"))) if step is not None),
        preboot=tuple(_preboot(_map(each), text) for each in _list(value.get("preboot"))),
        cancelled=_word(PowerAction, value.get("cancelled")),
        exit_code=exit_code if isinstance(exit_code, int) and not isinstance(exit_code, bool) else None,
        log=tuple(text(line) for line in _list(value.get("log"))[-_LOG_LINES:]),
    )


def read_log(value: object) -> list[str]:
    """Read the lines of ``GET /api/servers/{uuid}/logs``. Raises `ValueError`, whose text is the reason."""
    lines = value.get("data", ()) if isinstance(value, Mapping) else ()
    # Wings says null for none.
    if lines is None:
        return []
    if not isinstance(lines, list):
        raise ValueError("no lines of a log")
    return [line for line in lines if isinstance(line, str)]


def plain_text(value: object, masked: Masked = unmasked) -> str:
    """Return text from outside as one line that a terminal can bear, masked, then cut at 1000 characters; empty for what is no text."""
    if not isinstance(value, str):
        return ""
    line = "".join(character if character.isprintable() else " " for character in value[:_LONGEST_READ])
    return masked(line)[:_LONGEST_TEXT].strip()


def _text(masked: Masked) -> _Text:
    return lambda value: plain_text(value, masked)


def _code(value: object, masked: Masked) -> str:
    return value if isinstance(value, str) and _CODE.fullmatch(value) and masked(value) == value else ""


def _map(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _list(value: object) -> Sequence[Any]:
    return value if isinstance(value, list) else ()


def _number(value: object) -> float | None:
    """Return a number that is one: neither a boolean nor beyond what a counter of bytes can reach."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not -1e18 < value < 1e18:
        return None
    return value


def _word(kind: type[_Word], value: object) -> _Word | None:
    return next((each for each in kind if each.value == value), None)


def _stop(fields: Mapping[str, Any], text: _Text) -> StopReport | None:
    how, forced, seconds = fields.get("how"), fields.get("forced"), _number(fields.get("seconds"))
    if not isinstance(how, str) or not isinstance(forced, bool) or seconds is None:
        return None
    return StopReport(text(how), forced, seconds)


def _preboot(fields: Mapping[str, Any], text: _Text) -> PrebootStep:
    return PrebootStep(
        step=text(fields.get("step")),
        changed=fields.get("changed") is True,
        failed=fields.get("failed") is True,
        seconds=_number(fields.get("seconds")) or 0.0,
        msg=text(fields.get("msg")),
    )


def _plain_values(fields: Mapping[str, Any], text: _Text) -> Iterator[tuple[str, Any]]:
    for name, value in fields.items():
        if isinstance(value, str):
            yield text(name), text(value)
        elif _number(value) is not None:
            yield text(name), value


def _labels(configuration: Mapping[str, Any], text: _Text) -> Mapping[str, str] | None:
    """Read labels. Wings says null for none."""
    told = configuration.get("labels", ())
    if told is not None and not isinstance(told, Mapping):
        return None
    return {text(name): text(value) for name, value in _map(told).items() if isinstance(value, str)}


def _supervision(value: object, text: _Text) -> Mapping[str, Any] | None:
    """Read what our own HTTP face tells of supervision, all of it plain values; Wings tells none."""
    if not isinstance(value, Mapping) or not isinstance(value.get("state"), str):
        return None
    plain = dict(_plain_values(value, text))
    flags = {name: value[name] if isinstance(value.get(name), bool) else None for name in _SUPERVISION_FLAGS}
    return {**{name: plain.get(name) for name in _SUPERVISION}, **flags}


def _use(utilization: Mapping[str, Any]) -> dict[str, Any]:
    use: dict[str, Any] = {name: utilization[name] for name in _USES if _number(utilization.get(name)) is not None}
    network = _map(utilization.get("network"))
    traffic = {name: network[name] for name in _NETWORK if _number(network.get(name)) is not None}
    return {**use, **({"network": traffic} if traffic else {})}
