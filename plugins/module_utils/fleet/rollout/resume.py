# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A run that did not come to its end is taken up: what is left of it, and what has meanwhile been done; pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from .choice import Choice, Criteria, candidates, choose, part
from .record import Record, Row
from .run import node_fault
from .words import DONE, FAILED, NOT_DONE, SKIPPED, UNCHANGED, UNKNOWN, Candidate

Answer = Mapping[str, Any]


@dataclass
class TakenUp:
    """What a resumed run begins with: the servers it acts on, and rows of those about which nothing is left to do, or can be."""

    choice: Choice = field(default_factory=lambda: Choice(()))
    rows: list[Row] = field(default_factory=list)


def reason_text(run: str, reason: str) -> str:
    """The reason that the nodes are told: the run comes first, since a node may cut the end."""
    return f"rollout {run}: {reason}" if reason else f"rollout {run}"


def is_of_run(reason: object, run: str) -> bool:
    """Whether something was done for this run."""
    return isinstance(reason, str) and (reason == f"rollout {run}" or reason.startswith(f"rollout {run}:"))


def flying(record: Record) -> dict[str, list[str]]:
    """The nodes that may still be at what interrupted runs asked of them, and these runs."""
    rows = [row for row in record.left if row.node and row.asked_by]
    return {"nodes": sorted({str(row.node) for row in rows}), "runs": sorted({row.asked_by for row in rows})}


def take_up(old: Record, seen: Mapping[str, Answer | None], asked: Criteria, *, again: bool = False) -> TakenUp:
    """What is left of ``old``, where ``seen`` has what each node of the play told. ``again``: also what failed.

    Raises `RolloutError` for a name that means more than one server.
    """
    told = {node: entries for node, answer in seen.items() for entries in [servers_of(answer)] if entries is not None}
    known = {(each.node, each.server): each for each in candidates(told, asked)}
    taken = TakenUp()
    meant: list[Candidate] = []
    for row in [*old.left, *(old.failed if again else ())]:
        if row.node is None or row.server is None:
            continue
        candidate = _settle(row, seen, told, known.get((row.node, row.server)), asked, taken)
        if candidate is not None:
            meant.append(candidate)
    unseen = _unseen(old, seen, told, asked, taken)
    both = {(each.node, each.server): each for each in (*unseen.chosen, *unseen.suspended, *meant)}
    taken.choice = replace(part(both.values(), asked), missing=unseen.missing)
    return taken


def servers_of(answer: Answer | None) -> Sequence[Mapping[str, Any]] | None:
    """The servers that a node told of; None if it told of none because something went wrong."""
    servers = None if answer is None else answer.get("servers")
    return servers if isinstance(servers, list) else None


def _settle(
    row: Row,
    seen: Mapping[str, Answer | None],
    told: Mapping[str, Sequence[Mapping[str, Any]]],
    candidate: Candidate | None,
    asked: Criteria,
    taken: TakenUp,
) -> Candidate | None:
    """A server that is left: to be acted on, or a row that says why not."""
    node = str(row.node)
    if node not in seen:
        taken.rows.append(_ended(row, NOT_DONE, "", "Its node is not in this play"))
        return None
    if node not in told:
        fault = node_fault(node, seen[node])
        taken.rows.append(_ended(row, UNKNOWN, fault.code, fault.msg))
        return None
    entry = next((each for each in told[node] if each.get("server") == row.server), None)
    outcome = _outcome(entry, row.asked_by) if entry is not None and row.asked_by else None
    if outcome is not None:
        taken.rows.append(_ended(row, outcome, "", "Its node had done it when the run was taken up"))
        return None
    if candidate is None:
        taken.rows.append(_ended(row, FAILED, "server_not_found", f"Cannot {asked.action} server {row.server}: its node no longer has it"))
        return None
    any_state = _any_state(row)
    if asked.only and not any_state and candidate.state not in asked.only:
        taken.rows.append(_ended(row, SKIPPED, "not_selected", f"It is {candidate.state} meanwhile"))
        return None
    return replace(candidate, any_state=any_state)


def _unseen(
    old: Record,
    seen: Mapping[str, Answer | None],
    told: Mapping[str, Sequence[Mapping[str, Any]]],
    asked: Criteria,
    taken: TakenUp,
) -> Choice:
    """The servers meant on nodes that had told of none, and names that had not been found."""
    nodes = [row.node for row in old.left if row.node is not None and row.server is None]
    taken.rows += [node_fault(node, seen[node]) for node in nodes if node in seen and node not in told]
    taken.rows += [Row(node, None, msg="It is not in this play") for node in nodes if node not in seen]
    names = tuple(row.server for row in old.left if row.node is None and row.server is not None)
    if asked.names is not None:
        asked = replace(asked, names=names)
    return choose(candidates({node: told[node] for node in nodes if node in told}, asked), asked)


def _any_state(row: Row) -> bool:
    """Whether a server must be brought to its end in whatever state it is found: it may have been stopped for a restart."""
    return row.any_state or bool(row.asked_by) or row.outcome != NOT_DONE


def _outcome(entry: Mapping[str, Any], run: str) -> str | None:
    """How the run's own action on the server ended, if it ended as it should."""
    operations = entry.get("operations") or [entry.get("last_operation") or {}]
    mine = [each for each in operations if is_of_run(each.get("reason"), run)]
    return next((each["outcome"] for each in mine if each.get("outcome") in (DONE, UNCHANGED)), None)


def _ended(row: Row, outcome: str, code: str, msg: str) -> Row:
    asked_by = row.asked_by if outcome in (NOT_DONE, UNKNOWN) else ""
    return Row(row.node, row.server, row.name, outcome=outcome, code=code, msg=msg, any_state=_any_state(row), asked_by=asked_by)
