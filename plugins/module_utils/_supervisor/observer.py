# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A look at one server: record its live run, or judge and record the end of the run."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from .._power.actions.boot.startup import matchers_of
from .._power.actions.node.node import Node
from .._power.actions.node.run_end import ended_row_of, fate_of
from .._power.actions.turn.stop import graceful_stop
from .._power.definitions.definition import Definition, secrets_of
from .._power.definitions.stop_way import signal_number
from .._power.definitions.supervision import Policy, definition_fingerprint, policy_of
from .._power.engine.readiness import readable_lines
from .._power.host.engine_process import manual_stop_mark
from .._power.host.machine import boot_id, boot_seconds
from .._power.journal.schema import JournalUnusable
from .._power.model.cancellation import Deadline
from .._power.model.clock import engine_time, timestamp
from .._power.model.errors import ENGINE_FAULTS, EngineError
from .._power.model.records import dataclass, field, replace
from .._power.model.request import PowerAction
from .._power.model.result import RunEnd
from .._power.model.server import Run, Server, Snapshot
from .._power.model.supervision import STARTED_AFTER, EndedRun, SeenRun, Verdict
from .end_reports import OBEY_SECONDS, EndReports, ReportedEnd
from .engine_link import EngineLink
from .verdict import Evidence, awaits_shutdown, judge

_LOG_LINES, _LOG_LINE_BYTES = 20, 500
#: Limit for an answer of the engine. An engine that shuts down refuses connections before it stops the first container.
_SERVING_SECONDS = 1.0
#: After so many seconds without an answer, a living engine process counts as shutting down.
_SILENT_SECONDS = 10.0
#: Seconds until the next look if another process is about to write the end.
_AGAIN_SECONDS = 0.5
Values = tuple[tuple[str, str], ...]
_SHOWN = (Verdict.CRASHED, Verdict.ENDED, Verdict.ENDED_UNOBSERVED)


@dataclass
class Looked:
    """Result of a look: rows that it wrote, due rows of other processes, the seconds until the next look, if needed, and the container."""

    rows: list[EndedRun] = field(default_factory=list)
    due: list[EndedRun] = field(default_factory=list)
    again: float | None = None
    up: Run | None = None
    snapshot: Snapshot | None = None


@dataclass(frozen=True)
class _End:
    """The end of a run. ``container`` is its own container; None if that is gone."""

    server: Server
    run: Run
    container: Snapshot | None
    seen: SeenRun | None
    heard: ReportedEnd | None
    newest: bool

    @property
    def forgotten(self) -> bool:
        own = self.container
        return self.newest and own is not None and not own.live and own.run.precedes(self.run)

    @property
    def snapshot(self) -> Snapshot | None:
        """The container, if this run is its last."""
        return self.container if self.container is not None and self.container.run == self.run else None


class Observer:
    """Looks at the servers of one node. Several threads may look at once."""

    def __init__(self, node: Callable[[], Node], reports: EndReports, link: EngineLink, cursor: Callable[[], Values]) -> None:
        """``cursor`` returns the values to write with each row: the place in the engine's events."""
        self._node = node
        self._reports = reports
        self._link = link
        self._cursor = cursor
        #: Servers without a look so far. If one is down, it was down before the supervisor came.
        self.first: set[str] = set()
        #: The engine shuts down: it stops containers and refuses connections.
        self.is_shutting_down = False
        self._silent: Deadline | None = None

    def look(self, uuid: str) -> Looked:
        """Look at a server. Raises `JournalUnusable`, OSError, `LockUnavailable`, and the engine's errors."""
        node = self._node()
        snapshot, seen = node.engine.inspect(uuid), node.journal.runs.known_of(uuid)
        looked = Looked(snapshot=snapshot)
        ends = self._ends(node, uuid, snapshot, seen)
        # Most servers are unchanged and need no definition.
        definition = node.sources.definition_for_stop(uuid) if ends else None
        for end in ends:
            named = end if definition is None else replace(end, server=definition.server)
            self._judge_end(node, named, definition, looked)
        if snapshot is not None and snapshot.live:
            looked.up = snapshot.run
            self._record_up(node, uuid, snapshot, seen)
        self.first.discard(uuid)
        return looked

    def _ends(self, node: Node, uuid: str, snapshot: Snapshot | None, seen: SeenRun | None) -> list[_End]:
        """Return the ends of runs that a start found ended and that have no verdict, of the known run, and of the container's last one."""
        last = snapshot.run if snapshot is not None and snapshot.has_run else None
        rows = [row for row in node.journal.ended_runs.pending(uuid) if row.run != last]
        # That start may have removed the container and then failed.
        removed = rows[-1].run if rows and last is None and (seen is None or seen.run == rows[-1].run) else None
        ends = [(row.run, row.seen, row.run == removed) for row in rows]
        forgets = snapshot is not None and not snapshot.live and seen is not None and last is not None and last.precedes(seen.run)
        if seen is not None and seen.run != last:
            ends.append((seen.run, seen, last is None or forgets))
        if snapshot is not None and last is not None and not snapshot.live:
            ends.append((last, seen if seen is not None and seen.run == last else None, not forgets))
        found = []
        for run, recorded, newest in ends:
            # A newer container may have another stop signal and timeout.
            own = snapshot if snapshot is not None and snapshot.id == run.container else None
            seconds = None if own is None else obeys_within(node, uuid, own)
            signal = None if recorded is None else recorded.stop_signal
            signal = signal if own is None else signal_number(own.stop_signal)
            later = None if run == last else last
            heard = self._reports.end_of(run, signal, before=later, obeys_within=seconds, is_only=len(ends) == 1)
            found.append(_End(Server(uuid), run, own, recorded, heard, newest))
        return found

    def _record_up(self, node: Node, uuid: str, snapshot: Snapshot, seen: SeenRun | None) -> None:
        """Record that a run is up, if the journal does not know it in this life of the engine."""
        if seen is not None and seen.run == snapshot.run and seen.engine == self._link.life:
            return
        is_known = seen is not None and seen.run == snapshot.run
        generation = seen.generation if seen is not None and is_known else node.generations.read(uuid)
        begun = 0 if is_known else _row_of_begun_start(node, uuid)
        found = SeenRun(snapshot.run, generation, self._link.life, answers=begun, stop_signal=signal_number(snapshot.stop_signal))
        if not node.journal.runs.see(uuid, found):
            raise JournalUnusable("it cannot be written")

    def _judge_end(self, node: Node, end: _End, definition: Definition | None, looked: Looked) -> None:
        """Judge an end and write its row. A run that has a verdict keeps it. If more evidence may come, a later look judges."""
        row = node.journal.ended_runs.of_run(end.run)
        if row is not None and row.verdict is not Verdict.PENDING:
            self._forget_reports(end)
            if row.due:
                looked.due.append(row)
            return
        evidence = self._evidence(node, end, row)
        again = self._wait(node, end, evidence)
        if again is not None:
            looked.again = again
            return
        verdict = Verdict.INITIALLY_DOWN if end.server.uuid in self.first else judge(evidence)
        policy = policy_of(node.settings, end.server, definition)
        written = replace(
            self._row(node, end, verdict, evidence, row),
            log=self._log(node, end, definition) if verdict in _SHOWN else (),
            due=end.newest and _is_due(node, end, verdict, policy, definition),
            definition="" if definition is None else definition_fingerprint(definition),
        )
        if not node.journal.ended_runs.write(written, policy.limits, values=self._cursor()):
            raise JournalUnusable("it cannot be written")
        self._forget_reports(end)
        stored = node.journal.ended_runs.of_run(end.run)
        if stored is not None:
            looked.rows.append(stored)

    def _forget_reports(self, end: _End) -> None:
        if end.heard is not None:
            self._reports.forget(end.run.container, end.heard.at)

    def _evidence(self, node: Node, end: _End, pending: EndedRun | None) -> Evidence:
        uuid, run, seen, snapshot = end.server.uuid, end.run, end.seen, end.snapshot
        # A later kill belongs to another run.
        generation = node.generations.read(uuid) if pending is None else pending.generation
        record = node.locks.ended_here(uuid)
        fate = None if record is None or record.run != run or not record.ended_it else fate_of(node, end.server, record)
        exit_code = None if snapshot is None else snapshot.exit_code
        if exit_code is None and pending is not None:
            exit_code = pending.exit_code
        if exit_code is None and end.heard is not None:
            exit_code = end.heard.exit_code
        return Evidence(
            heard=end.heard,
            exit_code=exit_code,
            oom_killed=(snapshot is not None and snapshot.oom_killed) or (pending is not None and pending.oom_killed),
            is_there=snapshot is not None or pending is not None,
            forgotten=end.forgotten,
            ended_here=None if fate is Verdict.ENDED_UNOBSERVED else fate,
            console_stop=seen is not None and _by_console(node, end, seen),
            killed=seen is not None and generation is not None and generation != seen.generation,
            marked=None if snapshot is None or (seen is not None and seen.spoilt) else manual_stop_mark(self._link.root, run.container),
            another_engine=self._link.is_another(seen, run),
            in_startup=self._link.stopped_in_startup(seen, end.heard),
        )

    def _wait(self, node: Node, end: _End, evidence: Evidence) -> float | None:
        """Return the seconds until the next look at the end; None if it can be judged now."""
        holder = node.locks.holder(end.server.uuid)
        if holder is not None and (evidence.ended_here is not None or (holder.action == PowerAction.KILL.value and evidence.killed)):
            return _AGAIN_SECONDS
        if end.server.uuid in self.first or not awaits_shutdown(evidence):
            return None
        if node.engine.events.is_serving(_SERVING_SECONDS) and not self._link.is_over():
            self._silent = None
            return None
        # The engine is ending, has ended, or is slow. Its stream will break, and an open stream delays its end.
        # Another thread may find that the engine serves, and reset this.
        silent = self._silent = self._silent or Deadline.after(node.clock, _SILENT_SECONDS)
        self.is_shutting_down = self._link.is_gone() or silent.is_over
        return _AGAIN_SECONDS

    def _row(self, node: Node, end: _End, verdict: Verdict, evidence: Evidence, pending: EndedRun | None) -> EndedRun:
        if end.snapshot is not None:
            row = ended_row_of(node, end.server, end.snapshot, verdict)
        else:
            row = pending or EndedRun(end.server, end.run, verdict, at=timestamp(node.clock.now()), boot=boot_id(), next_at=boot_seconds())
        if not row.ended_at and end.heard is not None:
            # The container is gone or runs again. The engine reported the end when it came.
            row = replace(row, ended_at=end.heard.ended_at, seconds=RunEnd(end.heard.ended_at).seconds_since(end.run.started_at))
        return replace(
            row,
            verdict=verdict,
            seen=None,
            generation=None,
            exit_code=evidence.exit_code,
            # After the end of a mere child, the engine also says so of a stop that ends in SIGKILL.
            oom_killed=evidence.oom_killed and verdict is Verdict.CRASHED,
        )

    def _log(self, node: Node, end: _End, definition: Definition | None) -> tuple[str, ...]:
        """Return the last lines of a run, secrets masked; empty if the log driver keeps none."""
        if end.snapshot is None:
            return ()
        secrets = end.snapshot.secrets | secrets_of(definition)
        with contextlib.suppress(*ENGINE_FAULTS):
            return readable_lines(node.engine.logs.tail_of_run(end.run, _LOG_LINES), _LOG_LINES, _LOG_LINE_BYTES, secrets)
        return ()


def _is_due(node: Node, end: _End, verdict: Verdict, policy: Policy, definition: Definition | None) -> bool:
    """Tell if a start is due after an end. After an engine stop or a restart it is due whatever the crash policy says."""
    if verdict is Verdict.CRASHED:
        return policy.supervised
    if verdict is Verdict.ENDED:
        return policy.supervised and policy.clean_exit and _was_ready(node, end, definition)
    return verdict in STARTED_AFTER


def _was_ready(node: Node, end: _End, definition: Definition | None) -> bool:
    """Tell if a run became ready before its end; True if unknown. A run that ends well before that has finished its work. Raises
    `EngineUnreachable`."""
    matchers = matchers_of(definition)
    if not matchers or (end.seen is not None and end.seen.matched):
        return True
    try:
        log = node.engine.logs.of_run(end.run)
        return matchers.match_any(log, end.run) or (bool(log) and not node.engine.logs.has_beginning_of(end.run))
    except EngineError:
        # The log driver keeps nothing, or the container is gone.
        return True


def obeys_within(node: Node, uuid: str, snapshot: Snapshot | None) -> float:
    """Return the seconds after a stop signal within which an end counts as obedience."""
    return max(OBEY_SECONDS, float(graceful_stop(node, uuid, snapshot).timeout.seconds))


def _by_console(node: Node, end: _End, seen: SeenRun) -> bool:
    """Tell if a run ended within the stop timeout after our console's stop command; if the container is gone, any later end counts."""
    finished = None if end.snapshot is None else engine_time(end.snapshot.finished_at)
    moment = node.clock.now() if finished is None else finished
    at = moment.timestamp() if end.heard is None else end.heard.at / 1e9
    # The command's time has whole seconds.
    if not seen.console_stop or at < seen.console_stop - 1:
        return False
    return end.container is None or at - seen.console_stop <= graceful_stop(node, end.server.uuid, end.container).timeout.seconds + 1


def _row_of_begun_start(node: Node, uuid: str) -> int:
    """Return the number of the row whose start began and has no noted end; 0 if there is none."""
    row = node.journal.ended_runs.newest_of_each([uuid]).get(uuid)
    return row.number if row is not None and row.due and row.attempt else 0
