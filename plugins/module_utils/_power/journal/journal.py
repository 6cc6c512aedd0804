# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The journal of a node: operations, intents, runs and events of its servers.

A power action never fails because of the journal: the methods that it calls raise nothing. A fault is one sentence in ``warnings``, and the
method returns the result of an empty journal.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING

from ..model.clock import Clock, timestamp
from ..model.records import dataclass
from ..model.server import Server
from .late_writes import LateWrites
from .mark import ProcessMarks
from .operations import RecordedOperations
from .outbox import RecordedDeliveries, RecordedEvents
from .rows import CLOSE_ALL
from .runs import EndedRuns, Runs, SupervisorValues
from .schema import Connection, JournalUnusable, Work, insertion, storable, value_of
from .store import JournalStore

if TYPE_CHECKING:
    from .freezes import Freezes
    from .proofs import Proofs

_SET = f"""{insertion("intents", ("uuid", "name", "up", "operation", "origin", "at"))}
    ON CONFLICT (uuid) DO UPDATE SET name = excluded.name, up = excluded.up, operation = excluded.operation, origin = excluded.origin,
    at = excluded.at WHERE (:only_if_newer IS NULL OR intents.at < excluded.at OR intents.at > :only_if_newer)
    AND (:keep_since IS NULL OR intents.up <> excluded.up OR intents.at < :keep_since)"""
#: A time after each intent's.
_NEVER = "9999"
_OF_EACH = "SELECT uuid, up, operation, origin, at FROM intents WHERE uuid IN ({holes})"
_SHOULD_BE_UP = "SELECT uuid, name FROM intents WHERE up ORDER BY uuid"


@dataclass(frozen=True)
class Intent:
    """The intent of the last action that ended ``done`` or ``unchanged``. ``at`` is ISO 8601."""

    up: bool
    operation: str
    origin: str
    at: str


class Intents:
    """The latest intent of each server: whether it should be up."""

    def __init__(self, store: JournalStore, late_writes: LateWrites) -> None:
        self._store = store
        self._late_writes = late_writes

    def set(self, server: Server, intent: Intent, *, only_if_newer: datetime | None = None) -> bool:
        """Write the intent of a server. Return False, with a warning, if it cannot be written.

        ``only_if_newer``, the time now: an intent as new or newer stays, unless a clock change put it in the future. An intent to be down
        cancels due starts.
        """
        moment = None if only_if_newer is None else timestamp(only_if_newer)
        # A stopped server must stay down after a power cut.
        return self._store.write(_setting(server, intent, only_if_newer=moment), durable=not intent.up)

    def set_by_action(self, server: Server, intent: Intent, *, keep_since: datetime | None) -> bool:
        """Write the intent of an action, now or as soon as possible. Return False, with a warning, if it is late.

        ``keep_since``: an equal intent since that time stays. A late intent replaces no newer one.
        """
        since = None if keep_since is None else timestamp(keep_since)
        now, later = _setting(server, intent, keep_since=since), _setting(server, intent, only_if_newer=_NEVER)
        return self._late_writes.write(server.uuid, now, durable=not intent.up, later=later)

    def of(self, uuid: str) -> Intent | None:
        return self.of_each([uuid]).get(uuid)

    def of_each(self, uuids: Iterable[str]) -> dict[str, Intent]:
        return {row["uuid"]: value_of(Intent, row) for row in self._store.rows_for(_OF_EACH, uuids)}

    def known_of(self, uuid: str) -> Intent | None:
        """Return a server's intent, or None. Raises `JournalUnusable`, OSError if it cannot be read."""
        return next((value_of(Intent, row) for row in self._store.rows_or_raise(_OF_EACH.format(holes="?"), (uuid,))), None)

    def should_be_up(self) -> list[Server] | None:
        """Return the servers that should be up, by UUID. None, with a warning, if the journal is unreadable or was just replaced."""
        found = self._store.rows_if_known(_SHOULD_BE_UP)
        return None if found is None else [Server(str(row["uuid"]), str(row["name"])) for row in found]


def _setting(server: Server, intent: Intent, *, only_if_newer: str | None = None, keep_since: str | None = None) -> Work:
    parameters = {
        "uuid": server.uuid,
        "name": storable(server.name),
        **vars(intent),
        "origin": storable(intent.origin),
        "only_if_newer": only_if_newer,
        "keep_since": keep_since,
    }

    def work(connection: Connection) -> None:
        is_set = connection.execute(_SET, parameters).rowcount > 0
        if not intent.up and (is_set or only_if_newer != _NEVER):
            connection.execute(CLOSE_ALL, {"uuid": server.uuid})

    return work


class Journal:
    """The journal in ``state_directory``. Thread-safe."""

    def __init__(self, state_directory: str, lock_directory: str, group: str, clock: Clock, *, read_only: bool = False) -> None:
        """A ``read_only`` journal creates and changes no file: methods that write do nothing."""
        self.store = JournalStore(state_directory, group, read_only=read_only)
        self.warnings, self.new_warnings, self.sync = self.store.warnings, self.store.new_warnings, self.store.sync
        self.marks = ProcessMarks(lock_directory, group, self.store.warn)
        self.late_writes = LateWrites(self.store)
        self.operations = RecordedOperations(self.store, self.marks, clock, self.late_writes)
        self.intents = Intents(self.store, self.late_writes)
        self.runs = Runs(self.store)
        self.ended_runs = EndedRuns(self.store)
        self.supervisor = SupervisorValues(self.store)
        self._freezes = state_directory, clock
        self.events = RecordedEvents(self.store)
        self.deliveries = RecordedDeliveries(self.store)

    @property
    def freezes(self) -> Freezes:
        """The freezes of the node. Ask `may_be_frozen` first, because few nodes need this code."""
        from .freezes import Freezes

        return Freezes(self.store, *self._freezes)

    @property
    def proofs(self) -> Proofs:
        """The proofs of new versions. Few actions need this code."""
        from .proofs import Proofs

        return Proofs(self.store)

    def close(self) -> None:
        """Try late writes again, close the file and remove this process's mark: its operations without an end count as interrupted from now
        on."""
        with suppress(JournalUnusable, OSError):
            self.late_writes.write_all()
        self.store.close()
        self.marks.close()
