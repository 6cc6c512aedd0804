# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The numbers of a node for its metrics: servers by state and by supervision, ended runs by verdict, and the supervisor itself."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Generic, TypeVar

from ..._power.actions.many.server_facts import FactOptions, describe_each
from ..._power.actions.many.service_facts import OFF, event_facts, freeze_facts
from ..._power.engine.engine_version import EngineVersion
from ..._power.host.supervisor_record import UNKNOWN, supervisor_facts
from ..._power.model.errors import PowerError, internal_error
from ..._power.model.players import COUNTING, WAITING
from ..._power.model.records import dataclass, field
from ..._power.model.server import PowerState, Server
from ..._power.model.supervision import SupervisionState, Verdict
from ..acceptance.shared_node import SharedNode
from ..http.log import Log
from ..http.worker_pool import WorkerPool
from .server_cache import ServerCache

_Numbers = TypeVar("_Numbers")

#: The state of a server that could not be seen.
UNSEEN = "unknown"
_STATES = (*(state.value for state in PowerState), UNSEEN)
_SUPERVISION = (*(state.value for state in SupervisionState), OFF, UNSEEN)
_COUNTDOWNS = (WAITING, COUNTING)
_OUTDATED = {True: "yes", False: "no", None: UNSEEN}
_FRESH_SECONDS = 5.0
#: The longest wait for numbers: Prometheus waits a few seconds, and the engine may be silent.
_WAIT_SECONDS = 2.0


@dataclass(frozen=True)
class ServerNumbers:
    """The numbers of servers by state, by supervision, and by phase of a countdown; empty if unknown. ``outdated``: the numbers of
    outdated, current and unclear containers. ``frozen``: frozen servers, None if unknown. ``engine``: None if it does not answer."""

    states: Mapping[str, int] = field(default_factory=dict)
    supervision: Mapping[str, int] = field(default_factory=dict)
    countdowns: Mapping[str, int] = field(default_factory=dict)
    outdated: Mapping[str, int] = field(default_factory=dict)
    frozen: int | None = None
    engine: EngineVersion | None = None


@dataclass(frozen=True)
class NodeNumbers:
    """The numbers of ended runs by verdict, and whether the node is frozen, None if unknown; facts of the supervisor and of events."""

    ended: Mapping[Verdict, int] | None = None
    supervisor: Mapping[str, Any] = field(default_factory=lambda: UNKNOWN)
    events: Mapping[str, Any] = field(default_factory=dict)
    frozen: bool | None = None


class Census:
    """The numbers of one node, read every few seconds at most. Its methods belong to the event loop."""

    def __init__(self, node: SharedNode, known: ServerCache, log: Log) -> None:
        self._node = node
        self._known = known
        # Separate threads: a silent engine must not delay the journal's numbers.
        self._engine_threads, self._journal_threads = WorkerPool(1, "census"), WorkerPool(1, "census")
        self._servers = _Kept(self._count_servers, ServerNumbers(), log)
        self._runs = _Kept(lambda: self._journal_threads.ask(self._count_runs), NodeNumbers(), log)

    async def numbers(self) -> tuple[ServerNumbers, NodeNumbers]:
        """Return the numbers known within a moment."""
        return await asyncio.gather(self._servers.value(), self._runs.value())

    async def _count_servers(self) -> ServerNumbers:
        servers = await self._known.all_servers()
        entries = await self._engine_threads.ask(lambda: self._seen(servers))
        version = await self._engine_threads.ask(self._node.for_reading().engine.version)
        states = [entry["state"] or UNSEEN for entry in entries]
        supervision = [UNSEEN if entry["supervision"] is None else entry["supervision"]["state"] for entry in entries]
        phases = [entry["countdown"]["phase"] for entry in entries if entry["countdown"] is not None]
        outdated = [_OUTDATED[entry["outdated"]["is_outdated"]] for entry in entries if entry["outdated"] is not None]
        freezes = [entry["freeze"]["is_frozen"] for entry in entries if entry["freeze"] is not None]
        return ServerNumbers(
            _counted(states, _STATES),
            _counted(supervision, _SUPERVISION),
            _counted(phases, _COUNTDOWNS),
            _counted(outdated, tuple(_OUTDATED.values())),
            None if None in freezes else len(freezes),
            version,
        )

    def _seen(self, servers: list[Server]) -> list[dict[str, Any]]:
        node = self._node.for_reading()
        return describe_each(servers, node, FactOptions(), remember=node.journal.runs.record_match).entries

    def _count_runs(self) -> NodeNumbers:
        node, journal = self._node.for_reading(), self._node.journal
        freezes = freeze_facts(node)
        frozen = ((freezes and freezes.of("")) or {"is_frozen": False})["is_frozen"]
        supervisor, _warning = supervisor_facts(node.settings.record_directories)
        numbers = NodeNumbers(journal.ended_runs.totals(), supervisor, event_facts(node)[0], frozen)
        journal.sync()
        return numbers


def _counted(found: Sequence[str], names: Sequence[str]) -> dict[str, int]:
    return {name: found.count(name) for name in names}


class _Kept(Generic[_Numbers]):
    """Numbers that stay fresh for some seconds, with one look at a time."""

    def __init__(self, look: Callable[[], Awaitable[_Numbers]], unknown: _Numbers, log: Log) -> None:
        self._look = look
        self._unknown = unknown
        self._log = log
        self._numbers = unknown
        self._at = float("-inf")
        self._looking: asyncio.Task[None] | None = None

    async def value(self) -> _Numbers:
        """Return the numbers; unknown ones if they take too long."""
        if self._looking is None and asyncio.get_running_loop().time() - self._at >= _FRESH_SECONDS:
            self._looking = asyncio.ensure_future(self._renew())
        if self._looking is not None:
            await asyncio.wait({self._looking}, timeout=_WAIT_SECONDS)
        return self._numbers if self._looking is None else self._unknown

    async def _renew(self) -> None:
        self._at = asyncio.get_running_loop().time()
        try:
            self._numbers = await self._look()
        except PowerError:
            self._numbers = self._unknown
        except Exception as error:
            self._numbers = self._unknown
            self._log.error("fault", reason=internal_error(error))
        finally:
            self._looking = None
