# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads all sources of an inventory at the same time. A failed source does not affect the others."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from ..._power.endpoint.client import Endpoint
from ..._power.model.clock import read_timestamp
from ..._power.model.errors import PowerError, SourceUnreachable
from ..._power.model.plain import read_flag, read_whole
from ..._power.model.report import Unseen
from ..._power.model.schema import parsed_json, printable
from ..._power.model.server import parse_uuid
from ..status import CONNECTION, SCHEMA
from .engine import read_engine
from .entry import ServerEntry, SourceKind, SourceReading, labels_or_none, state_or_none, text_or_none
from .options import InventoryOptions, NodeWanted
from .panel import read_panel

#: The most bytes of a snapshot, and its deepest nesting.
_LARGEST, _DEEPEST = 256 * 1024 * 1024, 100
#: Nodes at a time: each over ssh is a process of the controller.
_AT_ONCE = 16


def read_endpoint(node: NodeWanted, timeout: int) -> SourceReading:
    """Return the servers of an endpoint. Raises `EndpointUnreachable`, `EndpointError`, `SettingsInvalid`, `MissingLibrary`."""
    endpoint = Endpoint(node.url or "", node.token, verify=node.verify, ca_path=node.ca_path, timeout=float(timeout))
    with contextlib.closing(endpoint):
        entries = [seen.entry(("server", "name")) if isinstance(seen, Unseen) else seen.entry() for seen in endpoint.listed()]
    servers = _entries(node.name, entries)
    return SourceReading(SourceKind.ENDPOINT, node.name, servers, warnings=(*endpoint.warnings, *endpoint.unlisted()))


def read_snapshot(path: str, max_age: int, now: datetime) -> SourceReading:
    """Read a snapshot; warn if it is older than ``max_age`` seconds (0: never). Raises `SourceUnreachable`."""
    snapshot = _loaded(path)
    nodes = snapshot.get("nodes")
    if not isinstance(nodes, list) or not all(isinstance(node, Mapping) and text_or_none(node.get("node")) for node in nodes):
        raise _fault(path, "it has no list of nodes; write it again with playbook fleet.power.status")
    entries: list[ServerEntry] = []
    connections: dict[str, Mapping[str, Any]] = {}
    missing: dict[str, str] = {}
    lacking: dict[str, str] = {}
    for node in nodes:
        name = str(text_or_none(node["node"]))
        connections[name] = _connection(node.get("connection"))
        error = text_or_none(node.get("error"))
        if error is not None:
            missing[name] = f"Cannot tell the servers of node {printable(name)}: the snapshot {path} has none, since: {error}"
        elif node.get("complete") is False:
            why = text_or_none(node.get("msg")) or "it gave no reason"
            lacking[name] = f"Cannot tell all servers of node {printable(name)}: the snapshot {path} has some, since: {why}"
        entries += _entries(name, node.get("servers") or ())
    warnings = _age(path, snapshot.get("written_at"), max_age, now)
    return SourceReading(SourceKind.SNAPSHOT, None, tuple(entries), connections, missing=missing, lacking=lacking, warnings=warnings)


def _loaded(path: str) -> Mapping[str, Any]:
    try:
        # Otherwise a pipe in its place would block.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with open(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise _fault(path, "it is not a regular file")
            content = file.read(_LARGEST + 1)
    except OSError as error:
        raise _fault(path, f"{error.strerror}; run playbook fleet.power.status with status_snapshot, or correct snapshot") from error
    if len(content) > _LARGEST:
        raise _fault(path, f"it is larger than {_LARGEST} bytes")
    value = parsed_json(content, _DEEPEST)
    if not isinstance(value, Mapping):
        raise _fault(path, "it is not a JSON object; write it again with playbook fleet.power.status")
    schema = read_whole(value.get("schema"))
    if schema is None or schema < 1:
        raise _fault(path, "it does not say which version it is; write it again with playbook fleet.power.status")
    if schema > SCHEMA:
        raise _fault(path, f"it is of version {schema}, written by a newer fleet.power; update this one")
    return value


def _fault(path: str, reason: str) -> SourceUnreachable:
    return SourceUnreachable(f"Cannot read the snapshot {path}: {reason}")


def _connection(given: Any) -> dict[str, Any]:
    if not isinstance(given, Mapping):
        return {}
    return {name: given[name] for name in CONNECTION if isinstance(given.get(name), (str, int))}


def _entries(node: str, given: Iterable[Any]) -> tuple[ServerEntry, ...]:
    """Read the servers of a result of server_power_info. Entries that are not servers are left out."""
    return tuple(entry for entry in (_entry(node, each) for each in given) if entry is not None)


def _entry(node: str, given: Any) -> ServerEntry | None:
    uuid = parse_uuid(given["server"]) if isinstance(given, Mapping) and isinstance(given.get("server"), str) else None
    if uuid is None:
        return None
    container, outdated = given.get("container"), given.get("outdated")
    return ServerEntry(
        uuid=uuid,
        node=node,
        name=text_or_none(given.get("name")),
        state=state_or_none(given.get("state")),
        suspended=read_flag(given.get("suspended")),
        outdated=read_flag(outdated.get("is_outdated")) if isinstance(outdated, Mapping) else None,
        egg=text_or_none(given.get("egg")),
        labels=labels_or_none(given.get("labels")),
        image=text_or_none(container.get("image")) if isinstance(container, Mapping) else None,
        priority=read_whole(given.get("priority"), -(2**63)),
    )


def _age(path: str, written: Any, max_age: int, now: datetime) -> tuple[str, ...]:
    if max_age == 0:
        return ()
    try:
        moment = read_timestamp(written).astimezone(timezone.utc)
    except (AttributeError, TypeError, ValueError):
        return (f"the snapshot {path} does not say when it was written; its states may be of long ago",)
    age = (now - moment).total_seconds()
    if age <= max_age:
        return ()
    return (f"the snapshot {path} is {age / 60:.0f} minutes old, more than snapshot_max_age={max_age} s; run fleet.power.status again",)


@dataclass(frozen=True)
class Read:
    """The readings in the order of the file, and the failed sources: a node's name, ``snapshot`` or ``panel``, with a sentence each."""

    readings: tuple[SourceReading, ...]
    unread: Mapping[str, str]

    @property
    def absent(self) -> dict[str, str]:
        """Return what the inventory lacks, with a sentence each: failed sources, and nodes that no source could read."""
        return {**self.unread, **self._not_looked_at("missing")}

    @property
    def partial(self) -> dict[str, str]:
        """Return nodes with incomplete lists that no other source could read, with a sentence each."""
        return self._not_looked_at("lacking")

    def _not_looked_at(self, name: str) -> dict[str, str]:
        looked = {reading.node for reading in self.readings}
        sentences = ((node, sentence) for reading in self.readings for node, sentence in getattr(reading, name).items())
        return {node: sentence for node, sentence in sentences if node not in looked}


def read_all(wanted: InventoryOptions) -> Read:
    """Read every source. A `PowerError` of a source becomes its sentence in ``unread``."""
    works = _works(wanted)
    with ThreadPoolExecutor(min(_AT_ONCE, len(works))) as pool:
        begun = [(source, pool.submit(work)) for source, work in works]
    readings: list[SourceReading] = []
    unread: dict[str, str] = {}
    for source, reading in begun:
        try:
            readings.append(reading.result())
        except PowerError as error:
            unread[source] = str(error)
    return Read(tuple(readings), unread)


def _works(wanted: InventoryOptions) -> Sequence[tuple[str, Callable[[], SourceReading]]]:
    works: list[tuple[str, Callable[[], SourceReading]]] = []
    snapshot, panel = wanted.snapshot, wanted.panel
    if snapshot is not None:
        works.append((SourceKind.SNAPSHOT.value, lambda: read_snapshot(snapshot, wanted.snapshot_max_age, datetime.now(timezone.utc))))
    if panel is not None:
        works.append((SourceKind.PANEL.value, lambda: read_panel(panel, wanted.timeout)))
    return [*works, *((node.name, _looking_at(node, wanted.timeout)) for node in wanted.nodes if node.is_looked_at)]


def _looking_at(node: NodeWanted, timeout: int) -> Callable[[], SourceReading]:
    return lambda: read_engine(node, timeout) if node.docker_host is not None else read_endpoint(node, timeout)
