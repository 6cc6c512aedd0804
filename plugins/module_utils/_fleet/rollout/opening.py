# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From the role's variables and what the nodes told to a run that may begin; pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ..._power.model.errors import SettingsInvalid
from ..._power.model.players import PlayerPolicy
from ..._power.model.request import WaitFor
from ..._power.model.server import PowerState
from ..players import player_policy
from .batches import Pacing, batches, pacing
from .choice import Criteria, candidates, choose, criteria
from .record import Record, Row
from .resume import Answer, TakenUp, servers_of, take_up
from .run import list_rows, node_fault, plan, stop_for_unknown, stop_over_budget, suspended_row, unseen_row
from .window import Window
from .words import FAILED, GOOD, WAITS, Amount, RolloutError, one_of, parse_amount, parse_flag, parse_seconds
from .worst_case import LongestBatch, longest_batch

#: Which servers are meant: a resumed run means those that the first one did.
_SELECTION = ("action", "servers", "states", "labels", "eggs", "outdated", "priorities")


@dataclass(frozen=True)
class Start:
    """Of whom and when: the run's id, its beginning, whether it is only to say what it would do, the window it has, and who asks."""

    run: str
    began_at: str
    check: bool = False
    window: Window = field(default_factory=Window)
    by: str = ""


@dataclass(frozen=True)
class Understood:
    """What a run is asked for, as far as no node need be asked about it. ``given`` are the variables that count."""

    given: Mapping[str, Any]
    criteria: Criteria
    pacing: Pacing
    budget: Amount
    players: PlayerPolicy | None
    longest: LongestBatch


def understand(given: Mapping[str, Any], nodes: Sequence[str], old: Record | None = None) -> Understood:
    """Read the role's variables, without their prefix, for a play of these nodes; a run that is resumed knows which servers it means.

    Raises `RolloutError` for what makes no sense, whatever the nodes say.
    """
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
    """The run, with all its batches, stopped if it must not even begin.

    ``given`` are the role's variables without their prefix; ``seen`` has what each node of the play told, None for one that was lost;
    ``old`` is the run that is resumed. Raises `RolloutError` for what makes no sense: nothing was done then.
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
    """Choose the servers of a run that does not resume another."""
    told = {node: entries for node, answer in seen.items() for entries in [servers_of(answer)] if entries is not None}
    choice = choose(candidates(told, asked), asked)
    taken = TakenUp(choice, [node_fault(node, answer) for node, answer in seen.items() if node not in told])
    if asked.names is None or choice.missing:
        # Of servers that are all named, and found, no list need tell.
        taken.darken(list_rows({node: seen[node] for node in told}))
    if choice.missing and not taken.rows and all(each.name for each in choice.unseen):
        raise RolloutError(
            f"Cannot find {', '.join(choice.missing)}: no node of this play has such a server; nothing was done", "server_not_found"
        )
    return taken


def _is_to_be_seen(given: Mapping[str, Any]) -> Callable[[str], bool]:
    """Return a test: servers that an earlier run left in this power state are looked at, as nobody saw them become ready or stay up."""
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
        # What was in flight there when the run before was ended.
        record.stopped = "the canary failed"
    elif record.canaries or not taken.choice.chosen:
        return
    elif any(row.node == canary for row in record.failed_before):
        raise RolloutError(
            f"Cannot take node {canary} as canary again: what failed there is not tried again; "
            "give rollout_resume_failed=true, or another rollout_canary; nothing was done"
        )
    elif not any(row.node == canary for row in taken.rows):
        raise RolloutError(f"Cannot take node {canary} as canary: it has none of the servers that are meant; nothing was done")


def _missing(name: str, untouched: bool) -> Row:
    """A server that no node knows; it may be on one that could not be asked."""
    msg = f"No node that could be asked has server {name}"
    return Row(None, name, outcome=FAILED, code="server_not_found", msg=msg, untouched=untouched)
