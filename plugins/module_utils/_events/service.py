# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The life of the sender: alone on its node, a thread for each receiver, until a signal says otherwise."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import threading
from collections.abc import Callable, Iterator

from .._power.actions.node.assemble import build_journal
from .._power.definitions.settings import Settings
from .._power.host.daemon import READY, STOPPING, WATCHDOG, ServiceManager, only_process
from .._power.host.library_faults import reason_of
from .._power.host.liveness import boot_id, boot_seconds
from .._power.host.supervisor_record import EVENTS_LOCK, SupervisorRecord, read_events_record, write_record
from .._power.host.system_log import announce_line
from .._power.journal.journal_rows import JournalUnusable
from .._power.journal.outbox import OutboxState
from .._power.model.cancellation import Deadline
from .._power.model.clock import SYSTEM_CLOCK, Clock, timestamp
from .._power.receivers.receiver import receivers_of
from .ages import MARK_SECONDS, OutboxAges
from .at_hand import DefinitionsAtHand
from .delivery_worker import DeliveryWorker, Surroundings
from .outbox_watch import GRACE_SECONDS, OutboxSight, OutboxWatch

#: What nobody has taken after so long is let go of. Who reads the outbox itself finds it a little longer.
KEPT_SECONDS = 86400.0
_IN_OUTBOX_SECONDS = KEPT_SECONDS + 3600.0
_LOOK_SECONDS = 0.2
#: Seconds between two looks for what has grown old, and for operations whose process has died.
_TIDY_SECONDS = 10.0
_WATCHDOG_SECONDS = 15.0


class Sender:
    """The sender of one node."""

    def __init__(self, settings: Settings, interrupted: Callable[[], bool], clock: Clock = SYSTEM_CLOCK) -> None:
        """Raises `SettingsInvalid` for a receiver that is none, `MissingLibrary`."""
        receivers = receivers_of(settings.event_receivers)
        self._interrupted = interrupted
        self._clock = clock
        self._names = [receiver.name for receiver in receivers]
        self._journal = build_journal(settings, clock)
        self._watch = OutboxWatch()
        node = settings.event_node or socket.gethostname()
        around = Surroundings(self._journal, self._watch, DefinitionsAtHand(settings), node, clock)
        self._threads = [
            threading.Thread(target=DeliveryWorker(receiver, around).run, name=f"to {receiver.name}", daemon=True) for receiver in receivers
        ]
        self._manager = ServiceManager()
        self._tidy_at = Deadline(SYSTEM_CLOCK, 0.0)
        self._alive_at = Deadline(SYSTEM_CLOCK, 0.0)
        self._in_trouble = False
        self._is_begun = False
        self._too_old = 0
        #: Of the events of the outbox with this id, and when they are to be noted again.
        self._ages, self._ages_of = OutboxAges(), ""
        self._note_ages_at = Deadline(SYSTEM_CLOCK, 0.0)

    def run(self) -> None:
        """Send until a signal says otherwise."""
        for thread in self._threads:
            thread.start()
        is_ready = False
        try:
            while not self._interrupted():
                self._look()
                for sentence in self._journal.new_warnings():
                    say(f"events: {sentence}")
                if not is_ready:
                    is_ready = True
                    self._manager.tell(READY)
                self._show_life()
                self._clock.sleep(_LOOK_SECONDS)
        finally:
            self._manager.tell(STOPPING)
            self._watch.end()
            deadline = Deadline.after(SYSTEM_CLOCK, GRACE_SECONDS + 1.0)
            for thread in self._threads:
                thread.join(deadline.left)
            self._journal.close()

    def _look(self) -> None:
        """Show the threads the outbox as it is; one that is missing, as after damage, is made."""
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
        self._journal.operations.settle_dead()
        if self._ages_of != outbox.id:
            self._ages, self._ages_of = OutboxAges.read(events.ages()), outbox.id
        self._ages.pass_to(boot_id(), boot_seconds(), outbox.last)
        self._too_old = self._ages.older_than(KEPT_SECONDS)
        gone = self._ages.older_than(_IN_OUTBOX_SECONDS)
        # Events that cannot be dropped now keep their age. What a busy outbox has pushed out itself needs none.
        if not 0 < outbox.oldest <= gone or events.drop_through(gone):
            self._ages.forget(gone)
        if self._note_ages_at.is_over and events.note_ages(self._ages.written()):
            self._note_ages_at = Deadline.after(SYSTEM_CLOCK, MARK_SECONDS)

    def _show_life(self) -> None:
        seconds = self._manager.watchdog_seconds
        if seconds is not None and self._alive_at.is_over:
            self._manager.tell(WATCHDOG)
            self._alive_at = Deadline.after(SYSTEM_CLOCK, min(seconds, _WATCHDOG_SECONDS))


def send_events(settings: Settings, interrupted: Callable[[], bool]) -> None:
    """Send a node's events until a signal says otherwise.

    Raises `LockUnavailable` where another process does, `SettingsInvalid`, `MissingLibrary`.
    """
    sender = Sender(settings, interrupted)
    with _own_lock(settings):
        sender.run()


def forget_events(settings: Settings) -> None:
    """Remove the outbox, and how far receivers have come: from now on no event is kept.

    Raises `LockUnavailable` where a process sends, `JournalUnusable`, OSError.
    """
    with _own_lock(settings):
        journal = build_journal(settings, SYSTEM_CLOCK)
        try:
            if journal.events.state() is not None:
                journal.deliveries.forget()
                journal.events.close()
        finally:
            journal.close()


@contextlib.contextmanager
def _own_lock(settings: Settings) -> Iterator[None]:
    """Hold the right to send this node's events, with the record that says so."""
    directory = settings.state_directory

    def first() -> str:
        with contextlib.suppress(OSError):
            record = read_events_record(directory)
            if record is not None:
                return f"process {record.pid}, since {record.since}, does already; look at fleet-power-events"
        return "another process does already; look at fleet-power-events"

    with only_process(os.path.join(directory, EVENTS_LOCK), settings.group, "send events", first) as descriptor:
        with contextlib.suppress(OSError):
            write_record(descriptor, SupervisorRecord.of_this_process(timestamp(SYSTEM_CLOCK.now())))
        yield


def say(line: str) -> None:
    """One line in the system log, and for whoever reads the service's output; nobody may."""
    announce_line(line, warn=True)
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.write(line + "\n")
        sys.stdout.flush()
