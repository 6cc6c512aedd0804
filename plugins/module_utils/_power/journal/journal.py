# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The journal of a node: operations, intents, runs and events of its servers.

A power action never fails because of the journal: the methods that it calls raise nothing. A fault is one sentence in ``warnings``, and the
method returns the result of an empty journal.
"""

from __future__ import annotations

from ..model.clock import Clock
from .intents import Intents
from .mark import ProcessMarks
from .operations import RecordedOperations
from .outbox import RecordedDeliveries, RecordedEvents
from .runs import EndedRuns, Runs, SupervisorValues
from .store import JournalStore


class Journal:
    """The journal in ``state_directory``. Thread-safe."""

    def __init__(self, state_directory: str, lock_directory: str, group: str, clock: Clock, *, read_only: bool = False) -> None:
        """A ``read_only`` journal creates and changes no file: methods that write do nothing."""
        self.store = JournalStore(state_directory, group, read_only=read_only)
        self.marks = ProcessMarks(lock_directory, group, self.store.warn)
        self.operations = RecordedOperations(self.store, self.marks, clock)
        self.intents = Intents(self.store)
        self.runs = Runs(self.store)
        self.ended_runs = EndedRuns(self.store)
        self.supervisor = SupervisorValues(self.store)
        self.events = RecordedEvents(self.store)
        self.deliveries = RecordedDeliveries(self.store)

    @property
    def warnings(self) -> list[str]:
        return self.store.warnings

    def new_warnings(self) -> list[str]:
        return self.store.new_warnings()

    def sync(self) -> str:
        return self.store.sync()

    def close(self) -> None:
        """Close the file and remove this process's mark: its operations without an end count as interrupted from now on."""
        self.store.close()
        self.marks.close()
