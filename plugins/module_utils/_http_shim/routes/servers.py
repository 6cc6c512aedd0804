# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Routes of servers: lists, one server, logs, commands, sync, players."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, TimeoutError
from dataclasses import replace
from typing import Any

from ..._power.actions.many.server_facts import FactOptions, describe_each
from ..._power.actions.node.node import Node
from ..._power.actions.turn.perform import perform
from ..._power.definitions.definition import Definition
from ..._power.definitions.settings import Settings
from ..._power.games.game import Game
from ..._power.model.errors import EngineError, PowerError, alone
from ..._power.model.players import PlayerCount
from ..._power.model.report import Unseen
from ..._power.model.request import PowerAction, Request, WaitFor, new_operation_id
from ..._power.model.result import Outcome
from ..._power.model.server import Server
from ..acceptance.actions import NotAccepted
from ..http import replies
from ..http.bodies import read_texts
from ..http.replies import Reply, origin_of
from ..http.worker_pool import WorkerPool
from ..servers.server_cache import KnownServer
from ..servers.wings_view import Uses, server_entry, system_entry, system_entry_2
from . import schemas
from .router import Backend, HttpRequest, ReplyDoc, Route, failure

_FRESH_SECONDS = 5.0
#: The longest wait for a game. Panels look all the time, so only the asking thread waits longer for a silent game.
_PLAYERS_SECONDS = 0.5
_UNLISTED_TEXT = "Only on an incomplete list: the codes of the lists of servers that could not be read"
_THREADS = 8
_MOST_LINES = 100
#: How long a stop waits for its turn after a sync finds a suspension.
_WAIT_SECONDS = 30
#: How long new limits wait for their turn after a sync: the client waits, too.
_LIMIT_WAIT_SECONDS = 5
#: Facts that Wings lacks. Players only for a single server, because each game must answer.
_OURS = ("outdated", "supervision", "countdown", "freeze", "players")


class PlayerCounts:
    def __init__(self) -> None:
        self._guard = threading.Lock()
        #: The time of the last question to each game, and the players, once it answers.
        self._asked: dict[str, tuple[float, Future[PlayerCount]]] = {}

    def of(self, uuid: str, game: Game) -> PlayerCount:
        """Return the players, a few seconds old at most; unknown if the game does not answer at once."""
        with self._guard:
            oldest = time.monotonic() - _FRESH_SECONDS
            self._asked = {each: asked for each, asked in self._asked.items() if asked[0] > oldest or not asked[1].done()}
            if uuid not in self._asked:
                self._asked[uuid] = time.monotonic(), _ask(game)
            count = self._asked[uuid][1]
        with contextlib.suppress(TimeoutError):
            return count.result(_PLAYERS_SECONDS)
        return PlayerCount(why="the game has not answered yet")


def _ask(game: Game) -> Future[PlayerCount]:
    future: Future[PlayerCount] = Future()

    def ask() -> None:
        count = alone("Cannot ask the game", game.players)
        future.set_result(PlayerCount(why=str(count)) if isinstance(count, PowerError) else count)

    try:
        threading.Thread(target=ask, name="players", daemon=True).start()
    except RuntimeError as error:
        future.set_result(PlayerCount(why=str(error)))
    return future


class ServerRoutes:
    """Replies about servers. Threads make them, so that the event loop waits for no engine."""

    def __init__(self, backend: Backend) -> None:
        self._node = backend.node
        self._known = backend.known
        self._actions = backend.actions
        self._commands = backend.commands
        self._log = backend.log
        self._threads = WorkerPool(_THREADS, "servers")
        # Separate threads: a silent Panel must not delay other routes.
        self._sync_threads = WorkerPool(_THREADS, "sync")
        self._uses = Uses(backend.disks)
        self._players = PlayerCounts()

    def described(self, servers: Sequence[Server], *, players: bool = False) -> list[dict[str, Any]]:
        """Return the servers as Wings shows them, also those without a readable state; ``players`` adds the players. For a thread. Raises
        `PowerError`."""
        node = self._node.for_reading()
        wanted = FactOptions(count_players=self._players.of if players else None)
        facts = describe_each(servers, node, wanted, remember=node.journal.runs.record_match)
        for warning in facts.warnings:
            self._log.warn("server_not_shown", reason=warning)
        definitions = {entry["server"]: node.sources.definition_for_stop(entry["server"]) for entry in facts.entries}
        uses = self._uses.of_each(facts.entries, definitions, node)

        def shown(entry: Mapping[str, Any]) -> dict[str, Any]:
            uuid = entry["server"]
            found = alone(f"Cannot show server {uuid}", lambda: _shown(entry, definitions[uuid], uses[uuid], node.settings))
            if not isinstance(found, PowerError):
                return found
            unseen = Unseen.because(Server(uuid, entry["name"] or ""), found)
            return _shown(unseen.entry(entry), None, {}, node.settings)

        return [shown(entry) for entry in facts.entries]

    @Route(
        "servers",
        "GET",
        "/api/servers",
        "All servers: state, definition, use of memory, CPU, network and disk",
        {
            200: ReplyDoc("The servers", schemas.list_of(schemas.LISTED), {replies.UNLISTED: _UNLISTED_TEXT}),
            500: failure("The engine does not answer"),
        },
    )
    async def _all(self, request: HttpRequest) -> Reply:
        servers = await self._known.all_servers()
        reply = replies.json_reply(await self._threads.ask(lambda: self.described(servers)))
        unlisted = ",".join(self._known.unlisted)
        return replace(reply, headers=((replies.UNLISTED, unlisted),)) if unlisted else reply

    @Route(
        "server",
        "GET",
        "/api/servers/{server}",
        "One server, and its players",
        {200: ReplyDoc("The server", schemas.SERVER), 500: failure("The engine does not answer")},
    )
    async def _one(self, request: HttpRequest, known: KnownServer) -> Reply:
        found = await self._threads.ask(lambda: self.described([known.server], players=True))
        if not found:
            return replies.NO_SERVER
        if found[0]["state"] is None:
            return replies.unexpected(request.id, note=found[0]["msg"])
        return replies.json_reply(found[0])

    @Route(
        "commands",
        "POST",
        "/api/servers/{server}/commands",
        "Write commands to the standard input of the process",
        {
            204: ReplyDoc("Written"),
            400: failure("The body is invalid"),
            500: failure("The server has no container, or the engine does not answer"),
            502: failure("The server is stopped"),
        },
        body=schemas.COMMANDS,
    )
    async def _send_commands(self, request: HttpRequest, known: KnownServer) -> Reply:
        uuid, node = known.server.uuid, self._node.now()
        snapshot = await self._threads.ask(lambda: node.engine.inspect(uuid))
        if snapshot is None:
            return replies.unexpected(request.id, note="no container")
        if not snapshot.live:
            return replies.NO_STDIN
        commands = await request.body(lambda body: read_texts(body, "commands"))
        text = "".join(f"{command}\n" for command in commands)
        refused = await self._commands.write(uuid, text) if text else None
        if refused is not None:
            # As with Wings, only the log has the reason.
            self._log.warn("commands_not_written", request=request.id, server=uuid, reason=refused.error or refused.said)
        return Reply(204)

    @Route(
        "logs",
        "GET",
        "/api/servers/{server}/logs",
        "The last lines of output; size is their number",
        {200: ReplyDoc("The lines", schemas.LINES), 500: failure("The engine does not answer")},
        query={"size": {"type": "string"}},
    )
    async def _logs(self, request: HttpRequest, known: KnownServer) -> Reply:
        lines = request.number("size", _MOST_LINES, _MOST_LINES) or _MOST_LINES
        try:
            log = await self._threads.ask(lambda: self._node.now().engine.logs.tail(known.server.uuid, lines))
        except EngineError as error:
            if error.facts.get("status") != 404:
                raise
            log = b""
        text = log.decode("utf-8", "replace").removesuffix("\n")
        # Wings sends null for no lines, and its clients expect that.
        return replies.json_reply({"data": [line.rstrip("\r") for line in text.split("\n")][-lines:] if log else None})

    @Route(
        "sync",
        "POST",
        "/api/servers/{server}/sync",
        "Read the definition again; update the limits of a running server, stop a suspended one",
        {204: ReplyDoc("Read"), 500: failure("The definition cannot be read")},
    )
    async def _sync(self, request: HttpRequest, known: KnownServer) -> Reply:
        uuid, sources, origin = known.server.uuid, self._node.fresh_sources(), origin_of(request.address, request.settings)

        def read() -> tuple[bool, bool]:
            definition = sources.definition(uuid, again=True)
            sources.keep(definition)
            node = replace(self._node.now(), sources=sources)
            if not definition.suspended:
                self._limit(uuid, node, origin)
                return False, False
            snapshot = node.engine.inspect(uuid)
            return True, snapshot is not None and snapshot.live

        suspended, live = await self._sync_threads.ask(read)
        self._known.note_suspension(uuid, suspended=suspended)
        if suspended and live:
            try:
                await self._actions.accept(known.server, PowerAction.STOP, _WAIT_SECONDS, origin)
            except NotAccepted as error:
                return replies.unexpected(request.id, note=f"suspended, and not stopped: {type(error).__name__}")
        return Reply(204)

    def _limit(self, uuid: str, node: Node, origin: str) -> None:
        """Apply the limits of a server's definition. As with Wings, a failure goes only to the log. For a thread."""
        asked = Request(
            server=uuid,
            action=PowerAction.LIMIT,
            operation=new_operation_id(),
            requested_at=node.clock.now(),
            wait_seconds=_LIMIT_WAIT_SECONDS,
            origin=origin,
            reason="sync",
        )
        try:
            snapshot = node.engine.inspect(uuid)
        except PowerError as error:
            self._log.warn("limits_not_set", server=uuid, code=error.code, reason=str(error))
            return
        if snapshot is None or not snapshot.live:
            return
        result = perform(asked, node)
        if result.outcome not in (Outcome.DONE, Outcome.UNCHANGED) or result.warnings:
            self._log.warn("limits_not_set", server=uuid, code=result.code, reason=result.msg or "; ".join(result.warnings))

    @Route(
        "system",
        "GET",
        "/api/system",
        "The machine and the version of this collection; with v=2 also the engine",
        {200: ReplyDoc("The machine", schemas.SYSTEM), 500: failure("The engine does not answer")},
        query={"v": {"type": "string"}},
    )
    async def _system(self, request: HttpRequest) -> Reply:
        if request.query("v") != "2":
            return replies.json_reply(system_entry())
        return replies.json_reply(system_entry_2(await self._threads.ask(self._node.now().engine.facts)))


def _shown(entry: Mapping[str, Any], definition: Definition | None, use: Mapping[str, Any], settings: Settings) -> dict[str, Any]:
    server, is_seen = Server(entry["server"], entry["name"] or ""), entry["state"] is not None
    suspended = entry["suspended"] is True if is_seen else definition is not None and definition.suspended
    shown = server_entry(server, entry["state"], definition, use if is_seen else None, settings, suspended=suspended)
    if not is_seen:
        shown.update(code=entry["code"], msg=entry["msg"])
    return {**shown, **{name: entry[name] for name in _OURS if name in entry}, "wait_for": [each.value for each in WaitFor]}
