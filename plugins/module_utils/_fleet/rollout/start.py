# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The start of a rolling run: a new one, or the rest of an earlier one; pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ..._power.model.errors import SettingsInvalid
from ..._power.model.players import PlayerPolicy
from ..._power.model.request import WaitFor
from ..._power.model.server import PowerState
from ..look_result import LIST_INCOMPLETE, code_of, is_unseen, list_fault, reason_of
from ..options import player_policy
from .progress import LongestBatch, longest_batch
from .record import Record, Row, run_key
from .run import list_rows, node_fault, plan, stop_for_unknown, stop_over_budget, suspended_row, unseen_row
from .selection import Choice, Criteria, Pacing, batches, candidates, choose, criteria, named, pacing, part
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
    WAITS,
    Amount,
    Candidate,
    RolloutError,
    one_of,
    parse_amount,
    parse_flag,
    parse_seconds,
)
from .window import Window

Answer = Mapping[str, Any]


@dataclass
class TakenUp:
    """The beginning of a resumed run: the servers to act on, and rows for the others."""

    choice: Choice = field(default_factory=lambda: Choice(()))
    rows: list[Row] = field(default_factory=list)
    #: The rows whose server or list a reachable node could not show.
    dark: list[Row] = field(default_factory=list)

    def darken(self, rows: Iterable[Row]) -> None:
        """Add rows of unseen servers and lists."""
        for row in rows:
            self.rows.append(row)
            self.dark.append(row)


@dataclass(frozen=True)
class _PlayAnswers:
    """The answers of the play's nodes, and the selection of the resumed run."""

    seen: Mapping[str, Answer | None]
    told: Mapping[str, Sequence[Mapping[str, Any]]]
    known: Mapping[tuple[str, str], Candidate]
    asked: Criteria
    is_to_be_seen: Callable[[str], bool]

    @classmethod
    def of(cls, seen: Mapping[str, Answer | None], asked: Criteria, is_to_be_seen: Callable[[str], bool]) -> _PlayAnswers:
        told = {node: entries for node, answer in seen.items() for entries in [servers_of(answer)] if entries is not None}
        return cls(seen, told, {(each.node, each.server): each for each in candidates(told, asked)}, asked, is_to_be_seen)


def is_of_run(reason: object, run: str) -> bool:
    """Tell by its reason whether an action belongs to this run."""
    return isinstance(reason, str) and (reason == run_key(run) or reason.startswith(f"{run_key(run)}:"))


def is_in_flight(entry: Mapping[str, Any], run: str) -> bool:
    """Tell whether an action of the run is in flight: it holds the lock, waits for players, or has no outcome yet."""
    under_way = (each for each in _operations(entry) if not each.get("outcome"))
    return any(is_of_run(each.get("reason"), run) for each in (entry.get("lock") or {}, entry.get("countdown") or {}, *under_way))


def flying(record: Record) -> dict[str, list[str]]:
    """Return the nodes that may still act for interrupted runs, and these runs."""
    rows = [row for row in record.left if row.node and row.asked_by]
    return {"nodes": sorted({str(row.node) for row in rows}), "runs": sorted({row.asked_by for row in rows})}


def take_up(
    old: Record,
    seen: Mapping[str, Answer | None],
    asked: Criteria,
    *,
    again: bool = False,
    is_to_be_seen: Callable[[str], bool] = lambda _state: False,
) -> TakenUp:
    """Resume ``old`` with ``seen``, the answer of each node of the play. ``again``: retry failures, too.

    ``is_to_be_seen`` tells by its power state whether a server that came up meanwhile is requested again. Its key prevents a second action,
    but the node awaits its readiness and the soak follows. Raises `RolloutError` for a name of several servers.
    """
    answers = _PlayAnswers.of(seen, asked, is_to_be_seen)
    taken = TakenUp()
    meant: list[Candidate] = []
    back: list[Candidate] = []
    for row in [*old.left, *(old.failed if again else ())]:
        if row.node is None or row.server is None:
            continue
        candidate = _carry_over(row, answers, taken)
        if candidate is not None:
            (back if row.unseen else meant).append(candidate)
    unseen = _unseen(old, answers, taken, back)
    both = {(each.node, each.server): each for each in (*unseen.chosen, *unseen.suspended, *unseen.unseen, *meant)}
    taken.choice = replace(part(both.values(), asked), missing=unseen.missing)
    return taken


def servers_of(answer: Answer | None) -> Sequence[Mapping[str, Any]] | None:
    """Return the servers of an answer; None if it is missing or failed."""
    servers = None if answer is None else answer.get("servers")
    return servers if isinstance(servers, list) else None


def _carry_over(row: Row, answers: _PlayAnswers, taken: TakenUp) -> Candidate | None:
    node, asked = str(row.node), answers.asked
    if node not in answers.seen:
        taken.rows.append(_ended(row, NOT_DONE, "", "Its node is not in this play"))
        return None
    if node not in answers.told:
        fault = node_fault(node, answers.seen[node])
        taken.rows.append(_ended(row, UNKNOWN, fault.code, fault.msg))
        return None
    candidate = answers.known.get((node, str(row.server)))
    entry = next((each for each in answers.told[node] if each.get("server") == row.server), None)
    dark = _dark(entry, answers.seen[node] or {})
    if dark is not None:
        taken.darken([_ended(row, UNKNOWN, *dark)])
        return None
    if entry is not None and row.asked_by:
        outcome = _outcome(entry, row.asked_by)
        state = str(entry.get("state"))
        if outcome is not None and candidate is not None and asked.action in BOOTS and state != OFFLINE and answers.is_to_be_seen(state):
            return replace(candidate, any_state=True, again=True, asked_by=row.asked_by)
        if outcome is not None:
            taken.rows.append(_done_meanwhile(row, outcome, entry, asked))
            return None
        if is_in_flight(entry, row.asked_by):
            taken.rows.append(_ended(row, UNKNOWN, STILL_IN_FLIGHT, "Its node still works on it; continue the run when it has ended"))
            return None
    if candidate is None:
        taken.rows.append(_ended(row, FAILED, "server_not_found", f"Cannot {asked.action} server {row.server}: its node no longer has it"))
        return None
    return candidate if row.unseen else _still_meant(row, entry, candidate, asked, taken)


def _still_meant(row: Row, entry: Mapping[str, Any] | None, candidate: Candidate, asked: Criteria, taken: TakenUp) -> Candidate | None:
    """Return a selected server as a candidate, or a row if it is no longer selected."""
    any_state, again = _any_state(row), _was_tried(row)
    candidate = replace(candidate, any_state=any_state, again=again, asked_by=row.asked_by)
    # The node acts on it in any state, unless its journal says that it should be down.
    fell = asked.action in BOOTS and candidate.state == OFFLINE and is_meant_up(entry)
    if asked.only and not any_state and not fell and candidate.state not in asked.only:
        taken.rows.append(_ended(row, SKIPPED, "not_selected", f"It is {candidate.state} meanwhile"))
        return None
    if asked.outdated and not again and candidate.outdated is False:
        taken.rows.append(_ended(row, SKIPPED, "not_selected", "Its container is what its definition says meanwhile"))
        return None
    return candidate


def _unseen(old: Record, answers: _PlayAnswers, taken: TakenUp, back: Sequence[Candidate]) -> Choice:
    """Choose servers on nodes with incomplete lists, and among those in ``back``; report names that were missing."""
    seen, told, asked = answers.seen, answers.told, answers.asked
    nodes = [row.node for row in old.left if row.node is not None and row.server is None]
    taken.rows += [node_fault(node, seen[node]) for node in nodes if node in seen and node not in told]
    taken.rows += [Row(node, None, msg="It is not in this play") for node in nodes if node not in seen]
    names = tuple(row.server for row in old.left if row.node is None and row.server is not None)
    if asked.names is not None:
        dark = (Candidate(str(row.node), str(row.server), row.name) for row in old.left if row.unseen)
        asked = replace(asked, names=(*names, *(each.server for each in named(dark, asked.names))))
    # An earlier part of the run has already handled the servers that it saw there.
    before = {*old.seen_before, *(row.server for row in old.rows)}
    fresh = {node: [entry for entry in told[node] if entry.get("server") not in before] for node in nodes if node in told}
    choice = choose([*candidates(fresh, asked), *back], asked)
    if asked.names is None or choice.missing:
        taken.darken(list_rows({node: seen[node] for node in fresh}))
    return choice


def _dark(entry: Mapping[str, Any] | None, answer: Answer) -> tuple[str, str] | None:
    """Return why a server's state is unknown, as a code and a sentence; None if it is known. An incomplete list may lack it."""
    if entry is not None:
        return (code_of(entry), reason_of(entry)) if is_unseen(entry) else None
    fault = list_fault(answer)
    return None if fault is None else (LIST_INCOMPLETE, fault)


def _any_state(row: Row) -> bool:
    return row.any_state or _was_tried(row)


def _was_tried(row: Row) -> bool:
    """Tell whether the run may have changed a server: it may be down, or have a new container that did not start."""
    return row.again or bool(row.asked_by) or (row.outcome != NOT_DONE and not row.unseen)


def _outcome(entry: Mapping[str, Any], run: str) -> str | None:
    mine = [each for each in _operations(entry) if is_of_run(each.get("reason"), run)]
    return next((each["outcome"] for each in mine if each.get("outcome") in (DONE, UNCHANGED)), None)


def _done_meanwhile(row: Row, outcome: str, entry: Mapping[str, Any], asked: Criteria) -> Row:
    """Return the row of an action that its node finished meanwhile. If the server should be up but is offline, it failed."""
    if asked.action in BOOTS and entry.get("state") == OFFLINE and is_meant_up(entry):
        return _ended(row, FAILED, DID_NOT_STAY_UP, "Its node had done it, and it is offline again")
    return _ended(row, outcome, "", "Its node had done it when the run was taken up")


def is_meant_up(entry: Mapping[str, Any] | None) -> bool:
    """Tell whether the node's journal says that a server should be up."""
    return ((entry or {}).get("intent") or {}).get("up") is True


def _operations(entry: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    found: Sequence[Mapping[str, Any]] = entry.get("operations") or [each for each in [entry.get("last_operation")] if each]
    return found


def _ended(row: Row, outcome: str, code: str, msg: str) -> Row:
    asked_by = row.asked_by if outcome in (NOT_DONE, UNKNOWN) else ""
    ended = Row(row.node, row.server, row.name, outcome=outcome, code=code, msg=msg, any_state=_any_state(row), asked_by=asked_by)
    ended.again = _was_tried(row)
    ended.unseen = row.unseen and outcome in (NOT_DONE, UNKNOWN)
    return ended


#: The selection: a resumed run keeps that of the first one.
_SELECTION = ("action", "servers", "states", "labels", "eggs", "outdated", "priorities")


@dataclass(frozen=True)
class Start:
    """The run's id and begin, check mode, the window, and the user."""

    run: str
    began_at: str
    check: bool = False
    window: Window = field(default_factory=Window)
    by: str = ""


@dataclass(frozen=True)
class Understood:
    """The checked request without any facts of nodes. ``given`` are the effective variables."""

    given: Mapping[str, Any]
    criteria: Criteria
    pacing: Pacing
    budget: Amount
    players: PlayerPolicy | None
    longest: LongestBatch


def understand(given: Mapping[str, Any], nodes: Sequence[str], old: Record | None = None) -> Understood:
    """Check the role's variables for a play of these nodes. A resumed run keeps its selection. Raises `RolloutError`."""
    if old is not None:
        given = {**given, **{name: old.given[name] for name in _SELECTION if name in old.given}}
    asked = criteria(given)
    one_of("wait_for", given.get("wait_for", WAITS[0]), WAITS)
    try:
        players = player_policy(asked.action, given)
    except SettingsInvalid as error:
        raise RolloutError(str(error)) from None
    budget, longest = parse_amount("max_failures", given.get("max_failures", 0)), longest_batch(asked.action, given, players)
    return Understood(given, asked, pacing(given, nodes), budget, players, longest)


def open_run(given: Mapping[str, Any], seen: Mapping[str, Answer | None], start: Start, old: Record | None = None) -> Record:
    """Return the record with all batches, stopped if the run must not begin.

    ``given`` are the role's variables without their prefix. ``seen`` has the answer of each node of the play, None for a lost one. ``old``
    is the record to resume. Raises `RolloutError` for an invalid request, before any change.
    """
    understood = understand(given, list(seen), old)
    given, asked, pace = understood.given, understood.criteria, understood.pacing
    record = _record(understood, start, old)
    if old is None:
        taken = _all_of(seen, asked)
    else:
        again = parse_flag("resume_failed", given.get("resume_failed", False))
        taken = take_up(old, seen, asked, again=again, is_to_be_seen=_is_to_be_seen(given))
        record.failed_before = [] if again else old.failed
        if old.has_good_canary:
            record.canary_passed, pace = True, replace(pace, canary=0)
    _fill(record, taken, list(seen), pace, understood)
    if old is not None and any(row.server is None for row in record.rows):
        record.seen_before = sorted({*old.seen_before, *(row.server for row in old.rows if row.node and row.server)})
    if not parse_flag("allow_unknown", given.get("allow_unknown", False)):
        stop_for_unknown(record, taken.dark)
    stop_over_budget(record)
    return record


def _record(understood: Understood, start: Start, old: Record | None) -> Record:
    given, asked, window = understood.given, understood.criteria, start.window.facts()
    return Record(
        run=start.run,
        action=asked.action,
        began_at=start.began_at,
        given={name: given[name] for name in _SELECTION if given.get(name)},
        reason=str(given.get("reason") or (old.reason if old is not None else "")),
        check=start.check,
        by=start.by,
        resumes="" if old is None else old.run,
        only=list(asked.only),
        outdated=asked.outdated,
        skip_suspended=asked.skip_suspended,
        goes_on=one_of("on_failure", given.get("on_failure", "stop"), ("stop", "continue")) == "continue",
        left_ok=parse_flag("left_ok", given.get("left_ok", False)),
        for_players=understood.players is not None,
        not_before=window["not_before"] or "",
        deadline=window["deadline"] or "",
        longest_once=understood.longest.once,
        longest_round=understood.longest.each_round,
    )


def _all_of(seen: Mapping[str, Answer | None], asked: Criteria) -> TakenUp:
    told = {node: entries for node, answer in seen.items() for entries in [servers_of(answer)] if entries is not None}
    choice = choose(candidates(told, asked), asked)
    taken = TakenUp(choice, [node_fault(node, answer) for node, answer in seen.items() if node not in told])
    if asked.names is None or choice.missing:
        # If all servers are named and found, an incomplete list does not matter.
        taken.darken(list_rows({node: seen[node] for node in told}))
    if choice.missing and not taken.rows and all(each.name for each in choice.unseen):
        raise RolloutError(
            f"Cannot find {', '.join(choice.missing)}: no node of this play has such a server; nothing was done", "server_not_found"
        )
    return taken


def _is_to_be_seen(given: Mapping[str, Any]) -> Callable[[str], bool]:
    """Return a test by power state: was a server of an earlier run not yet seen ready or soaked?"""
    wait = given.get("wait_for", WAITS[0])
    soaks = parse_seconds("soak", given.get("soak", 0)) > 0
    return lambda state: soaks or wait == WaitFor.HEALTHY.value or (wait == WaitFor.RUNNING.value and state == PowerState.STARTING.value)


def _fill(record: Record, taken: TakenUp, nodes: Sequence[str], pace: Pacing, understood: Understood) -> None:
    asked = understood.criteria
    taken.darken(unseen_row(each) for each in taken.choice.unseen)
    lost = {row.node for row in taken.rows if row.is_failure and row.is_left}
    record.rows = [*taken.rows, *(_missing(name, bool(lost)) for name in taken.choice.missing)]
    record.rows += [suspended_row(each, asked.action, asked.skip_suspended) for each in taken.choice.suspended]
    plan(record, batches(taken.choice.chosen, nodes, asked.action, pace))
    record.budget = understood.budget.of(sum(row.server is not None for row in record.rows))
    if isinstance(pace.canary, str):
        record.canary = pace.canary
        _check_canary(record, pace.canary, lost, taken)


def _check_canary(record: Record, canary: str, lost: set[str | None], taken: TakenUp) -> None:
    if canary in lost and not record.canaries:
        record.stopped = f"the canary, node {canary}, cannot be asked"
    elif any(row.node == canary and row.outcome not in GOOD for row in taken.rows):
        # The command before ended with actions in flight there.
        record.stopped = "the canary failed"
    elif record.canaries or not taken.choice.chosen:
        return
    elif any(row.node == canary for row in record.failed_before):
        raise RolloutError(
            f"Cannot take node {canary} as canary again: what failed there is not tried again; "
            "give rollout_resume_failed=true, or another rollout_canary; nothing was done"
        )
    elif not any(row.node == canary for row in taken.rows):
        raise RolloutError(f"Cannot take node {canary} as canary: it has no selected server; nothing was done")


def _missing(name: str, untouched: bool) -> Row:
    """Return the row of a server that no node has; an unreachable node may have it."""
    msg = f"No node that could be asked has server {name}"
    return Row(None, name, outcome=FAILED, code="server_not_found", msg=msg, untouched=untouched)
