# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The facts of each server: state, container, lock, players, operations."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ...definitions.definition import Definition, secrets_of
from ...definitions.supervision import policy_of
from ...engine.readiness import Matchers, readable_lines
from ...games.game import Game, Games
from ...host.concurrency import map_concurrently
from ...journal.intents import Intent
from ...journal.operations import OperationRow
from ...model.errors import EngineError, EngineUnreachable, PowerError
from ...model.players import PlayerCount
from ...model.report import Described, Unseen
from ...model.request import Priorities
from ...model.schema import blanked
from ...model.server import PowerState, Run, Server, Snapshot, Startup
from ..boot.await_ready import seen_ready
from ..node.node import Node, Observed
from .bulk import choose, everything
from .outdated_facts import ReadDefinition, outdated_each, unknown_warnings
from .service_facts import SupervisionFacts, event_facts

#: The engine's answer if its log driver keeps nothing.
_NOT_IMPLEMENTED = 501
#: After so many silent answers the engine is asked no more.
_MOST_SILENT = 8


@dataclass(frozen=True)
class Sight:
    """The engine's answer about one server, or its error; ``log`` is the end of its log, None if unreadable."""

    snapshot: Snapshot | None = None
    log: bytes | None = b""
    fault: EngineError | EngineUnreachable | None = None


def see_each(uuids: Sequence[str], node: Node, tail: int) -> list[Sight]:
    """Ask the engine about each server. After several timeouts it skips the rest: each may take the whole time limit."""
    silent: list[EngineUnreachable] = []

    def see(uuid: str) -> Sight:
        sight = _unasked(uuid) if len(silent) >= _MOST_SILENT else _see(uuid, node, tail)
        if isinstance(sight.fault, EngineUnreachable):
            silent.append(sight.fault)
        return sight

    sights = [sight or _unasked(uuid) for uuid, sight in zip(uuids, map_concurrently(see, uuids))]
    if sights and all(isinstance(sight.fault, EngineUnreachable) for sight in sights):
        # Raises if the engine itself fails, not only these servers.
        node.engine.servers()
    return sights


def _see(uuid: str, node: Node, tail: int) -> Sight:
    try:
        snapshot = node.engine.inspect(uuid)
    except (EngineError, EngineUnreachable) as error:
        return Sight(fault=error)
    log: bytes | None = b""
    if tail and snapshot is not None:
        try:
            log = node.engine.logs.tail(snapshot.id, tail)
        except (EngineError, EngineUnreachable) as error:
            # A log driver that keeps nothing has no log to show.
            log = b"" if error.facts.get("status") == _NOT_IMPLEMENTED else None
    return Sight(snapshot, log)


def _unasked(uuid: str) -> Sight:
    return Sight(fault=EngineUnreachable(f"Cannot inspect container {uuid}: the engine kept silent for others, and was not asked"))


AskPlayers = Callable[[str, Game], PlayerCount]

#: Seconds for all games together: each silent game takes some.
_ALL_SECONDS = 10.0
_AT_ONCE = 32
_UNASKED = PlayerCount(why="the games of other servers took too long to answer")


def ask_players(_uuid: str, game: Game) -> PlayerCount:
    return game.players()


def count_each(
    seen: Sequence[tuple[Server, Snapshot | None, Definition | None]], games: Games, ask: AskPlayers | None
) -> dict[str, dict[str, Any]]:
    """Return the players of servers that are up and have a known game, by UUID; ``ask`` None asks no game."""
    if ask is None:
        return {}
    played: dict[str, Game] = {}
    for server, snapshot, definition in seen:
        game = games.of(server, snapshot, definition) if snapshot is not None and snapshot.live else None
        if game is not None:
            played[server.uuid] = game
    # A random order, so that slow games do not always take the time of the same servers.
    asked = random.sample(list(played.items()), len(played))
    counts = map_concurrently(lambda each: ask(*each), asked, _ALL_SECONDS, at_once=_AT_ONCE)
    return {uuid: (count or _UNASKED).facts() for (uuid, _game), count in zip(asked, counts)}


_LINE_BYTES = 500
_FIELDS = (
    *("server", "short_id", "name", "state", "startup", "suspended", "priority", "egg", "labels"),
    *("container", "outdated", "lock", "countdown", "intent", "last_operation", "supervision"),
)
#: Seconds for all searches of readiness lines together: logs may be long.
_READINESS_SECONDS = 0.5


@dataclass(frozen=True)
class FactOptions:
    """The optional facts: numbers of log lines, operations and ended runs. ``count_players`` None omits players."""

    tail: int = 0
    operations: int = 0
    crashes: int = 0
    count_players: AskPlayers | None = None


@dataclass(frozen=True)
class _Known:
    """Data of journal and settings, read once for all servers. ``operations`` is empty unless requested."""

    intents: Mapping[str, Intent]
    last: Mapping[str, OperationRow]
    operations: Mapping[str, Sequence[OperationRow]]
    priorities: Priorities
    supervision: SupervisionFacts


def describe(names: Sequence[str], node: Node, wanted: FactOptions, *, remember: Callable[[str, Run], None]) -> Described:
    """Read the facts of the named servers, each once, or of all. Raises as `describe_each`, and errors of the list of containers."""
    asked, warnings = choose(names, node.sources.search.identify_to_look) if names else (everything(node, None), [])
    node.sources.glance()
    told = describe_each(asked, node, wanted, remember=remember)
    unlisted = () if names else tuple(str(error) for error in node.sources.listing.unlisted)
    unknown = unknown_warnings(told.entries, node.sources.warnings)
    events, unsure = event_facts(node.journal, node.settings.state_directory)
    unsure_words = (unsure,) if unsure else ()
    return replace(told, warnings=(*warnings, *told.warnings, *unknown, *unsure_words), unlisted=unlisted, events=events)


@dataclass(frozen=True)
class _Subject:
    server: Server
    seen: Observed
    read: ReadDefinition
    log: bytes | None

    @property
    def definition(self) -> Definition | None:
        return self.read.definition

    @property
    def matchers(self) -> Matchers:
        return Matchers((), strip=False) if self.definition is None else Matchers.of(self.definition.startup)


def describe_each(asked: Sequence[Server | Unseen], node: Node, wanted: FactOptions, *, remember: Callable[[str, Run], None]) -> Described:
    """Return one entry for each of ``asked``, in order, except unknown servers. Unknown values are None.

    ``remember`` gets each run that was seen to be ready, because its readiness line may rotate away. Raises `EngineUnreachable` if the
    engine gives no answer at all.
    """
    servers = [each for each in asked if isinstance(each, Server)]
    uuids = [server.uuid for server in servers]
    known = _Known(
        intents=node.journal.intents.of_each(uuids),
        last=node.journal.operations.last_acts(uuids),
        operations=node.journal.operations.latest_of_each(uuids, wanted.operations) if wanted.operations else {},
        priorities=Priorities.of(node.settings.priorities),
        supervision=SupervisionFacts.read(node, uuids, wanted.crashes),
    )
    sights = see_each(uuids, node, wanted.tail)
    # After the engine: the journal knows a run as soon as the engine shows it.
    node.journal.runs.hold(uuids)
    subjects = {server.uuid: _subject(server, sight, node, known) for server, sight in zip(servers, sights)}
    seen = [subject for subject in subjects.values() if isinstance(subject, _Subject)]
    ready = _ready_now(seen, node)
    outdated = outdated_each({each.server.uuid: (each.read, each.seen.snapshot) for each in seen}, node)
    players = count_each([(each.server, each.seen.snapshot, each.definition) for each in seen], node.games, wanted.count_players)
    entries: list[dict[str, Any]] = []
    warnings = [known.supervision.warning] if known.supervision.warning else []
    for each in asked:
        subject = each if isinstance(each, Unseen) else subjects[each.uuid]
        if isinstance(subject, Unseen):
            warnings.append(subject.msg)
            entries.append(subject.entry(_names(wanted)))
        elif subject is not None:
            is_ready = subject.server.uuid in ready
            if is_ready and subject.seen.snapshot is not None:
                remember(subject.server.uuid, subject.seen.snapshot.run)
            entries.append({**_entry(subject, node, known, is_ready, wanted), "outdated": outdated[subject.server.uuid]})
            if wanted.count_players is not None:
                entries[-1]["players"] = players.get(subject.server.uuid)
        elif isinstance(each, Server):
            warnings.append(f"Cannot find server {each.uuid}: no source, no container and no journal of this node has it")
    node.journal.sync()
    return Described(entries, tuple(warnings), supervisor=known.supervision.supervisor)


def _subject(server: Server, sight: Sight, node: Node, known: _Known) -> _Subject | Unseen | None:
    """Return the server with its data, the reason why it is unreadable, or None if it is unknown everywhere."""
    read = ReadDefinition.of(server.uuid, node.sources)
    definition = read.definition
    named = server if definition is None else definition.server
    if sight.fault is not None:
        return Unseen.because(named, sight.fault)
    seen = node.seen_as(server.uuid, sight.snapshot)
    traces = (definition, seen.snapshot, seen.holder, known.intents.get(server.uuid), known.last.get(server.uuid))
    if all(trace is None for trace in traces):
        try:
            if not node.sources.listing.has(server.uuid):
                return None
        except PowerError as error:
            return Unseen.because(named, error)
    return _Subject(named, seen, read, sight.log)


def _ready_now(subjects: Sequence[_Subject], node: Node) -> frozenset[str]:
    """Return the UUIDs of unwatched servers that are ready by now, as far as time allows."""

    def look(subject: _Subject) -> bool:
        return subject.seen.snapshot is not None and seen_ready(node, subject.seen.snapshot, subject.matchers, subject.seen.startup)

    waiting = [subject for subject in subjects if subject.seen.state is PowerState.STARTING and subject.matchers]
    # A random order, so that servers that are never ready do not always take the time of the same others.
    random.shuffle(waiting)
    return frozenset(subject.server.uuid for subject, found in zip(waiting, map_concurrently(look, waiting, _READINESS_SECONDS)) if found)


def _names(wanted: FactOptions) -> tuple[str, ...]:
    given = (
        *(("operations", wanted.operations), ("crashes", wanted.crashes)),
        *(("log", wanted.tail), ("players", wanted.count_players)),
    )
    return (*_FIELDS, *(name for name, is_wanted in given if is_wanted))


def _entry(subject: _Subject, node: Node, known: _Known, ready: bool, wanted: FactOptions) -> dict[str, Any]:
    server, seen, definition = subject.server, subject.seen, subject.definition
    countdown = node.countdowns.running(server.uuid)
    intent, last = known.intents.get(server.uuid), known.last.get(server.uuid)
    entry: dict[str, Any] = {
        "server": server.uuid,
        "short_id": server.short_id,
        "name": server.name,
        "state": (PowerState.RUNNING if ready else seen.state).value,
        "startup": (Startup.MATCHED if ready else seen.startup).value,
        "suspended": None if definition is None else definition.suspended,
        "priority": known.priorities.priority(server, None if definition is None else definition.priority),
        "egg": None if definition is None or definition.egg is None else blanked(definition.egg),
        "labels": None if definition is None else {blanked(name): blanked(text) for name, text in definition.labels},
        "container": None if seen.snapshot is None else _container(seen.snapshot),
        "outdated": None,
        "lock": None if seen.holder is None else seen.holder.facts(),
        "countdown": None if countdown is None else countdown.facts(),
        "intent": None if intent is None else {"up": intent.up, "origin": intent.origin, "at": intent.at},
        "last_operation": None if last is None else _operation(last),
        "supervision": known.supervision.of(
            server.uuid,
            seen.snapshot,
            policy_of(node.settings, server, definition),
            meant_down=intent is not None and not intent.up,
        ),
    }
    if wanted.operations:
        entry["operations"] = [_operation(row) for row in known.operations.get(server.uuid, ())]
    if wanted.crashes:
        entry["crashes"] = known.supervision.crashes_of(server.uuid)
    if wanted.tail:
        entry["log"] = _log(subject, wanted.tail)
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


def _log(subject: _Subject, tail: int) -> list[str] | None:
    snapshot = subject.seen.snapshot
    if snapshot is None or subject.log is None:
        return None if snapshot is not None else []
    secrets = set(() if subject.definition is None else secrets_of(subject.definition)) | snapshot.secrets
    return list(readable_lines(subject.log, tail, _LINE_BYTES, secrets))
