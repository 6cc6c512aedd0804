# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Starts after ended runs: when each is due, in which order, and the outcome for its row."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from operator import itemgetter

from .._power.actions.many.bulk import Target, perform_each
from .._power.actions.many.service_facts import freeze_facts
from .._power.actions.node.limiter import Limiter, Slot
from .._power.actions.node.node import Node
from .._power.actions.node.run_end import limits_of
from .._power.actions.turn.perform import perform
from .._power.definitions.definition import priority_of
from .._power.definitions.supervision import definition_fingerprint, policy_of
from .._power.host.machine import boot_id, boot_seconds
from .._power.journal.freezes import FreezeFacts
from .._power.journal.schema import JournalUnusable
from .._power.model.cancellation import Deadline
from .._power.model.clock import SYSTEM_CLOCK
from .._power.model.errors import (
    EngineUnreachable,
    Frozen,
    InterruptedBySignal,
    LockUnavailable,
    NodeStopping,
    NotSelected,
    OnTrial,
    ServerNotFound,
    UnderMaintenance,
)
from .._power.model.proof import is_held_back
from .._power.model.records import dataclass, replace
from .._power.model.request import PowerAction, Priorities, Request, WaitFor, new_operation_id
from .._power.model.result import Outcome, Result
from .._power.model.supervision import ORIGIN, EndedRun, Verdict, seconds_left, wait_before

#: Obstacles that pass by themselves. The next try comes after `_HELD_SECONDS`, without back-off.
_NOT_NOW = (Frozen.code, InterruptedBySignal.code, NodeStopping.code, OnTrial.code, UnderMaintenance.code)
_HELD_SECONDS = 1.0
_SERVING_SECONDS = 5.0


@dataclass(frozen=True)
class StartOptions:
    """Options of the command: ``stagger`` in seconds, servers in parallel, and the moment at which a server counts as up."""

    stagger: int = 1
    max_parallel: int = 0
    wait_for: WaitFor = WaitFor.CONTAINER


class Starter:
    """Starts servers after ended runs, many in parallel, in its own threads."""

    def __init__(self, node: Callable[[], Node], options: StartOptions, on_trouble: Callable[[], None]) -> None:
        """``on_trouble`` is called when the journal is unusable. No start may follow until it works again."""
        self._node = node
        self._wait_for = options.wait_for
        self._on_trouble = on_trouble
        self._staggered = Limiter(options.max_parallel, stagger=options.stagger)
        self._quick = self._staggered.without_stagger()
        self._guard = threading.Lock()
        #: Rows with a start to come, by number. One under way or asleep is skipped; it stays here until it is closed.
        self._due: dict[int, EndedRun] = {}
        self._under_way: set[int] = set()
        #: Rows whose servers have a held lock, or whose last try has just finished, and until when to skip them.
        self._asleep: dict[int, Deadline] = {}
        self._threads: list[threading.Thread] = []
        #: The starts in tiers. The next ones begin after their end.
        self._in_tiers: threading.Thread | None = None
        self._tiers_end = threading.Event()

    def remember(self, rows: Sequence[EndedRun]) -> None:
        with self._guard:
            self._due.update((row.number, row) for row in rows if row.due)

    @property
    def due(self) -> int:
        """The number of starts to come, also of those that were due before this boot."""
        return len(self._due)

    def seconds_left(self) -> float | None:
        """Return the seconds until the next start; None if none is to come."""
        return min((left for left, _row in self._waiting()), default=None)

    def _waiting(self) -> list[tuple[float, EndedRun]]:
        """Return the due rows that may begin, each with the seconds until its next try. Tiers under way hold back later rows in tiers."""
        boot, now, awake = boot_id(), boot_seconds(), Deadline(SYSTEM_CLOCK, 0.0)
        with self._guard:
            busy = self._in_tiers is not None and self._in_tiers.is_alive()
            rows = [row for number, row in self._due.items() if number not in self._under_way and not (busy and _after_engine(row, boot))]
            return [(max(seconds_left(row, boot, now), self._asleep.get(row.number, awake).left), row) for row in rows]

    def begin(self) -> None:
        """Begin the due starts. Outside tiers, the server's lock must be free. Raises `JournalUnusable`, OSError."""
        node, boot = self._node(), boot_id()
        with self._guard:
            self._threads = [thread for thread in self._threads if thread.is_alive()]
        ready = [row for left, row in self._waiting() if left <= 0]
        proofs = {proof.uuid: proof for proof in node.journal.proofs.open()} if ready else {}
        ready = [row for row in ready if not self._sleep_if(is_held_back(proofs.get(row.server.uuid), row), row, node)]
        # A tier waits for its held locks, and no freeze concerns it.
        in_tiers = [row for row in ready if _after_engine(row, boot)]
        if in_tiers and not node.engine.events.is_serving(_SERVING_SECONDS):
            in_tiers = []
        frozen = freeze_facts(node) if ready else None
        others = [row for row in ready if not _after_engine(row, boot) and not self._sleep_if_held(row, node, frozen)]
        for rows, limiter in ((others, self._quick), (in_tiers, self._staggered)):
            if rows:
                self._begin(rows, limiter, node)

    def end_tiers(self) -> None:
        """Begin no more of the starts in tiers. Their rows stay due, for new tiers. These begin after all waits for ready under way."""
        self._tiers_end.set()

    def _sleep_if_held(self, row: EndedRun, node: Node, frozen: FreezeFacts | None) -> bool:
        """Put a row to sleep if a freeze or a lock of another process holds back its server; tell if so. A restart that stopped the server
        starts it itself."""
        uuid = row.server.uuid
        return self._sleep_if(node.locks.holder(uuid) is not None or (frozen is not None and frozen.holds_back(uuid)), row, node)

    def _sleep_if(self, held: bool, row: EndedRun, node: Node) -> bool:
        if held:
            with self._guard:
                self._asleep[row.number] = Deadline.after(node.clock, _HELD_SECONDS)
        return held

    def free_changed(self, node: Node) -> None:
        """Release servers from a crash loop if their definitions have changed since."""
        for _left, row in self._waiting():
            definition = node.sources.definition_for_stop(row.server.uuid)
            limits = policy_of(node.settings, row.server, definition).limits
            if definition is None or row.consecutive_crashes <= limits.max_restarts:
                continue
            fingerprint = definition_fingerprint(definition)
            if fingerprint != row.definition:
                freed = replace(
                    row, consecutive_crashes=0, tries=0, boot=boot_id(), next_at=boot_seconds(), definition=fingerprint, code="", msg=""
                )
                if node.journal.ended_runs.put_off(freed):
                    self.remember([freed])

    def cancel_all(self, node: Node) -> None:
        """Cancel all due starts, except for servers with a held lock. Raises `JournalUnusable`, OSError."""
        for row in node.journal.ended_runs.due():
            if node.locks.holder(row.server.uuid) is None:
                self._close(node, row)

    def join(self) -> None:
        for thread in list(self._threads):
            thread.join()

    def _begin(self, rows: Sequence[EndedRun], limiter: Limiter, node: Node) -> None:
        in_tiers = limiter is self._staggered
        order, defined = Priorities.of(node.settings.priorities), node.sources.definition_for_stop
        ranked = sorted(((priority_of(row.server, defined(row.server.uuid), order), row) for row in rows), key=itemgetter(0))
        targets = [Target(self._request(row, node), row.server) for _priority, row in ranked]
        tiers = [priority for priority, _row in ranked] if in_tiers else None
        numbers = {row.number for row in rows}
        with self._guard:
            self._under_way |= numbers

        def work() -> None:
            try:
                perform_each(targets, lambda target, slot: self._start(target, slot, numbers, in_tiers), limiter, tiers, is_shared=True)
            finally:
                with self._guard:
                    self._under_way -= numbers

        thread = threading.Thread(target=work, name="starts")
        if in_tiers:
            self._in_tiers = thread
            self._tiers_end.clear()
        try:
            thread.start()
        except RuntimeError:
            # The system allows no more threads. The next turn tries again.
            with self._guard:
                self._under_way -= numbers
        else:
            self._threads.append(thread)

    def _request(self, row: EndedRun, node: Node) -> Request:
        return Request(
            server=row.server.uuid,
            action=PowerAction.START,
            operation=new_operation_id(),
            requested_at=node.clock.now(),
            wait_for=self._wait_for,
            should_be_up=frozenset(),
            ended_run=row,
            ignores_freeze=_after_engine(row, boot_id()),
            origin=ORIGIN,
            reason=_reason(row),
        )

    def _start(self, target: Target, slot: Slot, group: set[int], in_tiers: bool) -> Result:
        """Start one server if its row is still due. ``group``: the rows of its group whose starts have not finished."""
        node, row = self._node(), target.request.ended_run
        if row is None:
            raise TypeError("a start of the supervisor follows an ended run")
        if in_tiers:
            signal, ended = node.caller.interrupted, self._tiers_end.is_set
            caller = replace(node.caller, interrupted=lambda: signal() or ended(), handed_on=lambda: ended() and not signal())
            node = replace(node, caller=caller)
        try:
            return self._try_start(node, row, target.request, slot)
        except (JournalUnusable, OSError):
            self._on_trouble()
            return _nothing(target.request, row)
        finally:
            with self._guard:
                self._under_way.discard(row.number)
                # If the row is under way again, it belongs to another group.
                group.discard(row.number)
                if row.number in self._due and not node.caller.interrupted():
                    # Do not try again at once, whatever went wrong.
                    self._asleep[row.number] = Deadline.after(node.clock, _HELD_SECONDS)

    def _try_start(self, node: Node, row: EndedRun, planned: Request, slot: Slot) -> Result:
        if node.caller.interrupted():
            return _nothing(planned, row)
        try:
            # Read it before the journal and before all waits.
            generation = node.generations.read(row.server.uuid)
        except LockUnavailable as error:
            fresh = self._still_due(node, row)
            if fresh is not None:
                self._put_off(node, fresh, error.code, str(error))
            return _nothing(planned, row)
        fresh = self._still_due(node, row)
        if fresh is None:
            return _nothing(planned, row)
        if not node.journal.ended_runs.note_attempt(row.number, planned.operation):
            raise JournalUnusable("it cannot be written")
        request = replace(planned, requested_at=node.clock.now(), generations={row.server.uuid: generation}, ended_run=fresh)
        result = perform(request, node, row.server, slot)
        # An engine that shuts down refuses connections before its event stream ends.
        if result.code == EngineUnreachable.code and not node.engine.events.is_serving(_SERVING_SECONDS):
            self.end_tiers()
        self._record_outcome(node, fresh, result)
        return result

    def _still_due(self, node: Node, row: EndedRun) -> EndedRun | None:
        """Return the row as the journal has it now; None, and forget it, if it is no longer due. Raises `JournalUnusable`, OSError."""
        fresh = node.journal.ended_runs.numbered(row.number)
        # A new journal numbers other runs with these numbers.
        if fresh is not None and fresh.due and fresh.run == row.run:
            return fresh
        self._forget(row)
        return None

    def _record_outcome(self, node: Node, row: EndedRun, result: Result) -> None:
        """Close the row if its server is up, if the start is unwanted, or if no source has the server any more. Otherwise put off the next
        try, except for an obstacle of `_NOT_NOW` or after an interruption. Raises `JournalUnusable`, OSError."""
        if self._still_due(node, row) is None:
            return
        if result.outcome in (Outcome.DONE, Outcome.UNCHANGED):
            self._close(node, row)
        elif result.code == NotSelected.code and not _lacks_stop(node, row):
            self._close(node, row, result.code, result.msg)
        elif result.code == ServerNotFound.code and node.sources.surely_lacks(row.server.uuid):
            # The engine was asked before the definition was read.
            self._close(node, row, result.code, result.msg)
        elif result.code not in _NOT_NOW and not node.caller.interrupted():
            self._put_off(node, row, result.code, result.msg)
        elif not node.journal.ended_runs.note_attempt(row.number, ""):
            # A run that comes up now is not of this attempt.
            raise JournalUnusable("it cannot be written")

    def _close(self, node: Node, row: EndedRun, code: str = "", msg: str = "") -> None:
        """Cancel a due start. Raises `JournalUnusable`."""
        if not node.journal.ended_runs.close(row.number, code, msg):
            raise JournalUnusable("it cannot be written")
        self._forget(row)

    def _put_off(self, node: Node, row: EndedRun, code: str, msg: str) -> None:
        """Put off the next try by the next longer wait. Raises `JournalUnusable`."""
        limits = limits_of(node, row.server)
        tries = row.tries + 1
        wait = wait_before(row.consecutive_crashes, tries, limits)
        put_off = replace(row, code=code, msg=msg, tries=tries, boot=boot_id(), next_at=boot_seconds() + wait, attempt="")
        # Do this before the write: a nearly full disk may refuse the write.
        self.remember([put_off])
        if not node.journal.ended_runs.put_off(put_off):
            raise JournalUnusable("it cannot be written")

    def _forget(self, row: EndedRun) -> None:
        with self._guard:
            if row.number in self._due and self._due[row.number].run == row.run:
                del self._due[row.number]
            self._asleep.pop(row.number, None)


def _lacks_stop(node: Node, row: EndedRun) -> bool:
    """Tell if the journal lacks a stop that the lock's record has. The next start request writes it there, under the lock."""
    intent = node.journal.intents.of(row.server.uuid)
    return intent is not None and intent.up and node.locks.ended_here(row.server.uuid) is not None


def _after_engine(row: EndedRun, boot: str) -> bool:
    """Tell if a start is the first try after an engine stop or a boot. Such starts are staggered, and in tiers."""
    return row.boot != boot or (row.verdict is Verdict.ENGINE_STOPPED and not row.tries)


def _reason(row: EndedRun) -> str:
    if row.verdict is Verdict.CRASHED:
        memory = ", out of memory" if row.oom_killed else ""
        code = "" if row.exit_code is None else f" with exit code {row.exit_code}"
        return f"crashed{code}{memory}, {row.consecutive_crashes} in a row"
    reasons = {
        Verdict.ENGINE_STOPPED: "stopped by the engine or a boot",
        Verdict.HUNG: f"hung, {row.consecutive_crashes} in a row",
        Verdict.RESTARTING: "a restart ended before its start",
        Verdict.ENDED: "ended with exit code 0",
    }
    # Only a boot makes a start due after any other end.
    return reasons.get(row.verdict, "the machine has booted")


def _nothing(request: Request, row: EndedRun) -> Result:
    return Result(
        server=row.server,
        action=request.action,
        outcome=Outcome.SKIPPED,
        operation=request.operation,
        requested_at=request.requested_at,
        ended_at=request.requested_at,
        code=NotSelected.code,
    )
