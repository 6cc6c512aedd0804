# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who plays on a server, and what waits for them, in as few words as a table has room for; pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .._power.model.players import COUNTING


def player_words(entry: Mapping[str, Any]) -> str | None:
    """Return how many play on a server, of how many, or that it is unknown, and why; None where nobody knows which game it plays."""
    players = entry.get("players")
    if not isinstance(players, Mapping):
        return None
    online, most, why = (players.get(name) for name in ("online", "max", "unknown_reason"))
    if online is None:
        return f"? ({why})" if why else "?"
    return f"{online}" if most is None else f"{online}/{most}"


def countdown_words(countdown: Mapping[str, Any], due: str) -> str:
    """Return what waits for players, and until when: a countdown ends in the action, a wait may end before its time."""
    action, phase = (str(countdown.get(name) or "unknown") for name in ("action", "phase"))
    return f"{action} {'at' if phase == COUNTING else 'by'} {due} ({phase})"
