# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The servers in a snapshot, the file that the playbook ``status`` writes: as they were when it ran."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

from ..._power.model.errors import SourceUnreachable
from ..._power.model.nesting import is_nested_deeper
from ..._power.model.schema import printable
from ..._power.model.server import parse_uuid
from ..status import CONNECTION, SCHEMA
from .entry import ServerEntry, SourceKind, SourceReading, flag_or_none, labels_or_none, state_or_none, text_or_none, whole_or_none

_LARGEST = 256 * 1024 * 1024
_DEEPEST = 100


def read_snapshot(path: str, max_age: int, now: datetime) -> SourceReading:
    """Read a snapshot, with a warning where it is older than ``max_age`` seconds (0: however old). Raises `SourceUnreachable`."""
    snapshot = _loaded(path)
    nodes = snapshot.get("nodes")
    if not isinstance(nodes, list) or not all(isinstance(node, Mapping) and text_or_none(node.get("node")) for node in nodes):
        raise _fault(path, "it has no list of nodes; is it what playbook fleet.power.status wrote")
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
        servers = node.get("servers")
        entries += [entry for entry in (_entry(name, each) for each in servers or ()) if entry is not None]
    warnings = _age(path, snapshot.get("written_at"), max_age, now)
    return SourceReading(SourceKind.SNAPSHOT, None, tuple(entries), connections, missing=missing, lacking=lacking, warnings=warnings)


def _loaded(path: str) -> Mapping[str, Any]:
    try:
        # A pipe in its place would be waited for.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with open(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise _fault(path, "it is no regular file")
            content = file.read(_LARGEST + 1)
    except OSError as error:
        raise _fault(path, f"{error.strerror}; run playbook fleet.power.status with status_snapshot, or correct snapshot") from error
    if len(content) > _LARGEST:
        raise _fault(path, f"it is larger than {_LARGEST} bytes")
    try:
        text = content.decode()
        value = None if is_nested_deeper(text, _DEEPEST) else json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, Mapping):
        raise _fault(path, "it is no JSON object; write it anew with playbook fleet.power.status")
    schema = whole_or_none(value.get("schema"))
    if schema is None or schema < 1:
        raise _fault(path, "it does not say which version it is; write it anew with playbook fleet.power.status")
    if schema > SCHEMA:
        raise _fault(path, f"it is of version {schema}, written by a newer fleet.power; update this one")
    return value


def _fault(path: str, reason: str) -> SourceUnreachable:
    return SourceUnreachable(f"Cannot read the snapshot {path}: {reason}")


def _connection(given: Any) -> dict[str, Any]:
    if not isinstance(given, Mapping):
        return {}
    return {name: given[name] for name in CONNECTION if isinstance(given.get(name), (str, int))}


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
        suspended=flag_or_none(given.get("suspended")),
        outdated=flag_or_none(outdated.get("is_outdated")) if isinstance(outdated, Mapping) else None,
        egg=text_or_none(given.get("egg")),
        labels=labels_or_none(given.get("labels")),
        image=text_or_none(container.get("image")) if isinstance(container, Mapping) else None,
        priority=whole_or_none(given.get("priority")),
    )


def _age(path: str, written: Any, max_age: int, now: datetime) -> tuple[str, ...]:
    if max_age == 0:
        return ()
    try:
        moment = datetime.fromisoformat(written.replace("Z", "+00:00")).astimezone(timezone.utc)
    except (AttributeError, TypeError, ValueError):
        return (f"the snapshot {path} does not say when it was written; its states may be of long ago",)
    age = (now - moment).total_seconds()
    if age <= max_age:
        return ()
    return (f"the snapshot {path} is {age / 60:.0f} minutes old, more than snapshot_max_age={max_age} s; run fleet.power.status again",)
