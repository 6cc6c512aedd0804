# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Supervision in words: of a server in the table, and of the nodes on which nobody brings back what crashes; pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .._power.model.server import PowerState
from .._power.model.supervision import SupervisionState, Verdict
from .table import plural

#: What a server that is down was found to be, where nothing is done about it.
_LEFT = {
    Verdict.STOPPED_EXTERNALLY.value: "stopped at the engine",
    Verdict.ENDED.value: "ended",
    Verdict.ENDED_UNOBSERVED.value: "ended unseen",
    Verdict.INITIALLY_DOWN.value: "down before it was supervised",
}
_PAUSES = {
    "wings": "Wings is alive",
    "maintenance": "a maintenance is under way",
    "maintenance_unreadable": "whether a maintenance is under way cannot be read",
    "journal": "the journal cannot be used",
    "engine": "the engine does not answer",
}


def supervision_words(entry: Mapping[str, Any]) -> Iterator[str]:
    """Yield what there is to say of a server's supervision. ``meant up`` says so of what nobody is known to bring back."""
    told: Mapping[str, Any] = entry.get("supervision") or {}
    is_down = entry.get("state") == PowerState.OFFLINE.value and not entry.get("lock")
    down = list(_down_words(told)) if is_down else []
    explained = bool(told.get("next_at")) or (bool(down) and told.get("state") == SupervisionState.STAYS_DOWN.value)
    if is_down and (entry.get("intent") or {}).get("up") and not explained:
        yield "meant up"
    yield from down
    if told.get("state") == SupervisionState.FLAPPING.value:
        yield f"flapping ({plural(told.get('crashes_today') or 0, 'crash', 'crashes')} in 24 h)"


def _down_words(told: Mapping[str, Any]) -> Iterator[str]:
    """Yield how a server that is down ended, what was tried since, and when it is tried again."""
    state, verdict, count = told.get("state"), told.get("verdict"), told.get("consecutive_crashes") or 0
    if state == SupervisionState.CRASH_LOOP.value:
        yield f"crash loop ({plural(count, 'crash', 'crashes')})"
    elif state == SupervisionState.STAYS_DOWN.value and verdict in _LEFT:
        # Of the others the exit code says nothing: it is that of whatever stopped them.
        code = f" (exit code {told['exit_code']})" if verdict == Verdict.ENDED.value and told.get("exit_code") is not None else ""
        yield f"{_LEFT[verdict]}{code}"
    elif verdict == Verdict.CRASHED.value and state != SupervisionState.OK.value:
        yield f"crashed {plural(count, 'time')}" if count > 1 else "crashed"
    if told.get("code"):
        yield f"last try {told['code']}"
    if told.get("next_at"):
        yield f"next try {str(told['next_at'])[11:19]}"


def supervisor_lines(nodes: Sequence[tuple[str, Mapping[str, Any] | None]]) -> list[str]:
    """Return a line for the nodes without a supervisor, and one for each reason for which others start nothing; none where nobody knows."""
    missing = [node for node, told in nodes if told is not None and told.get("running") is False]
    paused: dict[str, list[str]] = {}
    for node, told in nodes:
        if told is not None and told.get("running") and told.get("paused"):
            paused.setdefault(str(told["paused"]), []).append(node)
    lines = [f"No supervisor, what crashes stays down: {', '.join(missing)}"] if missing else []
    return lines + [f"Supervisor paused, {_PAUSES.get(why, why)}: {', '.join(named)}" for why, named in sorted(paused.items())]
