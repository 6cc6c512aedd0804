# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""News of a running action: a server enters a phase, or its action ends; pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .records import dataclass
from .result import Result
from .server import Server

#: Phases beside those of a lock holder: the server is up but not ready, or the action waits for the lock.
READY = "ready"
LOCKED = "locked"
#: The action waits for players, or counts down.
PLAYERS = "players"
COUNTDOWN = "countdown"
#: The action awaits the end of a proof.
PROOF = "proof"


@dataclass(frozen=True)
class News:
    """The server entered ``phase``, which lasts until ``deadline`` at most; or its action ended with ``outcome``.

    ``seconds`` is the time since the action began. ``code`` is that of the result; ``why`` is the reason for the wait.
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
        return cls(result.server, result.action.value, seconds=result.seconds, outcome=result.outcome.value, code=result.code)

    def line(self) -> dict[str, Any]:
        """Return the fields of a progress line, without empty ones."""
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


Listener = Callable[[News], None]


def unheard(_news: News) -> None:
    """Ignore the news."""
