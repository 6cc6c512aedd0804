# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Commands for the standard inputs of servers' processes, one at a time for each server, in order. A process that does not read
delays only its own commands. Lives in the event loop; threads write.
"""

from __future__ import annotations

import asyncio

from ..._power.actions.turn.stop import graceful_stop
from ..._power.model.cancellation import Deadline
from ..._power.model.clock import SYSTEM_CLOCK
from ..._power.model.errors import ENGINE_FAULTS, PowerError
from ..._power.model.records import dataclass, field
from ..._power.model.server import Run, Snapshot, StopType
from ..acceptance.shared_node import SharedNode
from ..http.worker_pool import ThreadRefused, WorkerPool

#: The limit of threads: each server uses one at most.
_THREADS = 32
_MOST_WAITING = 32
#: The time limit of a command, in seconds. A process that reads takes it within milliseconds.
_SECONDS = 3.0
#: After a refused command, others within so many seconds fail, too: the engine keeps its undelivered input.
_PAUSE_SECONDS = 5.0


@dataclass(frozen=True)
class NotWritten:
    """The reason why a command was not written: words for any client, or an ``error`` for the node's operators."""

    said: str = ""
    error: str = ""


OFFLINE = NotWritten("the server is offline")
CLOSED = NotWritten("its standard input is closed")
NOT_READ = NotWritten("its process does not read its standard input; it may still read this command")
TOO_MANY = NotWritten("too many commands for it are waiting already; send it again later")
NO_TEXT = NotWritten("it has invalid characters")


@dataclass
class _CommandTurn:
    """The queued commands of one server, and the last refused one: its run, how long it counts, and the reason."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    waiting: int = 0
    failed: tuple[Run, Deadline, NotWritten] | None = None


class Commands:
    def __init__(self, node: SharedNode) -> None:
        self._node = node
        self._threads = WorkerPool(_THREADS, "commands")
        self._turns: dict[str, _CommandTurn] = {}

    async def write(self, uuid: str, text: str) -> NotWritten | None:
        """Write to a server's process; None when its pipe has taken all of it. A cancelled caller does not cancel the command."""
        turn = self._turns.setdefault(uuid, _CommandTurn())
        if turn.waiting >= _MOST_WAITING:
            return TOO_MANY
        turn.waiting += 1
        return await asyncio.shield(asyncio.ensure_future(self._in_turn(uuid, turn, text)))

    async def _in_turn(self, uuid: str, turn: _CommandTurn, text: str) -> NotWritten | None:
        try:
            async with turn.lock:
                return await self._threads.ask(lambda: self._write(uuid, turn, text))
        except UnicodeError:
            return NO_TEXT
        except (PowerError, ThreadRefused) as error:
            return NotWritten(error=str(error))
        finally:
            turn.waiting -= 1
            if not turn.waiting and turn.failed is None:
                del self._turns[uuid]

    def _write(self, uuid: str, turn: _CommandTurn, text: str) -> NotWritten | None:
        engine = self._node.now().engine
        snapshot = engine.inspect(uuid)
        if snapshot is None or not snapshot.live:
            return OFFLINE
        if not snapshot.open_stdin:
            return CLOSED
        if turn.failed is not None and turn.failed[0] == snapshot.run and not turn.failed[1].is_over:
            return turn.failed[2]
        turn.failed = None
        if self._stops(uuid, snapshot, text):
            # Record it before the write: the supervisor must know that the stop was requested.
            self._node.journal.runs.stop_by_console(uuid, snapshot.run, self._node.clock.now())
        try:
            engine.write_stdin(snapshot.id, text, taken_within=_SECONDS)
        except ENGINE_FAULTS as error:
            refused = NOT_READ if error.facts.get("not_read") else NotWritten(error=str(error))
            turn.failed = snapshot.run, Deadline.after(SYSTEM_CLOCK, _PAUSE_SECONDS), refused
            return refused
        return None

    def _stops(self, uuid: str, snapshot: Snapshot, text: str) -> bool:
        way = graceful_stop(self._node.for_reading(), uuid, snapshot).way
        return way.type is StopType.COMMAND and way.value.strip() in map(str.strip, text.splitlines())
