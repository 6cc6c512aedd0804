# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""News of an action under way: a server enters a phase, or its action ends; a value and its form in a line of progress; pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .result import Result
from .server import Server

#: What a server is at beside the phases of a lock's holder: it is up and awaited to be ready, or waits for its lock.
READY = "ready"
LOCKED = "locked"
#: And before it waits for its lock: for its players, or to the end of the countdown that they are told of.
PLAYERS = "players"
COUNTDOWN = "countdown"


@dataclass(frozen=True)
class News:
    """One thing that became of a server. ``phase`` is what it is at from now on, until ``deadline`` at most; or it ended with ``outcome``.

    ``seconds`` is how long the action has taken by now. ``code`` says why it did not end well, ``why`` what keeps a wait from an early end.
    """

    server: Server
    action: str
    phase: str = ""
    deadline: str | None = None
    seconds: float = 0.0
    outcome: str = ""
    code: str = ""
    why: str = ""

    @classmethod
    def of_end(cls, result: Result) -> News:
        """What an ended action tells."""
        return cls(result.server, result.action.value, seconds=result.seconds, outcome=result.outcome.value, code=result.code)

    def line(self) -> dict[str, Any]:
        """Return the fields of a line; empty ones are left out."""
        fields = {
            "server": self.server.uuid,
            "name": self.server.name,
            "action": self.action,
            "phase": self.phase,
            "deadline": self.deadline,
            "seconds": round(self.seconds, 3),
            "outcome": self.outcome,
            "code": self.code,
            "why": self.why,
        }
        return {name: value for name, value in fields.items() if value not in ("", None)}


#: Who is told.
Listener = Callable[[News], None]


def unheard(_news: News) -> None:
    """Nobody listens."""
