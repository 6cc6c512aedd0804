# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What can be read of servers: state, container, lock, intent, last operation. Takes no lock, waits for none, changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .await_ready import seen_ready
from .definition import Definition, secrets_of
from .errors import EngineError, PowerError
from .journal_rows import Intent, OperationRow
from .model import PowerAction, PowerState, Run, Server, Snapshot, Startup
from .node import Node, Observed
from .readiness import Matchers, readable_lines

_LINE_BYTES = 500


@dataclass(frozen=True)
class _Known:
    """What the journal knows, read once for all servers."""

    intents: Mapping[str, Intent]
    operations: Mapping[str, OperationRow]


def choose(names: Sequence[str], node: Node) -> tuple[list[Server], list[str]]:
    """The servers named, each once, or all that are known here; and a sentence for each name that means none."""
    if not names:
        return _everything(node)
    found: dict[str, Server] = {}
    faults = []
    for name in names:
        try:
            # Asked as a stop would: a reader needs no definition to look at a container.
            server = node.sources.identify(name, PowerAction.STOP)
        except PowerError as error:
            faults.append(str(error))
        else:
            found.setdefault(server.uuid, server)
    return list(found.values()), faults


def _everything(node: Node) -> tuple[list[Server], list[str]]:
    faults: list[str] = []
    listed: list[Server] = []
    try:
        listed = node.sources.list()
    except PowerError as error:
        faults.append(str(error))
    found = {server.uuid: server for server in listed}
    for server in node.engine.servers():
        found.setdefault(server.uuid, server)
    return list(found.values()), faults


def describe_each(
    servers: Sequence[Server], node: Node, *, tail: int, remember: Callable[[str, Run], None]
) -> tuple[list[dict[str, Any]], list[str]]:
    """One entry for each server, what is not known being None, and a sentence for each that nothing is known of or that cannot be read.

    ``remember`` is told of each run that was seen to be ready, so that its readiness line may rotate away. Raises `EngineUnreachable`.
    """
    uuids = [server.uuid for server in servers]
    known = _Known(node.journal.intents(uuids), node.journal.last_operations(uuids))
    entries: list[dict[str, Any]] = []
    faults: list[str] = []
    for server in servers:
        try:
            entry = _describe(server, node, known, tail, remember)
        except EngineError as error:
            faults.append(str(error))
            continue
        if entry is None:
            faults.append(f"Cannot find server {server.uuid}: no source, no container and no journal of this node has it")
        else:
            entries.append(entry)
    return entries, faults


def _describe(server: Server, node: Node, known: _Known, tail: int, remember: Callable[[str, Run], None]) -> dict[str, Any] | None:
    seen = node.observe(server.uuid)
    definition = node.sources.definition_for_stop(server.uuid)
    intent, operation = known.intents.get(server.uuid), known.operations.get(server.uuid)
    traces = (definition, seen.snapshot, seen.holder, intent, operation)
    if all(trace is None for trace in traces) and not node.sources.has(server.uuid):
        return None
    if definition is not None:
        server = definition.server
    state, startup = _startup(server, node, seen, definition, remember)
    entry: dict[str, Any] = {
        "server": server.uuid,
        "short_id": server.short_id,
        "name": server.name,
        "state": state.value,
        "startup": startup.value,
        "suspended": None if definition is None else definition.suspended,
        "container": None if seen.snapshot is None else _container(seen.snapshot),
        "lock": None if seen.holder is None else seen.holder.facts(),
        "intent": None if intent is None else {"up": intent.up, "origin": intent.origin, "at": intent.at},
        "last_operation": None if operation is None else _operation(operation),
    }
    if tail:
        entry["log"] = [] if seen.snapshot is None else _log(node, seen.snapshot, definition, tail)
    return entry


def _startup(
    server: Server, node: Node, seen: Observed, definition: Definition | None, remember: Callable[[str, Run], None]
) -> tuple[PowerState, Startup]:
    """State and startup; a server that nobody watched becoming ready is looked at once."""
    if seen.state is not PowerState.STARTING or seen.snapshot is None or definition is None:
        return seen.state, seen.startup
    if not seen_ready(node, seen.snapshot, Matchers.of(definition.startup), seen.startup):
        return seen.state, seen.startup
    remember(server.uuid, seen.snapshot.run)
    return PowerState.RUNNING, Startup.MATCHED


def _container(snapshot: Snapshot) -> dict[str, Any]:
    return {
        "id": snapshot.id,
        "image": snapshot.image,
        "started_at": snapshot.started_at,
        "finished_at": None if snapshot.live else snapshot.finished_at,
        "exit_code": snapshot.exit_code,
        "oom_killed": snapshot.oom_killed,
        "health": snapshot.health,
        "paused": snapshot.paused,
    }


def _operation(row: OperationRow) -> dict[str, Any]:
    names = ("id", "action", "origin", "reason", "requested_at", "begun_at", "ended_at", "outcome", "code", "msg")
    return {name: getattr(row, name) for name in names}


def _log(node: Node, snapshot: Snapshot, definition: Definition | None, tail: int) -> list[str]:
    secrets = set(() if definition is None else secrets_of(definition)) | snapshot.secrets
    try:
        log = node.engine.log_tail(snapshot.id, tail)
    except EngineError:
        return []  # a log driver that keeps nothing
    return list(readable_lines(log, tail, _LINE_BYTES, secrets))
