# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ends of runs as the engine reports them, and the verdict on each."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

from .._power.engine.event_stream import ContainerEvent
from .._power.model.clock import engine_time
from .._power.model.server import Run
from .._power.model.supervision import Verdict

_NANOSECONDS = 10**9
#: Signals that stop a process by default. SIGHUP often means "read your settings", and SIGQUIT "print your state".
_STOPPING = frozenset((2, 9, 15))
#: A signal this long before an end may have caused it: the engine's time between stop and SIGKILL, and some more.
_SIGNAL_SECONDS = 30
#: A server that lives longer than this after a signal ignored it. A longer stop timeout counts instead.
OBEY_SECONDS = 600.0
_MOST = 10_000
#: The limit of signals, and of ends, for each container.
_MOST_OF_ONE = 32


@dataclass(frozen=True)
class ReportedEnd:
    """The end of a run as the engine reports it. ``at`` is in nanoseconds. ``signalled``: a stop signal came just before. ``warned``: a
    stop signal came earlier, within the time to obey."""

    at: int
    exit_code: int | None
    signalled: bool
    warned: bool = False

    @property
    def ended_at(self) -> str:
        """Return ``at`` in the engine's notation."""
        seconds, rest = divmod(self.at, _NANOSECONDS)
        return f"{datetime.fromtimestamp(seconds, timezone.utc):%Y-%m-%dT%H:%M:%S}.{rest:09d}Z"


@dataclass
class _Container:
    signals: list[tuple[int, int]] = field(default_factory=list)
    ends: list[tuple[int, int | None]] = field(default_factory=list)


class EndReports:
    """Signals and ends by container, until their verdict. Safe between threads."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._containers: dict[str, _Container] = {}
        #: The moment of the latest event, in nanoseconds; 0 before the first.
        self.latest = 0

    def add(self, event: ContainerEvent) -> None:
        with self._guard:
            self._add(event)

    def _add(self, event: ContainerEvent) -> None:
        self.latest = max(self.latest, event.at)
        if event.action == "destroy" and not self._containers.get(event.container, _Container()).ends:
            self._containers.pop(event.container, None)
        if event.action not in ("kill", "die"):
            return
        if len(self._containers) >= _MOST and event.container not in self._containers:
            self._containers.pop(next(iter(self._containers)))
        heard = self._containers.setdefault(event.container, _Container())
        if event.action == "kill" and event.signal is not None:
            _add(heard.signals, (event.at, event.signal))
        elif event.action == "die":
            _add(heard.ends, (event.at, event.exit_code))

    def end_of(
        self, run: Run, stop_signal: int | None, *, before: Run | None = None, obeys_within: float = OBEY_SECONDS
    ) -> ReportedEnd | None:
        """Return the end of a run; None if the engine has not reported it. ``before`` is a later run of the container, if any."""
        with self._guard:
            return self._end_of(run, stop_signal, before, obeys_within)

    def _end_of(self, run: Run, stop_signal: int | None, before: Run | None, obeys_within: float) -> ReportedEnd | None:
        heard, began = self._containers.get(run.container), _nanoseconds(run.started_at)
        over = _nanoseconds(before.started_at) if before is not None and before.container == run.container else None
        if heard is None or began is None:
            return None
        at, exit_code = next(((at, code) for at, code in heard.ends if at >= began), (0, None))
        if not at or (over is not None and at > over):
            return None
        stopping = _STOPPING | ({stop_signal} if stop_signal is not None else set())
        earliest = max(began, at - _SIGNAL_SECONDS * _NANOSECONDS)
        since = max(began, at - int(obeys_within * _NANOSECONDS))
        sent = [moment for moment, signal in heard.signals if since <= moment <= at and signal in stopping]
        return ReportedEnd(at, exit_code, any(moment >= earliest for moment in sent), bool(sent))

    def signalled_before(self, moment: int) -> list[str]:
        """Return the containers that live on after a signal before ``moment``, in nanoseconds."""
        with self._guard:
            return [
                name for name, heard in self._containers.items() if not heard.ends and any(sent < moment for sent, _signal in heard.signals)
            ]

    def disobeyed(self, container: str, moment: int) -> int | None:
        """Forget the signals before ``moment``; return when the last came, or None if the container has ended."""
        with self._guard:
            heard = self._containers.get(container, _Container())
            old = [sent for sent, _signal in heard.signals if sent < moment]
            if not old or heard.ends:
                return None
            heard.signals = [each for each in heard.signals if each[0] >= moment]
            if not heard.signals:
                del self._containers[container]
            return old[-1]

    @staticmethod
    def is_stopping(signal: int | None) -> bool:
        """Tell if a signal usually stops a container. An unknown signal may."""
        return signal is None or signal in _STOPPING

    def forget(self, run: Run) -> None:
        """Forget the reports of a judged run and of the runs before it."""
        with self._guard:
            self._forget(run)

    def _forget(self, run: Run) -> None:
        heard, began = self._containers.get(run.container), _nanoseconds(run.started_at)
        if heard is None or began is None:
            return
        over = next((at for at, _code in heard.ends if at >= began), None)
        if over is None:
            return
        heard.ends = [each for each in heard.ends if each[0] > over]
        heard.signals = [each for each in heard.signals if each[0] > over]
        if not (heard.ends or heard.signals):
            del self._containers[run.container]

    def earliest(self) -> int:
        """Return the moment, in nanoseconds, from which the engine must repeat its events after a reconnect. A signal may precede an end
        that is still to come."""
        with self._guard:
            pending = min((each.ends[0][0] for each in self._containers.values() if each.ends), default=self.latest)
        return max(0, pending - _SIGNAL_SECONDS * _NANOSECONDS)


def _add(heard: list[Any], event: Any) -> None:
    if event not in heard:
        heard.append(event)
        heard.sort()
        del heard[:-_MOST_OF_ONE]


def _nanoseconds(moment: str) -> int | None:
    found = engine_time(moment)
    if found is None:
        return None
    fraction = moment.partition(".")[2].rstrip("Z").ljust(9, "0")[:9]
    return int(found.replace(microsecond=0).timestamp()) * _NANOSECONDS + int(fraction or 0)


#: Exit codes that a stop brings by default: 0, and 128 plus the number of SIGINT, SIGKILL or SIGTERM.
_OF_STOPS = (0, 130, 137, 143)


@dataclass(frozen=True)
class Evidence:
    """The known facts of an end; None is unknown.

    ``here``: the lock's record says that an action ended the run; ``restarts``: the action was a restart. ``killed``: a kill came after the
    latest start request. ``console_stop``: our console sent the stop command. ``marked``: the engine's mark of a manual stop.
    ``another_engine``: the run was up in another life of the engine; ``in_startup``: it ended while this engine started up.
    """

    heard: ReportedEnd | None = None
    exit_code: int | None = None
    oom_killed: bool = False
    is_there: bool = True
    here: bool = False
    restarts: bool = False
    console_stop: bool = False
    killed: bool = False
    marked: bool | None = None
    another_engine: bool = False
    in_startup: bool = False

    @property
    def was_asked(self) -> bool:
        """True for a reported end that a request to the engine may have caused."""
        if self.heard is None:
            return False
        if self.heard.signalled or (self.heard.warned and self.marked is True):
            return True
        return not self.is_telling and (self.heard.warned or self.marked is True)

    @property
    def is_telling(self) -> bool:
        """True for an end that no stop brings by default."""
        # The kernel may have killed another process of the container, long ago.
        return (self.oom_killed and self.exit_code != 0) or (self.exit_code is not None and self.exit_code not in _OF_STOPS)


def judge(seen: Evidence) -> Verdict:
    if seen.here:
        return Verdict.RESTARTING if seen.restarts else Verdict.STOPPED
    if seen.console_stop:
        return Verdict.STOPPED
    if not seen.is_there and seen.heard is None:
        return Verdict.ENDED_UNOBSERVED
    if seen.heard is not None and not seen.was_asked:
        return Verdict.ENDED if seen.exit_code == 0 else Verdict.CRASHED
    if seen.killed and not seen.is_telling:
        return Verdict.STOPPED
    if seen.another_engine and (seen.in_startup or not seen.marked):
        return Verdict.ENGINE_STOPPED
    return Verdict.STOPPED_EXTERNALLY if seen.heard is not None else _unheard(seen)


def _unheard(seen: Evidence) -> Verdict:
    """Judge an end that the engine did not report to us."""
    if seen.marked:
        return Verdict.ENDED_UNOBSERVED
    if seen.is_telling:
        return Verdict.CRASHED
    if seen.marked is False:
        return Verdict.ENDED if seen.exit_code == 0 else Verdict.CRASHED
    return Verdict.ENDED_UNOBSERVED


def awaits_shutdown(seen: Evidence) -> bool:
    """Tell if the engine's own shutdown may have caused the end. That shows only when its stream breaks."""
    return seen.was_asked and not (seen.here or seen.console_stop or seen.another_engine or (seen.killed and not seen.is_telling))
