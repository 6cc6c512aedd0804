# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Phases of servers as bars of a timeline, and their downtime below them, in the time of their batch; pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from ..._power.model.news import COUNTDOWN, LOCKED, PLAYERS, READY
from ..rollout.record import Row
from ..rollout.timing import moment_of

#: What the phases of an action, and the states that an endpoint tells, are drawn as, in the order of the legend.
_KINDS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "wait": ("waiting for its turn", ("", LOCKED, "queue")),
    "players": ("waiting for players", (PLAYERS,)),
    "countdown": ("countdown", (COUNTDOWN,)),
    "prepare": ("looked at, image", ("prepare", "pull")),
    "stop": ("stop", ("stop", "stopping")),
    "preboot": ("pre-boot", ("preboot",)),
    "start": ("start", ("start", "observe", "starting")),
    "ready": ("becoming ready", (READY,)),
    "kill": ("kill", ("kill",)),
    "act": ("at work", ()),
}
WORDS = {kind: words for kind, (words, _phases) in _KINDS.items()}
#: What is drawn below them.
DOWN_WORDS = {"down": "down", "booting": "up, not ready"}
_KIND_OF = {phase: kind for kind, (_words, phases) in _KINDS.items() for phase in phases}
#: The width of a timeline, in units of its own.
WIDTH = 1000.0
#: What is shorter is drawn as wide as this, so that it is seen.
_NARROWEST = 2.0


@dataclass(frozen=True)
class Timed:
    """One server's action in time: its beginning and end by the clock of its node, its phases with the seconds after which each began, its
    downtime as the record has it, and whether it goes on."""

    row: Row
    began: datetime
    ended: datetime
    phases: Sequence[tuple[str, float]] = ()
    goes_on: bool = False

    @classmethod
    def of_row(cls, row: Row) -> Timed | None:
        """Return what a record knows of a server; None where it knows no times."""
        began = moment_of(row.began_at)
        if began is None or row.seconds is None:
            return None
        return cls(row, began, began + timedelta(seconds=row.seconds), [(str(name), float(at)) for name, at in row.phases])

    @property
    def seconds(self) -> float:
        """How long it took, or has taken by now."""
        return (self.ended - self.began).total_seconds()


@dataclass(frozen=True)
class Bar:
    """A part of a timeline: where it begins and how wide it is, in its units."""

    kind: str
    x: float
    width: float
    title: str = ""


@dataclass(frozen=True)
class Frame:
    """The time that a timeline shows: that of a batch, by the controller's clock."""

    began: datetime
    ended: datetime

    def bar_of(self, kind: str, began: datetime, ended: datetime, title: str = "") -> Bar:
        """Return the bar from one moment to another."""
        whole = max((self.ended - self.began).total_seconds(), 0.001)
        left, right = (min(max((each - self.began).total_seconds() / whole, 0.0), 1.0) * WIDTH for each in (began, ended))
        width = max(right - left, _NARROWEST)
        return Bar(kind, round(min(left, WIDTH - width), 1), round(width, 1), title)


@dataclass(frozen=True)
class Bars:
    """The bars of one server, and those of its downtime."""

    bars: Sequence[Bar]
    down: Sequence[Bar] = field(default_factory=tuple)


def shift_of(frame: Frame, group: Sequence[Timed]) -> timedelta:
    """Return by how much at least the clock of a node is off, as what it told of a batch shows: all of that happened within the batch."""
    early = max((frame.began - each.began for each in group), default=timedelta())
    late = min((frame.ended - each.ended for each in group), default=timedelta())
    return early if early > timedelta() else min(late, timedelta())


def bars_of(timed: Timed, frame: Frame, shift: timedelta) -> Bars:
    """Return the bars of a server."""
    began = timed.began + shift
    bars = [
        frame.bar_of(kind, began + timedelta(seconds=first), began + timedelta(seconds=last), f"{WORDS[kind]} {last - first:.1f} s")
        for kind, first, last in _parts(timed)
    ]
    return Bars(bars, [*_down(timed, frame, shift)])


def _parts(timed: Timed) -> Iterator[tuple[str, float, float]]:
    """Yield each kind of work with the seconds at which it began and ended; what lies beside each other and is of one kind is one."""
    whole = timed.seconds
    if not timed.phases:
        yield "act", 0.0, whole
        return
    starts = [("wait", 0.0), *((_KIND_OF.get(name, "act"), min(at, whole)) for name, at in timed.phases)]
    kind, first = starts[0]
    for following, at in starts[1:]:
        if following != kind:
            if at > first:
                yield kind, first, at
            kind, first = following, at
    yield kind, first, whole


def _down(timed: Timed, frame: Frame, shift: timedelta) -> Iterator[Bar]:
    downtime = timed.row.downtime
    since = moment_of(downtime.get("from"))
    if since is None:
        return
    began, seconds, ready = since + shift, downtime.get("seconds"), downtime.get("ready_seconds")
    if seconds is None:
        yield frame.bar_of("down", began, timed.ended + shift, "down, and not up again")
        return
    up = began + timedelta(seconds=seconds)
    yield frame.bar_of("down", began, up, f"down {seconds:.1f} s")
    if ready is not None and ready > seconds:
        yield frame.bar_of("booting", up, began + timedelta(seconds=ready), f"not ready for {ready - seconds:.1f} s more")
