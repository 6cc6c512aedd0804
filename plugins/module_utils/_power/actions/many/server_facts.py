# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The facts of each server: state, container, lock, players, operations."""

from __future__ import annotations

import contextlib
import functools
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Union

from ...definitions.definition import Definition, priority_of, secrets_of
from ...definitions.supervision import definition_fingerprint, policy_of
from ...engine.readiness import Matchers, readable_lines
from ...games.game import Game
from ...host.concurrency import map_concurrently
from ...journal.journal import Intent
from ...journal.operations import OperationRow
from ...model.errors import ENGINE_FAULTS, EngineUnreachable, PowerError, ServerNotFound, T, alone
from ...model.players import PlayerCount
from ...model.proof import Proof
from ...model.records import dataclass, replace
from ...model.report import Described, Unseen
from ...model.request import Priorities
from ...model.schema import blanked, few
from ...model.server import UNHEALTHY, ImageSeen, PowerState, Run, Server, Snapshot, Startup
from ..boot.await_ready import seen_ready
from ..boot.container import spec_of
from ..boot.outdated import Outdated, outdated
from ..boot.startup import matchers_of
from ..node.node import Node, Observed
from .bulk import choose, everything
from .service_facts import SupervisionFacts, event_facts, freeze_facts

if TYPE_CHECKING:
    from ...journal.freezes import FreezeFacts

#: The engine's answer if its log driver keeps nothing.
_NOT_IMPLEMENTED = 501
#: After so many silent answers the engine is asked no more.
_MOST_SILENT = 8


@dataclass(frozen=True)
class Sight:
    """The engine's answer about one server; ``log`` is the end of its log, None if unreadable."""

    snapshot: Snapshot | None
    log: bytes | None


def see_each(uuids: Sequence[str], node: Node, tail: int) -> list[Sight | PowerError]:
    """Ask the engine about each server. After several timeouts it skips the rest: each may take the whole time limit."""
    silent: list[EngineUnreachable] = []

    def see(uuid: str) -> Sight | PowerError:
        if len(silent) >= _MOST_SILENT:
            return _unasked(uuid)
        sight = alone(f"Cannot inspect container {uuid}", lambda: _see(uuid, node, tail))
        if isinstance(sight, EngineUnreachable):
            silent.append(sight)
        return sight

    sights = [sight or _unasked(uuid) for uuid, sight in zip(uuids, map_concurrently(see, uuids))]
    if sights and all(isinstance(sight, EngineUnreachable) for sight in sights):
        # Raises if the engine itself fails, not only these servers.
        node.engine.servers()
    return sights


def _see(uuid: str, node: Node, tail: int) -> Sight:
    snapshot = node.engine.inspect(uuid)
    log: bytes | None = b""
    if tail and snapshot is not None:
        try:
            log = node.engine.logs.tail(snapshot.id, tail)
        except ENGINE_FAULTS as error:
            # A log driver that keeps nothing has no log to show.
            log = b"" if error.facts.get("status") == _NOT_IMPLEMENTED else None
    return Sight(snapshot, log)


def _unasked(uuid: str) -> EngineUnreachable:
    return EngineUnreachable(f"Cannot inspect container {uuid}: the engine kept silent for others, and was not asked")


AskPlayers = Callable[[str, Game], PlayerCount]

#: Seconds for all games together: each silent game takes some.
_ALL_SECONDS = 10.0
_AT_ONCE = 32
_UNCOUNTED = PlayerCount(why="the games of other servers took too long to answer")


def ask_players(_uuid: str, game: Game) -> PlayerCount:
    return game.players()


def count_each(subjects: Sequence[_Subject], node: Node, ask: AskPlayers | None) -> dict[str, dict[str, Any]]:
    """Return the players of servers that are up and have a known game, by UUID; ``ask`` None asks no game."""
    if ask is None:
        return {}
    games = {each.server.uuid: alone("Cannot find the game", functools.partial(_game, each, node)) for each in subjects}
    counts = {uuid: _counted(game) for uuid, game in games.items() if isinstance(game, PowerError)}
    asked = [(uuid, game) for uuid, game in games.items() if game is not None and not isinstance(game, PowerError)]
    # A random order, so that slow games do not always take the time of the same servers.
    random.shuffle(asked)
    answers = map_concurrently(lambda each: alone("Cannot ask the game", lambda: ask(*each)), asked, _ALL_SECONDS, at_once=_AT_ONCE)
    counts.update((uuid, _counted(answer)) for (uuid, _asked), answer in zip(asked, answers))
    return {uuid: count.facts() for uuid, count in counts.items()}


def _game(subject: _Subject, node: Node) -> Game | None:
    snapshot = subject.seen.snapshot
    return node.games.of(subject.server, snapshot, subject.definition) if snapshot is not None and snapshot.live else None


def _counted(answer: PlayerCount | PowerError | None) -> PlayerCount:
    return PlayerCount(why=str(answer)) if isinstance(answer, PowerError) else answer or _UNCOUNTED


_IMAGES_SECONDS = 10.0

#: For example, Wings' servers on a node without sources of definitions.
NO_DEFINITION = "no source of this node has a definition of it"

_Found = Union[ImageSeen, PowerError, None]


def outdated_each(subjects: Sequence[_Subject], node: Node, proofs: Mapping[str, Proof] | None) -> dict[str, dict[str, Any] | None]:
    """Return by UUID whether the container is outdated; None without a container. Pulls nothing, asks no source and changes nothing.

    ``proofs`` are the last ones of the servers, None if unknown.
    """
    names = {each.definition.image for each in subjects if each.definition is not None and each.seen.snapshot is not None}
    images = _images(sorted(names), node)
    found: dict[str, dict[str, Any] | None] = {}
    for each in subjects:
        uuid, snapshot = each.server.uuid, each.seen.snapshot
        failed = None if proofs is None else _has_failed(each.definition, images, proofs.get(uuid))
        found[uuid] = None if snapshot is None else {**_compared(each, snapshot, images, node).facts(), "failed": failed}
    return found


def _compared(subject: _Subject, snapshot: Snapshot, images: Mapping[str, _Found], node: Node) -> Outdated:
    found = alone("Cannot compare the container", lambda: _outdated(subject, snapshot, images, node))
    return Outdated(None, str(found)) if isinstance(found, PowerError) else found


def _has_failed(definition: Definition | None, images: Mapping[str, _Found], proof: Proof | None) -> bool | None:
    """Tell if a present definition with its image failed its proof; None if unknown."""
    image = None if definition is None else images.get(definition.image)
    if proof is None or definition is None or not isinstance(image, ImageSeen):
        return False if proof is None else None
    return proof.gave_up(definition_fingerprint(definition), image.id)


def _images(names: Sequence[str], node: Node) -> dict[str, _Found]:
    def find(name: str) -> tuple[_Found]:
        return (alone("Cannot look for images", lambda: node.engine.images.find(name)),)

    silent = EngineUnreachable(f"Cannot look for images: the engine took more than {_IMAGES_SECONDS:.0f} s")
    found = map_concurrently(find, names, _IMAGES_SECONDS)
    return {name: silent if each is None else each[0] for name, each in zip(names, found)}


def _outdated(subject: _Subject, snapshot: Snapshot, images: Mapping[str, _Found], node: Node) -> Outdated:
    definition = subject.definition
    if definition is None or isinstance(subject.doubt, ServerNotFound):
        return Outdated(None, NO_DEFINITION)
    if subject.doubt is not None:
        return Outdated(None, str(subject.doubt))
    image = images.get(definition.image)
    return Outdated(None, str(image)) if isinstance(image, PowerError) else outdated(node, definition, snapshot, image)


def unknown_warnings(entries: Sequence[Mapping[str, Any]], reported: Iterable[str] = ()) -> list[str]:
    """Return a message for each reason in ``entries`` but not in ``reported``; a missing definition needs none."""
    by_reason: dict[str, list[str]] = {}
    for entry in entries:
        outdated = entry.get("outdated")
        if outdated is not None and outdated["is_outdated"] is None:
            by_reason.setdefault(outdated["why"], []).append(entry["name"] or entry["short_id"])
    said = {NO_DEFINITION, *reported}
    unsaid = [why for why in by_reason if why not in said]
    return [f"Cannot tell whether {few(by_reason[why])} {'is' if len(by_reason[why]) == 1 else 'are'} outdated: {why}" for why in unsaid]


_LINE_BYTES = 500
_HEALTH_LINES = 3
_FIELDS = (
    *("server", "short_id", "name", "state", "startup", "suspended", "priority", "egg", "labels"),
    *("container", "outdated", "lock", "countdown", "freeze", "proof", "intent", "last_operation", "supervision"),
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
    freezes: FreezeFacts | None
    proofs: Mapping[str, Proof] | None

    def freeze(self, uuid: str) -> Mapping[str, Any] | None:
        return None if self.freezes is None else self.freezes.of(uuid)


def describe(names: Sequence[str], node: Node, wanted: FactOptions, *, remember: Callable[[str, Run], None]) -> Described:
    """Read the facts of the named servers, each once, or of all. Raises as `describe_each`, and errors of the list of containers."""
    chosen, warnings = choose(names, node.sources.search.identify_to_look) if names else (everything(node, None), [])
    node.sources.glance()
    # Before the sync of `describe_each`: a later read would need one more.
    events, unsure = event_facts(node)
    found = describe_each(chosen, node, wanted, remember=remember)
    unlisted = () if names else tuple(str(error) for error in node.sources.listing.unlisted)
    unknown = unknown_warnings(found.entries, node.sources.warnings)
    unsure_words = (unsure,) if unsure else ()
    return replace(found, warnings=(*warnings, *found.warnings, *unknown, *unsure_words), unlisted=unlisted, events=events)


@dataclass(frozen=True)
class _Subject:
    """A server with a boot's definition, or with the last known one, and in ``doubt`` why a boot may use another."""

    server: Server
    seen: Observed
    definition: Definition | None
    doubt: PowerError | None
    log: bytes | None

    @property
    def matchers(self) -> Matchers:
        return matchers_of(self.definition)


def describe_each(chosen: Sequence[Server | Unseen], node: Node, wanted: FactOptions, *, remember: Callable[[str, Run], None]) -> Described:
    """Return one entry for each of ``chosen``, in order, except unknown servers. Unknown values are None.

    ``remember`` gets each run that was seen ready, because its line may rotate away. Raises `EngineUnreachable` without any answer.
    """
    servers = [each for each in chosen if isinstance(each, Server)]
    uuids = [server.uuid for server in servers]
    known = _Known(
        intents=node.journal.intents.of_each(uuids),
        last=node.journal.operations.last_acts(uuids),
        operations=node.journal.operations.latest_of_each(uuids, wanted.operations) if wanted.operations else {},
        priorities=Priorities.of(node.settings.priorities),
        supervision=SupervisionFacts.read(node, uuids, wanted.crashes),
        freezes=freeze_facts(node),
        proofs=node.journal.proofs.of_each(uuids),
    )
    sights = see_each(uuids, node, wanted.tail)
    # After the engine: the journal knows a run as soon as the engine shows it.
    node.journal.runs.hold(uuids)
    subjects = {
        server.uuid: _or_unseen(server, functools.partial(_subject, server, sight, node, known)) for server, sight in zip(servers, sights)
    }
    readable = [subject for subject in subjects.values() if isinstance(subject, _Subject)]
    ready = _ready_now(readable, node)
    outdated = outdated_each(readable, node, known.proofs)
    players = count_each(readable, node, wanted.count_players)
    for subject in readable:
        if subject.seen.snapshot is not None and ready.get(subject.server.uuid) is True:
            remember(subject.server.uuid, subject.seen.snapshot.run)

    def entry(subject: _Subject) -> dict[str, Any]:
        is_ready = ready.get(subject.server.uuid, False)
        if isinstance(is_ready, PowerError):
            raise is_ready
        found = {**_entry(subject, node, known, is_ready, wanted), "outdated": outdated[subject.server.uuid]}
        return found if wanted.count_players is None else {**found, "players": players.get(subject.server.uuid)}

    entries: list[dict[str, Any]] = []
    warnings = [warning for warning in (known.supervision.warning, known.freezes and known.freezes.unknown) if warning]
    warnings += _left_out_mounts(readable, node)
    for each in chosen:
        told = each if isinstance(each, Unseen) else subjects[each.uuid] or each
        if isinstance(told, Server):
            warnings.append(f"Cannot find server {told.uuid}: no source, no container and no journal of this node has it")
            continue
        found = told if isinstance(told, Unseen) else _or_unseen(told.server, functools.partial(entry, told))
        if isinstance(found, Unseen):
            warnings.append(found.msg)
            found = {**found.entry(_names(wanted)), "freeze": known.freeze(found.server.uuid)}
        entries.append(found)
    node.journal.sync()
    return Described(entries, tuple(warnings), supervisor=known.supervision.supervisor, freeze=known.freeze(""))


def _left_out_mounts(subjects: Sequence[_Subject], node: Node) -> Iterator[str]:
    """Yield a warning for each mount that a server has only in its definition."""
    for definition in (each.definition for each in subjects if each.definition is not None and each.definition.mounts):
        with contextlib.suppress(PowerError):
            left_out = spec_of(node, definition, image_id="").left_out
            yield from (f"server {definition.server.uuid}: {warning}" for warning in left_out)


def _or_unseen(server: Server, read: Callable[[], T]) -> T | Unseen:
    found = alone(f"Cannot read server {server.uuid}", read)
    return Unseen.because(server, found) if isinstance(found, PowerError) else found


def _subject(server: Server, sight: Sight | PowerError, node: Node, known: _Known) -> _Subject | Unseen | None:
    """Return the server with its data, the reason why it is unreadable, or None if it is unknown everywhere."""
    definition: Definition | None
    doubt: PowerError | None = None
    try:
        definition = node.sources.definition_as_asked(server.uuid)
    except PowerError as error:
        definition, doubt = node.sources.definition_for_stop(server.uuid), error
    named = server if definition is None else definition.server
    if isinstance(sight, PowerError):
        return Unseen.because(named, sight)
    seen = node.seen_as(server.uuid, sight.snapshot)
    traces = (definition, seen.snapshot, seen.holder, known.intents.get(server.uuid), known.last.get(server.uuid))
    if all(trace is None for trace in traces):
        is_listed = _or_unseen(named, lambda: node.sources.listing.has(server.uuid))
        if is_listed is not True:
            return is_listed or None
    return _Subject(named, seen, definition, doubt, sight.log)


def _ready_now(subjects: Sequence[_Subject], node: Node) -> dict[str, bool | PowerError]:
    """Return by UUID whether unwatched servers are ready by now, as far as time allows."""

    def look(subject: _Subject) -> bool:
        snapshot, matchers = subject.seen.snapshot, subject.matchers
        return bool(matchers) and snapshot is not None and seen_ready(node, snapshot, matchers, subject.seen.startup)

    def look_alone(subject: _Subject) -> bool | PowerError:
        return alone(f"Cannot read the log of server {subject.server.uuid}", lambda: look(subject))

    waiting = [subject for subject in subjects if subject.seen.state is PowerState.STARTING]
    # A random order, so that servers that are never ready do not always take the time of the same others.
    random.shuffle(waiting)
    found = map_concurrently(look_alone, waiting, _READINESS_SECONDS)
    return {subject.server.uuid: is_ready or False for subject, is_ready in zip(waiting, found)}


def _names(wanted: FactOptions) -> tuple[str, ...]:
    optional = {"operations": wanted.operations, "crashes": wanted.crashes, "log": wanted.tail, "players": wanted.count_players}
    return (*_FIELDS, *(name for name, is_wanted in optional.items() if is_wanted))


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
        "priority": priority_of(server, definition, known.priorities),
        "egg": None if definition is None or definition.egg is None else blanked(definition.egg),
        "labels": None if definition is None else {blanked(name): blanked(text) for name, text in definition.labels},
        "container": None if seen.snapshot is None else _container(seen.snapshot, subject),
        "outdated": None,
        "lock": None if seen.holder is None else seen.holder.facts(),
        "countdown": None if countdown is None else countdown.facts(),
        "freeze": known.freeze(server.uuid),
        "proof": None if not known.proofs or server.uuid not in known.proofs else known.proofs[server.uuid].facts(),
        "intent": None if intent is None else {"up": intent.up, "origin": intent.origin, "at": intent.at},
        "last_operation": None if last is None else _operation(last),
        "supervision": known.supervision.of(
            server.uuid,
            seen.snapshot,
            policy_of(node.settings, server, definition),
            should_be_down=intent is not None and not intent.up,
            is_frozen=known.freezes is not None and known.freezes.holds_back(server.uuid),
        ),
    }
    if wanted.operations:
        entry["operations"] = [_operation(row) for row in known.operations.get(server.uuid, ())]
    if wanted.crashes:
        entry["crashes"] = known.supervision.crashes_of(server.uuid)
    if wanted.tail:
        entry["log"] = _log(subject, wanted.tail)
    return entry


def _container(snapshot: Snapshot, subject: _Subject) -> dict[str, Any]:
    names = ("id", "image", "started_at", "finished_at", "exit_code", "oom_killed", "health", "paused")
    facts = {name: getattr(snapshot, name) for name in names}
    facts["health_output"] = []
    # Only then: a node may have hundreds of servers, and each look for secrets takes time.
    if snapshot.live and snapshot.health == UNHEALTHY:
        output, secrets = snapshot.health_output.encode(errors="replace"), snapshot.secrets | secrets_of(subject.definition)
        facts["health_output"] = list(readable_lines(output, _HEALTH_LINES, _LINE_BYTES, secrets))
    return {**facts, "finished_at": None} if snapshot.live else facts


def _operation(row: OperationRow) -> dict[str, Any]:
    names = ("id", "action", "origin", "reason", "requested_at", "begun_at", "ended_at", "outcome", "code", "msg", "forced")
    return {name: getattr(row, name) for name in names}


def _log(subject: _Subject, tail: int) -> list[str] | None:
    snapshot = subject.seen.snapshot
    if snapshot is None or subject.log is None:
        return None if snapshot is not None else []
    return list(readable_lines(subject.log, tail, _LINE_BYTES, snapshot.secrets | secrets_of(subject.definition)))
