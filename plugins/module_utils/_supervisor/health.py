# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which servers hang by their health checks, and when one is restarted; pure.

The engine begins the next check one interval after the end of the last one. So a server hangs if it is still unhealthy after its interval
and the timeout of that next check.

Moments are seconds of a clock that stands still while the machine sleeps: then no health check runs either.
"""

from __future__ import annotations

from collections.abc import Collection
from enum import Enum

from .._power.model.records import dataclass
from .._power.model.server import UNHEALTHY, Run, Snapshot

_TOGETHER_SECONDS = 60.0
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
        #: When each server last turned unhealthy.
        self._turned: dict[str, float] = {}
        #: Servers that turned unhealthy together, and were not healthy since.
        self.suspects: set[str] = set()

    @property
    def unhealthy(self) -> Collection[str]:
        return self._unhealthy.keys()

    def saw(self, uuid: str, snapshot: Snapshot | None, now: float) -> None:
        """Take in a look at a server. A pause ends the wait: the engine makes no checks in it."""
        if snapshot is None:
            self._turned.pop(uuid, None)
            self.suspects.discard(uuid)
        if snapshot is None or not snapshot.live or snapshot.paused or snapshot.health is None:
            self._checked.discard(uuid)
            self._unhealthy.pop(uuid, None)
            return
        self._checked.add(uuid)
        known = self._unhealthy.get(uuid)
        if snapshot.health != UNHEALTHY:
            self._unhealthy.pop(uuid, None)
            if snapshot.health == "healthy":
                self.suspects.discard(uuid)
        elif known is None or known.run != snapshot.run:
            self._unhealthy[uuid] = Unhealthy(snapshot.run, now, now, now + snapshot.health_seconds)
            self._turned[uuid] = now
        else:
            known.seen = now

    def suspect(self, now: float) -> str:
        """Find out if servers turned unhealthy together, which means that the node is at fault; return a sentence if that is new."""
        self._turned = {uuid: at for uuid, at in self._turned.items() if now - at <= _TOGETHER_SECONDS}
        together, checked = self._turned.keys(), self._checked | self._turned.keys()
        if len(together) < 2 or 2 * len(together) <= len(checked):
            return ""
        is_new = not together & self.suspects
        self.suspects |= together & self._unhealthy.keys()
        said = f"{len(together)} of {len(checked)} servers with a health check turned unhealthy within a minute"
        return f"{said}: the node is suspect, none of them is restarted before it was healthy again" if is_new else ""

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
        return [(uuid, each) for uuid, each in self._unhealthy.items() if uuid not in self.suspects]


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
