# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The runs in the journal: which process of each server this collection started last, and whether it became ready."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from ..model.server import Run
from ..model.supervision import SeenRun
from . import journal_rows as rows
from .journal_rows import StartedRun
from .seen_runs import see_in
from .store import JournalStore

if TYPE_CHECKING:
    import sqlite3


class StartedRuns:
    """The latest run of each server that this collection started on this node."""

    def __init__(self, store: JournalStore) -> None:
        self._store = store
        self._held: dict[str, StartedRun | None] = {}

    def record(self, uuid: str, run: Run, *, matchers: bool, generation: int = 0, answers: int = 0) -> bool:
        """Record that this collection started ``run``; ``matchers``: its definition says how readiness shows.

        ``generation`` is that of the request, ``answers`` the number of the ended run that it was for. False if it cannot be written.
        """
        parameters = {"uuid": uuid, "container": run.container, "started_at": run.started_at, "matchers": int(matchers)}

        def work(connection: sqlite3.Connection) -> None:
            connection.execute(rows.RECORD_RUN, parameters)
            see_in(connection, uuid, SeenRun(run, generation=generation, answers=answers))

        return self._store.write(work)

    def record_match(self, uuid: str, run: Run) -> None:
        """Record that the readiness line of ``run`` was seen. Nothing happens if it is not the server's latest recorded run."""
        names = {"uuid": uuid, "container": run.container, "started_at": run.started_at}

        def work(connection: sqlite3.Connection) -> None:
            connection.execute(rows.RECORD_MATCH, names)

        self._store.write(work)

    def of(self, uuid: str) -> StartedRun | None:
        """Return a server's latest run; None if this collection never started it on this node."""
        return self._held[uuid] if uuid in self._held else self.of_each([uuid]).get(uuid)

    def of_each(self, uuids: Iterable[str]) -> dict[str, StartedRun]:
        """Return the latest runs of those servers that this collection ever started."""
        return {row["uuid"]: rows.started_run(row) for row in self._store.rows_for(rows.RUNS, uuids)}

    def hold(self, uuids: Sequence[str]) -> None:
        """If the journal is read-only, read the latest runs of all those servers now; `of` answers from them from now on.

        A read-only one is opened anew for each question, which is dear for hundreds. Any other stays open, and holds nothing.
        """
        if self._store.read_only:
            self._held = {**dict.fromkeys(uuids), **self.of_each(uuids)}
