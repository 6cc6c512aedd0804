# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Servers and operations that an HTTP endpoint reports. A value that is missing or of the wrong type is unknown; pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from ..model.errors import EndpointError, FailureBudget, NotSelected
from ..model.plain import as_list, as_map, read_flag, read_number, read_whole
from ..model.players import COUNTING, WAITING, PlayerCount, PlayerWait
from ..model.records import dataclass, field
from ..model.redaction import secrets_in
from ..model.report import Unseen
from ..model.request import PowerAction, WaitFor
from ..model.result import Downtime, Outcome, PlanStep, PrebootStep, StopReport
from ..model.schema import blanked
from ..model.server import PowerState, Server, parse_uuid

if TYPE_CHECKING:
    # The inventory needs neither the engine nor the journal.
    from ..actions.node.progress import Ending, Progress

_Word = TypeVar("_Word", Outcome, PowerAction, PowerState, PlanStep)
Masked = Callable[[str], str]
ReadText = Callable[[object], str]
_LONGEST_TEXT = 1000
#: Characters that are read of a text; masking may shorten it.
_LONGEST_READ = 100 * _LONGEST_TEXT
_CODE = re.compile(r"[a-z][a-z_]{0,63}")
_COUNTDOWN = ("action", "phase", "due", "origin", "reason", "since", "operation")
_USES = ("memory_bytes", "memory_limit_bytes", "cpu_absolute", "disk_bytes", "uptime")
_NETWORK = ("rx_bytes", "tx_bytes")
_SUPERVISION = (
    *("state", "why", "running", "paused", "verdict", "exit_code", "oom_killed", "ended_at", "code", "msg"),
    *("next_at", "consecutive_crashes", "crashes_today", "hang"),
)
_FREEZE, _FREEZE_FLAGS = ("until", "at", "origin", "reason"), ("is_frozen", "supervisor", "node")
_SUPERVISION_FLAGS = ("running", "oom_killed")
_OUTDATED_LISTS = ("differs", "restart", "in_place", "next_start")
_LOG_LINES = 20
#: Codes of servers without a request. An operation never has one, whatever the endpoint reports.
_NEVER_ASKED = (NotSelected.code, FailureBudget.code)


def plain_text(value: object, masked: Masked = str) -> str:
    """Return text as one printable line, masked and cut to 1000 characters; empty for a value that is not text."""
    if not isinstance(value, str):
        return ""
    return masked(blanked(value[:_LONGEST_READ]))[:_LONGEST_TEXT].strip()


def read_code(value: object, masked: Masked) -> str:
    """Return a code such as ``source_unreachable``; empty for any other value."""
    return value if isinstance(value, str) and _CODE.fullmatch(value) and masked(value) == value else ""


def read_codes(text: str) -> tuple[str, ...]:
    """Return the codes in a header. A word that is not a code becomes ``unknown``, so that no fault is lost."""
    words = [word.strip() for word in text.split(",") if word.strip()]
    return tuple(dict.fromkeys(word if _CODE.fullmatch(word) else "unknown" for word in words))


def read_word(kind: type[_Word], value: object) -> _Word | None:
    """Return the member of ``kind`` with this value, or None."""
    return next((each for each in kind if each.value == value), None)


def plain_values(fields: Mapping[str, Any], text: ReadText) -> Iterator[tuple[str, Any]]:
    for name, value in fields.items():
        if isinstance(value, str):
            yield text(name), text(value)
        elif read_number(value) is not None:
            yield text(name), value


def read_countdown(value: object, text: ReadText) -> Mapping[str, Any] | None:
    """Read the countdown that the HTTP shim reports, as text; None if there is none."""
    fields = as_map(value)
    texts = {name: text(fields[name]) for name in _COUNTDOWN if isinstance(fields.get(name), str)}
    return texts if texts.get("phase") in (WAITING, COUNTING) else None


def read_freeze(value: object, text: ReadText) -> Mapping[str, Any] | None:
    """Read the freeze that the HTTP shim reports; None if there is none. A value of the wrong form is an unknown freeze."""
    if value is None:
        return None
    fields = as_map(value)
    texts = {name: text(fields[name]) if isinstance(fields.get(name), str) else None for name in _FREEZE}
    return {**texts, **{name: read_flag(fields.get(name)) for name in _FREEZE_FLAGS}}


def read_players(value: object, text: ReadText) -> PlayerCount | None:
    """Read the player count that the HTTP shim reports; None if there is none."""
    fields = as_map(value)
    if "online" not in fields:
        return None
    online, most = read_whole(fields["online"]), read_whole(fields.get("max"))
    return PlayerCount(online, most, "" if online is not None else text(fields.get("unknown_reason")) or "the endpoint does not tell why")


@dataclass(frozen=True)
class Seen:
    """One server at one moment. ``uptime`` is its process's in milliseconds, 0 if unknown."""

    server: Server
    state: PowerState
    suspended: bool = False
    uptime: int = 0
    #: Whether an action may wait for players: only the HTTP shim reports countdowns, also that there is none.
    affects_players: bool = False
    #: The values of ``wait_for`` that the HTTP shim supports; Wings supports none.
    waits_for: frozenset[WaitFor] = frozenset()
    #: What else the endpoint reports, in the form of server_power_info.
    facts: Mapping[str, Any] = field(default_factory=dict)
    #: Values that logs must not show: an endpoint reports the whole environment.
    secrets: frozenset[str] = field(default=frozenset(), repr=False)

    @property
    def up(self) -> bool:
        return self.state in (PowerState.STARTING, PowerState.RUNNING)

    def entry(self) -> dict[str, Any]:
        """Return the entry of server_power_info, without fields that the endpoint does not report."""
        server, state = self.server, self.state.value
        own = {"server": server.uuid, "short_id": server.short_id, "name": server.name, "state": state, "suspended": self.suspended}
        return {**own, **self.facts}


def read_server(value: object, uuid: str | None = None, masked: Masked = str) -> Seen:
    """Read a server of ``GET /api/servers`` or, with a ``uuid``, of ``GET /api/servers/{uuid}``. Raises `ValueError` with the reason."""
    fields = as_map(value)
    state = read_word(PowerState, fields.get("state"))
    if state is None:
        raise ValueError("no server with a known state")
    configuration, utilization = as_map(fields.get("configuration")), as_map(fields.get("utilization"))
    given = configuration.get("uuid")
    found = parse_uuid(given) if isinstance(given, str) else uuid
    if found is None or (uuid is not None and found != uuid):
        raise ValueError("another server than the one asked for" if uuid else "a server without its UUID")
    flags, text = (fields.get("is_suspended"), configuration.get("suspended")), partial(plain_text, masked=masked)
    return Seen(
        server=Server(found, text(as_map(configuration.get("meta")).get("name"))),
        state=state,
        suspended=any(flag is True for flag in flags),
        uptime=max(0, int(read_number(utilization.get("uptime")) or 0)),
        affects_players="countdown" in fields,
        waits_for=frozenset(each for each in WaitFor if each.value in as_list(fields.get("wait_for"))),
        facts=_facts(fields, text),
        secrets=secrets_in(str(each) for each in as_map(configuration.get("environment")).values()),
    )


def _facts(fields: Mapping[str, Any], text: ReadText) -> dict[str, Any]:
    """Return the facts that the endpoint reports. The HTTP shim also reports that there is no container, countdown or game: null."""
    configuration = as_map(fields.get("configuration"))
    egg, image = text(as_map(configuration.get("egg")).get("id")), text(as_map(configuration.get("container")).get("image"))
    labels, supervision = _labels(configuration, text), _supervision(fields.get("supervision"), text)
    utilization, players = _use(as_map(fields.get("utilization"))), read_players(fields.get("players"), text)
    facts = (
        ("egg", egg, egg),
        ("labels", labels, labels is not None),
        ("container", {"image": image}, image),
        ("utilization", utilization, utilization),
        ("outdated", _outdated(fields.get("outdated"), text), "outdated" in fields),
        ("supervision", supervision, supervision is not None),
        ("countdown", read_countdown(fields.get("countdown"), text), "countdown" in fields),
        ("freeze", read_freeze(fields.get("freeze"), text), "freeze" in fields),
        ("players", None if players is None else players.facts(), "players" in fields),
    )
    return {name: value for name, value, is_reported in facts if is_reported}


def read_servers(value: object, masked: Masked = str) -> tuple[Seen | Unseen, ...]:
    """Read the servers of ``GET /api/servers``, sorted by UUID, each once. Raises `ValueError` with the reason."""
    if not isinstance(value, list):
        raise ValueError("no list of servers")
    found: dict[str, Seen | Unseen] = {}
    for each in value:
        seen = _read_unseen(each, masked) or read_server(each, masked=masked)
        found.setdefault(seen.server.uuid, seen)
    return tuple(found[uuid] for uuid in sorted(found))


def _read_unseen(value: object, masked: Masked) -> Unseen | None:
    fields = as_map(value)
    configuration, text = as_map(fields.get("configuration")), partial(plain_text, masked=masked)
    given = configuration.get("uuid")
    uuid = parse_uuid(given) if isinstance(given, str) else None
    if uuid is None or read_word(PowerState, fields.get("state")) is not None:
        return None
    code, msg = read_code(fields.get("code"), masked), text(fields.get("msg"))
    server = Server(uuid, text(as_map(configuration.get("meta")).get("name")))
    return Unseen(server, code or EndpointError.code, msg or f"Cannot look at server {uuid}: the endpoint does not tell its state")


def read_log(value: object) -> list[str]:
    """Read the lines of ``GET /api/servers/{uuid}/logs``. Raises `ValueError` with the reason."""
    lines = value.get("data", ()) if isinstance(value, Mapping) else ()
    # Wings sends null for no lines.
    if lines is None:
        return []
    if not isinstance(lines, list):
        raise ValueError("no lines of a log")
    return [line for line in lines if isinstance(line, str)]


def _labels(configuration: Mapping[str, Any], text: ReadText) -> Mapping[str, str] | None:
    """Read labels. Wings sends null for none."""
    labels = configuration.get("labels", ())
    if labels is not None and not isinstance(labels, Mapping):
        return None
    return {text(name): text(value) for name, value in as_map(labels).items() if isinstance(value, str)}


def _supervision(value: object, text: ReadText) -> Mapping[str, Any] | None:
    if not isinstance(value, Mapping) or not isinstance(value.get("state"), str):
        return None
    plain = dict(plain_values(value, text))
    flags = {name: read_flag(value.get(name)) for name in _SUPERVISION_FLAGS}
    return {**{name: plain.get(name) for name in _SUPERVISION}, **flags}


def _outdated(value: object, text: ReadText) -> Mapping[str, Any] | None:
    if not isinstance(value, Mapping):
        return None
    why = value.get("why")
    return {
        **{name: read_flag(value.get(name)) for name in ("is_outdated", "failed")},
        **{name: _texts(value.get(name), text) for name in _OUTDATED_LISTS},
        "why": text(why) if isinstance(why, str) else None,
    }


def _texts(value: object, text: ReadText) -> list[str] | None:
    return [text(each) for each in value if isinstance(each, str)] if isinstance(value, list) else None


def _use(utilization: Mapping[str, Any]) -> dict[str, Any]:
    use: dict[str, Any] = {name: utilization[name] for name in _USES if read_number(utilization.get(name)) is not None}
    network = as_map(utilization.get("network"))
    traffic = {name: network[name] for name in _NETWORK if read_number(network.get(name)) is not None}
    return {**use, **({"network": traffic} if traffic else {})}


@dataclass(frozen=True)
class Operation:
    """How an operation ended; ``outcome`` is None while it runs. Unknown ``id``, ``server`` and ``action`` are empty."""

    outcome: Outcome | None
    id: str = ""
    server: str = ""
    action: str = ""
    code: str = ""
    msg: str = ""
    changed: bool = False
    state: PowerState | None = None
    #: All other facts of the result, by the attributes of `Progress`.
    facts: Mapping[str, Any] = field(default_factory=dict)
    #: Whether the server is up, and the operation waits until it is ready.
    awaits_ready: bool = False
    #: The phase of a countdown that the operation waits for, and its due time; empty without a wait.
    waits: str = ""
    due: str = ""

    def is_of(self, operation: str, uuid: str, action: PowerAction) -> bool:
        """Tell whether nothing contradicts that it is this operation, server and action."""
        servers = ("", uuid, Server(uuid).short_id)
        return self.id in ("", operation) and self.server.lower() in servers and self.action in ("", action.value)


def read_operation(value: object, masked: Masked = str) -> Operation:
    """Read an operation from the fields of a result. Raises `ValueError` with the reason."""
    if not isinstance(value, Mapping):
        raise ValueError("no operation")
    outcome = read_word(Outcome, value.get("outcome"))
    if outcome is None and value.get("outcome") not in (None, ""):
        raise ValueError("an operation with an unknown outcome")
    changed, exit_code = value.get("changed"), value.get("exit_code")
    lock, text = as_map(value.get("lock")), partial(plain_text, masked=masked)
    countdown = read_countdown(value.get("countdown"), text) or {}
    steps = (read_word(PlanStep, each) for each in as_list(value.get("plan")))
    facts = {
        "state_before": read_word(PowerState, value.get("state_before")),
        "stop": _stop(as_map(value.get("stop")), text),
        "waited_seconds": read_number(lock.get("waited_seconds")) or 0.0,
        "holder": dict(plain_values(as_map(lock.get("holder")), text)) or None,
        "plan": tuple(step for step in steps if step is not None),
        "preboot": tuple(_preboot(as_map(each), text) for each in as_list(value.get("preboot"))),
        "cancelled": read_word(PowerAction, value.get("cancelled")),
        "exit_code": exit_code if isinstance(exit_code, int) and not isinstance(exit_code, bool) else None,
        "log": tuple(text(line) for line in as_list(value.get("log"))[-_LOG_LINES:]),
        "players": read_players(value.get("players"), text),
        "player_wait": _player_wait(as_map(value.get("player_wait"))),
        "downtime": _downtime(as_map(value.get("downtime")), text),
    }
    return Operation(
        outcome=outcome,
        id=text(value.get("id")),
        server=text(value.get("server")),
        action=text(value.get("action")),
        code=read_code(value.get("code"), masked),
        msg=text(value.get("msg")),
        changed=changed if isinstance(changed, bool) else outcome is Outcome.DONE,
        state=read_word(PowerState, value.get("state")),
        facts=facts,
        awaits_ready="awaits" in value,
        waits=countdown.get("phase", ""),
        due=countdown.get("due", ""),
    )


def _stop(fields: Mapping[str, Any], text: ReadText) -> StopReport | None:
    how, forced, seconds = fields.get("how"), fields.get("forced"), read_number(fields.get("seconds"))
    if not isinstance(how, str) or not isinstance(forced, bool) or seconds is None:
        return None
    return StopReport(text(how), forced, seconds)


def _downtime(fields: Mapping[str, Any], text: ReadText) -> Downtime | None:
    since, seconds, ready = text(fields.get("since")), read_number(fields.get("seconds")), read_number(fields.get("ready_seconds"))
    if not since and seconds is None:
        return None
    return Downtime(since, seconds, ready, None if seconds is None else 0.0)


def _preboot(fields: Mapping[str, Any], text: ReadText) -> PrebootStep:
    return PrebootStep(
        step=text(fields.get("step")),
        changed=fields.get("changed") is True,
        failed=fields.get("failed") is True,
        seconds=read_number(fields.get("seconds")) or 0.0,
        msg=text(fields.get("msg")),
    )


def _player_wait(fields: Mapping[str, Any]) -> PlayerWait | None:
    seconds, announced = read_number(fields.get("seconds")), fields.get("announced")
    if seconds is None:
        return None
    marks = tuple(mark for mark in map(read_whole, as_list(fields.get("marks"))) if mark is not None)
    return PlayerWait(seconds, marks, announced if isinstance(announced, bool) else None)


def ending_of(operation: Operation) -> Ending:
    """Return how an operation ended, corrected for an action that the endpoint accepted."""
    outcome, code = operation.outcome or Outcome.FAILED, operation.code
    if outcome in (Outcome.SKIPPED, Outcome.REFUSED):
        # An accepted action is never skipped, and an action that changed something was not refused.
        outcome = Outcome.FAILED if operation.changed else Outcome.REFUSED
    return outcome, "" if code in _NEVER_ASKED else code, operation.msg


def take_over(operation: Operation, progress: Progress) -> None:
    """Copy the facts of the operation to the result. A plan or an earlier state that it lacks stays as this side saw it."""
    progress.changed, progress.state = operation.changed, operation.state
    for name, value in operation.facts.items():
        if value or name not in ("plan", "state_before"):
            setattr(progress, name, value)
