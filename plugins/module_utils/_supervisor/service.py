# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The life of the supervisor: one per node, connected to the engine until a signal ends it."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable

from .._power.actions.many.bulk import allow_files
from .._power.actions.node.node import Node, build_node
from .._power.actions.players.countdown import call_off_all_abandoned
from .._power.definitions.settings import Settings
from .._power.host.machine import boot_id, boot_seconds
from .._power.host.pauses import may_be_frozen
from .._power.host.supervisor_record import SUPERVISOR_LOCK
from .._power.host.system_log import announce_line
from .._power.journal.journal import Intent
from .._power.journal.schema import JournalUnusable
from .._power.model.caller import Caller
from .._power.model.cancellation import Deadline, wait_until
from .._power.model.clock import SYSTEM_CLOCK, engine_time, timestamp
from .._power.model.errors import EngineError, EngineUnreachable, MissingLibrary, internal_error
from .._power.model.records import replace
from .._power.model.server import Run, Server
from .._power.model.supervision import EndedRun, Verdict
from .._service import FreshNode, OwnLock, ServiceManager, own_lock, print_line, say
from .connection_watch import BOOT, CURSOR, EngineWatch, pause_line
from .end_reports import EndReports
from .engine_link import EventReader, StreamEnded, link_to
from .prover import Prover
from .restarter import Restarter
from .starter import Starter, StartOptions

_STAYS = (Verdict.STOPPED, Verdict.STOPPED_EXTERNALLY)
#: Seconds between two tries of an unreachable engine or an unreadable journal.
_RETRY_SECONDS = 1.0
#: The loop may spend so many seconds on one step while the watchdog still gets signs of life.
_STUCK_SECONDS = 900.0
_FILES = 4096
#: Seconds until the next look at servers that could not be seen after a boot.
_BRING_BACK_SECONDS = 10.0
_CALL_OFF_SECONDS = 10.0


def due_after_boot(node: Node) -> list[EndedRun]:
    """Make a start due for each server that should be up and is down since before this boot; return those rows. Rows that were due stay
    due, at once. If the power failed between a kill and its record of intent, the server is set to stay down. Raises `JournalUnusable`,
    OSError."""
    wanted = node.journal.intents.should_be_up()
    if wanted is None:
        raise JournalUnusable("it does not say which servers should be up")
    now, revived = time.time(), []
    newest = node.journal.ended_runs.newest_of_each([server.uuid for server in wanted])
    for server in wanted:
        row = newest.get(server.uuid) or _unknown(node, server)
        # Only ends judged after the boot count. An earlier one may be a stop through the console, which writes no intent.
        if row is not None and row.verdict is Verdict.STOPPED and row.boot == boot_id() and _began_before_boot(row, now):
            node.journal.intents.set(server, Intent(False, row.operation, row.origin, row.at), only_if_newer=node.clock.now())
        if row is None or row.due or row.next_run is not None or row.verdict in _STAYS or not _began_before_boot(row, now):
            continue
        # Without a boot it is due at once, and in the order of starts after a boot.
        again = replace(row, due=True, boot="", next_at=0.0, code="", msg="")
        if not node.journal.ended_runs.revive(again):
            raise JournalUnusable("it cannot be written")
        revived.append(again)
    return revived


def _unknown(node: Node, server: Server) -> EndedRun | None:
    """Write a row for a server without any known run; None if it has one after all. Its run has no start, and the UUID as container."""
    snapshot = node.engine.inspect(server.uuid)
    if snapshot is not None and snapshot.has_run:
        return None
    run = Run(server.uuid, "")
    at = timestamp(node.clock.now())
    if not node.journal.ended_runs.write(EndedRun(server, run, Verdict.ENDED_UNOBSERVED, at=at, boot=boot_id(), next_at=boot_seconds())):
        raise JournalUnusable("it cannot be written")
    return node.journal.ended_runs.of_run(run)


def _began_before_boot(row: EndedRun, now: float) -> bool:
    if row.boot != boot_id():
        # The clock may have been wrong after the power loss.
        return True
    began = engine_time(row.run.started_at)
    return not row.run.started_at or (began is not None and began.timestamp() < now - boot_seconds())


class Supervisor:
    def __init__(self, settings: Settings, options: StartOptions, interrupted: Callable[[], bool], lock: OwnLock) -> None:
        self._interrupted = interrupted
        self._lock = lock
        self._node = FreshNode(build_node({}, settings, caller=Caller(interrupted)))
        self._reports = EndReports()
        self._watch: EngineWatch | None = None
        #: The life of the engine whose events were read up to its end.
        self._followed = ""
        self._starter = Starter(self._node.now, options, self._on_trouble)
        self._restarter = Restarter(self._node.now, self._on_trouble)
        self._prover = Prover(self._node.now, self._may_act, self._on_trouble)
        self._manager = ServiceManager()
        self._stuck = Deadline.after(SYSTEM_CLOCK, _STUCK_SECONDS)

    def run(self) -> None:
        """Supervise until a signal comes; started work is finished."""
        allow_files(_FILES)
        self._show_life()
        try:
            while not self._interrupted():
                try:
                    self._connect()
                except (EngineUnreachable, EngineError, MissingLibrary):
                    self._pause("engine")
                except (JournalUnusable, OSError):
                    self._pause("journal")
                except Exception as error:
                    print_line(internal_error(error), sys.stdout)
                    announce_line(f"supervisor: {internal_error(error)}", warn=True)
                    self._pause("fault")
                self._stuck = Deadline.after(SYSTEM_CLOCK, _STUCK_SECONDS)
                wait_until(self._interrupted, Deadline.after(SYSTEM_CLOCK, _RETRY_SECONDS), every=0.1)
        finally:
            self._manager.stopping()
            self._starter.join()
            self._restarter.join()
            self._prover.join()
            self._node.close()

    def _connect(self) -> None:
        """Watch the engine until its stream ends. The stream begins before the first look, so no event is missed."""
        engine = self._node.now().engine
        version = engine.version()
        link = link_to(engine, self._followed)
        life, _space, since = (self._node.now().journal.supervisor.value(CURSOR) or "").partition(" ")
        # All events of a new life: they tell what it stopped in its startup. A repeated event counts once.
        reader = EventReader(engine.events.follow(int(since) if life == link.life and since.isdigit() else 0))
        try:
            again = link_to(engine)
            if again.life != link.life:
                return
            for warning in version.warnings():
                say(f"supervisor: {warning}")
            self._watch = EngineWatch(self._node.now, link, reader, self._reports, self._starter, self._restarter, self._prover, self._tell)
            self._watch.first_look()
            self._manager.ready()
            self._turn(self._watch)
        except StreamEnded:
            self._followed = "" if reader.is_closed else link.life
        finally:
            self._watch = None
            self._starter.end_tiers()
            reader.close()

    def _turn(self, watch: EngineWatch) -> None:
        booted, next_try = False, Deadline(SYSTEM_CLOCK, 0.0)
        next_call_off = next_try
        while not self._interrupted():
            self._stuck = Deadline.after(SYSTEM_CLOCK, _STUCK_SECONDS)
            # Before the first starts: one order applies to all starts after a boot.
            if not booted and not watch.paused and next_try.is_over:
                booted, next_try = self._bring_back(watch), Deadline.after(SYSTEM_CLOCK, _BRING_BACK_SECONDS)
            watch.turn()
            if next_call_off.is_over:
                node = self._node.now()
                call_off_all_abandoned(node)
                if may_be_frozen(node.settings.state_directory):
                    node.journal.freezes.end_over()
                next_call_off = Deadline.after(SYSTEM_CLOCK, _CALL_OFF_SECONDS)

    def _bring_back(self, watch: EngineWatch) -> bool:
        """After a boot, make starts due for the servers that should be up. Return False if that must be tried again."""
        node = self._node.now()
        try:
            before = node.journal.supervisor.value(BOOT)
            if before == boot_id():
                return True
            if before is not None:
                self._starter.remember(due_after_boot(node))
                announce_line(f"the machine has booted; servers that should be up, now due for a start: {self._starter.due}")
            return node.journal.supervisor.set_values([(BOOT, boot_id())])
        except (JournalUnusable, OSError):
            watch.notice_trouble()
            return False

    def _may_act(self) -> bool:
        watch = self._watch
        return watch is not None and not watch.paused

    def _on_trouble(self) -> None:
        watch = self._watch
        if watch is not None:
            watch.notice_trouble()

    def _pause(self, why: str) -> None:
        self._tell(why)
        self._manager.ready()

    def _tell(self, paused: str) -> None:
        if self._lock.record(paused):
            say(pause_line(paused), warn=bool(paused))

    def _show_life(self) -> None:
        """Send signs of life from a thread, because the loop may wait for a silent engine."""
        seconds = self._manager.life_seconds
        if seconds is None:
            return

        def show() -> None:
            while not self._stuck.is_over:
                self._manager.alive()
                time.sleep(seconds / 2)

        threading.Thread(target=show, name="watchdog", daemon=True).start()


def supervise(settings: Settings, options: StartOptions, interrupted: Callable[[], bool]) -> None:
    """Supervise a node until a signal comes. Raises `LockUnavailable` if another process does."""
    with own_lock(settings, SUPERVISOR_LOCK, "supervise", "; look at fleet-power-supervisor") as lock:
        lock.record()
        Supervisor(settings, options, interrupted, lock).run()
