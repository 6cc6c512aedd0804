# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Facts of a server's downtime over a span: how long it was up and down, and what it was down for. Changes nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ...journal.histories import Histories
from ...journal.outages import History, OutageCause, Past, Piece
from ...journal.span import Span
from ...model.clock import timestamp
from ...model.server import Snapshot
from ..node.node import Node

#: So many outages are told, the last ones, of a server that is asked about alone, and of each of several.
MOST_OUTAGES, MOST_OF_EACH = 100, 20


@dataclass(frozen=True)
class OutageFacts:
    """What the journal has of several servers, for one span; ``histories`` is None where it cannot be read."""

    span: Span
    histories: Mapping[str, History] | None

    @classmethod
    def read(cls, node: Node, uuids: Sequence[str], span: Span) -> OutageFacts:
        """Read what the journal has of these servers."""
        return cls(span, Histories(node.journal.store).of_each(uuids))

    def of(self, uuid: str, snapshot: Snapshot | None) -> dict[str, Any] | None:
        """Return what a server was over the span, by its container as it was seen now; None where the journal does not tell."""
        if self.histories is None:
            return None
        history = replace(self.histories.get(uuid, History()), snapshot=snapshot)
        return outage_facts(history, self.span, MOST_OUTAGES if len(self.histories) == 1 else MOST_OF_EACH)


def outage_facts(history: History, span: Span, most: int = MOST_OUTAGES) -> dict[str, Any]:
    """Return the facts of one server, with at most so many outages."""
    past = Past.of(history, span)
    found, since = past.pieces, past.known_since
    down = [piece for piece in found if piece.up is False]
    up_seconds, down_seconds = (_seconds([each for each in found if each.up is is_up]) for is_up in (True, False))
    known = up_seconds + down_seconds
    return {
        "since": timestamp(span.since),
        "until": timestamp(span.until),
        "known_since": None if since is None else timestamp(since),
        "up_seconds": up_seconds,
        "down_seconds": down_seconds,
        "planned_seconds": _seconds([piece for piece in down if piece.cause.planned]),
        "unknown_seconds": _seconds([piece for piece in found if piece.up is None]),
        "availability": None if not known else round(100 * up_seconds / known, 4),
        "outages": [_outage(piece, is_open=piece.until == span.now) for piece in down[-most:]],
        "omitted": max(len(down) - most, 0),
    }


def _seconds(found: Sequence[Piece]) -> float:
    return round(sum(piece.seconds for piece in found), 3)


def _outage(piece: Piece, *, is_open: bool) -> dict[str, Any]:
    cause = piece.cause
    return {
        "from": timestamp(piece.since),
        "until": None if is_open else timestamp(piece.until),
        "seconds": round(piece.seconds, 3),
        "why": cause.why or None,
        "planned": cause.planned,
        **_of_cause(cause),
    }


def _of_cause(cause: OutageCause) -> dict[str, Any]:
    row, operation = cause.row, cause.operation
    origin = operation.origin if operation is not None else "" if row is None else row.origin
    return {
        "action": None if operation is None else operation.action,
        "origin": origin or None,
        "reason": None if operation is None else operation.reason or None,
        "code": None if operation is None else operation.code or None,
        "operation": (operation.id if operation is not None else "" if row is None else row.operation) or None,
        "exit_code": cause.exit_code,
        "oom_killed": None if row is None else row.oom_killed,
    }
