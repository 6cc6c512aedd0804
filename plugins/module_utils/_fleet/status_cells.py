# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The words of the status table: actions, players, supervision and receivers of events; pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from .._power.model.players import COUNTING
from .._power.model.server import PowerState
from .._power.model.supervision import SupervisionState, Verdict
from .table import plural


def player_words(entry: Mapping[str, Any]) -> str | None:
    """Return the number of players and slots, or the reason why it is unknown; None without a known game."""
    players = entry.get("players")
    if not isinstance(players, Mapping):
        return None
    online, most, why = (players.get(name) for name in ("online", "max", "unknown_reason"))
    if online is None:
        return f"? ({why})" if why else "?"
    return f"{online}" if most is None else f"{online}/{most}"


#: Beyond this the year says more than the time of day.
_NEAR = timedelta(days=180)


def act_words(entry: Mapping[str, Any], now: datetime) -> tuple[str | None, str | None, str | None]:
    """Return the action of the lock holder, else of a wait for players, else the last one: what, by whom, and why."""
    lock: Mapping[str, Any] = entry.get("lock") or {}
    countdown: Mapping[str, Any] = entry.get("countdown") or {}
    operation: Mapping[str, Any] = entry.get("last_operation") or {}
    if lock:
        words: str | None = _lock_words(lock, now)
    elif countdown:
        due = moment(countdown.get("due"), now) or "an unknown time"
        action, phase = (str(countdown.get(name) or "unknown") for name in ("action", "phase"))
        # A countdown ends exactly then; a wait may end earlier.
        words = f"{action} {'at' if phase == COUNTING else 'by'} {due} ({phase})"
    else:
        words = _operation_words(operation, now)
    return (words, *_asked(lock or countdown or operation))


def moment(timestamp: object, now: datetime) -> str | None:
    """Return a short timestamp: today's without the date, an old one without the time."""
    if timestamp is None:
        return None
    text = str(timestamp)[:19]
    try:
        then = datetime.fromisoformat(text)
    except ValueError:
        return text
    today = now.replace(tzinfo=None)
    if then.date() == today.date():
        return f"{then:%H:%M:%S}"
    return f"{then:%m-%d %H:%M}" if abs(today - then) < _NEAR else f"{then:%Y-%m-%d}"


def _lock_words(lock: Mapping[str, Any], now: datetime) -> str:
    deadline = moment(lock.get("phase_deadline"), now)
    until = "" if deadline is None else f" until {deadline}"
    action, phase = (str(lock.get(name) or "unknown") for name in ("action", "phase"))
    return f"{phase if phase == action else f'{action}, {phase}'}{until}"


def _operation_words(operation: Mapping[str, Any], now: datetime) -> str | None:
    if not operation:
        return None
    code = f" ({operation['code']})" if operation.get("code") else ""
    when = moment(operation.get("ended_at") or operation.get("begun_at") or operation.get("requested_at"), now) or ""
    return f"{operation.get('action')} {operation.get('outcome') or 'under way'}{code} {when}".rstrip()


def _asked(act: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """Return the user, and the reason: that of the request, else the play without its task, else the rest of the origin."""
    who, _bracket, where = str(act.get("origin") or "").partition(" (")
    where = where.removesuffix(")")
    if where.startswith("play "):
        where = where.rpartition(", task ")[0] or where
    return who or None, str(act.get("reason") or "") or where or None


#: Verdicts of a server that is down and stays down.
_LEFT = {
    Verdict.STOPPED_EXTERNALLY.value: "stopped at the engine",
    Verdict.ENDED.value: "ended",
    Verdict.ENDED_UNOBSERVED.value: "ended unseen",
    Verdict.INITIALLY_DOWN.value: "down before it was supervised",
}
_PAUSES = {
    "wings": "Wings is alive",
    "maintenance": "a maintenance is under way",
    "maintenance_unreadable": "whether a maintenance is under way cannot be read",
    "journal": "the journal cannot be used",
    "engine": "the engine does not answer",
}


def supervision_words(entry: Mapping[str, Any]) -> Iterator[str]:
    """Yield the words about a server's supervision. ``should be up``: no supervisor is known to start it."""
    told: Mapping[str, Any] = entry.get("supervision") or {}
    is_down = entry.get("state") == PowerState.OFFLINE.value and not entry.get("lock")
    down = list(_down_words(told)) if is_down else []
    explained = bool(told.get("next_at")) or (bool(down) and told.get("state") == SupervisionState.STAYS_DOWN.value)
    if is_down and (entry.get("intent") or {}).get("up") and not explained:
        yield "should be up"
    yield from down
    if told.get("state") == SupervisionState.FLAPPING.value:
        yield f"flapping ({plural(told.get('crashes_today') or 0, 'crash', 'crashes')} in 24 h)"


def _down_words(told: Mapping[str, Any]) -> Iterator[str]:
    """Yield how a server that is down ended, the attempts since, and the next one."""
    state, verdict, count = told.get("state"), told.get("verdict"), told.get("consecutive_crashes") or 0
    if state == SupervisionState.CRASH_LOOP.value:
        yield f"crash loop ({plural(count, 'crash', 'crashes')})"
    elif state == SupervisionState.STAYS_DOWN.value and verdict in _LEFT:
        # For the other verdicts the exit code only says how it was stopped.
        code = f" (exit code {told['exit_code']})" if verdict == Verdict.ENDED.value and told.get("exit_code") is not None else ""
        yield f"{_LEFT[verdict]}{code}"
    elif verdict == Verdict.CRASHED.value and state != SupervisionState.OK.value:
        yield f"crashed {plural(count, 'time')}" if count > 1 else "crashed"
    if told.get("code"):
        yield f"last try {told['code']}"
    if told.get("next_at"):
        yield f"next try {str(told['next_at'])[11:19]}"


def supervisor_lines(nodes: Sequence[tuple[str, Mapping[str, Any] | None]]) -> list[str]:
    """Return a line for nodes without a supervisor, and one for each reason of paused ones; none for unknown nodes."""
    missing = [node for node, told in nodes if told is not None and told.get("running") is False]
    paused: dict[str, list[str]] = {}
    for node, told in nodes:
        if told is not None and told.get("running") and told.get("paused"):
            paused.setdefault(str(told["paused"]), []).append(node)
    lines = [f"No supervisor, what crashes stays down: {', '.join(missing)}"] if missing else []
    return lines + [f"Supervisor paused, {_PAUSES.get(why, why)}: {', '.join(named)}" for why, named in sorted(paused.items())]


#: By the node's name; None without facts, for example from an earlier version.
EventFacts = Sequence[tuple[str, "Mapping[str, Any] | None"]]
_LONGEST_ERROR = 200


def event_lines(nodes: EventFacts) -> list[str]:
    """Return a line for all receivers together, and one for nodes without events. None if no node has events."""
    told = [(node, each) for node, each in nodes if each is not None]
    receivers = [receiver for _node, each in told for receiver in each.get("receivers") or ()]
    still = [node for node, each in told if each.get("enabled") and each.get("running") is False]
    without = [node for node, each in told if each.get("enabled") is False]
    lines = [_counts(receivers)] if receivers else []
    if still:
        lines.append(f"fleet-power-events does not run: {', '.join(still)}")
    # If no node has events, the operator does not expect any.
    if without and len(without) < len(told):
        lines.append(f"No events: {', '.join(without)}")
    return lines


def receiver_rows(nodes: EventFacts, now: datetime) -> list[tuple[str, str]]:
    """Return the name and the problem of each receiver that has not taken all its events."""
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
    """Yield the problems of a receiver. Events that wait for a short time are normal."""
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
