# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What can be read of servers: state, container, lock, intent, last operation. Takes no lock, waits for none, changes nothing."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .at_once import at_once
from .await_ready import seen_ready
from .definition import Definition, secrets_of
from .errors import EngineError, PowerError
from .journal_rows import Intent, OperationRow
from .model import PowerAction, PowerState, Run, Server, Snapshot, Startup
from .node import Node, Observed
from .order import Priorities
from .readiness import Matchers, readable_lines
from .selection import everything

_LINE_BYTES = 500
#: Seconds for all looks for readiness lines together: what a server has said since its start may be long.
_READINESS_SECONDS = 0.5


@dataclass(frozen=True)
class Wanted:
    """What an entry is to have besides the usual: so many lines of the log, and so many operations."""

    tail: int = 0
    operations: int = 0


@dataclass(frozen=True)
class _Known:
    """What the journal and the settings know, read once for all servers. ``operations`` is empty unless they are asked for."""

    intents: Mapping[str, Intent]
    last: Mapping[str, OperationRow]
    operations: Mapping[str, Sequence[OperationRow]]
    priorities: Priorities


def choose(names: Sequence[str], node: Node) -> tuple[list[Server], list[str]]:
    """The servers named, each once, or all that are known here; and a sentence for each name that means none."""
    if not names:
        return everything(node, None), []
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


@dataclass(frozen=True)
class _Sight:
    """What the engine said of one server, ``log`` being the end of its log where that was asked for; or why it said nothing."""

    snapshot: Snapshot | None = None
    log: bytes = b""
    fault: str = ""


@dataclass(frozen=True)
class _Subject:
    """One server, and all that its entry is made of but the journal."""

    server: Server
    seen: Observed
    definition: Definition | None
    log: bytes

    @property
    def matchers(self) -> Matchers:
        """What says that it is ready; none where its definition is not known."""
        return Matchers((), strip=False) if self.definition is None else Matchers.of(self.definition.startup)


def describe_each(
    servers: Sequence[Server], node: Node, wanted: Wanted, *, remember: Callable[[str, Run], None]
) -> tuple[list[dict[str, Any]], list[str]]:
    """One entry for each server, what is not known being None, and a sentence for each that nothing is known of or that cannot be read.

    ``remember`` is told of each run that was seen to be ready, so that its readiness line may rotate away. Raises `EngineUnreachable`.
    """
    uuids = [server.uuid for server in servers]
    known = _Known(
        intents=node.journal.intents(uuids),
        last=node.journal.last_operations(uuids),
        operations=node.journal.latest_operations(uuids, wanted.operations) if wanted.operations else {},
        priorities=Priorities.of(node.settings.priorities),
    )
    sights = at_once(lambda uuid: _see(uuid, node, wanted.tail), uuids)
    # After the engine has been asked: a run is known to the journal as soon as it can be seen.
    node.journal.hold_runs(uuids)
    entries: list[dict[str, Any]] = []
    faults: list[str] = []
    subjects: list[_Subject] = []
    for server, sight in zip(servers, sights):
        subject = None if sight is None or sight.fault else _subject(server, sight, node, known)
        if subject is not None:
            subjects.append(subject)
        elif sight is not None and sight.fault:
            faults.append(sight.fault)
        else:
            faults.append(f"Cannot find server {server.uuid}: no source, no container and no journal of this node has it")
    for subject, ready in zip(subjects, _ready_now(subjects, node)):
        if ready and subject.seen.snapshot is not None:
            remember(subject.server.uuid, subject.seen.snapshot.run)
        entries.append(_entry(subject, known, bool(ready), wanted))
    return entries, faults


def _see(uuid: str, node: Node, tail: int) -> _Sight:
    try:
        snapshot = node.engine.inspect(uuid)
    except EngineError as error:
        return _Sight(fault=str(error))
    log = b""
    if tail and snapshot is not None:
        # A log driver that keeps nothing has no end to show.
        with contextlib.suppress(EngineError):
            log = node.engine.log_tail(snapshot.id, tail)
    return _Sight(snapshot, log)


def _subject(server: Server, sight: _Sight, node: Node, known: _Known) -> _Subject | None:
    """The server with what else is known of it; None if that is nothing."""
    seen = node.seen_as(server.uuid, sight.snapshot)
    definition = node.sources.definition_for_stop(server.uuid)
    traces = (definition, seen.snapshot, seen.holder, known.intents.get(server.uuid), known.last.get(server.uuid))
    if all(trace is None for trace in traces) and not node.sources.has(server.uuid):
        return None
    return _Subject(server if definition is None else definition.server, seen, definition, sight.log)


def _ready_now(subjects: Sequence[_Subject], node: Node) -> list[bool]:
    """Which of those that nobody watched becoming ready have become so, as far as there is time to look."""

    def look(number: int) -> bool:
        subject = subjects[number]
        return subject.seen.snapshot is not None and seen_ready(node, subject.seen.snapshot, subject.matchers, subject.seen.startup)

    waiting = [number for number, subject in enumerate(subjects) if subject.seen.state is PowerState.STARTING and subject.matchers]
    # Where time does not suffice for all, those that are never ready must not take it from the same others every time.
    random.shuffle(waiting)
    ready = {number for number, found in zip(waiting, at_once(look, waiting, _READINESS_SECONDS)) if found}
    return [number in ready for number in range(len(subjects))]


def _entry(subject: _Subject, known: _Known, ready: bool, wanted: Wanted) -> dict[str, Any]:
    server, seen, definition = subject.server, subject.seen, subject.definition
    intent, last = known.intents.get(server.uuid), known.last.get(server.uuid)
    entry: dict[str, Any] = {
        "server": server.uuid,
        "short_id": server.short_id,
        "name": server.name,
        "state": (PowerState.RUNNING if ready else seen.state).value,
        "startup": (Startup.MATCHED if ready else seen.startup).value,
        "suspended": None if definition is None else definition.suspended,
        "priority": known.priorities.priority(server, None if definition is None else definition.priority),
        "egg": None if definition is None else definition.egg,
        "labels": None if definition is None else dict(definition.labels),
        "container": None if seen.snapshot is None else _container(seen.snapshot),
        "lock": None if seen.holder is None else seen.holder.facts(),
        "intent": None if intent is None else {"up": intent.up, "origin": intent.origin, "at": intent.at},
        "last_operation": None if last is None else _operation(last),
    }
    if wanted.operations:
        entry["operations"] = [_operation(row) for row in known.operations.get(server.uuid, ())]
    if wanted.tail:
        entry["log"] = [] if seen.snapshot is None else _lines(subject.log, seen.snapshot, definition, wanted.tail)
    return entry


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


def _lines(log: bytes, snapshot: Snapshot, definition: Definition | None, tail: int) -> list[str]:
    secrets = set(() if definition is None else secrets_of(definition)) | snapshot.secrets
    return list(readable_lines(log, tail, _LINE_BYTES, secrets))
