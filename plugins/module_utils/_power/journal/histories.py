# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The histories of servers as the journal has them, of many in one read: their runs and operations, without logs and sentences."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from . import journal_rows, supervision_rows
from .outages import History
from .store import JournalStore, chunks, has_table

if TYPE_CHECKING:
    import sqlite3

#: Of a hundred rows for each of hundreds of servers, what is long is left where it is.
_ENDED = f"SELECT {supervision_rows.COLUMNS_WITHOUT_LOG} FROM ended_runs WHERE uuid IN ({{holes}}) ORDER BY number"
_OPERATIONS = f"SELECT {journal_rows.COLUMNS_IN_SHORT} FROM operations WHERE uuid IN ({{holes}}) AND ended_at IS NOT NULL ORDER BY number"
_SEEN = "SELECT * FROM seen_runs WHERE uuid IN ({holes})"


class Histories:
    """What the journal has of servers' pasts. Nothing here raises: None is what cannot be read, with a warning of the journal."""

    def __init__(self, store: JournalStore) -> None:
        self._store = store

    def of_each(self, uuids: Iterable[str]) -> Mapping[str, History] | None:
        """Return the history of each server that has any."""
        wanted = list(uuids)

        def work(connection: sqlite3.Connection) -> dict[str, dict[str, Any]]:
            found: dict[str, dict[str, Any]] = {uuid: {"rows": [], "operations": []} for uuid in wanted}
            for chunk in chunks(wanted):
                _read(connection, chunk, found)
            return found

        none: dict[str, dict[str, Any]] = {}
        found = self._store.read_if_known(work, none)
        return None if found is None else {uuid: History(**fields) for uuid, fields in found.items()}


def _read(connection: sqlite3.Connection, uuids: Any, found: dict[str, dict[str, Any]]) -> None:
    holes = ",".join("?" * len(uuids))

    def each(statement: str) -> Any:
        return connection.execute(statement.format(holes=holes), uuids)

    for row in each(_OPERATIONS):
        found[row["uuid"]]["operations"].append(journal_rows.operation_row(row))
    for row in each(journal_rows.RUNS):
        found[row["uuid"]]["started"] = journal_rows.started_run(row).run
    if has_table(connection, supervision_rows.ENDED):
        for row in each(_ENDED):
            found[row["uuid"]]["rows"].append(supervision_rows.ended_run(row))
        for row in each(_SEEN):
            found[row["uuid"]]["seen"] = supervision_rows.seen_run(row)
