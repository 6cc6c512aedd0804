# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The known servers of this node, with their suspensions: no request waits for the Panel, except to be refused as suspended.

Questions about servers start a look in the background if the last one is old enough. An action uses fresh facts when its turn comes.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping

from ..._power.definitions.definition_files import KeptDefinitions
from ..._power.model.errors import PowerError, SourceUnreachable, Suspended, internal_error
from ..._power.model.records import dataclass, replace
from ..._power.model.request import PowerAction
from ..._power.model.result import Result
from ..._power.model.server import Server, parse_uuid
from ..._power.sources.sources import Sources
from ..acceptance.shared_node import SharedNode
from ..http.log import Log
from ..http.worker_pool import ThreadRefused, WorkerPool

#: Seconds between two looks at everything, and between two looks for new servers on the node.
_LOOK_SECONDS, _NEW_SECONDS = 10.0, 0.5
_MOST_SEARCHES = 4
#: Wings answers at once; the Panel gets one try of this length.
_PATIENCE_SECONDS = 10.0


@dataclass(frozen=True)
class KnownServer:
    """One server, and whether it was suspended when last seen."""

    server: Server
    suspended: bool = False


class ServerCache:
    """The servers of one node. Its methods belong to the event loop."""

    def __init__(self, node: SharedNode, log: Log) -> None:
        self._node = node
        self._log = log
        self._found: Mapping[str, KnownServer] = {}
        #: The error codes of missing lists at the last full look. At the beginning a Panel has not answered yet.
        self.unlisted: tuple[str, ...] = (SourceUnreachable.code,) if node.settings.remote else ()
        self._looked_at = self._new_looked_at = float("-inf")
        self._look: asyncio.Task[None] | None = None
        self._new_look: asyncio.Task[None] | None = None
        self._changes: dict[str, KnownServer] = {}
        self._threads = WorkerPool(_MOST_SEARCHES, "known")
        # Separate threads: searches must not delay these looks, and a silent Panel must not delay searches.
        self._look_threads, self._new_threads = WorkerPool(1, "known"), WorkerPool(2, "known")
        self._suspension_threads = WorkerPool(_MOST_SEARCHES, "known")

    async def load(self) -> None:
        """Read all servers that need neither the Panel nor the engine, which may be silent. Raises nothing."""
        self._found = await self._threads.ask(lambda: _at_hand(self._node))
        self.look_again()

    def look_again(self) -> None:
        """Begin a full look in the background, unless the last one is fresh."""
        now = asyncio.get_running_loop().time()
        if now - self._looked_at >= _LOOK_SECONDS and (self._look is None or self._look.done()):
            self._looked_at, self._look = now, asyncio.ensure_future(self._refresh())

    def cached(self, segment: str) -> KnownServer | None:
        """Return a known server by its exact UUID; begin a look in the background."""
        self.look_again()
        return self._found.get(segment)

    async def find(self, segment: str, *, shared: bool = False) -> KnownServer | None:
        """Return a server by its exact UUID, None if there is none. The Panel is not asked for a new one. Raises `PowerError` if the engine
        does not answer. ``shared``: for clients without a token, which all share one look for new servers every moment."""
        known = self.cached(segment)
        if known is not None or parse_uuid(segment) != segment:
            return known
        if shared:
            await self._await_new()
            return self._found.get(segment)
        found = await self._threads.ask(lambda: _search(self._node, segment))
        if found is not None:
            self._note({segment: found})
        return found

    async def all_servers(self) -> list[Server]:
        """Return every server, by UUID. New ones are found on the node, not on the Panel."""
        self.look_again()
        if asyncio.get_running_loop().time() - self._new_looked_at >= _NEW_SECONDS:
            await self._await_new()
        return [self._found[uuid].server for uuid in sorted(self._found)]

    def learn(self, result: Result) -> None:
        if result.action.boots and result.code == Suspended.code:
            self.note_suspension(result.server.uuid, suspended=True)

    async def is_suspended(self, known: KnownServer) -> bool:
        """Tell if a server is suspended. If it was when last seen, its current definition decides, for at most `_PATIENCE_SECONDS`. False
        for a definition that is not readable by then: the action reports the fault."""
        uuid, suspended = known.server.uuid, known.suspended
        if suspended:
            try:
                asked = self._suspension_threads.ask(lambda: _is_suspended(self._node, uuid))
                suspended = await asyncio.wait_for(asked, _PATIENCE_SECONDS)
            except (PowerError, asyncio.TimeoutError):
                return False
            self.note_suspension(uuid, suspended=suspended)
        return suspended

    def note_suspension(self, uuid: str, *, suspended: bool) -> None:
        known = self._found.get(uuid)
        if known is not None:
            self._note({uuid: replace(known, suspended=suspended)})

    def close(self) -> None:
        if self._look is not None:
            self._look.cancel()

    async def _await_new(self) -> None:
        """Wait for the next look for new servers. A cancelled caller does not cancel the look."""
        if self._new_look is None or self._new_look.done():
            self._new_look = asyncio.ensure_future(self._look_for_new())
        await asyncio.shield(self._new_look)

    async def _look_for_new(self) -> None:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(max(0.0, self._new_looked_at + _NEW_SECONDS - loop.time()))
        self._new_looked_at, before = loop.time(), frozenset(self._found)
        new = await self._new_threads.ask(lambda: _new_servers(self._node, before))
        self._note({uuid: server for uuid, server in new.items() if uuid not in self._found})

    def _note(self, newer: Mapping[str, KnownServer]) -> None:
        """Keep facts that are newer than those of a look under way."""
        self._found = {**self._found, **newer}
        self._changes.update(newer)

    async def _refresh(self) -> None:
        before = self._found
        self._changes = {}
        try:
            found, self.unlisted = await self._look_threads.ask(lambda: _everything(self._node, before))
        except (PowerError, ThreadRefused) as error:
            self._log.warn("servers_not_listed", reason=str(error))
        except Exception as error:
            self._log.error("fault", reason=internal_error(error))
        else:
            self._found = {**found, **self._changes}


def _at_hand(node: SharedNode) -> dict[str, KnownServer]:
    sources = node.fresh_sources()
    kept = KeptDefinitions(node.settings.state_directory, node.settings.group)
    found: dict[str, Server] = {}
    with contextlib.suppress(PowerError):
        found.update((server.uuid, server) for server in sources.listing.everything(PowerAction.STOP))
    with contextlib.suppress(PowerError):
        # The Panel has not confirmed these servers yet. A start asks it first.
        found = {**{uuid: Server(uuid) for uuid in kept.uuids()}, **found}
    return {uuid: _known(server, sources) for uuid, server in found.items()}


def _new_servers(node: SharedNode, before: frozenset[str]) -> dict[str, KnownServer]:
    sources = node.fresh_sources()
    found: list[Server] = []
    with contextlib.suppress(PowerError):
        found += sources.listing.everything(PowerAction.STOP)
    with contextlib.suppress(PowerError):
        found += node.now().engine.servers()
    return {server.uuid: _known(server, sources) for server in found if server.uuid not in before}


def _everything(node: SharedNode, before: Mapping[str, KnownServer]) -> tuple[dict[str, KnownServer], tuple[str, ...]]:
    settings, sources = node.settings, node.fresh_sources()
    found = {server.uuid: server for server in sources.listing.everything(None)}
    whole, unlisted = sources.listing.is_whole, [error.code for error in sources.listing.unlisted]
    if whole:
        node.keep_for_reading(sources, settings)
    try:
        for server in node.now().engine.servers():
            found.setdefault(server.uuid, server)
    except PowerError as error:
        whole = False
        unlisted.append(error.code)
    if not whole:
        # A list is missing; its servers stay known.
        found = {**{uuid: known.server for uuid, known in before.items()}, **found}
    return {uuid: _known(server, sources) for uuid, server in found.items()}, tuple(dict.fromkeys(unlisted))


def _search(node: SharedNode, uuid: str) -> KnownServer | None:
    """Return a server if the node has it. Raises `PowerError` if unknown."""
    sources, inspect = node.fresh_sources(), node.now().engine.inspect
    try:
        is_there = sources.listing.has(uuid) or inspect(uuid) is not None
    except SourceUnreachable:
        # A container proves that the server is there.
        is_there = inspect(uuid) is not None
        if not is_there:
            raise
    return _known(Server(uuid), sources) if is_there else None


def _is_suspended(node: SharedNode, uuid: str) -> bool:
    sources = node.fresh_sources()
    sources.glance()
    return sources.definition_as_asked(uuid).suspended


def _known(server: Server, sources: Sources) -> KnownServer:
    definition = sources.definition_for_stop(server.uuid)
    return KnownServer(server) if definition is None else KnownServer(definition.server, definition.suspended)
