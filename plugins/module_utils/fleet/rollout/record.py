# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A run as it is kept: what it means, what became of each server, what is left. Also the form of the resume file; pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from .words import FAILURES, NOT_DONE, UNKNOWN, RolloutError

SCHEMA = 1


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
    changed: bool = False
    state: str = ""
    #: Whether a node may be at it just now.
    in_flight: bool = False
    #: The run that asked its node, as long as nobody knows what came of it.
    asked_by: str = ""
    #: Whether it is acted on whatever state it is in then.
    any_state: bool = False
    #: Whether it was not touched, although it failed.
    untouched: bool = False

    @property
    def is_failure(self) -> bool:
        """Whether it uses up the budget."""
        return self.outcome in FAILURES

    @property
    def is_left(self) -> bool:
        """Whether it is still to be done: nothing was tried, or nobody knows what came of it."""
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
    #: What the nodes are told as reason.
    node_reason: str = ""
    check: bool = False
    #: States a server must still be in when its turn comes; empty: any.
    only: list[str] = field(default_factory=list)
    skip_suspended: bool = False
    #: How many failures are allowed.
    budget: int = 0
    #: Whether a run out of budget goes on all the same.
    goes_on: bool = False
    #: How many batches there are, how many of them, the first, are the canary's, and how many were begun.
    batches: int = 0
    canaries: int = 0
    begun: int = 0
    #: Why no other batch begins; empty: it goes on.
    stopped: str = ""
    rows: list[Row] = field(default_factory=list)
    #: What earlier parts of a resumed run failed at, and this one does not try again.
    failed_before: list[Row] = field(default_factory=list)

    @property
    def failures(self) -> int:
        """How much of the budget is used up."""
        return sum(row.is_failure for row in self.rows)

    @property
    def left(self) -> list[Row]:
        """What the next run is to do."""
        return [row for row in self.rows if row.is_left]

    @property
    def failed(self) -> list[Row]:
        """What was tried and went wrong, in this run or before it."""
        return [*self.failed_before, *(row for row in self.rows if row.is_failure and not row.is_left)]

    @property
    def is_good(self) -> bool:
        """Whether every server that is meant ended done, unchanged or skipped by request."""
        return not self.failures and not self.left


def to_json(record: Record) -> dict[str, Any]:
    """The record as it is written. What people look for in a resume file comes first."""
    whole = asdict(record)
    rows = whole.pop("rows")
    head = {"schema": SCHEMA, "run": whole.pop("run"), "action": whole.pop("action")}
    left = [f"{row.called}: {_why(row)}" for row in record.left]
    return {**head, "not_done": left, **whole, "servers": rows}


def from_json(value: object, name: str) -> Record:
    """The record that was written. Raises `RolloutError` for what is none, naming the file."""
    if not isinstance(value, Mapping) or not isinstance(value.get("servers"), list):
        raise RolloutError(f"Cannot resume from {name}: it is no resume file", "resume_invalid")
    if value.get("schema") != SCHEMA:
        raise RolloutError(f"Cannot resume from {name}: it was written by another version of the collection", "resume_invalid")
    known = {each.name for each in fields(Record)} - {"rows", "failed_before"}
    try:
        return Record(
            **{key: value[key] for key in known if key in value},
            rows=[_row(row) for row in value["servers"]],
            failed_before=[_row(row) for row in value.get("failed_before", ())],
        )
    except (TypeError, AttributeError) as error:
        raise RolloutError(f"Cannot resume from {name}: {error}", "resume_invalid") from error


def _row(value: Mapping[str, Any]) -> Row:
    known = {each.name for each in fields(Row)}
    return Row(**{key: each for key, each in value.items() if key in known})


def _why(row: Row) -> str:
    if row.in_flight:
        return "in flight"
    return row.code or "not begun"
