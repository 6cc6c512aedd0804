# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The node of a process that lives long: one engine, one journal with late writes, and fresh sources."""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

from ..._power.actions.node.limiter import Limiter
from ..._power.actions.node.node import Node, build_node
from ..._power.definitions.settings import Settings
from ..._power.games.game import ProfiledGames
from ..._power.journal.journal import Journal
from ..._power.journal.operations import OPERATIONS_NUMBERED, OPERATIONS_OF, OperationRow, RecordedOperations, not_durable
from ..._power.locking.generation import KillGenerations
from ..._power.model.caller import Caller
from ..._power.model.cancellation import Deadline
from ..._power.model.clock import Clock
from ..._power.sources.sources import Sources
from ..._service import FreshNode

#: The limit of a server's late writes at which its actions are refused. Accepted actions may exceed it, so no write is lost.
MOST_LATE_WRITES = 200
_OPERATION_OF = OPERATIONS_NUMBERED.format(holes="SELECT number FROM operations WHERE id = ? AND uuid = ?")


class RetryingJournal(Journal):
    """A journal whose accepted actions stay accepted when this process ends before they begin: the next process runs them. A begin is on
    the disk before the work, in case of a power loss. If the disk refuses it, the work is done all the same, and the begin becomes a late
    write. If this process dies before that write, the next process runs the action a second time."""

    operations: RetriedOperations

    def __init__(self, state_directory: str, lock_directory: str, group: str, clock: Clock) -> None:
        super().__init__(state_directory, lock_directory, group, clock)
        self.operations = RetriedOperations(self.store, self.marks, clock, self.late_writes)


class RetriedOperations(RecordedOperations):
    """Operations whose begins are on the disk before the work."""

    durable_begins = True

    def recorded(self, uuid: str, limit: int) -> list[OperationRow]:
        """As `of`, but from the disk, so that clients may see them. Raises `JournalUnusable` or OSError if the journal is unreadable."""
        return self._rows_or_raise(OPERATIONS_OF, (uuid, limit))

    def recorded_one(self, uuid: str, operation: str) -> OperationRow | None:
        """Return one operation of a server, as `recorded` does; None if there is none. Raises `JournalUnusable`, OSError."""
        found = self._rows_or_raise(_OPERATION_OF, (operation, uuid))
        return found[0] if found else None

    def _rows_or_raise(self, statement: str, parameters: tuple[object, ...]) -> list[OperationRow]:
        found = self._as_operations(self._store.rows_or_raise(statement, parameters))
        return [not_durable(row) if row.outcome else row for row in found] if self._store.sync() else found


class OwnGenerations(KillGenerations):
    """Kill generations that count the raises of this process. Safe between threads."""

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
        """Return how often this process has raised it. Never waits, not even for the disk."""
        return self._raises[uuid]


class SharedNode(FreshNode):
    """The node that all actions and looks of one process share. Safe between threads."""

    def __init__(self, settings: Settings, interrupted: Callable[[], bool]) -> None:
        """Raises `SettingsInvalid`."""
        built = build_node({}, settings, caller=Caller(interrupted, handed_on=interrupted))
        self.generations = OwnGenerations(settings.state_directory, settings.group)
        self.journal = RetryingJournal(settings.state_directory, settings.lock_directory, settings.group, built.clock)
        self.clock = built.clock
        #: Limits parallel boots; the number of servers has no limit.
        self.limiter = Limiter()
        super().__init__(replace(built, journal=self.journal, generations=self.generations))
        self._read: Sources | None = None

    def use(self, settings: Settings) -> None:
        """Use other settings from now on; those in `FIXED` must be equal."""
        with self._guard:
            self._node = replace(self._node, settings=settings, games=ProfiledGames(settings, self._node.engine))
            self._stale_at, self._read = Deadline(self.clock, 0.0), None

    def for_reading(self) -> Node:
        """Return the node for a look: it has the Panel's last answers and sends no request to it."""
        node, read = self.now(), self._read
        return node if read is None else replace(node, sources=read)

    def keep_for_reading(self, sources: Sources, settings: Settings) -> None:
        """Keep the answers of these sources for looks, if their settings are still in use."""
        with self._guard:
            if settings is self._node.settings:
                self._read = sources

    def close(self) -> None:
        """Close the journal: actions that still run read as interrupted."""
        with contextlib.suppress(Exception):
            super().close()
