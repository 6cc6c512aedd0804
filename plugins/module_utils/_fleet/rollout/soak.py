# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a server stayed up during the soak: in the run that its action named, whoever has brought it back since; pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..failure import reason_in
from ..unseen import code_of, is_unseen, reason_of
from .record import Row
from .words import CRASHED, DID_NOT_STAY_UP, FAILED, NODE_UNREACHABLE, OFFLINE, UNKNOWN

#: Of a task's failure no more is shown than this.
LONGEST_MESSAGE = 500
#: The last lines of a log that a message has.
_LINES = 3


def judge_soak(row: Row, answer: Mapping[str, Any], before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
    """Have a server fail that is not at the end of the soak in the run that its action named, or, where none is, the first look saw."""
    named = _run(told_of(row, answer) or {})
    # What an endpoint tells has no container ids.
    first, last = named or _run_seen(row, before), _run_seen(row, after)
    blind = next((each for each in (before, after) if not isinstance(each.get("servers"), list)), None)
    unseen = next((entry for entry in (told_of(row, each) for each in (before, after)) if entry is not None and is_unseen(entry)), None)
    if blind is not None:
        row.outcome, row.code, row.msg = UNKNOWN, NODE_UNREACHABLE, message_of(blind)
    elif unseen is not None:
        row.outcome, row.code, row.msg = UNKNOWN, code_of(unseen), reason_of(unseen)[:LONGEST_MESSAGE]
    elif last is None or first != last:
        end = _end_of(row, first, after)
        _fell(row, end)
        # How long it was down by its action is not how long it was down.
        row.downtime = {}
        if last is None:
            row.state, ended_at = OFFLINE, (end or {}).get("ended_at")
            row.downtime = {"from": str(ended_at)} if ended_at else {}


def told_of(row: Row, answer: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the entry of a server in an answer, None if it has none."""
    entries = answer.get("servers")
    return next((each for each in entries if each.get("server") == row.server), None) if isinstance(entries, list) else None


def message_of(answer: Mapping[str, Any]) -> str:
    """Return why a node gave no answer on its servers."""
    return reason_in(answer, str(answer.get("module_stderr") or "It gave no answer"))[:LONGEST_MESSAGE]


def _fell(row: Row, end: Mapping[str, Any] | None) -> None:
    row.outcome, row.code = FAILED, DID_NOT_STAY_UP
    row.msg = f"Server {row.server} did not stay up until the end of the soak"
    if end is None:
        return
    if end.get("verdict") == CRASHED:
        row.code, row.msg = CRASHED, f"Server {row.server} crashed during the soak"
    code = "" if end.get("exit_code") is None else f", exit code {end['exit_code']}"
    memory = ", out of memory" if end.get("oom_killed") else ""
    log = " / ".join(str(line) for line in (end.get("log") or ())[-_LINES:])
    row.msg = f"{row.msg}{code}{memory}{f'; its last lines: {log}' if log else ''}"[:LONGEST_MESSAGE]


def _end_of(row: Row, run: tuple[str, str] | None, answer: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return what a node's journal has of a run's end; None if it has nothing."""
    ends = (told_of(row, answer) or {}).get("crashes") or ()
    return next((each for each in ends if (each.get("container"), each.get("started_at")) == run), None)


def _run(entry: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return the run that an action named, None if it named none."""
    run = entry.get("run")
    return (str(run.get("container")), str(run.get("started_at"))) if isinstance(run, Mapping) else None


def _run_seen(row: Row, answer: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return the run of a server's container that is up, None if it is not."""
    entry = told_of(row, answer)
    if entry is None or entry.get("state") == OFFLINE:
        return None
    container = entry.get("container") or {}
    return str(container.get("id") or ""), str(container.get("started_at") or "")
