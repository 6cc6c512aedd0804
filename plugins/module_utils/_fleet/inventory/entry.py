# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Servers as hosts: the facts of each source, the hosts' names, and the picture of all sources."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from enum import Enum
from typing import Any

from ..._power.endpoint.answers import plain_text
from ..._power.model.server import PowerState, parse_uuid

#: Of the cache. Raise it when this code would misread an older cache.
SCHEMA = 1
_STATES = frozenset(state.value for state in PowerState)
#: Labels about the maker of a container or its image, not about the server.
_FOREIGN_LABELS = ("fleet.power.", "org.opencontainers.", "org.label-schema.", "com.docker.")
_WINGS_LABELS = ("Service", "ContainerType")
_MOST_LABELS = 64
#: An address that another source gives a host: ssh cannot take it for an option, a user or a port.
_ADDRESS = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,251}[A-Za-z0-9_])?|[0-9A-Fa-f]{0,4}(?::[0-9A-Fa-f]{0,4}){2,7}")
#: Safe in a host pattern, in a file name below host_vars, and in a shell.
_SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_LIKE_SHORT_ID = re.compile(r"[0-9a-f]{8}", re.IGNORECASE)
POWER_UNKNOWN = "power_unknown"
POWER_OUTDATED = "power_outdated"
_RESERVED = frozenset(("all", "ungrouped", "localhost", "nodes", "127.0.0.1"))
_NO_SLUG = re.compile(r"[^a-z0-9]+")
_LONGEST_LABEL = 100


class SourceKind(str, Enum):
    """The kinds of sources: a snapshot file, the Panel, a node's engine, a node's HTTP endpoint."""

    SNAPSHOT = "snapshot"
    PANEL = "panel"
    ENGINE = "engine"
    ENDPOINT = "endpoint"


@dataclass(frozen=True)
class ServerEntry:
    """One server from one source; None is unknown. ``node`` is the source's name for the node."""

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
        return self.uuid[:8]


@dataclass(frozen=True)
class SourceReading:
    """The content of one source. ``connections`` and ``addresses`` have its own names for nodes."""

    kind: SourceKind
    #: The node that was read, None for a source of many.
    node: str | None = None
    entries: tuple[ServerEntry, ...] = ()
    connections: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    addresses: Mapping[str, str] = field(default_factory=dict)
    #: Known nodes that could not be read, with a sentence each.
    missing: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    #: Nodes with an incomplete list, with a sentence each.
    lacking: Mapping[str, str] = field(default_factory=dict)
    #: UUIDs of servers whose container may run under another name.
    doubtful: tuple[str, ...] = ()


_NUMBERS = ("priority", "panel_id")
_TYPES: Mapping[str, type] = {
    each.name: {"suspended": bool, "outdated": bool, "labels": dict}.get(each.name, int if each.name in _NUMBERS else str)
    for each in fields(ServerEntry)
}
_VARIABLES = tuple((each.name, f"server_{each.name}") for each in fields(ServerEntry))


def is_address(text: str) -> bool:
    """Tell whether a text looks like the name or the IP address of a host."""
    return _ADDRESS.fullmatch(text) is not None


def text_or_none(value: object) -> str | None:
    """Return a text in one line, or None without one."""
    return plain_text(value) or None


def state_or_none(value: object) -> str | None:
    return value if isinstance(value, str) and value in _STATES else None


def labels_or_none(value: object) -> dict[str, str] | None:
    """Return the server's own labels, at most 64 by name; None for no labels."""
    if not isinstance(value, Mapping):
        return None
    pairs = ((plain_text(name), plain_text(text)) for name, text in value.items() if isinstance(name, str) and isinstance(text, str))
    own = sorted((name, text) for name, text in pairs if name and not name.startswith(_FOREIGN_LABELS) and name not in _WINGS_LABELS)
    return dict(own[:_MOST_LABELS])


def to_plain(readings: Iterable[SourceReading]) -> list[dict[str, Any]]:
    """Return readings as values for JSON."""
    return [{**_set(reading), "kind": reading.kind.value, "entries": [_set(entry) for entry in reading.entries]} for reading in readings]


def _set(value: Any) -> dict[str, Any]:
    return {each.name: getattr(value, each.name) for each in fields(value) if getattr(value, each.name) not in (None, (), {})}


def from_plain(value: Any) -> list[SourceReading]:
    """Read the values of `to_plain`. Raises `ValueError` for anything else."""
    try:
        return [_reading(dict(each)) for each in value]
    except (TypeError, KeyError, AttributeError) as error:
        raise ValueError("not what the inventory wrote") from error


def _reading(plain: dict[str, Any]) -> SourceReading:
    entries = tuple(_entry(entry) for entry in plain.pop("entries", ()))
    texts = {name: tuple(plain.get(name, ())) for name in ("warnings", "doubtful")}
    return SourceReading(**{**plain, **texts, "kind": SourceKind(plain["kind"]), "entries": entries})


def _entry(plain: Mapping[str, Any]) -> ServerEntry:
    """Read one entry with checks: another user may have written the cache."""
    for name, value in plain.items():
        if not isinstance(value, _TYPES[name]):
            raise ValueError(f"a server with an invalid {name}")
    if parse_uuid(plain["uuid"]) != plain["uuid"]:
        raise ValueError("a server without its UUID")
    return ServerEntry(**plain)


def variables_of(entry: ServerEntry) -> dict[str, Any]:
    """Return the host variables of a server. All exist, and each has one type or is null."""
    variables = {variable: getattr(entry, name) for name, variable in _VARIABLES}
    return {**variables, "server_short_id": entry.short_id, "server_labels": dict(entry.labels or {})}


def host_names(entries: Sequence[ServerEntry], ways: Sequence[str], taken: Collection[str]) -> dict[str, str]:
    """Return a host name by UUID: the first of ``ways`` that is safe, unique and not ``taken``; at last the UUID."""
    names: dict[str, str] = {}
    used = {*taken, *_RESERVED}
    for way in (*ways, "uuid"):
        named = _way(way)
        proposed = {entry.uuid: named(entry) for entry in entries}
        count = Counter(name for name in proposed.values() if name is not None)
        for uuid, name in proposed.items():
            if uuid not in names and name is not None and count[name] == 1 and name not in used:
                names[uuid] = name
        used.update(names.values())
    return names


def _way(way: str) -> Callable[[ServerEntry], str | None]:
    if way.startswith("label:"):
        return lambda entry: _chosen((entry.labels or {}).get(way.partition(":")[2]))
    return {
        "name": lambda entry: _chosen(entry.name),
        "slug": lambda entry: _chosen(_slug(entry.name)),
        "short_id": lambda entry: entry.short_id,
        "uuid": lambda entry: entry.uuid,
    }[way]


def _chosen(name: str | None) -> str | None:
    """Return a name if it is safe. With one that looks like a short id or a UUID, an owner could imitate another server."""
    if name is None or not _SAFE.fullmatch(name) or _LIKE_SHORT_ID.fullmatch(name) or parse_uuid(name) is not None:
        return None
    return name


def _slug(name: str | None) -> str | None:
    """Return a name in small letters, digits and hyphens: ``Cobalt Survival`` becomes ``cobalt-survival``."""
    if name is None:
        return None
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    return _NO_SLUG.sub("-", plain.lower()).strip("-")[:63].rstrip("-") or None


def groups_of(entry: ServerEntry, *, knows_state: bool = False) -> Iterator[str]:
    """Yield a server's raw group names, with prefixes against an owner's words; ``knows_state`` adds the unknown states."""
    if entry.node is not None:
        yield f"node_{entry.node}"
    if entry.state is not None:
        yield f"state_{entry.state}"
    elif knows_state:
        yield POWER_UNKNOWN
    if entry.suspended:
        yield "suspended"
    if entry.outdated:
        yield POWER_OUTDATED
    for egg in dict.fromkeys((entry.egg, entry.egg_name)):
        if egg:
            yield f"egg_{egg}"
    for name, value in (entry.labels or {}).items():
        if len(name) <= _LONGEST_LABEL and len(value) <= _LONGEST_LABEL:
            yield f"label_{name}_{value}" if value else f"label_{name}"


_LOOKED = (SourceKind.ENGINE, SourceKind.ENDPOINT)
_ORDER = (SourceKind.SNAPSHOT, SourceKind.PANEL, *_LOOKED)
_LIVE = tuple(state.value for state in PowerState if state is not PowerState.OFFLINE)


@dataclass(frozen=True)
class Picture:
    """Every server once, by node and name; the kinds of facts that are known; and warnings."""

    entries: tuple[ServerEntry, ...]
    knows_state: bool
    knows_suspension: bool
    knows_outdated: bool
    warnings: tuple[str, ...]


def picture_of(readings: Sequence[SourceReading], host_of: Callable[[SourceKind, str], str]) -> Picture:
    """Return the servers of all readings. ``host_of`` maps a source's name for a node to the inventory's."""
    ordered = sorted(readings, key=lambda reading: _ORDER.index(reading.kind) if reading.kind not in _LOOKED else len(_LOOKED))
    found: dict[str, ServerEntry] = {}
    homes = _homes(ordered, host_of)
    warnings: list[str] = []
    for reading in ordered:
        for read in reading.entries:
            entry = replace(read, node=None if read.node is None else host_of(reading.kind, read.node))
            warning = _stray(entry, reading, homes)
            if warning is not None:
                warnings.append(warning)
            elif reading.kind in _LOOKED or homes.get(entry.uuid) in (None, entry.node):
                found[entry.uuid] = _over(found.get(entry.uuid), entry)
            else:
                # The server has moved: the old node's facts about its place and state no longer count.
                found[entry.uuid] = _over(found.get(entry.uuid), replace(entry, node=None, state=None, outdated=None))
    looked = {reading.node: reading.kind for reading in ordered if reading.node is not None}
    seen: dict[tuple[str, str | None], str | None] = {(uuid, reading.node): None for reading in ordered for uuid in reading.doubtful}
    seen.update({(entry.uuid, reading.node): entry.state for reading in ordered if reading.kind in _LOOKED for entry in reading.entries})
    entries = [_as_looked_at(entry, looked, seen) for entry in found.values()]
    return Picture(
        entries=tuple(sorted(entries, key=lambda entry: (entry.node or "", entry.name or "", entry.uuid))),
        knows_state=any(reading.kind is not SourceKind.PANEL for reading in ordered),
        knows_suspension=any(reading.kind is not SourceKind.ENGINE for reading in ordered),
        knows_outdated=any(reading.kind in (SourceKind.SNAPSHOT, SourceKind.ENDPOINT) for reading in ordered),
        warnings=tuple(warnings),
    )


def _homes(readings: Iterable[SourceReading], host_of: Callable[[SourceKind, str], str]) -> dict[str, str]:
    """Return the node of each server: the Panel's, else the node that has it, preferably running."""
    panel: dict[str, str] = {}
    live: dict[str, tuple[bool, str]] = {}
    for reading in readings:
        for entry in reading.entries:
            if entry.node is None or reading.kind is SourceKind.SNAPSHOT:
                continue
            node = host_of(reading.kind, entry.node)
            if reading.kind is SourceKind.PANEL:
                panel[entry.uuid] = node
            elif entry.uuid not in live or (entry.state in _LIVE and not live[entry.uuid][0]):
                live[entry.uuid] = entry.state in _LIVE, node
    return {**{uuid: node for uuid, (_live, node) in live.items()}, **panel}


def _stray(entry: ServerEntry, reading: SourceReading, homes: Mapping[str, str]) -> str | None:
    home = homes.get(entry.uuid)
    if reading.kind not in _LOOKED or home == entry.node:
        return None
    state = "runs" if entry.state in _LIVE else "has a container"
    return f"server {entry.uuid} {state} on node {entry.node} too, and belongs to node {home}; the one on {entry.node} is left out"


def _over(older: ServerEntry | None, newer: ServerEntry) -> ServerEntry:
    if older is None:
        return newer
    newer_fields: dict[str, Any] = {each.name: getattr(newer, each.name) for each in fields(newer) if getattr(newer, each.name) is not None}
    return replace(older, **newer_fields)


def _as_looked_at(entry: ServerEntry, looked: Mapping[str, SourceKind], seen: Mapping[tuple[str, str | None], str | None]) -> ServerEntry:
    """Prefer the node's own answer about a state: without a container on its engine, the server is offline."""
    kind = looked.get(entry.node or "")
    if kind is None:
        return entry
    if (entry.uuid, entry.node) in seen:
        # Also if the node has the server with an unknown state.
        return replace(entry, state=seen[entry.uuid, entry.node])
    return replace(entry, state=PowerState.OFFLINE.value if kind is SourceKind.ENGINE else None)
