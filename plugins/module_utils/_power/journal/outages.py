# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a server was over a span of time, by what the journal has of its runs: up, down and why, or unknown; pure.

Two runs that are known do not make the time between them known: somebody may have started and stopped the server at the engine meanwhile,
with nobody there to see it. So that time counts as down only where the later run was started here, which notes the end that it finds, or
where the supervisor has seen both. What is unknown counts neither as up nor as down.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from functools import cached_property

from ..model.clock import engine_time
from ..model.request import PowerAction
from ..model.result import Outcome
from ..model.server import Run, Snapshot
from ..model.supervision import EndedRun, SeenRun, Verdict
from .journal_rows import OperationRow
from .span import Span

#: Why a server is still down after an action that was to bring it up.
NOT_STARTED = "not_started"
_BY_US = (Verdict.STOPPED, Verdict.RESTARTING)
#: Whoever wrote these saw the end, or made it.
_SEEN = (*_BY_US, Verdict.CRASHED, Verdict.ENDED, Verdict.ENGINE_STOPPED, Verdict.STOPPED_EXTERNALLY)
#: Somebody wanted it down; nobody did. Of all others nobody can tell.
_PLANNED = (*_BY_US, Verdict.STOPPED_EXTERNALLY)
_UNPLANNED = (Verdict.CRASHED, Verdict.ENGINE_STOPPED)
#: Between a start that was asked for and the engine's time of it.
_SLACK = timedelta(seconds=1)
_LATEST = datetime.max.replace(tzinfo=timezone.utc)
#: So many operations before a start are looked at: several may be under way at once.
_EARLIER = 5


@dataclass(frozen=True)
class History:
    """What is known of one server: rows and operations, the oldest first, its container as it is now, its newest run that was seen up, and
    the newest that was started here."""

    rows: Sequence[EndedRun] = ()
    operations: Sequence[OperationRow] = ()
    snapshot: Snapshot | None = None
    seen: SeenRun | None = None
    started: Run | None = None


@dataclass(frozen=True)
class OutageCause:
    """Why a server is down. ``why`` is a verdict, or `NOT_STARTED`; empty: nobody has judged it. ``planned`` None: nobody can tell."""

    why: str = ""
    planned: bool | None = None
    row: EndedRun | None = None
    exit_code: int | None = None
    operation: OperationRow | None = None


@dataclass(frozen=True)
class Piece:
    """A part of a span, in which a server was up, down for a ``cause``, or nobody knows."""

    since: datetime
    until: datetime
    up: bool | None
    cause: OutageCause = field(default_factory=OutageCause)

    @property
    def seconds(self) -> float:
        """How long it lasted."""
        return (self.until - self.since).total_seconds()


@dataclass(frozen=True)
class _KnownRun:
    """One run. ``ended`` is None while it is up, and where nobody knows its end."""

    run: Run
    began: datetime
    ended: datetime | None = None
    is_up: bool = False
    row: EndedRun | None = None
    exit_code: int | None = None


@dataclass(frozen=True)
class Past:
    """A span of a server's past in pieces that follow each other without a gap, whatever became of clocks meanwhile.

    ``known_since`` is when the earliest run began that is known; None where none is.
    """

    pieces: Sequence[Piece]
    known_since: datetime | None = None

    @classmethod
    def of(cls, history: History, span: Span) -> Past:
        """Return what a history tells of a span."""
        runs, operations = _runs(history), _OperationsByTime(history)
        within = [
            piece
            for piece in _laid_out(runs, history, operations, span.now)
            if piece.since < piece.until and piece.until > span.since and piece.since < span.until
        ]
        found: list[Piece] = []
        at = span.since
        for piece in operations.split(within):
            since, until = max(piece.since, at), min(piece.until, span.until)
            if until > since:
                if since > at:
                    found.append(Piece(at, since, None))
                found.append(Piece(since, until, piece.up, piece.cause))
                at = until
        if at < span.until:
            found.append(Piece(at, span.until, None))
        return cls(found, runs[0].began if runs else None)


def _runs(history: History) -> list[_KnownRun]:
    """The runs that are known, in the order in which they began."""
    snapshot = history.snapshot
    last = snapshot.run if snapshot is not None and snapshot.has_run else None
    found = {row.run: run for row in history.rows for run in [_of_row(row)] if run is not None}
    if snapshot is not None and last is not None and (snapshot.live or last not in found):
        began = engine_time(last.started_at)
        if began is not None:
            ended = None if snapshot.live else engine_time(snapshot.finished_at)
            exit_code = None if snapshot.live else snapshot.exit_code
            found[last] = _KnownRun(last, began, ended, snapshot.live, exit_code=exit_code)
    for run in (history.started, None if history.seen is None else history.seen.run):
        began = None if run is None else engine_time(run.started_at)
        if run is not None and began is not None and run not in found:
            found[run] = _KnownRun(run, began)
    return sorted(found.values(), key=lambda each: each.began)


def _of_row(row: EndedRun) -> _KnownRun | None:
    began, ended = engine_time(row.run.started_at), engine_time(row.ended_at)
    if ended is None and row.verdict in _BY_US:
        # Whoever stops a server writes it down at once.
        ended = engine_time(row.at)
    return None if began is None else _KnownRun(row.run, began, ended, row=row, exit_code=row.exit_code)


def _laid_out(runs: Sequence[_KnownRun], history: History, operations: _OperationsByTime, now: datetime) -> Iterator[Piece]:
    """Yield what the server was from its first run to now."""
    before = None
    at = min(runs[0].began, now) if runs else now
    for run, later in zip(runs, [*runs[1:], None]):
        # Where clocks were set back, what came later begins no earlier.
        began = min(max(run.began, at), now)
        if before is not None:
            yield Piece(at, began, False if _follows(before, run, history, operations) else None, operations.cause_of(before))
        ended = run.ended or (now if later is None else later.began)
        at = now if run.is_up else min(max(ended, began), now)
        yield Piece(began, at, True if run.is_up or run.ended is not None else None)
        before = run
    if before is not None:
        yield Piece(at, now, False if _is_last(before, history.snapshot) else None, operations.cause_of(before))


def _is_last(run: _KnownRun, snapshot: Snapshot | None) -> bool:
    """Tell if there was no other run since: one that is not over, or another one of the container, would have come later."""
    return run.ended is not None and (snapshot is None or not snapshot.has_run or snapshot.run == run.run)


def _follows(before: _KnownRun, run: _KnownRun, history: History, operations: _OperationsByTime) -> bool:
    """Tell if a run is known to be the next one after another."""
    if before.row is not None and before.row.next_run == run.run:
        return True
    seen = history.seen
    # The life of the engine is written by the supervisor alone.
    is_seen = _was_seen(run) or (seen is not None and seen.run == run.run and seen.engine != "")
    return run.run == history.started or (_was_seen(before) and is_seen) or operations.have_started(run)


def _was_seen(run: _KnownRun) -> bool:
    return run.row is not None and run.row.verdict in _SEEN


class _OperationsByTime:
    """The operations of a server, by their ids and by the time."""

    def __init__(self, history: History) -> None:
        self._by_id = {row.id: row for row in history.operations}
        dated = [(engine_time(row.begun_at), engine_time(row.ended_at), row) for row in history.operations]
        self._ended = sorted(((ended, row) for _begun, ended, row in dated if ended is not None), key=lambda each: each[0])
        booted = ((begun, ended) for begun, ended, row in dated if begun is not None and ended is not None and _boots(row))
        self._boots = sorted((begun, ended) for begun, ended in booted)

    def have_started(self, run: _KnownRun) -> bool:
        """Tell if a run began while a start was under way."""
        index = bisect_right(self._boots, (run.began + _SLACK, _LATEST))
        return any(run.began <= ended + _SLACK for _begun, ended in self._boots[max(index - _EARLIER, 0) : index])

    def cause_of(self, run: _KnownRun) -> OutageCause:
        """Return why a server is down after a run."""
        row = run.row
        if row is None or row.verdict is Verdict.PENDING:
            return OutageCause(row=row, exit_code=run.exit_code)
        planned = True if row.verdict in _PLANNED else False if row.verdict in _UNPLANNED else None
        return OutageCause(row.verdict.value, planned, row, run.exit_code, self._by_id.get(row.operation))

    def split(self, found: Sequence[Piece]) -> Iterator[Piece]:
        """Divide the time in which a server was down where somebody came to mean it, or a start that was meant to end it failed."""
        for piece in found:
            rest = piece
            for at, row in self._within(piece) if piece.up is False else ():
                cause = _changed(rest.cause, row)
                if cause is not None:
                    yield replace(rest, until=at)
                    rest = replace(rest, since=at, cause=cause)
            yield rest

    def _within(self, piece: Piece) -> Sequence[tuple[datetime, OperationRow]]:
        """Return the operations that ended in a piece."""
        moments = self._moments
        return self._ended[bisect_left(moments, piece.since) : bisect_left(moments, piece.until)]

    @cached_property
    def _moments(self) -> Sequence[datetime]:
        return [ended for ended, _row in self._ended]


def _boots(row: OperationRow) -> bool:
    action = PowerAction.named(row.action)
    return action is not None and action.boots


def _changed(cause: OutageCause, row: OperationRow) -> OutageCause | None:
    """Return why a server is down from the end of an operation on; None if that is as before."""
    if _boots(row) and row.outcome == Outcome.FAILED.value and cause.planned is not False:
        return OutageCause(NOT_STARTED, False, operation=row)
    took_down = PowerAction.named(row.action) in (PowerAction.STOP, PowerAction.KILL)
    if took_down and row.outcome in (Outcome.DONE.value, Outcome.UNCHANGED.value) and cause.planned is not True:
        return OutageCause(Verdict.STOPPED.value, True, operation=row)
    return None
