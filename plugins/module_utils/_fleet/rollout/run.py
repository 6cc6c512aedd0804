# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The course of a rolling run: begins a batch, counts its answers, and decides whether the next may begin; pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..._power.model.errors import INTERNAL_ERROR, LEFT_ALONE, Superseded
from ..look_result import LIST_INCOMPLETE, code_of, is_unseen, list_fault, reason_in, reason_of
from ..table import plural
from .record import Record, Row, left_words, run_key, some_of
from .report import note_timing
from .selection import Batch
from .values import (
    BEFORE_BATCH_FAILED,
    BOOTS,
    CANCELLED,
    CRASHED,
    DEADLINE,
    DID_NOT_STAY_UP,
    DONE,
    FAILED,
    GOOD,
    NO_ANSWER,
    NODE_UNREACHABLE,
    NOT_DONE,
    OFFLINE,
    OUTCOMES,
    REFUSED,
    SKIPPED,
    UNCHANGED,
    UNKNOWN,
    Candidate,
)

LONGEST_MESSAGE = 500
_LINES = 3
#: Codes of requested servers that a node left out: their turn never came.
_NEVER_BEGUN = ("failure_budget", "interrupted_by_signal")
#: Codes of a task that broke off, so that its effects are unknown.
_BROKEN = ("interrupted", INTERNAL_ERROR)


def batches_by_node(record: Record, nodes: Sequence[str]) -> dict[str, list[int]]:
    """Return the batches for which each node has tasks: its own, and some that it only passes. Nodes are in the play's order.

    Ansible orders included tasks as it meets them, node after node. So a node also has each batch before its last one that no earlier node
    has. Then batches run in order, although later nodes add more.
    """
    own: dict[str, set[int]] = {node: set() for node in nodes}
    for row in record.rows:
        if row.batch and row.node in own:
            own[row.node].add(row.batch)
    found: dict[str, list[int]] = {}
    met = 0
    for node, numbers in own.items():
        last = max(numbers, default=0)
        found[node] = sorted(numbers.union(range(met + 1, last + 1)))
        met = max(met, last)
    return found


def judge_soak(row: Row, answer: Mapping[str, Any], before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
    """Set the outcome after a soak: unknown if a look could not see the server, failed if its run has ended. The run is that of
    ``answer``, the result of the action, or else that of the look ``before`` the soak."""
    seen_before, seen_after = entry_of(row, before), entry_of(row, after)
    begun = (entry_of(row, answer) or {}).get("run")
    first: tuple[str, str] | None
    if isinstance(begun, Mapping):
        first, looks = (str(begun.get("container")), str(begun.get("started_at"))), [(after, seen_after)]
    else:
        # An endpoint gives no container ids, and an older node gives no run.
        first, looks = _run_seen(seen_before), [(before, seen_before), (after, seen_after)]
    last = _run_seen(seen_after)
    # First the looks that could not see it: they do not show that its run ended.
    no_list = next((each for each, _entry in looks if not isinstance(each.get("servers"), list)), None)
    unseen = next((entry for _each, entry in looks if entry is not None and is_unseen(entry)), None)
    if no_list is not None:
        row.outcome, row.code, row.msg = UNKNOWN, str(no_list.get("code") or NODE_UNREACHABLE), message_of(no_list)
    elif unseen is not None:
        row.outcome, row.code, row.msg = UNKNOWN, code_of(unseen), reason_of(unseen)[:LONGEST_MESSAGE]
    elif last is None or first != last:
        ended_runs = (seen_after or {}).get("crashes") or ()
        end = next((each for each in ended_runs if (each.get("container"), each.get("started_at")) == first), None)
        _fail_soaked(row, end)
        # The downtime of the action is no longer the whole downtime.
        row.downtime = {}
        if last is None:
            row.state, ended_at = OFFLINE, (end or {}).get("ended_at")
            row.downtime = {"from": str(ended_at)} if ended_at else {}


def entry_of(row: Row, answer: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the entry of a server in an answer, None without one."""
    entries = answer.get("servers")
    return next((each for each in entries if each.get("server") == row.server), None) if isinstance(entries, list) else None


def message_of(answer: Mapping[str, Any]) -> str:
    """Return why a node did not answer for its servers."""
    return reason_in(answer, str(answer.get("module_stderr") or "It gave no answer"))[:LONGEST_MESSAGE]


def _fail_soaked(row: Row, end: Mapping[str, Any] | None) -> None:
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


def _run_seen(entry: Mapping[str, Any] | None) -> tuple[str, str] | None:
    if entry is None or entry.get("state") == OFFLINE:
        return None
    container = entry.get("container") or {}
    return str(container.get("id") or ""), str(container.get("started_at") or "")


def add_batches(record: Record, batches: Sequence[Batch]) -> None:
    """Put the servers of the batches into the record."""
    record.batches = len(batches)
    record.canaries = sum(batch.canary for batch in batches)
    for number, batch in enumerate(batches, 1):
        record.rows += [row_of(candidate, batch=number) for candidate in batch.servers]


def row_of(candidate: Candidate, **more: Any) -> Row:
    shared = ("node", "server", "name", "state", "any_state", "again", "asked_by")
    return Row(**{name: getattr(candidate, name) for name in shared}, **more)


def stop_over_budget(record: Record) -> None:
    """Stop the run if its failures exceed the budget."""
    used = record.failures
    if not record.stopped and used > record.budget and not record.goes_on:
        record.stopped = f"{used} failed, {record.budget} allowed"


def stop_for_deadline(record: Record, number: int, fault: str) -> None:
    """Stop the run before a batch that may end too late. ``fault`` is the reason; the rows that are left get it, too."""
    record.stopped = fault
    for row in record.rows:
        if row.batch >= number and row.outcome == NOT_DONE:
            row.code, row.msg = DEADLINE, fault


def begin_batch(record: Record, number: int) -> dict[str, dict[str, Any]]:
    """Begin a batch: its servers are in flight. Return by node the options of its task: ``servers``, ``only``, ``once``, ``outdated``, and
    ``max_failures`` if it needs a limit."""
    record.begun = number
    is_canary = number <= record.canaries
    failures_left = 0 if is_canary else max(record.budget - record.failures, 0)
    work: dict[str, dict[str, Any]] = {}
    for row in record.in_batch(number):
        row.in_flight, row.asked_by = True, row.asked_by or record.run
        # All servers of a batch share one key. Servers of an earlier request keep their key, so that both requests act only once.
        options = work.setdefault(str(row.node), {"servers": [], "only": list(record.only), "once": run_key(row.asked_by)})
        options["servers"].append(row.server)
        options["outdated"] = record.outdated and not row.again
        if row.any_state:
            options["only"] = []
    for options in work.values():
        # A higher limit cannot stop the node before its last server. Without a limit, it acts on all at once.
        if (is_canary or not record.goes_on) and failures_left < len(options["servers"]) - 1:
            options["max_failures"] = failures_left
    return work


def count_batch(
    record: Record,
    number: int,
    answers: Mapping[str, Mapping[str, Any]],
    soak: tuple[Mapping[str, Mapping[str, Any]], Mapping[str, Mapping[str, Any]]] | None = None,
) -> None:
    """Note the outcomes of a batch in its rows, and stop the run if it must not continue. ``answers`` has the task's result of each node
    that is not lost, ``soak`` the nodes' facts of their servers before and after the soak."""
    rows = record.in_batch(number)
    for row in rows:
        answer = answers.get(str(row.node)) or {}
        _apply_answer(row, answer, record)
        if soak is not None and row.outcome in (DONE, UNCHANGED):
            judge_soak(row, answer, *(look.get(str(row.node)) or {} for look in soak))
        row.asked_by = row.asked_by if _may_come_yet(row, record) else ""
    # The first reason counts: a failed canary comes before the budget.
    _judge_canary(record, number)
    stop_over_budget(record)


def _judge_canary(record: Record, number: int) -> None:
    """Stop the run if its canary did not succeed. A server that was left alone is neither a failure nor a success."""
    if number > record.canaries or record.stopped:
        return
    first = [row for row in record.rows if 0 < row.batch <= number]
    if any(row.outcome not in GOOD and not row.left for row in first):
        record.stopped = "the canary failed"
    elif number == record.canaries and all(row.left for row in first):
        record.stopped = f"the canary was {left_words(first)}"


def _may_come_yet(row: Row, record: Record) -> bool:
    """Tell whether a node may still act: the outcome is unknown, or the task of an earlier run may have it queued."""
    ended = row.outcome in GOOD or row.code in (DID_NOT_STAY_UP, CRASHED)
    return row.outcome == UNKNOWN or (row.asked_by != record.run and not ended)


def node_fault(node: str, answer: Mapping[str, Any] | None) -> Row:
    """Return the row of a node that did not list its servers."""
    code = NODE_UNREACHABLE if answer is None or answer.get("unreachable") else str(answer.get("code") or NO_ANSWER)
    return Row(node, None, outcome=UNKNOWN, code=code, msg=message_of(answer or {}))


def list_rows(answers: Mapping[str, Mapping[str, Any] | None]) -> list[Row]:
    """Return a row for each node with an incomplete list."""
    faults = {node: list_fault(answer) for node, answer in answers.items() if answer is not None}
    return [Row(node, None, outcome=UNKNOWN, code=LIST_INCOMPLETE, msg=fault[:LONGEST_MESSAGE]) for node, fault in faults.items() if fault]


def unseen_row(candidate: Candidate) -> Row:
    """Return the row of a server without facts that may be selected."""
    return row_of(candidate, outcome=UNKNOWN, code=candidate.unseen_code, msg=candidate.unseen_reason[:LONGEST_MESSAGE], unseen=True)


def stop_for_unknown(record: Record, unknown: Sequence[Row]) -> None:
    """Stop the run for unseen servers and incomplete lists: they may contain selected servers."""
    servers, lists = [row for row in unknown if row.server is not None], [row for row in unknown if row.server is None]
    if not unknown:
        return
    parts = [f"see {plural(len(servers), 'server')} ({some_of(servers)})"] if servers else []
    parts += [f"list all servers of {plural(len(lists), 'node')} ({some_of(lists)})"] if lists else []
    record.stopped = (
        f"Cannot {', or '.join(parts)}: nothing is begun; correct that, or give rollout_allow_unknown=true to count each as failed"
    )


def suspended_row(candidate: Candidate, action: str, skip: bool) -> Row:
    """Return the row of a selected, suspended server that must not boot."""
    msg = f"Cannot {action} server {candidate.server}: it is suspended"
    return row_of(candidate, outcome=SKIPPED if skip else REFUSED, code="suspended", msg=msg)


def _apply_answer(row: Row, answer: Mapping[str, Any], record: Record) -> None:
    row.in_flight = False
    entry, code = entry_of(row, answer), answer.get("code")
    if entry is not None:
        _apply_entry(row, entry, record)
        return
    row.outcome, row.code, row.msg = UNKNOWN, NO_ANSWER, message_of(answer)
    if answer.get("before_batch_failed"):
        row.outcome, row.code, row.untouched = FAILED, BEFORE_BATCH_FAILED, True
    elif not answer or answer.get("unreachable"):
        row.code = NODE_UNREACHABLE
    elif answer.get("servers") is not None:
        # The answer belongs to an earlier request; the node was lost since.
        row.msg = "The node gave no answer on this server"
    elif code in _BROKEN:
        # Its process was killed or broke. The node's journal knows the effects.
        row.code = str(code)
    elif code:
        row.outcome, row.code, row.untouched = FAILED, str(code), True


def _apply_entry(row: Row, entry: Mapping[str, Any], record: Record) -> None:
    row.outcome = str(entry.get("outcome"))
    row.code, row.msg = str(entry.get("code") or ""), str(entry.get("msg") or "")[:LONGEST_MESSAGE]
    row.seconds, row.changed = entry.get("seconds"), bool(entry.get("changed"))
    row.waited = float((entry.get("player_wait") or {}).get("seconds") or 0)
    row.state, row.name = str(entry.get("state") or row.state), str(entry.get("name") or row.name)
    if row.outcome not in OUTCOMES:
        row.outcome, row.code = UNKNOWN, row.code or NO_ANSWER
    elif (row.outcome == SKIPPED and row.code in _NEVER_BEGUN) or (row.outcome == REFUSED and row.code in LEFT_ALONE):
        row.outcome = NOT_DONE
    elif row.outcome == CANCELLED and row.code == Superseded.code and not row.changed and _is_done_by_another(row, record):
        row.outcome, row.msg = SKIPPED, f"Done by another: {row.msg}"
    elif row.outcome == UNCHANGED and entry.get("state") == OFFLINE and record.action in BOOTS:
        row.outcome, row.code = FAILED, DID_NOT_STAY_UP
        row.msg = f"Server {row.server} was started earlier in this run, and is offline again"
    elif row.outcome == REFUSED and row.code == "suspended" and record.skip_suspended:
        row.outcome = SKIPPED
    note_timing(row, entry)


def _is_done_by_another(row: Row, record: Record) -> bool:
    """Tell whether another action brought a server into the wanted state, or out of the selection, during the wait for players."""
    if bool(record.only) and row.state not in record.only:
        return True
    return bool(row.state) and (row.state != OFFLINE) == (record.action in BOOTS)
