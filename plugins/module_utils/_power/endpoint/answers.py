# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an endpoint says, read as values one by one. What it leaves out, or says in another type, is not known; pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from ..model.errors import EndpointError
from ..model.players import COUNTING, WAITING, PlayerCount
from ..model.redaction import secrets_in
from ..model.report import Unseen
from ..model.request import PowerAction, WaitFor
from ..model.result import Outcome, PlanStep
from ..model.server import PowerState, Server, parse_uuid

_Word = TypeVar("_Word", Outcome, PowerAction, PowerState, PlanStep)
#: What replaces the token in a text, should the endpoint repeat it.
Masked = Callable[[str], str]
ReadText = Callable[[object], str]
_LONGEST_TEXT = 1000
#: No more of a text is read: enough for what masks leave of it to be longer than what is shown.
_LONGEST_READ = 100 * _LONGEST_TEXT
_CODE = re.compile(r"[a-z][a-z_]{0,63}")
_COUNTDOWN = ("action", "phase", "due", "origin", "reason", "since", "operation")
#: What is worth showing of a server's use, by the endpoint's own names.
_USES = ("memory_bytes", "memory_limit_bytes", "cpu_absolute", "disk_bytes", "uptime")
_NETWORK = ("rx_bytes", "tx_bytes")
_SUPERVISION = (
    *("state", "why", "running", "paused", "verdict", "exit_code", "oom_killed", "ended_at", "code", "msg"),
    *("next_at", "consecutive_crashes", "crashes_today"),
)
_SUPERVISION_FLAGS = ("running", "oom_killed")
_OUTDATED_LISTS = ("differs", "restart", "in_place", "next_start")


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
    #: Whether its container is what its definition says; None if it has none, or the endpoint does not tell.
    outdated: Mapping[str, Any] | None = None
    tells_outdated: bool = False
    #: Whether an action with regard to players may be asked for: our own HTTP face tells whether a countdown runs, if only that none does.
    regards_players: bool = False
    #: What an action may wait for with ``wait_for``: our own HTTP face tells it; Wings takes none.
    waits_for: frozenset[WaitFor] = frozenset()
    countdown: Mapping[str, Any] | None = None
    #: Whether it is told who plays, and what is.
    tells_players: bool = False
    players: PlayerCount | None = None
    #: What its output must not show; an endpoint tells the whole environment.
    secrets: frozenset[str] = field(default=frozenset(), repr=False)

    @property
    def up(self) -> bool:
        """Tell whether it is said to be starting or running."""
        return self.state in (PowerState.STARTING, PowerState.RUNNING)


def read_server(value: object, uuid: str | None = None, masked: Masked = unmasked) -> Seen:
    """Read a server of ``GET /api/servers`` or, with the ``uuid`` asked for, of ``GET /api/servers/{uuid}``.

    Raises `ValueError`, whose text is the reason, where its state or its UUID is not told.
    """
    fields = as_map(value)
    state = read_word(PowerState, fields.get("state"))
    if state is None:
        raise ValueError("no server with a state we know")
    configuration, utilization = as_map(fields.get("configuration")), as_map(fields.get("utilization"))
    told = configuration.get("uuid")
    found = parse_uuid(told) if isinstance(told, str) else uuid
    if found is None or (uuid is not None and found != uuid):
        raise ValueError("another server than the one asked for" if uuid else "a server without its UUID")
    flags, text = (fields.get("is_suspended"), configuration.get("suspended")), text_reader(masked)
    return Seen(
        server=Server(found, text(as_map(configuration.get("meta")).get("name"))),
        state=state,
        suspended=any(flag is True for flag in flags),
        uptime=max(0, int(read_number(utilization.get("uptime")) or 0)),
        image=text(as_map(configuration.get("container")).get("image")),
        egg=text(as_map(configuration.get("egg")).get("id")),
        labels=_labels(configuration, text),
        utilization=_use(utilization),
        supervision=_supervision(fields.get("supervision"), text),
        outdated=_outdated(fields.get("outdated"), text),
        tells_outdated="outdated" in fields,
        regards_players="countdown" in fields,
        waits_for=frozenset(each for each in WaitFor if each.value in as_list(fields.get("wait_for"))),
        countdown=read_countdown(fields.get("countdown"), text),
        tells_players="players" in fields,
        players=read_players(fields.get("players"), text),
        secrets=secrets_in(str(each) for each in as_map(configuration.get("environment")).values()),
    )


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
    fields = as_map(value)
    configuration, text = as_map(fields.get("configuration")), text_reader(masked)
    told = configuration.get("uuid")
    uuid = parse_uuid(told) if isinstance(told, str) else None
    if uuid is None or read_word(PowerState, fields.get("state")) is not None:
        return None
    code, msg = read_code(fields.get("code"), masked), text(fields.get("msg"))
    server = Server(uuid, text(as_map(configuration.get("meta")).get("name")))
    return Unseen(server, code or EndpointError.code, msg or f"Cannot look at server {uuid}: the endpoint does not tell its state")


def read_log(value: object) -> list[str]:
    """Read the lines of ``GET /api/servers/{uuid}/logs``. Raises `ValueError`, whose text is the reason."""
    lines = value.get("data", ()) if isinstance(value, Mapping) else ()
    # Wings says null for none.
    if lines is None:
        return []
    if not isinstance(lines, list):
        raise ValueError("no lines of a log")
    return [line for line in lines if isinstance(line, str)]


def _labels(configuration: Mapping[str, Any], text: ReadText) -> Mapping[str, str] | None:
    """Read labels. Wings says null for none."""
    told = configuration.get("labels", ())
    if told is not None and not isinstance(told, Mapping):
        return None
    return {text(name): text(value) for name, value in as_map(told).items() if isinstance(value, str)}


def _supervision(value: object, text: ReadText) -> Mapping[str, Any] | None:
    """Read what our own HTTP face tells of supervision, all of it plain values; Wings tells none."""
    if not isinstance(value, Mapping) or not isinstance(value.get("state"), str):
        return None
    plain = dict(plain_values(value, text))
    flags = {name: value[name] if isinstance(value.get(name), bool) else None for name in _SUPERVISION_FLAGS}
    return {**{name: plain.get(name) for name in _SUPERVISION}, **flags}


def _outdated(value: object, text: ReadText) -> Mapping[str, Any] | None:
    """Read what our own HTTP face tells of a container and its definition; None if it has no container."""
    if not isinstance(value, Mapping):
        return None
    why = value.get("why")
    return {
        "is_outdated": value["is_outdated"] if isinstance(value.get("is_outdated"), bool) else None,
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
