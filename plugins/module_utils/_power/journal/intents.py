# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The intents in the journal: whether each server should be up."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ..model.clock import timestamp
from ..model.server import Server
from .run_rows import CLOSE_ALL
from .schema import storable, text
from .store import JournalStore

if TYPE_CHECKING:
    import sqlite3


_SET = """INSERT INTO intents (uuid, name, up, operation, origin, at) VALUES (:uuid, :name, :up, :operation, :origin, :at)
    ON CONFLICT (uuid) DO UPDATE SET name = excluded.name, up = excluded.up, operation = excluded.operation, origin = excluded.origin,
    at = excluded.at WHERE (:only_if_newer IS NULL OR intents.at < excluded.at OR intents.at > :only_if_newer)
    AND (:keep_since IS NULL OR intents.up <> excluded.up OR intents.at < :keep_since)"""
_OF_EACH = "SELECT uuid, up, operation, origin, at FROM intents WHERE uuid IN ({holes})"
_MEANT_UP = "SELECT uuid, name FROM intents WHERE up ORDER BY uuid"


@dataclass(frozen=True)
class Intent:
    """The intent of the last action that ended ``done`` or ``unchanged``. ``at`` is ISO 8601."""

    up: bool
    operation: str
    origin: str
    at: str


class Intents:
    """The latest intent of each server."""

    def __init__(self, store: JournalStore) -> None:
        self._store = store

    def set(self, server: Server, intent: Intent, *, only_if_newer: datetime | None = None, keep_since: datetime | None = None) -> bool:
        """Write the intent of a server. Return False, with a warning, if it cannot be written.

        ``only_if_newer``, the time now: an intent as new or newer stays, unless a clock change put it in the future. ``keep_since``: an
        equal intent since that time stays. An intent to be down cancels due starts.
        """
        parameters = {
            "uuid": server.uuid,
            "name": storable(server.name),
            "up": int(intent.up),
            "operation": intent.operation,
            "origin": storable(intent.origin),
            "at": intent.at,
            "only_if_newer": None if only_if_newer is None else timestamp(only_if_newer),
            "keep_since": None if keep_since is None else timestamp(keep_since),
        }

        def work(connection: sqlite3.Connection) -> None:
            connection.execute(_SET, parameters)
            if not intent.up:
                connection.execute(CLOSE_ALL, {"uuid": server.uuid})

        # A stopped server must stay down after a power cut.
        return self._store.write(work, durable=not intent.up)

    def of(self, uuid: str) -> Intent | None:
        return self.of_each([uuid]).get(uuid)

    def of_each(self, uuids: Iterable[str]) -> dict[str, Intent]:
        return {row["uuid"]: _intent(row) for row in self._store.rows_for(_OF_EACH, uuids)}

    def known_of(self, uuid: str) -> Intent | None:
        """Return a server's intent, or None. Raises `JournalUnusable`, OSError if it cannot be read."""
        return next(map(_intent, self._store.rows_or_raise(_OF_EACH.format(holes="?"), (uuid,))), None)

    def meant_up(self) -> list[Server] | None:
        """Return the servers that should be up, by UUID. None, with a warning, if the journal is unreadable or was just replaced."""
        found = self._store.rows_if_known(_MEANT_UP)
        return None if found is None else [Server(str(row["uuid"]), str(row["name"])) for row in found]


def _intent(row: Mapping[str, Any]) -> Intent:
    return Intent(bool(row["up"]), text(row["operation"]), text(row["origin"]), text(row["at"]))
