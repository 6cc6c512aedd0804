# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Servers as an HTTP endpoint tells of them, as values. What it leaves out, or says in another type, is not known; pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..model.described import Unseen
from ..model.errors import EndpointError
from ..model.players import PlayerCount
from ..model.redaction import secrets_in
from ..model.request import WaitFor
from ..model.server import PowerState, Server, parse_uuid
from .told import (
    Masked,
    ReadText,
    as_list,
    as_map,
    plain_values,
    read_code,
    read_countdown,
    read_number,
    read_players,
    read_word,
    text_reader,
    unmasked,
)

#: What is worth showing of a server's use, by the endpoint's own names.
_USES = ("memory_bytes", "memory_limit_bytes", "cpu_absolute", "disk_bytes", "uptime")
_NETWORK = ("rx_bytes", "tx_bytes")
_SUPERVISION = (
    *("state", "why", "running", "paused", "verdict", "exit_code", "oom_killed", "ended_at", "code", "msg"),
    *("next_at", "consecutive_crashes", "crashes_today"),
)
_SUPERVISION_FLAGS = ("running", "oom_killed")
_OUTDATED_LISTS = ("differs", "restart", "in_place", "next_start")


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
