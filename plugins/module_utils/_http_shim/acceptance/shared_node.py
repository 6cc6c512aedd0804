# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The node as a process that lives long has it: one engine, one journal that keeps writes for later, and fresh sources."""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..._power.actions.node.limiter import Limiter
from ..._power.actions.node.node import Node, build_node
from ..._power.definitions.settings import Settings
from ..._power.games.game import ProfiledGames
from ..._power.journal.journal import Journal
from ..._power.journal.mark import ProcessMarks
from ..._power.journal.operations import OPERATIONS_NUMBERED, OPERATIONS_OF, OperationRow, RecordedOperations, not_durable
from ..._power.journal.schema import JournalUnusable
from ..._power.journal.store import JournalStore
from ..._power.locking.generation import KillGenerations
from ..._power.model.caller import Caller
from ..._power.model.cancellation import Deadline
from ..._power.model.clock import Clock
from ..._power.model.errors import InterruptedBySignal
from ..._power.model.result import Result
from ..._power.sources.sources import Sources
from ..._service import FreshNode

if TYPE_CHECKING:
    import sqlite3

#: What is written to the journal in one go.
Write = Callable[["sqlite3.Connection"], None]

#: Writes of one server that may be owed when another of its actions is accepted. Those of accepted actions go beyond it: none is lost.
MOST_OWED = 200


class OwedWrites:
    """The writes that are owed to a journal's ``store``; its length is their number. Threads may share it."""

    def __init__(self, store: JournalStore) -> None:
        #: Called when another write is owed since it could not be done, in whatever thread that happened.
        self.on_more: Callable[[], None] = _nobody
        self._store = store
        #: Each with the UUID of its server.
        self._owed: list[tuple[str, Write]] = []
        self._numbers: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._owed)

    def of(self, uuid: str) -> int:
        """Return how many are owed of a server."""
        return self._numbers[uuid]

    def write(self, uuid: str, work: Write, *, durable: bool = False) -> None:
        """Write something of a server now, or as soon as that can be done."""
        with self._store.mutex:
            if self._store.write(work, durable=durable):
                return
            self.add(uuid, work)
        self.on_more()

    def add(self, uuid: str, work: Write) -> None:
        """Have it written by `settle`, after what is owed already."""
        with self._store.mutex:
            self._owed.append((uuid, work))
            self._numbers[uuid] += 1

    def settle(self) -> None:
        """Write all that is owed; it is on the disk when this returns. Raises `JournalUnusable`, OSError: then it is still owed."""
        with self._store.mutex:
            try:
                self._write_first(len(self._owed))
            except (JournalUnusable, OSError):
                raise
            except Exception:
                self._settle_each()

    def _settle_each(self) -> None:
        """Write one by one, and raise the last fault of ours: it would come again for ever, and keep all else from being written."""
        fault: Exception | None = None
        while self._owed:
            try:
                self._write_first(1)
            except (JournalUnusable, OSError):
                raise
            except Exception as error:
                fault = error
                self._forget_first(1)
        if fault is not None:
            raise fault

    def _write_first(self, count: int) -> None:
        first = self._owed[:count]

        def work(connection: sqlite3.Connection) -> None:
            for _uuid, each in first:
                each(connection)

        if first:
            self._store.write_durably(work)
            self._forget_first(count)

    def _forget_first(self, count: int) -> None:
        self._numbers -= Counter(uuid for uuid, _work in self._owed[:count])
        del self._owed[:count]


def _nobody() -> None:
    """Nobody is told."""


_OPERATION_OF = OPERATIONS_NUMBERED.format(holes="SELECT number FROM operations WHERE id = ? AND uuid = ?")


class BufferedJournal(Journal):
    """A journal in which what was accepted stays accepted where it was interrupted before it had begun: the next process runs it.

    What has begun or ended must not read as accepted: where that cannot be written, it is ``owed``. Nor may it after a power loss, so a
    begin is on the disk before anything is done.
    """

    operations: AcceptedOperations

    def __init__(self, state_directory: str, lock_directory: str, group: str, clock: Clock) -> None:
        super().__init__(state_directory, lock_directory, group, clock)
        self.owed = OwedWrites(self.store)
        self.operations = AcceptedOperations(self.store, self.marks, clock, self.owed)


class AcceptedOperations(RecordedOperations):
    """Operations whose begin and end are owed where they cannot be written."""

    def __init__(self, store: JournalStore, marks: ProcessMarks, clock: Clock, owed: OwedWrites) -> None:
        super().__init__(store, marks, clock)
        self._owed = owed

    def end(self, result: Result, *, origin: str = "", reason: str = "", is_told: bool = True) -> None:
        """Record how an operation ended, unless it never began because of a signal."""
        if not was_put_off(result):
            super().end(result, origin=origin, reason=reason, is_told=is_told)

    def recorded(self, uuid: str, limit: int) -> list[OperationRow]:
        """As `of`, on the disk, so that they may be told. Raises `JournalUnusable` or OSError where the journal cannot be read."""
        return self._rows_or_raise(OPERATIONS_OF, (uuid, limit))

    def recorded_one(self, uuid: str, operation: str) -> OperationRow | None:
        """Return one operation of a server, as `recorded` does; None if there is none. Raises `JournalUnusable`, OSError."""
        found = self._rows_or_raise(_OPERATION_OF, (operation, uuid))
        return found[0] if found else None

    def _rows_or_raise(self, statement: str, parameters: tuple[object, ...]) -> list[OperationRow]:
        found = self._settled(self._store.rows_or_raise(statement, parameters))
        return [not_durable(row) if row.outcome else row for row in found] if self._store.sync() else found

    def _write_begin(self, uuid: str, work: Write) -> None:
        self._owed.write(uuid, work, durable=True)

    def _write_end(self, uuid: str, work: Write) -> None:
        self._owed.write(uuid, work)


def was_put_off(result: Result) -> bool:
    """Tell if an action ended only because this process ends, and nothing was done."""
    return result.code == InterruptedBySignal.code


class OwnGenerations(KillGenerations):
    """Kill generations that know what was raised by this process. Threads may share them."""

    def __init__(self, state_directory: str, group: str) -> None:
        super().__init__(state_directory, group)
        self._raises: Counter[str] = Counter()
        self._guard = threading.Lock()

    def raise_for(self, uuid: str) -> None:
        """Raise the generation of a server, and count that. Raises `LockUnavailable`."""
        with self._guard:
            super().raise_for(uuid)
            self._raises[uuid] += 1

    def read_both(self, uuid: str) -> tuple[int, int]:
        """Return the generation, and how often this process had raised it at that moment. Raises `LockUnavailable`."""
        with self._guard:
            return self.read(uuid), self._raises[uuid]

    def own_raises(self, uuid: str) -> int:
        """Return how often this process raised it so far. Waits for nothing: not even for a disk that is being written to."""
        return self._raises[uuid]


class SharedNode(FreshNode):
    """The node that all actions and all looks of one process share. Threads may use it."""

    def __init__(self, settings: Settings, options: Mapping[str, Any], interrupted: Callable[[], bool]) -> None:
        """``options`` are those of the engine, as `build_node` takes them. Raises `SettingsInvalid`."""
        built = build_node(options, settings, caller=Caller(interrupted, handed_on=interrupted))
        self.generations = OwnGenerations(settings.state_directory, settings.group)
        self.journal = BufferedJournal(settings.state_directory, settings.lock_directory, settings.group, built.clock)
        self.clock = built.clock
        #: Boots at a time; whole servers are not bounded.
        self.limiter = Limiter()
        super().__init__(replace(built, journal=self.journal, generations=self.generations))
        self._read: Sources | None = None

    def use(self, settings: Settings) -> None:
        """Let other settings count from now on; what only a new process can change must be the same."""
        with self._guard:
            self._node = replace(self._node, settings=settings, games=ProfiledGames(settings, self._node.engine))
            self._stale_at, self._read = Deadline(self.clock, 0.0), None

    def for_reading(self) -> Node:
        """Return the node for a look alone: it knows what the Panel said last, and asks it no more."""
        node, read = self.now(), self._read
        return node if read is None else replace(node, sources=read)

    def keep_for_reading(self, sources: Sources, settings: Settings) -> None:
        """Let readers know what these sources were told, if they are of the settings that count."""
        with self._guard:
            if settings is self._node.settings:
                self._read = sources

    def close(self) -> None:
        """Close the journal: what goes on in this process reads as interrupted."""
        with contextlib.suppress(Exception):
            super().close()
