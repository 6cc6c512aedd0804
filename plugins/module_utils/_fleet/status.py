# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The status of the fleet: results of server_power_info as a table, as a snapshot, and in a sentence; pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from .._power.model.clock import timestamp
from .._power.model.players import COUNTING
from .._power.model.proof import ProofEnd
from .._power.model.request import DEFAULT_PRIORITY
from .._power.model.result import Phase
from .._power.model.schema import few
from .._power.model.server import UNHEALTHY, PowerState
from .._power.model.supervision import CRASHES, Hang, SupervisionState, Verdict
from .look_result import called, code_of, is_unseen, list_fault, reason_of
from .table import Column, plural, render_within, render_wrapped, short_moment, text_of, wrapped

#: Of the snapshot. A reader refuses a greater number, and ignores unknown fields.
SCHEMA = 1
#: The connection variables of a node that are no secrets: a snapshot has no others, in either direction.
CONNECTION = (
    *("ansible_host", "ansible_port", "ansible_user", "ansible_connection", "ansible_python_interpreter"),
    *("ansible_ssh_private_key_file", "ansible_ssh_args", "ansible_ssh_common_args", "ansible_ssh_extra_args"),
)
_COLUMNS = (
    Column("NODE", enough=12, least=4, fills=3, ends_count=True),
    Column("SERVER", goes=2),
    Column("NAME", enough=14, least=4, fills=2, ends_count=True),
    Column("STATE", enough=20, fills=1),
    Column("PLAYERS", enough=7, goes=7, fills=7),
    Column("OUTDATED", enough=8, goes=8, fills=8),
    Column("SINCE (UTC)", goes=4),
    Column("EXIT", goes=3),
    Column("OPERATION", enough=21, goes=6, fills=4),
    Column("BY", enough=8, goes=5, fills=6),
    Column("REASON", enough=17, goes=1, fills=5),
)
_STATE, _PLAYERS, _OUTDATED = 3, 4, 5
_OF_THE_MOMENT = ("log", "operations", "crashes")
_LONGEST_REASON, _LONGEST_ERROR = 1000, 200
#: Verdicts of a server that is down and stays down.
STAYS_DOWN = {
    Verdict.STOPPED_EXTERNALLY.value: "stopped at the engine",
    Verdict.ENDED.value: "ended",
    Verdict.ENDED_UNOBSERVED.value: "ended unseen",
    Verdict.INITIALLY_DOWN.value: "down before it was supervised",
}
#: Why the supervisor leaves a server up that hangs.
_LEFT_UP = {Hang.SUSPECT.value: "hangs with others: suspect is the node", Hang.TOO_OFTEN.value: "hangs, restarted too often"}
_PAUSES = {
    "wings": "Wings is alive",
    "wings_unknown": "the node's processes cannot be read, so Wings may be alive",
    "node_stopping": "the machine or its engine stops",
    "maintenance": "a maintenance has not ended",
    "maintenance_unreadable": "whether a maintenance has ended cannot be read",
    "journal": "the journal cannot be used",
    "engine": "the engine does not answer",
    "frozen": "the node is frozen",
}


@dataclass(frozen=True)
class NodeSeen:
    """One node and its servers in order, or the reason of a failed look, in a sentence."""

    node: str
    connection: Mapping[str, Any]
    servers: Sequence[Mapping[str, Any]] = ()
    error: str | None = None
    reachable: bool = True
    lacking: str | None = None
    #: The node's facts about its supervisor; None without any.
    supervisor: Mapping[str, Any] | None = None
    events: Mapping[str, Any] | None = None
    #: The freeze of the node; None without any.
    freeze: Mapping[str, Any] | None = None

    @property
    def unseen(self) -> list[Mapping[str, Any]]:
        """Its servers without facts."""
        return [entry for entry in self.servers if is_unseen(entry)]


def node_seen(node: str, variables: Mapping[str, Any], result: Mapping[str, Any] | None) -> NodeSeen:
    """Read a node's result of server_power_info, None without one. From its ``variables`` only `CONNECTION` is kept."""
    connection = {name: variables[name] for name in CONNECTION if variables.get(name) is not None}
    if result is None or result.get("skipped"):
        return NodeSeen(node, connection, error="Cannot tell: the node was not asked, or an earlier task failed on it")
    servers = result.get("servers")
    if result.get("failed") or result.get("unreachable") or servers is None:
        return NodeSeen(node, connection, error=reason_of(result)[:_LONGEST_REASON], reachable=not result.get("unreachable"))
    fault = list_fault(result)
    lacking = None if fault is None else fault[:_LONGEST_REASON]
    facts: dict[str, Any] = {name: result.get(name) for name in ("supervisor", "events", "freeze")}
    return NodeSeen(node, connection, sorted(servers, key=_order), lacking=lacking, **facts)


def _order(entry: Mapping[str, Any]) -> tuple[int, str, str]:
    priority = entry.get("priority")
    return (DEFAULT_PRIORITY if priority is None else priority, str(entry.get("name") or ""), str(entry["server"]))


def status_lines(nodes: Sequence[NodeSeen], states: Collection[str] = (), *, now: datetime, width: int) -> list[str]:
    """Return the table of all servers in ``width`` columns, a count, and the reason of each unread node and server. The rows are those
    in ``states``, empty for all, and those of unread servers; the count has all."""
    rows: list[Sequence[object]] = []
    for each in nodes:
        rows.extend(_row(each.node, entry, now) for entry in each.servers if not states or is_unseen(entry) or entry["state"] in states)
        if each.error is not None:
            rows.append((each.node, None, None, "no answer" if each.reachable else "unreachable", *[None] * 7))
        if each.lacking is not None:
            rows.append((each.node, None, None, "list not whole", *[None] * 7))
    below = [_counts(nodes), *_freeze_lines(nodes), *_supervisor_lines(nodes), *event_lines(nodes)]
    longest_state = max((len(str(row[_STATE]).partition(", ")[0]) for row in rows), default=0)
    columns = [replace(each, least=longest_state + 1) if index == _STATE else each for index, each in enumerate(_COLUMNS)]
    # Without games there is no column of players; without outdated containers no column of differences.
    absent = [index for index in (_PLAYERS, _OUTDATED) if all(row[index] is None for row in rows)]
    shown = [index for index in range(len(columns)) if index not in absent]
    table = render_within([columns[index] for index in shown], [[row[index] for index in shown] for row in rows], width)
    return [
        *table.split("\n"),
        "",
        *(line for sentence in below for line in wrapped(sentence, width)),
        *_table(("RECEIVER", "EVENTS"), receiver_rows(nodes, now), width),
        *_table(("NOT SEEN", "REASON"), _errors(nodes), width),
    ]


def plain_lines(nodes: Sequence[NodeSeen], now: datetime) -> list[str]:
    """Return the rows as sentences for screen readers, with the names of their columns, then what `status_lines` has below its table."""
    names = [column.heading.lower() for column in _COLUMNS]
    rows = [zip(names, _row(each.node, entry, now)) for each in nodes for entry in each.servers]
    lines = [", ".join(f"{name} {text_of(cell)}" for name, cell in row if cell is not None) for row in rows]
    below = [_counts(nodes), *_freeze_lines(nodes), *_supervisor_lines(nodes), *event_lines(nodes)]
    return [*lines, *below, *(f"{name}: {text}" for name, text in (*receiver_rows(nodes, now), *_errors(nodes)))]


def failure(nodes: Sequence[NodeSeen]) -> str | None:
    """Return one sentence if a node or one of its servers could not be read."""
    unread = [each.node for each in nodes if each.error is not None]
    partial = [each.node for each in nodes if each.error is None and _fault(each)]
    parts = [f"look at {_some(unread, nodes)}"] if unread else []
    parts += [f"see all servers of {_some(partial, nodes)}"] if partial else []
    return f"Cannot {', or '.join(parts)}; the reasons are below the table, the other nodes are complete" if parts else None


def faults(nodes: Sequence[NodeSeen]) -> dict[str, str]:
    """Return a sentence for each incomplete node."""
    return {each.node: fault for each in nodes if (fault := _fault(each))}


def _some(named: Sequence[str], nodes: Sequence[NodeSeen]) -> str:
    return f"{len(named)} of {len(nodes)} nodes: {few(named)}"


def _fault(seen: NodeSeen) -> str:
    """Return why a node is incomplete, or an empty text."""
    if seen.error is not None:
        return f"Cannot look at {seen.node}: {seen.error}"
    parts = []
    if seen.unseen:
        parts.append(f"Cannot see {plural(len(seen.unseen), 'server')} of {seen.node}: {few([called(entry) for entry in seen.unseen])}")
    if seen.lacking is not None:
        parts.append(f"Cannot list all servers of {seen.node}: {seen.lacking}")
    return "; ".join(parts)


def snapshot(nodes: Sequence[NodeSeen], now: datetime) -> dict[str, Any]:
    """Return the fleet as a snapshot for programs."""
    return {"schema": SCHEMA, "written_at": timestamp(now), "nodes": [_kept(each) for each in nodes]}


def _kept(seen: NodeSeen) -> dict[str, Any]:
    servers = [{name: value for name, value in entry.items() if name not in _OF_THE_MOMENT} for entry in seen.servers]
    whole = {"complete": seen.error is None and seen.lacking is None, "msg": seen.lacking}
    facts = {"error": seen.error, **whole, "supervisor": seen.supervisor, "events": seen.events, "freeze": seen.freeze}
    return {"node": seen.node, "connection": dict(seen.connection), **facts, "servers": servers}


def _row(node: str, entry: Mapping[str, Any], now: datetime) -> Sequence[object]:
    container: Mapping[str, Any] = entry.get("container") or {}
    outdated: Mapping[str, Any] = entry.get("outdated") or {}
    return (
        node,
        entry.get("short_id"),
        # A narrow terminal has no column for ids. A server without a name still shows its id here.
        entry.get("name") or entry.get("short_id"),
        ", ".join(_state_words(entry, container)),
        _player_words(entry),
        # Differences from the definition; none if they are unknown.
        _outdated_words(outdated) if outdated.get("is_outdated") is True else None,
        short_moment(began(entry), now),
        container.get("exit_code"),
        *_act_words(entry, now),
    )


def began(entry: Mapping[str, Any]) -> str | None:
    """Return the begin of a server's state; None if unknown, for example of a stop whose process is gone."""
    container, lock = entry.get("container") or {}, entry.get("lock") or {}
    if entry.get("state") == PowerState.STOPPING.value:
        return lock.get("phase_since") if lock.get("phase") == Phase.STOP.value else None
    return container.get("finished_at") or container.get("started_at")


def _state_words(entry: Mapping[str, Any], container: Mapping[str, Any]) -> Iterator[str]:
    state = entry.get("state")
    yield str(state or "unknown")
    if is_unseen(entry):
        yield code_of(entry)
    intent = entry.get("intent")
    yield from _supervision_words(entry)
    if intent is not None and state == PowerState.RUNNING.value and not intent.get("up") and not entry.get("lock"):
        yield "should be down"
    if entry.get("suspended"):
        yield "suspended"
    if entry.get("freeze"):
        yield "frozen" if entry["freeze"]["is_frozen"] else "perhaps frozen"
    if container.get("paused"):
        yield "paused"
    if container.get("oom_killed"):
        yield "out of memory"
    if container.get("health") == UNHEALTHY:
        yield "unhealthy"


def _counts(nodes: Sequence[NodeSeen]) -> str:
    counts = Counter(str(entry.get("state") or "unknown") for each in nodes for entry in each.servers)
    seen = sum(1 for each in nodes if each.error is None)
    words = ", ".join(f"{count} {state}" for state, count in sorted(counts.items()))
    return f"{plural(sum(counts.values()), 'server')} on {plural(seen, 'node')}{': ' if words else ''}{words}"


def _table(headings: tuple[str, str], rows: Sequence[tuple[str, str]], width: int) -> list[str]:
    return ["", *render_wrapped(headings, rows, width).split("\n")] if rows else []


def _errors(nodes: Sequence[NodeSeen]) -> list[tuple[str, str]]:
    rows = [(each.node, each.error) for each in nodes if each.error is not None]
    rows += [(f"{each.node}, its list", each.lacking) for each in nodes if each.lacking is not None]
    rows += [(f"{each.node}, {called(entry)}", reason_of(entry)[:_LONGEST_REASON]) for each in nodes for entry in each.unseen]
    return rows


def _player_words(entry: Mapping[str, Any]) -> str | None:
    """Return the number of players and slots, or the reason why it is unknown; None without a known game."""
    players = entry.get("players")
    if not isinstance(players, Mapping):
        return None
    online, most, why = (players.get(name) for name in ("online", "max", "unknown_reason"))
    if online is None:
        return f"? ({why})" if why else "?"
    return f"{online}" if most is None else f"{online}/{most}"


def _act_words(entry: Mapping[str, Any], now: datetime) -> tuple[str | None, str | None, str | None]:
    """Return the action of the lock holder, else of a wait for players, else the last one: what, by whom, and why."""
    lock: Mapping[str, Any] = entry.get("lock") or {}
    countdown: Mapping[str, Any] = entry.get("countdown") or {}
    operation: Mapping[str, Any] = entry.get("last_operation") or {}
    if lock:
        words: str | None = _lock_words(lock, now)
    elif countdown:
        due = short_moment(countdown.get("due"), now) or "an unknown time"
        action, phase = (str(countdown.get(name) or "unknown") for name in ("action", "phase"))
        # A countdown ends exactly then; a wait may end earlier.
        words = f"{action} {'at' if phase == COUNTING else 'by'} {due} ({phase})"
    else:
        words = _operation_words(operation, now)
    return (words, *_asked(lock or countdown or operation))


def _lock_words(lock: Mapping[str, Any], now: datetime) -> str:
    deadline = short_moment(lock.get("phase_deadline"), now)
    until = "" if deadline is None else f" until {deadline}"
    action, phase = (str(lock.get(name) or "unknown") for name in ("action", "phase"))
    return f"{phase if phase == action else f'{action}, {phase}'}{until}"


def _operation_words(operation: Mapping[str, Any], now: datetime) -> str | None:
    if not operation:
        return None
    code = f" ({operation['code']})" if operation.get("code") else ""
    when = short_moment(operation.get("ended_at") or operation.get("begun_at") or operation.get("requested_at"), now) or ""
    return f"{operation.get('action')} {operation.get('outcome') or 'under way'}{code} {when}".rstrip()


def _asked(act: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """Return the user, and the reason: that of the request, else the play without its task, else the rest of the origin."""
    who, _bracket, where = str(act.get("origin") or "").partition(" (")
    where = where.removesuffix(")")
    if where.startswith("play "):
        where = where.rpartition(", task ")[0] or where
    return who or None, str(act.get("reason") or "") or where or None


def _outdated_words(outdated: Mapping[str, Any]) -> str:
    keys = ", ".join(outdated.get("differs") or ()) or "yes"
    return f"{keys} (failed before)" if outdated.get("failed") else keys


def _supervision_words(entry: Mapping[str, Any]) -> Iterator[str]:
    """Yield the words about a server's supervision. ``should be up``: no supervisor is known to start it."""
    supervision: Mapping[str, Any] = entry.get("supervision") or {}
    is_down = entry.get("state") == PowerState.OFFLINE.value and not entry.get("lock")
    down = list(_down_words(supervision)) if is_down else []
    explained = bool(supervision.get("next_at")) or (bool(down) and supervision.get("state") == SupervisionState.STAYS_DOWN.value)
    if is_down and (entry.get("intent") or {}).get("up") and not explained:
        yield "should be up"
    yield from down
    if (entry.get("proof") or {}).get("ended") == ProofEnd.OPEN.value:
        yield "new version on trial"
    if supervision.get("hang"):
        yield _LEFT_UP.get(supervision["hang"], supervision["hang"])
    if supervision.get("state") == SupervisionState.FLAPPING.value:
        yield f"flapping ({plural(supervision.get('crashes_today') or 0, 'crash', 'crashes')} in 24 h)"


def _down_words(seen: Mapping[str, Any]) -> Iterator[str]:
    """Yield how a server that is down ended, the attempts since, and the next one."""
    state, verdict, count = seen.get("state"), seen.get("verdict"), seen.get("consecutive_crashes") or 0
    if state == SupervisionState.CRASH_LOOP.value:
        yield f"crash loop ({plural(count, 'crash', 'crashes')})"
    elif state == SupervisionState.STAYS_DOWN.value and verdict in STAYS_DOWN:
        # For the other verdicts the exit code only says how it was stopped.
        code = f" (exit code {seen['exit_code']})" if verdict == Verdict.ENDED.value and seen.get("exit_code") is not None else ""
        yield f"{STAYS_DOWN[verdict]}{code}"
    elif verdict in CRASHES and state != SupervisionState.OK.value:
        yield f"{verdict} {plural(count, 'time')}" if count > 1 else str(verdict)
    if seen.get("code"):
        yield f"last try {seen['code']}"
    if seen.get("next_at"):
        yield f"next try {str(seen['next_at'])[11:19]}"


def _freeze_lines(nodes: Sequence[NodeSeen]) -> list[str]:
    """Return a line for each freeze of nodes, and one for nodes with an unknown freeze."""
    frozen: dict[str, list[str]] = {}
    for each in nodes:
        if each.freeze is not None:
            facts = each.freeze
            words = f"Frozen until {facts['until']} by {facts['origin']}, {facts['reason']}" if facts["is_frozen"] else "Perhaps frozen"
            frozen.setdefault(words, []).append(each.node)
    return [f"{words}: {', '.join(named)}" for words, named in sorted(frozen.items())]


def _supervisor_lines(nodes: Sequence[NodeSeen]) -> list[str]:
    """Return a line for nodes without a supervisor, and one for each reason of paused ones; none for unknown nodes."""
    missing = [each.node for each in nodes if each.supervisor is not None and each.supervisor.get("running") is False]
    paused: dict[str, list[str]] = {}
    for each in nodes:
        if each.supervisor is not None and each.supervisor.get("running") and each.supervisor.get("paused"):
            paused.setdefault(str(each.supervisor["paused"]), []).append(each.node)
    lines = [f"No supervisor, crashed servers stay down: {', '.join(missing)}"] if missing else []
    return lines + [f"Supervisor paused, {_PAUSES.get(why, why)}: {', '.join(named)}" for why, named in sorted(paused.items())]


def event_lines(nodes: Sequence[NodeSeen]) -> list[str]:
    """Return a line for all receivers together, and one for nodes without events. None if no node has events."""
    sending = [(each.node, each.events) for each in nodes if each.events is not None]
    receivers = [receiver for _node, each in sending for receiver in each.get("receivers") or ()]
    still = [node for node, each in sending if each.get("enabled") and each.get("running") is False]
    without = [node for node, each in sending if each.get("enabled") is False]
    lines = []
    if receivers:
        waiting, dropped = (sum(each.get(name) or 0 for each in receivers) for name in ("waiting", "dropped"))
        counts = f"{f', {waiting} wait' if waiting else ''}{f', {dropped} dropped' if dropped else ''}"
        lines.append(f"Events: {plural(len(receivers), 'receiver')}{counts}")
    if still:
        lines.append(f"fleet-power-events does not run: {', '.join(still)}")
    # If no node has events, the operator does not expect any.
    if without and len(without) < len(sending):
        lines.append(f"No events: {', '.join(without)}")
    return lines


def receiver_rows(nodes: Sequence[NodeSeen], now: datetime) -> list[tuple[str, str]]:
    """Return the name and the problem of each receiver that has not taken all its events."""
    sending = [(each.node, each.events) for each in nodes if each.events is not None]
    return [
        (f"{node}, {receiver['receiver']}", ", ".join(words))
        for node, events in sending
        for receiver in events.get("receivers") or ()
        if (words := list(_receiver_words(receiver, now, is_sending=events.get("running") is not False)))
    ]


def _receiver_words(receiver: Mapping[str, Any], now: datetime, *, is_sending: bool) -> Iterator[str]:
    """Yield the problems of a receiver. Events that wait for a short time are normal."""
    waiting, failing_since = receiver.get("waiting") or 0, receiver.get("failing_since")
    if receiver.get("off"):
        yield "switched off"
    if waiting and (receiver.get("off") or failing_since or not is_sending):
        since = short_moment(receiver.get("oldest_at"), now)
        yield f"{waiting} wait{f' since {since}' if since else ''}"
    if receiver.get("dropped"):
        yield f"{receiver['dropped']} dropped"
    if failing_since:
        yield f"failing since {short_moment(failing_since, now)}"
    if receiver.get("error") and (failing_since or receiver.get("off")):
        yield str(receiver["error"])[:_LONGEST_ERROR]
