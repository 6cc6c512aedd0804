# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The nodes' events in words: where none are sent, and which receivers have not taken theirs; pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from .acts import moment
from .table import plural

#: Of each node by its name; None where it tells nothing, as one of an earlier version.
EventFacts = Sequence[tuple[str, "Mapping[str, Any] | None"]]
_LONGEST_ERROR = 200


def event_lines(nodes: EventFacts) -> list[str]:
    """Return a line for all receivers together, and one for the nodes that send nothing. None where no node has events."""
    told = [(node, each) for node, each in nodes if each is not None]
    receivers = [receiver for _node, each in told for receiver in each.get("receivers") or ()]
    still = [node for node, each in told if each.get("enabled") and each.get("running") is False]
    without = [node for node, each in told if each.get("enabled") is False]
    lines = [_counts(receivers)] if receivers else []
    if still:
        lines.append(f"fleet-power-events does not run: {', '.join(still)}")
    # Where no node at all has any, nobody waits for them.
    if without and len(without) < len(told):
        lines.append(f"No events: {', '.join(without)}")
    return lines


def receiver_rows(nodes: EventFacts, now: datetime) -> list[tuple[str, str]]:
    """Return a receiver's name and what has become of its events, for each that has not taken all of them."""
    return [
        (f"{node}, {receiver['receiver']}", ", ".join(words))
        for node, told in nodes
        for receiver in (told or {}).get("receivers") or ()
        if (words := list(_words(receiver, now, is_sending=(told or {}).get("running") is not False)))
    ]


def _counts(receivers: Sequence[Mapping[str, Any]]) -> str:
    waiting, dropped = (sum(each.get(name) or 0 for each in receivers) for name in ("waiting", "dropped"))
    words = [plural(len(receivers), "receiver"), *([f"{waiting} wait"] if waiting else []), *([f"{dropped} dropped"] if dropped else [])]
    return f"Events: {', '.join(words)}"


def _words(receiver: Mapping[str, Any], now: datetime, *, is_sending: bool) -> Iterator[str]:
    """Yield what is wrong with a receiver. Events that only just wait are on their way."""
    waiting, failing_since = receiver.get("waiting") or 0, receiver.get("failing_since")
    if receiver.get("off"):
        yield "switched off"
    if waiting and (receiver.get("off") or failing_since or not is_sending):
        since = moment(receiver.get("oldest_at"), now)
        yield f"{waiting} wait{f' since {since}' if since else ''}"
    if receiver.get("dropped"):
        yield f"{receiver['dropped']} dropped"
    if failing_since:
        yield f"failing since {moment(failing_since, now)}"
    if receiver.get("error") and (failing_since or receiver.get("off")):
        yield str(receiver["error"])[:_LONGEST_ERROR]
