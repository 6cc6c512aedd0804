# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Commands for the standard inputs of servers' processes. Of each server one is written at a time, in the order in which they came, so that
a process that does not read holds up neither other servers nor anything else. Lives in the event loop; writing is done by threads.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from ..._power.actions.turn.stop import graceful_stop
from ..._power.model.cancellation import Deadline
from ..._power.model.clock import SYSTEM_CLOCK
from ..._power.model.errors import EngineError, EngineUnreachable, PowerError
from ..._power.model.server import Run, Snapshot, StopType
from ..acceptance.shared_node import SharedNode
from ..http.worker_pool import ThreadRefused, WorkerPool

#: One thread a server at most: so many servers may be waited for at a time.
_THREADS = 32
#: Commands of one server that may wait, the one that is being written among them.
_MOST_WAITING = 32
#: How long the engine and the process may take for one. A process that reads takes it within milliseconds.
_SECONDS = 3.0
#: After one that was not taken, those that come within so many seconds share its fate: the engine keeps what it cannot pass on.
_PAUSE_SECONDS = 5.0


@dataclass(frozen=True)
class NotWritten:
    """Why a command was not written: in words for anybody, or an ``error``, whose text is for those who run the node."""

    said: str = ""
    error: str = ""


OFFLINE = NotWritten("the server is offline")
CLOSED = NotWritten("its standard input is closed")
NOT_READ = NotWritten("its process does not read its standard input; it may still come to this command")
TOO_MANY = NotWritten("too many commands for it are waiting already; send it again later")
NO_TEXT = NotWritten("it has characters that are none")


@dataclass
class _CommandTurn:
    """The commands of one server that wait, and the last one if that was not taken: of which run, until when that counts, and why."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    waiting: int = 0
    failed: tuple[Run, Deadline, NotWritten] | None = None


class Commands:
    """Writes commands, whichever way they came."""

    def __init__(self, node: SharedNode) -> None:
        self._node = node
        self._threads = WorkerPool(_THREADS, "commands")
        self._turns: dict[str, _CommandTurn] = {}

    async def write(self, uuid: str, text: str) -> NotWritten | None:
        """Write to a server's process; None when its pipe has taken all of it. Who is cancelled meanwhile leaves it in its turn."""
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
        """Write for one turn. For a thread, the only one of this turn."""
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
            # Before it does: whoever judges the end must know that somebody wished it.
            self._node.journal.runs.stop_by_console(uuid, snapshot.run, self._node.clock.now())
        try:
            engine.write_stdin(snapshot.id, text, taken_within=_SECONDS)
        except (EngineError, EngineUnreachable) as error:
            refused = NOT_READ if error.facts.get("not_read") else NotWritten(error=str(error))
            turn.failed = snapshot.run, Deadline.after(SYSTEM_CLOCK, _PAUSE_SECONDS), refused
            return refused
        return None

    def _stops(self, uuid: str, snapshot: Snapshot, text: str) -> bool:
        """Tell if a command is the one by which the server is stopped."""
        way = graceful_stop(self._node.for_reading(), uuid, snapshot).way
        return way.type is StopType.COMMAND and way.value.strip() in map(str.strip, text.splitlines())
