# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The ended runs in the journal as readers are told of them, of many servers in one read. What cannot be read is not taken for none."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ..model.clock import timestamp
from ..model.supervision import EndedRun, Verdict
from . import supervision_rows as rows
from .store import JournalStore, chunks, has_table

if TYPE_CHECKING:
    import sqlite3


@dataclass(frozen=True)
class ToldEnds:
    """The last ended runs of each server that has any, the last first, and how often each has crashed lately, of those that did."""

    latest: Mapping[str, Sequence[EndedRun]] = field(default_factory=dict)
    crashes: Mapping[str, int] = field(default_factory=dict)


class ToldRuns:
    """What readers are told of ended runs. Nothing here raises: None is what cannot be read, with a warning of the journal."""

    def __init__(self, store: JournalStore) -> None:
        self._store = store

    def of_each(self, uuids: Iterable[str], limit: int, since: datetime) -> ToldEnds | None:
        """Return at most ``limit`` rows of each server, at least the last, and its crashes since then."""
        wanted = list(uuids)
        latest = rows.NEWEST if limit <= 1 else rows.LATEST.format(limit=limit)
        # A timestamp has neither quotes nor braces.
        crashes = rows.CRASHES.format(since=timestamp(since))

        def work(connection: sqlite3.Connection) -> ToldEnds:
            if not has_table(connection, rows.ENDED):
                return ToldEnds()
            found: dict[str, list[EndedRun]] = {}
            for row in _each(connection, latest, wanted):
                found.setdefault(str(row["uuid"]), []).append(rows.ended_run(row))
            return ToldEnds(found, {str(row["uuid"]): int(row["crashes"]) for row in _each(connection, crashes, wanted)})

        return self._store.read_if_known(work, ToldEnds())

    def totals(self) -> dict[Verdict, int] | None:
        """Return how many runs have ended by each verdict since this journal was begun. Those that nobody has judged are not counted."""

        def work(connection: sqlite3.Connection) -> dict[str, int]:
            if not has_table(connection, rows.TOTALS):
                return {}
            return {str(row["verdict"]): int(row["runs"]) for row in connection.execute(rows.COUNTED)}

        none: dict[str, int] = {}
        found = self._store.read_if_known(work, none)
        return None if found is None else {each: found.get(each.value, 0) for each in Verdict if each is not Verdict.PENDING}


def _each(connection: sqlite3.Connection, statement: str, keys: Sequence[str]) -> Iterator[Any]:
    for chunk in chunks(keys):
        yield from connection.execute(statement.format(holes=",".join("?" * len(chunk))), chunk)
