# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The start of a rolling run: a new one, or the rest of an earlier one; pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ..._power.model.errors import LeftDown, Reverted, SettingsInvalid
from ..._power.model.players import PlayerPolicy
from ..._power.model.request import WaitFor
from ..._power.model.schema import did_you_mean
from ..._power.model.server import PowerState
from ..look_result import LIST_INCOMPLETE, code_of, is_unseen, list_fault, reason_of
from ..options import player_policy
from .record import Record, Row, run_key
from .run import add_batches, entry_of, list_rows, node_fault, stop_for_unknown, stop_over_budget, suspended_row, unseen_row
from .selection import Choice, Criteria, Pacing, batches, candidates, choose, criteria, named, pacing, part
from .times import longest_batch
from .values import (
    BOOTS,
    DID_NOT_STAY_UP,
    DONE,
    FAILED,
    GOOD,
    NOT_DONE,
    OFFLINE,
    SKIPPED,
    STILL_IN_FLIGHT,
    UNCHANGED,
    UNKNOWN,
    Amount,
    Candidate,
    RolloutError,
    one_of,
    parse_amount,
    parse_flag,
    parse_seconds,
)

Answer = Mapping[str, Any]
#: The selection: a resumed run keeps that of the first one.
_SELECTION = ("action", "servers", "states", "labels", "eggs", "outdated", "priorities")


@dataclass
class Selected:
    """The servers to act on in a new or a resumed run, and rows for the others."""

    choice: Choice = field(default_factory=lambda: Choice(()))
    rows: list[Row] = field(default_factory=list)
    #: Those of ``rows`` whose server or list a reachable node could not show.
    unknown: list[Row] = field(default_factory=list)

    def add_unknown(self, *rows: Row) -> None:
        self.rows += rows
        self.unknown += rows


@dataclass(frozen=True)
class _Resumed:
    """The selection of a resumed run and the nodes' answers: as they came, their lists of servers, and each server by node and UUID."""

    asked: Criteria
    answers: Mapping[str, Answer | None]
    lists: Mapping[str, Sequence[Mapping[str, Any]]]
    known: Mapping[tuple[str, str], Candidate]
    #: Whether a server that came up since the interruption is requested again, by its power state.
    asks_again: Callable[[str], bool]


def is_of_run(reason: object, run: str) -> bool:
    """Tell by its reason whether an action belongs to this run."""
    return isinstance(reason, str) and (reason == run_key(run) or reason.startswith(f"{run_key(run)}:"))


def is_in_flight(entry: Mapping[str, Any], run: str) -> bool:
    """Tell whether an action of the run is in flight: it holds the lock, waits for players, or has no outcome yet."""
    under_way = (each for each in _operations(entry) if not each.get("outcome"))
    return any(is_of_run(each.get("reason"), run) for each in (entry.get("lock") or {}, entry.get("countdown") or {}, *under_way))


def nodes_in_flight(record: Record) -> dict[str, list[str]]:
    """Return the nodes that may still act for interrupted runs, and these runs."""
    rows = [row for row in record.unfinished if row.node and row.asked_by]
    return {"nodes": sorted({str(row.node) for row in rows}), "runs": sorted({row.asked_by for row in rows})}


def _resume(old: Record, answers: Mapping[str, Answer | None], asked: Criteria, given: Mapping[str, Any], *, retry: bool) -> Selected:
    """Return the servers of ``old`` that this run acts on, with ``retry`` also the failed ones, and rows for the others. Raises
    `RolloutError` for a name of several servers."""
    lists = _lists(answers)
    known = {(each.node, each.server): each for each in candidates(lists, asked)}
    resumed = _Resumed(asked, answers, lists, known, _asks_again(given))
    found = Selected()
    selected: list[Candidate] = []
    unseen_before: list[Candidate] = []
    for row in [*old.unfinished, *(old.failed if retry else ())]:
        if row.node is None or row.server is None:
            continue
        unknown = _unknown_reason(row, resumed)
        if unknown is not None:
            found.add_unknown(_ended(row, UNKNOWN, *unknown))
            continue
        carried = _carry_over(row, resumed)
        if isinstance(carried, Row):
            found.rows.append(carried)
        else:
            # The selection has not judged an unseen server yet.
            (unseen_before if row.unseen else selected).append(carried)
    new = _choose_unlisted(old, resumed, found, unseen_before)
    each_once = {(each.node, each.server): each for each in (*new.chosen, *new.suspended, *new.unseen, *selected)}
    found.choice = replace(part(each_once.values(), asked), missing=new.missing)
    return found


def _lists(answers: Mapping[str, Answer | None]) -> dict[str, Sequence[Mapping[str, Any]]]:
    """Return the list of servers of each node that has answered with one."""
    lists = {node: None if answer is None else answer.get("servers") for node, answer in answers.items()}
    return {node: servers for node, servers in lists.items() if isinstance(servers, list)}


def _carry_over(row: Row, resumed: _Resumed) -> Candidate | Row:
    """Return the server of an old row if the resumed run acts on it, else its new row. Call it only if `_unknown_reason` returns None.

    The first reason decides. An action that succeeded or still runs comes before the selection. A request after it uses the same key, so
    the node does not act twice. After a failed action the run acts again. A server that was suspended after its action has no soak.
    """
    node, asked = str(row.node), resumed.asked
    if node not in resumed.answers:
        return _ended(row, NOT_DONE, "", "Its node is not in this play")
    if node not in resumed.lists:
        fault = node_fault(node, resumed.answers[node])
        return _ended(row, UNKNOWN, fault.code, fault.msg)
    candidate, entry = resumed.known.get((node, str(row.server))), entry_of(row, resumed.answers[node] or {})
    if entry is not None and row.asked_by:
        outcome, state = _outcome(entry, row.asked_by), str(entry.get("state"))
        if outcome is not None:
            is_unproven = asked.action in BOOTS and state != OFFLINE and resumed.asks_again(state)
            if is_unproven and candidate is not None and not candidate.suspended:
                return replace(candidate, any_state=True, again=True, asked_by=row.asked_by)
            return _ended_since(row, outcome, entry, asked)
        failed = _code_of_failed_version(entry, row.asked_by)
        if failed:
            return _ended(row, FAILED, failed, f"Failed in run {row.asked_by}, not repeated")
        if is_in_flight(entry, row.asked_by):
            return _ended(row, UNKNOWN, STILL_IN_FLIGHT, "Its node still works on it; continue the run when it has ended")
    if candidate is None:
        return _ended(row, FAILED, "server_not_found", f"Cannot {asked.action} server {row.server}: its node no longer has it")
    return candidate if row.unseen else _still_selected(row, entry, candidate, asked)


def _still_selected(row: Row, entry: Mapping[str, Any] | None, candidate: Candidate, asked: Criteria) -> Candidate | Row:
    again = _was_tried(row)
    any_state = again or candidate.any_state
    # The node acts on it in any state, unless its journal says that it should be down.
    should_boot = asked.action in BOOTS and candidate.state == OFFLINE and _should_be_up(entry)
    if asked.only and not any_state and not should_boot and candidate.state not in asked.only:
        return _ended(row, SKIPPED, "not_selected", f"It is now {candidate.state}")
    if asked.outdated and not again and candidate.outdated is False:
        return _ended(row, SKIPPED, "not_selected", "Its container now matches its definition")
    return replace(candidate, any_state=any_state, again=again, asked_by=row.asked_by)


def _choose_unlisted(old: Record, resumed: _Resumed, found: Selected, unseen_before: Sequence[Candidate]) -> Choice:
    """Choose servers on nodes whose lists were incomplete, and among those in ``unseen_before``; report names that were missing."""
    answers, lists, asked = resumed.answers, resumed.lists, resumed.asked
    nodes = [row.node for row in old.unfinished if row.node is not None and row.server is None]
    names = tuple(row.server for row in old.unfinished if row.node is None and row.server is not None)
    if asked.names is not None:
        unseen = (Candidate(str(row.node), str(row.server), row.name) for row in old.unfinished if row.unseen)
        asked = replace(asked, names=(*names, *(each.server for each in named(unseen, asked.names))))
    # An earlier part of the run has already handled the servers that it saw there.
    before = {*old.seen_before, *(row.server for row in old.rows)}
    new = {node: [entry for entry in lists[node] if entry.get("server") not in before] for node in nodes if node in lists}
    choice = choose([*candidates(new, asked), *unseen_before], asked)
    if asked.names is None or choice.missing:
        found.rows += [node_fault(node, answers[node]) for node in nodes if node in answers and node not in lists]
        found.rows += [Row(node, None, msg="It is not in this play") for node in nodes if node not in answers]
        found.add_unknown(*list_rows({node: answers[node] for node in new}))
    return choice


def _unknown_reason(row: Row, resumed: _Resumed) -> tuple[str, str] | None:
    """Return why a server that its node knows, or may know, has no facts: a code and a sentence; None without such a reason."""
    answer = resumed.answers.get(str(row.node)) or {}
    entry = entry_of(row, answer)
    if entry is not None:
        return (code_of(entry), reason_of(entry)) if is_unseen(entry) else None
    fault = list_fault(answer) if str(row.node) in resumed.lists else None
    return None if fault is None else (LIST_INCOMPLETE, fault)


def _was_tried(row: Row) -> bool:
    """Tell whether the run may have changed a server: it may be down, or have a new container that did not start."""
    may_have_changed = row.changed or (row.batch > 0 and row.outcome == FAILED and not row.untouched)
    return row.again or bool(row.asked_by) or may_have_changed


def _outcome(entry: Mapping[str, Any], run: str) -> str | None:
    return next((each["outcome"] for each in _of_run(entry, run) if each.get("outcome") in (DONE, UNCHANGED)), None)


def _code_of_failed_version(entry: Mapping[str, Any], run: str) -> str:
    """Return the code with which the run tried a new version of a server and gave it up, else an empty text."""
    return next((each["code"] for each in _of_run(entry, run) if each.get("code") in (Reverted.code, LeftDown.code)), "")


def _of_run(entry: Mapping[str, Any], run: str) -> Sequence[Mapping[str, Any]]:
    return [each for each in _operations(entry) if is_of_run(each.get("reason"), run)]


def _ended_since(row: Row, outcome: str, entry: Mapping[str, Any], asked: Criteria) -> Row:
    """Return the row of an action that has ended since the interruption. If the server should be up but is offline, it failed."""
    if asked.action in BOOTS and entry.get("state") == OFFLINE and _should_be_up(entry):
        return _ended(row, FAILED, DID_NOT_STAY_UP, f"Done by run {row.asked_by}, and offline again")
    return _ended(row, outcome, "", f"Done by run {row.asked_by}, not repeated")


def _should_be_up(entry: Mapping[str, Any] | None) -> bool:
    """Tell whether the node's journal says that a server should be up."""
    return ((entry or {}).get("intent") or {}).get("up") is True


def _operations(entry: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    found: Sequence[Mapping[str, Any]] = entry.get("operations") or [each for each in [entry.get("last_operation")] if each]
    return found


def _ended(row: Row, outcome: str, code: str, msg: str) -> Row:
    asked_by = row.asked_by if outcome in (NOT_DONE, UNKNOWN) else ""
    unseen = row.unseen and outcome in (NOT_DONE, UNKNOWN)
    ended = Row(row.node, row.server, row.name, outcome=outcome, code=code, msg=msg, asked_by=asked_by, unseen=unseen)
    ended.again = _was_tried(row)
    return ended


@dataclass(frozen=True)
class NewRun:
    """The id and begin of a run, check mode, the facts of its `Window`, and the user."""

    run: str
    began_at: str
    check: bool = False
    window: Mapping[str, Any] = field(default_factory=dict)
    by: str = ""


@dataclass(frozen=True)
class Understood:
    """The checked request without any facts of nodes. ``given`` are the effective variables."""

    given: Mapping[str, Any]
    criteria: Criteria
    pacing: Pacing
    budget: Amount
    players: PlayerPolicy | None
    #: The seconds of `longest_batch`.
    longest: tuple[float, float]


def understand(given: Mapping[str, Any], nodes: Sequence[str], old: Record | None = None) -> Understood:
    """Check the role's variables for a play of these nodes. A resumed run keeps its selection. Raises `RolloutError`."""
    if old is not None:
        given = {**given, **{name: old.given[name] for name in _SELECTION if name in old.given}}
    asked = criteria(given)
    one_of("wait_for", given.get("wait_for", WaitFor.CONTAINER.value), list(WaitFor))
    try:
        players = player_policy(asked.action, given)
    except SettingsInvalid as error:
        raise RolloutError(str(error)) from None
    budget, longest = parse_amount("max_failures", given.get("max_failures", 0)), longest_batch(asked.action, given, players)
    return Understood(given, asked, pacing(given, nodes), budget, players, longest)


def open_run(given: Mapping[str, Any], answers: Mapping[str, Answer | None], new: NewRun, old: Record | None = None) -> Record:
    """Return the record with all batches, stopped if the run must not begin.

    ``given`` are the role's variables without their prefix. ``answers`` has the answer of each node of the play, None for a lost one.
    ``old`` is the record to resume. Raises `RolloutError` for an invalid request, before any change.
    """
    understood = understand(given, list(answers), old)
    given, asked, pace = understood.given, understood.criteria, understood.pacing
    record = _record(understood, new, old)
    if old is None:
        found = _all_of(answers, asked)
    else:
        retry = parse_flag("resume_failed", given.get("resume_failed", False))
        found = _resume(old, answers, asked, given, retry=retry)
        record.failed_before = [] if retry else old.failed
        if old.has_good_canary:
            record.canary_passed, pace = True, replace(pace, canary=0)
    _fill(record, found, list(answers), pace, understood)
    if old is not None and any(row.server is None for row in record.rows):
        record.seen_before = sorted({*old.seen_before, *(row.server for row in old.rows if row.node and row.server)})
    if not parse_flag("allow_unknown", given.get("allow_unknown", False)):
        stop_for_unknown(record, found.unknown)
    stop_over_budget(record)
    return record


def _record(understood: Understood, new: NewRun, old: Record | None) -> Record:
    given, asked = understood.given, understood.criteria
    return Record(
        run=new.run,
        action=asked.action,
        began_at=new.began_at,
        given={name: given[name] for name in _SELECTION if given.get(name)},
        reason=str(given.get("reason") or (old.reason if old is not None else "")),
        check=new.check,
        by=new.by,
        resumes="" if old is None else old.run,
        only=list(asked.only),
        outdated=asked.outdated,
        skip_suspended=asked.skip_suspended,
        goes_on=one_of("on_failure", given.get("on_failure", "stop"), ("stop", "continue")) == "continue",
        left_ok=parse_flag("left_ok", given.get("left_ok", False)),
        for_players=understood.players is not None,
        not_before=new.window.get("not_before") or "",
        deadline=new.window.get("deadline") or "",
        longest_once=understood.longest[0],
        longest_round=understood.longest[1],
    )


def _all_of(answers: Mapping[str, Answer | None], asked: Criteria) -> Selected:
    lists = _lists(answers)
    known = candidates(lists, asked)
    choice = choose(known, asked)
    found = Selected(choice)
    if asked.names is None or choice.missing:
        # If all servers are named and found, a lost node or an incomplete list does not matter.
        found.rows += [node_fault(node, answer) for node, answer in answers.items() if node not in lists]
        found.add_unknown(*list_rows({node: answers[node] for node in lists}))
    if choice.missing and not found.rows and all(each.name for each in choice.unseen):
        raise _nowhere(choice.missing, [each.name for each in known])
    return found


def _nowhere(missing: Sequence[str], known: Sequence[str]) -> RolloutError:
    names = ", ".join(name + did_you_mean(name, known) for name in missing)
    return RolloutError(f"Cannot find {names}: no node of this play has such a server; nothing was done", "server_not_found")


def _asks_again(given: Mapping[str, Any]) -> Callable[[str], bool]:
    """Return a test by power state: whether a server whose action is done is requested again, for its readiness or the soak. The request
    has the earlier key, so the node does not act twice."""
    wait = given.get("wait_for", WaitFor.CONTAINER.value)
    soaks = parse_seconds("soak", given.get("soak", 0)) > 0
    return lambda state: soaks or wait == WaitFor.HEALTHY.value or (wait == WaitFor.RUNNING.value and state == PowerState.STARTING.value)


def _fill(record: Record, found: Selected, nodes: Sequence[str], pace: Pacing, understood: Understood) -> None:
    asked, choice = understood.criteria, found.choice
    found.add_unknown(*(unseen_row(each) for each in choice.unseen))
    unanswered = {row.node for row in found.rows if row.is_failure and row.is_unfinished}
    record.rows = [*found.rows, *(_missing(name, bool(unanswered)) for name in choice.missing)]
    record.rows += [suspended_row(each, asked.action, asked.skip_suspended) for each in choice.suspended]
    add_batches(record, batches(choice.chosen, nodes, asked.action, pace))
    record.budget = understood.budget.of(sum(row.server is not None for row in record.rows))
    if isinstance(pace.canary, str):
        record.canary = pace.canary
        _check_canary(record, pace.canary, unanswered, found)


def _check_canary(record: Record, canary: str, unanswered: set[str | None], found: Selected) -> None:
    if canary in unanswered and not record.canaries:
        record.stopped = f"the canary, node {canary}, cannot be asked"
    elif any(row.node == canary and row.outcome not in GOOD for row in found.rows):
        # The command before ended with actions in flight there.
        record.stopped = "the canary failed"
    elif record.canaries or not found.choice.chosen:
        return
    elif any(row.node == canary for row in record.failed_before):
        raise RolloutError(
            f"Cannot take node {canary} as canary again: what failed there is not tried again; "
            "give rollout_resume_failed=true, or another rollout_canary; nothing was done"
        )
    elif not any(row.node == canary for row in found.rows):
        raise RolloutError(f"Cannot take node {canary} as canary: it has no selected server; nothing was done")


def _missing(name: str, unanswered: bool) -> Row:
    """Return the row of a server that no node has. If ``unanswered``, a node that may have it counts as failed already."""
    msg = f"No node that could be asked has server {name}"
    return Row(None, name, outcome=NOT_DONE if unanswered else FAILED, code="server_not_found", msg=msg)
