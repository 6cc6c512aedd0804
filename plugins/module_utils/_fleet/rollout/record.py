# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The record of a rolling run: its request, the outcome of each server, and what is left. Also the resume file's form; pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from typing import Any

from ..._power.model.errors import LEFT_TO_PLAYERS, Frozen, PlayersUnknown
from .values import FAILURES, GOOD, NOT_DONE, OUTCOMES, UNKNOWN, RolloutError

SCHEMA = 1
FOR_PLAYERS, FROZEN = "skipped for players", "frozen"
_NAMED = 3
#: The JSON types of the fields' annotations. A boolean counts only as bool.
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
    """One server of the rolling run, or, without a server, a node with unknown servers."""

    node: str | None
    server: str | None
    name: str = ""
    #: From 1; 0: it is in no batch.
    batch: int = 0
    outcome: str = NOT_DONE
    code: str = ""
    msg: str = ""
    seconds: float | None = None
    #: The part of the seconds that it waited for players.
    waited: float = 0
    changed: bool = False
    state: str = ""
    in_flight: bool = False
    #: The run that first requested the action from the node, while the outcome is unknown. The next request uses that run's key.
    asked_by: str = ""
    any_state: bool = False
    #: Whether an earlier part of the run tried it: its container may then match its definition although it is not done.
    again: bool = False
    #: Whether it failed before any change.
    untouched: bool = False
    #: The begin of its action by its node's clock; then each phase and its first second.
    began_at: str = ""
    phases: list[Any] = field(default_factory=list)
    #: The downtime of the action: ``from`` when, ``seconds`` until the next run, ``ready_seconds`` until that run was ready.
    downtime: dict[str, Any] = field(default_factory=dict)
    log: list[Any] = field(default_factory=list)
    #: Whether it is in no batch because its facts are unknown, so that it may not match the selection.
    unseen: bool = False

    @property
    def is_failure(self) -> bool:
        """True if the row uses up the failure budget."""
        return self.outcome in FAILURES

    @property
    def left(self) -> str:
        """How the server was left alone, which is neither a failure nor a success; "" if it was not."""
        found = {Frozen.code: FROZEN, **dict.fromkeys(LEFT_TO_PLAYERS, FOR_PLAYERS)}
        return found.get(self.code, "") if self.outcome == NOT_DONE else ""

    @property
    def is_unfinished(self) -> bool:
        """True if no action was tried, or the outcome is unknown."""
        return self.outcome in (NOT_DONE, UNKNOWN) or self.untouched

    @property
    def called(self) -> str:
        """The server with its node, for a sentence."""
        return " ".join(text for text in (self.node, self.name or self.server) if text)


@dataclass
class Record:
    """A rolling run. ``given`` are the role's variables that select servers."""

    run: str
    action: str
    began_at: str
    given: dict[str, Any]
    reason: str = ""
    check: bool = False
    #: The states that a server must have in its turn; empty: any.
    only: list[str] = field(default_factory=list)
    #: Whether a server's container must be outdated in its turn.
    outdated: bool = False
    skip_suspended: bool = False
    budget: int = 0
    #: Whether the run continues over the budget.
    goes_on: bool = False
    #: Whether servers left to their players, and frozen ones, count as success.
    left_ok: bool = False
    #: The numbers of all batches, of the canary's (the first ones), and of those that began.
    batches: int = 0
    canaries: int = 0
    begun: int = 0
    #: The begin of the last batch; empty: none began.
    batch_began_at: str = ""
    #: Of each counted batch: its number, its begin and its count, by the controller's clock.
    batch_times: list[Any] = field(default_factory=list)
    by: str = ""
    #: The id of the resumed run; empty: none.
    resumes: str = ""
    #: Whether it has receivers; the written notifications; and the receivers with a warning.
    notifies: bool = False
    notified: list[str] = field(default_factory=list)
    unreached: list[str] = field(default_factory=list)
    #: The seconds of counted batches with actions, without pauses and soaks, and their rounds.
    acting: float = 0
    rounds: int = 0
    #: Whether actions wait for players or warn them.
    for_players: bool = False
    #: The begin of the window and the deadline, as timestamps; empty: none.
    not_before: str = ""
    deadline: str = ""
    #: The most seconds of a batch: once, and for each round of a node.
    longest_once: float = 0
    longest_round: float = 0
    canary: str = ""
    #: Whether an earlier part of a resumed run had a successful canary.
    canary_passed: bool = False
    #: The process that runs it, in the form of `machine`; empty: none.
    owner: dict[str, Any] = field(default_factory=dict)
    #: Why no further batch begins; empty: the run continues.
    stopped: str = ""
    rows: list[Row] = field(default_factory=list)
    #: UUIDs that earlier parts of a resumed run saw, while some nodes' servers are not all known.
    seen_before: list[str] = field(default_factory=list)
    #: Failed rows of earlier parts that this run does not retry.
    failed_before: list[Row] = field(default_factory=list)

    @property
    def failures(self) -> int:
        """The used part of the failure budget."""
        return sum(row.is_failure for row in self.rows)

    def in_batch(self, number: int) -> list[Row]:
        return [row for row in self.rows if row.batch == number]

    @property
    def unfinished(self) -> list[Row]:
        """The rows that each resumed run acts on; see ``failed``."""
        return [row for row in self.rows if row.is_unfinished]

    @property
    def failed(self) -> list[Row]:
        """The rows that failed, in this run or before it."""
        return [*self.failed_before, *(row for row in self.rows if row.is_failure and not row.is_unfinished)]

    @property
    def has_good_canary(self) -> bool:
        """True if the canary succeeded, in this run or before it."""
        if self.canary_passed or 0 < self.canaries < self.begun:
            return True
        first = [row for row in self.rows if 0 < row.batch <= self.canaries]
        return 0 < self.canaries == self.begun and all(row.outcome in GOOD for row in first)

    @property
    def needs_failed(self) -> bool:
        """True if a resumed run can only retry failed rows: no row is unfinished, of its canary or at all."""
        if self.canary and not self.has_good_canary and any(row.node == self.canary for row in self.failed):
            return not any(row.node == self.canary for row in self.unfinished)
        return not self.unfinished

    @property
    def is_good(self) -> bool:
        """True if every selected server is done, unchanged, skipped on request, or left alone when that is allowed; uncounted
        players do not count."""
        return not self.failures and all(self.left_ok and row.left and row.code != PlayersUnknown.code for row in self.unfinished)


def some_of(rows: Sequence[Row], node: str = "") -> str:
    """Return some of the failed rows, each with its code. The name of ``node`` is left out."""
    parts = [f"{row.called.removeprefix(f'{node} ')}: {row.code or row.outcome}" for row in rows[:_NAMED]]
    return "; ".join([*parts, "..."] if len(rows) > _NAMED else parts)


def outcome_words(rows: Sequence[Row]) -> str:
    """Return the number of servers for each outcome; those left alone apart."""
    counts = Counter(row.left or row.outcome for row in rows)
    return ", ".join(f"{counts[name]} {name.replace('_', ' ')}" for name in (*OUTCOMES, FOR_PLAYERS, FROZEN) if counts[name])


def left_words(rows: Sequence[Row]) -> str:
    """Return how servers were left alone."""
    return " or ".join(sorted({row.left for row in rows}))


def run_key(run: str) -> str:
    """Return the key of a run. The reasons of its actions begin with it, and a node acts once on each server under it."""
    return f"rollout {run}"


def to_json(record: Record) -> dict[str, Any]:
    """Return the record for JSON, with the fields that people look for first."""
    # `asdict` would copy each phase of each server.
    whole = {**vars(record), "failed_before": [vars(row) for row in record.failed_before]}
    rows = [vars(row) for row in whole.pop("rows")]
    head = {"schema": SCHEMA, "run": whole.pop("run"), "action": whole.pop("action")}
    left = [f"{row.called}: {'in flight' if row.in_flight else row.code or 'not begun'}" for row in record.unfinished]
    return {**head, "not_done": left, **whole, "servers": rows}


def from_json(value: object, name: str) -> Record:
    """Read a record. Raises `RolloutError` naming the file for an invalid one."""
    if not isinstance(value, Mapping) or not isinstance(value.get("servers"), list):
        raise RolloutError(f"Cannot resume from {name}: it is not a resume file", "resume_invalid")
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
        raise RolloutError(f"{name} is not a list of maps")
    rows = [Row(**_fields(Row, each)) for each in value]
    for row in rows:
        if row.outcome not in OUTCOMES:
            raise RolloutError(f"outcome is {row.outcome!r}, expected one of {', '.join(OUTCOMES)}")
    return rows


def _fields(of: type, value: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a dataclass. Raises `RolloutError` naming a field that is missing or has the wrong type."""
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
    if isinstance(value, bool):
        return annotation == "bool"
    if annotation == "list[str]":
        return isinstance(value, list) and all(isinstance(each, str) for each in value)
    return isinstance(value, _TYPES[annotation])
