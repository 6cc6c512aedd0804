# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ends of runs as the engine reports them, until their verdict."""

from __future__ import annotations

import threading
from datetime import datetime, timezone
from typing import Any, Optional

from .._power.engine.event_stream import ContainerEvent
from .._power.model.clock import engine_time
from .._power.model.records import dataclass, field
from .._power.model.server import Run

_NANOSECONDS = 10**9
#: Signals that stop a process by default. SIGHUP often means "read your settings", and SIGQUIT "print your state".
STOPPING = frozenset((2, 9, 15))
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
    stop signal came earlier, within the time to obey. ``engine``: the life of the engine that reports it."""

    at: int
    exit_code: int | None
    signalled: bool
    warned: bool = False
    engine: str = ""

    @property
    def ended_at(self) -> str:
        """Return ``at`` in the engine's notation."""
        seconds, rest = divmod(self.at, _NANOSECONDS)
        return f"{datetime.fromtimestamp(seconds, timezone.utc):%Y-%m-%dT%H:%M:%S}.{rest:09d}Z"


#: The moment, the exit code, and the life of the engine.
_Reported = tuple[int, Optional[int], str]


@dataclass
class _Container:
    signals: list[tuple[int, int]] = field(default_factory=list)
    ends: list[_Reported] = field(default_factory=list)
    #: The end since the last start, by the order of the reports.
    last: _Reported | None = None


class EndReports:
    """Signals and ends by container, until their verdict. Safe between threads."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._containers: dict[str, _Container] = {}
        #: The moment of the latest event, in nanoseconds; 0 before the first.
        self.latest = 0

    def add(self, event: ContainerEvent, engine: str = "") -> None:
        """Add an event from the stream of this life of the engine."""
        with self._guard:
            # Not the highest moment: the clock may have been set back.
            self.latest = event.at
            if event.action == "destroy" and not self._containers.get(event.container, _Container()).ends:
                self._containers.pop(event.container, None)
            if event.action == "start" and event.container in self._containers:
                self._containers[event.container].last = None
            if event.action not in ("kill", "die"):
                return
            if len(self._containers) >= _MOST and event.container not in self._containers:
                self._containers.pop(next(iter(self._containers)))
            heard = self._containers.setdefault(event.container, _Container())
            if event.action == "kill" and event.signal is not None:
                _add(heard.signals, (event.at, event.signal))
            elif event.action == "die":
                heard.last = (event.at, event.exit_code, engine)
                _add(heard.ends, heard.last)

    def end_of(
        self, run: Run, stop_signal: int | None, *, before: Run | None, obeys_within: float | None, is_only: bool
    ) -> ReportedEnd | None:
        """Return the end of a run; None if the engine has not reported it. ``before`` is the server's later run, None without one. If
        ``stop_signal`` is unknown (None), every signal counts as a stop. If ``obeys_within`` is, the run may obey at any later time.
        ``is_only``: no other run of the server waits for its end. Then a report counts also if the clock was set back since the start."""
        began = _nanoseconds(run.started_at)
        next_began = _nanoseconds(before.started_at) if before is not None and before.container == run.container else None
        with self._guard:
            heard = self._containers.get(run.container)
            if heard is None or began is None:
                return None
            found = next((each for each in heard.ends if each[0] >= began), heard.last if is_only else None)
            if found is None or (next_began is not None and found[0] > next_began):
                return None
            at, exit_code, engine = found
            began = began if began <= at else 0
            warned_since = began if obeys_within is None else max(began, at - int(obeys_within * _NANOSECONDS))
            signalled_since = max(began, at - _SIGNAL_SECONDS * _NANOSECONDS)
            signals = [each for each in heard.signals if warned_since <= each[0] <= at]
            sent = [moment for moment, signal in signals if signal in STOPPING or stop_signal in (None, signal)]
        return ReportedEnd(at, exit_code, any(moment >= signalled_since for moment in sent), bool(sent), engine)

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

    def forget(self, container: str, end: int) -> None:
        """Forget the reports of a judged run up to its end, and of the runs before it."""
        with self._guard:
            heard = self._containers.get(container)
            if heard is None:
                return
            heard.ends = [each for each in heard.ends if each[0] > end]
            heard.signals = [each for each in heard.signals if each[0] > end]
            heard.last = None
            if not (heard.ends or heard.signals):
                del self._containers[container]

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
