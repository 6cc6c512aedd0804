# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The life of the sender: one per node, with a thread for each receiver, until a signal ends it."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Callable, Sequence

from .._power.actions.node.node import build_journal
from .._power.definitions.definition import Definition
from .._power.definitions.definition_files import DefinitionDirectory, KeptDefinitions
from .._power.definitions.settings import Settings
from .._power.host.library_faults import reason_of
from .._power.host.machine import boot_id, boot_seconds
from .._power.host.supervisor_record import EVENTS_LOCK
from .._power.journal.outbox import OutboxState
from .._power.journal.schema import JournalUnusable
from .._power.model.cancellation import Deadline
from .._power.model.clock import SYSTEM_CLOCK, Clock
from .._power.model.errors import PowerError
from .._power.model.server import Server
from .._power.receivers.receiver import receivers_of
from .._service import ServiceManager, own_lock, say
from .delivery_worker import GRACE_SECONDS, DeliveryWorker, OutboxSight, OutboxWatch, Surroundings

#: Seconds between two marks. An event may seem younger by so much, but never older.
MARK_SECONDS = 300.0
#: A definition counts as fresh for so many seconds, because events of a server come in groups.
FRESH_SECONDS = 10.0
#: The sender drops events after so long. Direct readers of the outbox have a little longer.
KEPT_SECONDS = 86400.0
_IN_OUTBOX_SECONDS = KEPT_SECONDS + 3600.0
_LOOK_SECONDS = 0.2
#: Seconds between two looks for old events and for operations of dead processes.
_TIDY_SECONDS = 10.0
#: The lock of the only sender, for `own_lock`.
_LOCK = (EVENTS_LOCK, "send events", "; look at fleet-power-events")


class OutboxAges:
    """Marks in an outbox: each event up to a mark's number has at least its age, in seconds."""

    def __init__(self, boot: str = "", seconds: float = 0.0, marks: Sequence[tuple[int, float]] = ()) -> None:
        """``boot`` and ``seconds``: the boot, and its age when the marks had these ages."""
        self._boot, self._seconds = boot, seconds
        self._marks = list(marks)

    @classmethod
    def read(cls, text: str) -> OutboxAges:
        """Return the ages in a text of `written`. Any other text means that all events are new."""
        try:
            found = json.loads(text)
            return cls(str(found["boot"]), float(found["seconds"]), [(int(number), float(age)) for number, age in found["marks"]])
        except (ValueError, TypeError, KeyError):
            return cls()

    def written(self) -> str:
        marks = [[number, round(age)] for number, age in self._marks]
        return json.dumps({"boot": self._boot, "seconds": round(self._seconds, 3), "marks": marks}, separators=(",", ":"))

    def pass_to(self, boot: str, seconds: float, last: int) -> None:
        """Advance to ``seconds`` after the boot; ``last`` is the number of the newest event."""
        passed = max(0.0, seconds - self._seconds) if boot == self._boot else seconds
        self._boot, self._seconds = boot, seconds
        self._marks = [(number, age + passed) for number, age in self._marks]
        marked, age = self._marks[-1] if self._marks else (0, MARK_SECONDS)
        if marked < last and age >= MARK_SECONDS:
            self._marks.append((last, 0.0))

    def older_than(self, seconds: float) -> int:
        """Return the number up to which all events are older; 0 for none."""
        return max((number for number, age in self._marks if age > seconds), default=0)

    def forget(self, number: int) -> None:
        # One mark always stays: it says that there is nothing before it.
        self._marks = [mark for mark in self._marks if mark[0] > number] or self._marks[-1:]


class LocalDefinitions:
    """Recent definitions of servers. Safe between threads."""

    def __init__(self, settings: Settings, clock: Clock = SYSTEM_CLOCK) -> None:
        self._clock = clock
        self._seen: dict[str, tuple[Deadline, Definition | None]] = {}
        kept, files = KeptDefinitions(settings.state_directory, settings.group), DefinitionDirectory(settings.definitions)
        # With a Panel, its last answer counts before a file.
        self._sources = (kept, files) if settings.remote else (files, kept)
        self._guard = threading.Lock()

    def __call__(self, server: Server) -> Definition | None:
        """Return the definition of a server; None if there is no readable one."""
        with self._guard:
            found = self._seen.get(server.uuid)
            if found is None or found[0].is_over:
                found = self._seen[server.uuid] = (Deadline.after(self._clock, FRESH_SECONDS), self._read(server.uuid))
            return found[1]

    def _read(self, uuid: str) -> Definition | None:
        for source in self._sources:
            with contextlib.suppress(PowerError, OSError):
                found = source.definition(uuid)
                if found is not None:
                    return found
        return None


class Sender:
    def __init__(self, settings: Settings, interrupted: Callable[[], bool], clock: Clock = SYSTEM_CLOCK) -> None:
        """Raises `SettingsInvalid` for an invalid receiver, `MissingLibrary`."""
        receivers = receivers_of(settings.event_receivers)
        self._interrupted = interrupted
        self._clock = clock
        self._names = [receiver.name for receiver in receivers]
        self._journal = build_journal(settings, clock)
        self._watch = OutboxWatch()
        node = settings.event_node or socket.gethostname()
        around = Surroundings(self._journal, self._watch, LocalDefinitions(settings), node, clock)
        self._threads = [
            threading.Thread(target=DeliveryWorker(receiver, around).run, name=f"to {receiver.name}", daemon=True) for receiver in receivers
        ]
        self._manager = ServiceManager()
        self._tidy_at = Deadline(SYSTEM_CLOCK, 0.0)
        self._in_trouble = False
        self._is_begun = False
        self._too_old = 0
        self._ages, self._ages_of = OutboxAges(), ""
        self._note_ages_at = Deadline(SYSTEM_CLOCK, 0.0)

    def run(self) -> None:
        for thread in self._threads:
            thread.start()
        try:
            while not self._interrupted():
                self._look()
                for sentence in self._journal.new_warnings():
                    say(f"events: {sentence}")
                self._manager.ready()
                self._manager.alive()
                self._clock.sleep(_LOOK_SECONDS)
        finally:
            self._manager.stopping()
            self._watch.end()
            deadline = Deadline.after(SYSTEM_CLOCK, GRACE_SECONDS + 1.0)
            for thread in self._threads:
                thread.join(deadline.left)
            self._journal.close()

    def _look(self) -> None:
        """Show the threads the current outbox. If it is missing, as after damage, make it."""
        try:
            outbox = self._journal.events.state()
            if outbox is None:
                self._journal.events.open()
                outbox = self._journal.events.state()
            if not self._is_begun:
                self._is_begun = self._journal.deliveries.keep_only(self._names)
            if outbox is not None and self._tidy_at.is_over:
                self._tidy(outbox)
            self._watch.show(OutboxSight(outbox, self._too_old))
            self._in_trouble = False
        except (JournalUnusable, OSError) as error:
            if not self._in_trouble:
                self._in_trouble = True
                say(f"events: the journal cannot be used: {reason_of(error)}; nothing is sent until it can be")

    def _tidy(self, outbox: OutboxState) -> None:
        events = self._journal.events
        self._tidy_at = Deadline.after(SYSTEM_CLOCK, _TIDY_SECONDS)
        self._journal.operations.end_all_dead()
        if self._ages_of != outbox.id:
            self._ages, self._ages_of = OutboxAges.read(events.ages()), outbox.id
        self._ages.pass_to(boot_id(), boot_seconds(), outbox.last)
        self._too_old = self._ages.older_than(KEPT_SECONDS)
        gone = self._ages.older_than(_IN_OUTBOX_SECONDS)
        # Events keep their age if they cannot be dropped now. Events that a busy outbox has pushed out need none.
        if not 0 < outbox.oldest <= gone or events.drop_through(gone):
            self._ages.forget(gone)
        if self._note_ages_at.is_over and events.note_ages(self._ages.written()):
            self._note_ages_at = Deadline.after(SYSTEM_CLOCK, MARK_SECONDS)


def send_events(settings: Settings, interrupted: Callable[[], bool]) -> None:
    """Send a node's events until a signal comes. Raises `LockUnavailable` if another process does, `SettingsInvalid`, `MissingLibrary`."""
    sender = Sender(settings, interrupted)
    with own_lock(settings, *_LOCK) as lock:
        lock.record()
        sender.run()


def forget_events(settings: Settings) -> None:
    """Remove the outbox and the receivers' progress, so that no more events are recorded. Raises `LockUnavailable` if a process sends,
    `JournalUnusable`, OSError."""
    with own_lock(settings, *_LOCK) as lock:
        lock.record()
        with contextlib.closing(build_journal(settings, SYSTEM_CLOCK)) as journal:
            if journal.events.state() is not None:
                journal.events.close()
