# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which servers hang by their health checks, and when one is restarted; pure.

The engine begins the next check one interval after the end of the last one. So a server hangs if it is still unhealthy after its interval
and the timeout of that next check.

Moments are seconds of a clock that stands still while the machine sleeps: then no health check runs either.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection
from enum import Enum

from .._power.model.records import dataclass
from .._power.model.server import UNHEALTHY, Run, Snapshot

_TOGETHER_SECONDS = 60.0
#: A server that turns unhealthy so often within this time, each time without most of the others, is at fault itself.
_MOST_TURNS, _TURNS_SECONDS = 3, 600.0
#: The number of turns that are kept for each server.
_KEPT_TURNS = 10
HOUR_SECONDS, MOST_IN_HOUR = 3600.0, 3
#: Seconds until a server is considered again that hangs and may not be restarted now.
_AGAIN_SECONDS = 60.0


@dataclass
class Unhealthy:
    """An unhealthy run: found at ``since``, last seen so at ``seen``. Its restart comes at ``next_at`` or later. ``tries`` counts failed
    restarts, and ``code`` is that of the last one."""

    run: Run
    since: float
    seen: float
    next_at: float
    tries: int = 0
    code: str = ""


class NodeHealth:
    """The servers of a node that have a health check, as the last looks saw them."""

    def __init__(self) -> None:
        self._checked: set[str] = set()
        self._unhealthy: dict[str, Unhealthy] = {}
        #: When each server turned unhealthy, the last moment at the end.
        self._turns: dict[str, deque[float]] = {}
        #: Servers that turned unhealthy together, and were not healthy since, each with the group that turned.
        self._groups: dict[str, frozenset[str]] = {}
        #: Servers that turned unhealthy again and again while most of the others did not.
        self._flapping: set[str] = set()

    @property
    def suspects(self) -> Collection[str]:
        return self._groups.keys()

    @property
    def unhealthy(self) -> Collection[str]:
        return self._unhealthy.keys()

    def saw(self, uuid: str, snapshot: Snapshot | None, now: float) -> None:
        """Take in a look at a server. A pause ends the wait: the engine makes no checks in it."""
        if snapshot is None:
            self._turns.pop(uuid, None)
            self._groups.pop(uuid, None)
        if snapshot is None or not snapshot.live or snapshot.paused or snapshot.health is None:
            self._checked.discard(uuid)
            self._unhealthy.pop(uuid, None)
            return
        self._checked.add(uuid)
        known = self._unhealthy.get(uuid)
        if snapshot.health != UNHEALTHY:
            self._unhealthy.pop(uuid, None)
            if snapshot.health == "healthy":
                self._groups.pop(uuid, None)
        elif known is None or known.run != snapshot.run:
            self._unhealthy[uuid] = Unhealthy(snapshot.run, now, now, now + snapshot.health_seconds)
            self._turns.setdefault(uuid, deque(maxlen=_KEPT_TURNS)).append(now)
        else:
            known.seen = now

    def suspect(self, now: float) -> str:
        """Find out if servers turned unhealthy together, which means that the node is at fault; return a sentence if that is new.

        A flapping server does not count: it would turn together with any neighbour that hangs. It is suspect with the others.
        """
        self._turns = {uuid: turns for uuid, turns in self._turns.items() if now - turns[-1] <= _TURNS_SECONDS}
        turned = {uuid for uuid, turns in self._turns.items() if now - turns[-1] <= _TOGETHER_SECONDS}
        self._flapping = {uuid for uuid in self._turns if self._flaps(uuid, now)}
        counted = (self._checked | turned) - self._flapping
        for uuid, group in list(self._groups.items()):
            if group & self._flapping and not _are_most(group - self._flapping, counted):
                del self._groups[uuid]
        together = frozenset(turned - self._flapping)
        if not _are_most(together, counted):
            return ""
        is_new = together.isdisjoint(self._groups)
        self._groups.update(dict.fromkeys(turned & self._unhealthy.keys(), together))
        said = f"{len(together)} of {len(counted)} servers with a health check turned unhealthy within a minute"
        return f"{said}: the node is suspect, none of them is restarted before it was healthy again" if is_new else ""

    def _flaps(self, uuid: str, now: float) -> bool:
        recent = [at for at in self._turns[uuid] if now - at <= _TURNS_SECONDS]
        if len(recent) < _MOST_TURNS or uuid in self._flapping:
            return len(recent) >= _MOST_TURNS
        others = (self._checked | self._turns.keys()) - {uuid}
        alone = [at for at in recent if 2 * self._number_turned(others, at) < len(others)]
        return len(alone) >= _MOST_TURNS

    def _number_turned(self, servers: Collection[str], moment: float) -> int:
        """Return how many of some servers turned unhealthy within a minute before or after a moment."""
        return sum(any(abs(at - moment) <= _TOGETHER_SECONDS for at in self._turns.get(uuid, ())) for uuid in servers)

    def to_look_at(self, now: float) -> list[str]:
        """Return the servers whose wait is over, and that had no look since."""
        return [uuid for uuid, each in self._waiting() if each.seen < each.next_at <= now]

    def hanging(self) -> list[tuple[str, Unhealthy]]:
        """Return the servers that a look still found unhealthy after their wait."""
        return [(uuid, each) for uuid, each in self._waiting() if each.seen >= each.next_at]

    def seconds_left(self, now: float) -> float | None:
        """Return the seconds until the next wait is over; None without any."""
        return min((max(0.0, each.next_at - now) for _uuid, each in self._waiting() if each.seen < each.next_at), default=None)

    def put_off(self, uuid: str, run: Run, until: float, code: str | None = None) -> None:
        """Consider a run that hangs again at a later moment; ``code``: because its restart failed."""
        each = self._unhealthy.get(uuid)
        if each is not None and each.run == run:
            each.next_at = until
            if code is not None:
                each.tries, each.code = each.tries + 1, code

    def _waiting(self) -> list[tuple[str, Unhealthy]]:
        return [(uuid, each) for uuid, each in self._unhealthy.items() if uuid not in self._groups]


def _are_most(together: Collection[str], counted: Collection[str]) -> bool:
    return len(together) > 1 and 2 * len(together) > len(counted)


class Step(Enum):
    """What follows for a server that hangs."""

    RESTART = "restart"
    WAIT = "wait"
    LEAVE = "leave"


def decide(now: float, *, allowed: bool, in_hour: int, wait: float) -> tuple[Step, float]:
    """Return the next step for a server that hangs, and the moment at which it is considered again. ``allowed``: settings and freezes allow
    its restart, and no other action is at work. ``in_hour`` counts its restarts for this reason within an hour. ``wait`` is what remains of
    its back-off, which counts from the start of its run, in seconds."""
    if not allowed:
        return Step.WAIT, now + _AGAIN_SECONDS
    if in_hour >= MOST_IN_HOUR:
        return Step.LEAVE, now + _AGAIN_SECONDS
    if wait > 0:
        return Step.WAIT, now + wait
    return Step.RESTART, now
