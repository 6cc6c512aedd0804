# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The supervisor's lines in the system log: one for each verdict, and for what keeps it from starting anything; pure."""

from __future__ import annotations

from .._power.model.supervision import EndedRun, Limits, Verdict, wait_before

_SAID = {
    Verdict.STOPPED: "stopped by an action",
    Verdict.RESTARTING: "stopped by a restart that has not started it yet",
    Verdict.ENGINE_STOPPED: "stopped with the engine",
    Verdict.STOPPED_EXTERNALLY: "stopped by somebody at the engine, left down",
    Verdict.CRASHED: "crashed",
    Verdict.ENDED: "ended",
    Verdict.ENDED_UNOBSERVED: "ended unseen, left down",
    Verdict.INITIALLY_DOWN: "was down before anybody looked, left down",
}
_PAUSES = {
    "wings": "Wings is alive on this node: nothing is judged or started beside it",
    "maintenance": "a maintenance goes on: nothing is started until it is over",
    "maintenance_unreadable": "maintenance.json in the state directory cannot be read: nothing is started until it can, or is removed",
    "journal": "the journal cannot be read or written: nothing is started until it can",
    "engine": "the engine does not answer: nothing can be seen or started",
    "fault": "a fault of its own keeps it from its work; its unit's log has it",
}


def line_of(row: EndedRun, limits: Limits) -> str:
    """Say what an end was taken for, and what is done about it."""
    name = f" ({row.server.name})" if row.server.name else ""
    words = [f"run of {row.server.uuid}{name} {_SAID.get(row.verdict, row.verdict.value)}"]
    if row.exit_code is not None:
        words.append(f"exit code {row.exit_code}")
    if row.oom_killed:
        words.append("out of memory")
    if row.seconds is not None:
        words.append(f"after {row.seconds:.0f} s")
    if row.due and row.consecutive_crashes > limits.max_restarts and row.verdict is not Verdict.ENGINE_STOPPED:
        words.append(f"{row.consecutive_crashes} in a row, given up: tried once an hour")
    elif row.due:
        words.append(f"started in {wait_before(row.consecutive_crashes, row.tries, limits):.0f} s")
    return ", ".join(words)


def pause_line(paused: str) -> str:
    """Say what keeps it from starting anything, or that nothing does any more."""
    return f"supervisor paused: {_PAUSES.get(paused, paused)}" if paused else "supervisor goes on"
