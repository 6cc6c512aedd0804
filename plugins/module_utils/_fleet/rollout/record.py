# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A run as it is kept: what it means, what became of each server, what is left. Also the form of the resume file; pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from typing import Any

from ..._power.model.errors import LEFT_TO_PLAYERS, PlayersUnknown
from .values import FAILURES, GOOD, NOT_DONE, OUTCOMES, UNKNOWN, RolloutError

SCHEMA = 1
#: Of many rows, a sentence names so many.
_NAMED = 3
#: What the fields' annotations mean of JSON. A boolean is none of these.
_TYPES: dict[str, tuple[type, ...]] = {
    "str": (str,),
    "str | None": (str, type(None)),
    "bool": (bool,),
    "int": (int,),
    "float": (float, int),
    "float | None": (float, int, type(None)),
    "dict[str, Any]": (dict,),
    "list[Any]": (list,),
}


@dataclass
class Row:
    """One server of the run, or, without a server, a node whose servers are not known."""

    node: str | None
    server: str | None
    name: str = ""
    #: The batch it is in, from 1; 0: it comes into none.
    batch: int = 0
    outcome: str = NOT_DONE
    code: str = ""
    msg: str = ""
    seconds: float | None = None
    #: For how long of that it waited for players.
    waited: float = 0
    changed: bool = False
    state: str = ""
    #: Whether a node may be at it just now.
    in_flight: bool = False
    #: The run under whose key its node was asked, as long as nobody knows what came of it. It is asked again under the same.
    asked_by: str = ""
    #: Whether it is acted on whatever state it is in then.
    any_state: bool = False
    #: Whether an earlier part of the run has tried it, so that its container may be what its definition says although it is not done.
    again: bool = False
    #: Whether it was not touched, although it failed.
    untouched: bool = False
    #: When its action was taken up, by its node's clock; then each phase and after how many seconds it began.
    began_at: str = ""
    phases: list[Any] = field(default_factory=list)
    #: For how long the action had it down: ``from`` then, ``seconds`` to the next run, ``ready_seconds`` until that was ready.
    downtime: dict[str, Any] = field(default_factory=dict)
    #: Of one that failed, the end of its log.
    log: list[Any] = field(default_factory=list)
    #: Whether it came into no batch because nothing could be seen of it: nobody knows whether it is meant.
    unseen: bool = False

    @property
    def is_failure(self) -> bool:
        """True if the row uses up the budget."""
        return self.outcome in FAILURES

    @property
    def is_for_players(self) -> bool:
        """True if the server was left alone for those who play on it."""
        return self.outcome == NOT_DONE and self.code in LEFT_TO_PLAYERS

    @property
    def is_known_to_be_played(self) -> bool:
        """True if the server was left alone for those who play on it, and not because nobody could be counted."""
        return self.is_for_players and self.code != PlayersUnknown.code

    @property
    def is_left(self) -> bool:
        """True if the row is still to be done: nothing was tried, or nobody knows what came of it."""
        return self.outcome in (NOT_DONE, UNKNOWN) or self.untouched

    @property
    def called(self) -> str:
        """The server in few words, with its node."""
        return " ".join(text for text in (self.node, self.name or self.server) if text)


@dataclass
class Record:
    """A run. ``given`` are the role's variables that say which servers are meant."""

    run: str
    action: str
    began_at: str
    given: dict[str, Any]
    reason: str = ""
    check: bool = False
    #: States a server must still be in when its turn comes; empty: any.
    only: list[str] = field(default_factory=list)
    #: Whether only servers are meant whose containers are outdated when their turn comes.
    outdated: bool = False
    skip_suspended: bool = False
    #: How many failures are allowed.
    budget: int = 0
    #: Whether a run out of budget goes on all the same.
    goes_on: bool = False
    #: Whether the run ends well although servers were left to those who play on them.
    left_ok: bool = False
    #: How many batches there are, how many of them, the first, are the canary's, and how many were begun.
    batches: int = 0
    canaries: int = 0
    begun: int = 0
    #: When the last one was begun; empty: none was.
    batch_began_at: str = ""
    #: The number of each batch that was counted, and when it was begun and counted, by the controller's clock.
    batch_times: list[Any] = field(default_factory=list)
    #: Who runs it.
    by: str = ""
    #: The run that this one goes on with; empty: none.
    resumes: str = ""
    #: Whether receivers are told of it; of which of its events messages were written, and which receivers were already complained of.
    tells: bool = False
    told: list[str] = field(default_factory=list)
    unreached: list[str] = field(default_factory=list)
    #: How many seconds the counted batches took in which something was done, without pauses and soaks, and how often they took up servers.
    acting: float = 0
    rounds: int = 0
    #: Whether players are waited for, or told, before their server has its turn.
    for_players: bool = False
    #: When a batch may begin, and when all is to be over, as timestamps; empty: at any time.
    not_before: str = ""
    deadline: str = ""
    #: Seconds that a batch may take at the longest: once, and each time that a node takes up servers anew.
    longest_once: float = 0
    longest_round: float = 0
    #: The node that is the canary, where one was named.
    canary: str = ""
    #: Whether an earlier part of a resumed run had a canary that came through.
    canary_passed: bool = False
    #: The process that is at it, as `liveness` tells it; empty: none is.
    owner: dict[str, Any] = field(default_factory=dict)
    #: Why no other batch begins; empty: it goes on.
    stopped: str = ""
    rows: list[Row] = field(default_factory=list)
    #: UUIDs of servers that earlier parts of a resumed run had seen, as long as it has nodes whose servers are not all known.
    seen_before: list[str] = field(default_factory=list)
    #: What earlier parts of a resumed run failed at, and this one does not try again.
    failed_before: list[Row] = field(default_factory=list)

    @property
    def failures(self) -> int:
        """How much of the budget is used up."""
        return sum(row.is_failure for row in self.rows)

    def in_batch(self, number: int) -> list[Row]:
        """Return the rows of a batch."""
        return [row for row in self.rows if row.batch == number]

    @property
    def left(self) -> list[Row]:
        """The rows that the next run is to do."""
        return [row for row in self.rows if row.is_left]

    @property
    def failed(self) -> list[Row]:
        """The rows that were tried and went wrong, in this run or before it."""
        return [*self.failed_before, *(row for row in self.rows if row.is_failure and not row.is_left)]

    @property
    def has_good_canary(self) -> bool:
        """True if all that had to go before the others came through, in this run or before it."""
        if self.canary_passed or 0 < self.canaries < self.begun:
            return True
        first = [row for row in self.rows if 0 < row.batch <= self.canaries]
        return 0 < self.canaries == self.begun and all(row.outcome in GOOD for row in first)

    @property
    def needs_failed(self) -> bool:
        """True if the next run can only go on by trying again what failed: nothing else is left, of its canary or at all."""
        if self.canary and not self.has_good_canary and any(row.node == self.canary for row in self.failed):
            return not any(row.node == self.canary for row in self.left)
        return not self.left

    @property
    def is_good(self) -> bool:
        """True if every server that is meant ended done, unchanged or skipped by request, or was left to its players where it may be."""
        return not self.failures and all(self.left_ok and row.is_known_to_be_played for row in self.left)


def some_of(rows: Sequence[Row]) -> str:
    """Some of the rows that failed, each with its code."""
    told = [f"{row.called}: {row.code or row.outcome}" for row in rows[:_NAMED]]
    return "; ".join([*told, "..."] if len(rows) > _NAMED else told)


def outcome_words(rows: Sequence[Row]) -> str:
    """Return how many of these servers ended how; those that were left alone for players apart."""
    for_players = sum(row.is_for_players for row in rows)
    counts = Counter(row.outcome for row in rows if not row.is_for_players)
    told = [f"{counts[outcome]} {outcome.replace('_', ' ')}" for outcome in OUTCOMES if counts[outcome]]
    return ", ".join([*told, f"{for_players} skipped for players"] if for_players else told)


def run_key(run: str) -> str:
    """Return the key of a run, with which the reasons of its actions begin; under it the nodes do each server once."""
    return f"rollout {run}"


def to_json(record: Record) -> dict[str, Any]:
    """The record as it is written. What people look for in a resume file comes first."""
    # Not `asdict`, which copies each phase of each server.
    whole = {**vars(record), "failed_before": [vars(row) for row in record.failed_before]}
    rows = [vars(row) for row in whole.pop("rows")]
    head = {"schema": SCHEMA, "run": whole.pop("run"), "action": whole.pop("action")}
    left = [f"{row.called}: {_why(row)}" for row in record.left]
    return {**head, "not_done": left, **whole, "servers": rows}


def from_json(value: object, name: str) -> Record:
    """The record that was written. Raises `RolloutError` for what is none, naming the file."""
    if not isinstance(value, Mapping) or not isinstance(value.get("servers"), list):
        raise RolloutError(f"Cannot resume from {name}: it is no resume file", "resume_invalid")
    if value.get("schema") != SCHEMA:
        raise RolloutError(f"Cannot resume from {name}: it was written by another version of the collection", "resume_invalid")
    try:
        return Record(
            **{**_fields(Record, value), "rows": _rows("servers", value["servers"])},
            failed_before=_rows("failed_before", value.get("failed_before", [])),
        )
    except RolloutError as error:
        raise RolloutError(f"Cannot resume from {name}: {error}", "resume_invalid") from error


def _rows(name: str, value: object) -> list[Row]:
    if not isinstance(value, list) or not all(isinstance(each, Mapping) for each in value):
        raise RolloutError(f"{name} is no list of maps")
    rows = [Row(**_fields(Row, each)) for each in value]
    for row in rows:
        if row.outcome not in OUTCOMES:
            raise RolloutError(f"outcome is {row.outcome!r}, and none of {', '.join(OUTCOMES)}")
    return rows


def _fields(of: type, value: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a dataclass from ``value``. Raises `RolloutError` naming one that is missing or of another type."""
    found = {}
    for each in fields(of):
        if each.name in ("rows", "failed_before"):
            continue
        if each.name in value:
            if not _is(value[each.name], str(each.type)):
                raise RolloutError(f"{each.name} is {value[each.name]!r}")
            found[each.name] = value[each.name]
        elif each.default is MISSING and each.default_factory is MISSING:
            raise RolloutError(f"{each.name} is missing")
    return found


def _is(value: object, annotation: str) -> bool:
    """Tell whether a value of JSON has the type of a field's annotation."""
    if isinstance(value, bool):
        return annotation == "bool"
    if annotation == "list[str]":
        return isinstance(value, list) and all(isinstance(each, str) for each in value)
    return isinstance(value, _TYPES[annotation])


def _why(row: Row) -> str:
    if row.in_flight:
        return "in flight"
    return row.code or "not begun"
