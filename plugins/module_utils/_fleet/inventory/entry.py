# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The inventory's servers as plain values, the same from every source, and their form in the cache."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from enum import Enum
from typing import Any

from ..._power.endpoint.answers import plain_text
from ..._power.model.server import PowerState, parse_uuid

#: Of the cache: raised when a reader of the form below would misread an older one.
SCHEMA = 1
_STATES = frozenset(state.value for state in PowerState)
#: Labels that say who made a container or its image, and nothing of the server.
_FOREIGN_LABELS = ("fleet.power.", "org.opencontainers.", "org.label-schema.", "com.docker.")
_WINGS_LABELS = ("Service", "ContainerType")
_MOST_LABELS = 64
#: An address that a host may have although no inventory has it: nothing that ssh takes for an option, a user or a port.
_ADDRESS = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,251}[A-Za-z0-9_])?|[0-9A-Fa-f]{0,4}(?::[0-9A-Fa-f]{0,4}){2,7}")


class SourceKind(str, Enum):
    """The kinds of sources: a snapshot file, the Panel, a node's engine, a node's HTTP endpoint."""

    SNAPSHOT = "snapshot"
    PANEL = "panel"
    ENGINE = "engine"
    ENDPOINT = "endpoint"


@dataclass(frozen=True)
class ServerEntry:
    """One server as one source tells it; None is what it does not tell. ``node`` is the name that the source has for its node."""

    uuid: str
    node: str | None = None
    name: str | None = None
    state: str | None = None
    suspended: bool | None = None
    outdated: bool | None = None
    egg: str | None = None
    egg_name: str | None = None
    labels: Mapping[str, str] | None = None
    image: str | None = None
    priority: int | None = None
    panel_id: int | None = None
    panel_status: str | None = None

    @property
    def short_id(self) -> str:
        """The first part of the UUID."""
        return self.uuid[:8]


@dataclass(frozen=True)
class SourceReading:
    """All that one source tells. ``node`` is the node that was looked at, None for a source of many.

    ``connections`` holds variables, ``addresses`` a host name, by the source's own names for nodes. ``missing`` are nodes that it knows of
    and could not look at, with a sentence each; ``lacking`` those of which it may have told only some servers. ``doubtful`` are servers, by
    UUID, whose container may run on the node under another name: nobody can tell.
    """

    kind: SourceKind
    node: str | None = None
    entries: tuple[ServerEntry, ...] = ()
    connections: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    addresses: Mapping[str, str] = field(default_factory=dict)
    missing: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    lacking: Mapping[str, str] = field(default_factory=dict)
    doubtful: tuple[str, ...] = ()


_NUMBERS = ("priority", "panel_id")
#: The type of each field, None aside.
_TYPES: Mapping[str, type] = {
    each.name: {"suspended": bool, "outdated": bool, "labels": dict}.get(each.name, int if each.name in _NUMBERS else str)
    for each in fields(ServerEntry)
}
_VARIABLES = tuple((each.name, f"server_{each.name}") for each in fields(ServerEntry))


def is_address(text: str) -> bool:
    """Tell if a text from outside looks like the name or the IP address of a host."""
    return _ADDRESS.fullmatch(text) is not None


def text_or_none(value: object) -> str | None:
    """Text from outside as one line, or None where there is none."""
    return plain_text(value) or None


def state_or_none(value: object) -> str | None:
    """The power state that a value names, or None."""
    return value if isinstance(value, str) and value in _STATES else None


def whole_or_none(value: object) -> int | None:
    """A whole number of a size that counts something, or None."""
    return value if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63 else None


def flag_or_none(value: object) -> bool | None:
    """A boolean, or None."""
    return value if isinstance(value, bool) else None


def labels_or_none(value: object) -> dict[str, str] | None:
    """The labels that are the server's own, at most 64 of them by name; None where none are told."""
    if not isinstance(value, Mapping):
        return None
    pairs = ((plain_text(name), plain_text(text)) for name, text in value.items() if isinstance(name, str) and isinstance(text, str))
    own = sorted((name, text) for name, text in pairs if name and not name.startswith(_FOREIGN_LABELS) and name not in _WINGS_LABELS)
    return dict(own[:_MOST_LABELS])


def to_plain(readings: Iterable[SourceReading]) -> list[dict[str, Any]]:
    """Readings as values that JSON can hold."""
    return [{**_set(reading), "kind": reading.kind.value, "entries": [_set(entry) for entry in reading.entries]} for reading in readings]


def _set(value: Any) -> dict[str, Any]:
    return {each.name: getattr(value, each.name) for each in fields(value) if getattr(value, each.name) not in (None, (), {})}


def from_plain(value: Any) -> list[SourceReading]:
    """Read what `to_plain` made. Raises `ValueError` for anything else."""
    try:
        return [_reading(dict(each)) for each in value]
    except (TypeError, KeyError, AttributeError) as error:
        raise ValueError("not what the inventory wrote") from error


def _reading(plain: dict[str, Any]) -> SourceReading:
    entries = tuple(_entry(entry) for entry in plain.pop("entries", ()))
    texts = {name: tuple(plain.get(name, ())) for name in ("warnings", "doubtful")}
    return SourceReading(**{**plain, **texts, "kind": SourceKind(plain["kind"]), "entries": entries})


def _entry(plain: Mapping[str, Any]) -> ServerEntry:
    """An entry as it was written: the cache may be a file that somebody else has written to."""
    for name, value in plain.items():
        if not isinstance(value, _TYPES[name]):
            raise ValueError(f"a server whose {name} is none")
    if parse_uuid(plain["uuid"]) != plain["uuid"]:
        raise ValueError("a server without its UUID")
    return ServerEntry(**plain)


def variables_of(entry: ServerEntry) -> dict[str, Any]:
    """The host variables of a server: each there, each always of one type or null."""
    told = {variable: getattr(entry, name) for name, variable in _VARIABLES}
    return {**told, "server_short_id": entry.short_id, "server_labels": dict(entry.labels or {})}
