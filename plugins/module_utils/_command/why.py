# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Why a server is in its state, in sentences, and the next step; pure."""

from __future__ import annotations

import contextlib
import re
import shlex
import signal
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from .._fleet.status import STAYS_DOWN, began
from .._fleet.table import plural
from .._power.engine.engine_version import EngineVersion
from .._power.model.clock import engine_time
from .._power.model.errors import DefinitionInvalid, EngineUnreachable, Frozen, HookFailed, SettingsInvalid, WingsActive
from .._power.model.proof import ProofEnd
from .._power.model.records import dataclass
from .._power.model.request import PowerAction
from .._power.model.result import Result
from .._power.model.schema import one_line
from .._power.model.server import UNHEALTHY, PowerState
from .._power.model.supervision import Hang, SupervisionState

_ADOPT = "fleet-power {action} {name} --adopt replaces its container by one of the definition."
_VERDICTS = {**STAYS_DOWN, "restarting": "stopped by a restart"}
_LEFT_UP = {
    Hang.SUSPECT.value: "most servers of this node with a health check turned unhealthy within a minute, so the node is suspect",
    Hang.TOO_OFTEN.value: "it was restarted for that three times within an hour",
}
_OFFLINE = PowerState.OFFLINE.value
_LONGEST_TEXT, _LONGEST_ROW = 500, 140
_HEAD = re.compile(r"Cannot \w+ server [0-9a-f-]{36}: ")


@dataclass(frozen=True)
class Known:
    """What a node knows of a server.

    ``entry`` is that of server_power_info with ``operations`` and ``crashes``; unknown values are None. ``start`` is the result of a start
    in check mode, of a restart if the server is up; None if it was not tried. ``adopted`` is the same with ``adopt``, for a container of
    another program. ``maintenance`` is the record of a maintenance, or why it cannot be read. ``warnings`` say what is unknown. ``engine``
    is None if it did not tell its version. ``unused_rules`` are the places of rules in the settings that select no server of the node.
    """

    called: str
    entry: Mapping[str, Any]
    now: datetime
    start: Result | None = None
    adopted: Result | None = None
    maintenance: Mapping[str, Any] | str | None = None
    warnings: Sequence[str] = ()
    journal: bool = True
    engine: EngineVersion | None = None
    unused_rules: Sequence[str] = ()


def why_lines(known: Known) -> list[str]:
    """Return the sentences, the most important ones first. The last one says what to do."""
    parts = (_state, _intent, _lock, _countdown, _end, _pauses, _start, _outdated, _players, _engine, _rules, _operations)
    lines = [line for part in parts for line in part(known)]
    lines += [f"Warning: {warning}" for warning in dict.fromkeys(known.warnings)]
    return [*(line if line[0] == " " else one_line(line, _LONGEST_TEXT) for line in lines), f"Do: {_advice(known)}"]


def _state(known: Known) -> Iterator[str]:
    entry, container = known.entry, known.entry.get("container") or {}
    state, is_down = entry.get("state"), entry.get("state") == _OFFLINE
    if state is None:
        yield f"{known.called}: its state is unknown: {entry.get('msg') or 'the engine did not tell'}"
        return
    since = began(entry)
    when = " and has no container" if is_down and not container else "" if since is None else f" since {_at(since, known.now)}"
    notes = {
        _exit(container.get("exit_code")): is_down and container.get("exit_code") is not None,
        "killed by the kernel for lack of memory": container.get("oom_killed"),
        "paused at the engine": container.get("paused"),
        "its health check fails": _is_unhealthy(known),
        "suspended": entry.get("suspended"),
    }
    words = ", ".join(note for note, is_so in notes.items() if is_so)
    yield f"{known.called} is {state}{when}{f', {words}' if words else ''}."
    for line in container.get("health_output") or ():
        yield f"  {line}"


def _intent(known: Known) -> Iterator[str]:
    intent = known.entry.get("intent")
    if not known.journal:
        yield "Whether it should be up is unknown: the journal cannot be read."
    elif intent is None:
        yield "This node's tools have not started or stopped it yet."
    else:
        yield f"It should be {'up' if intent['up'] else 'down'}, by the last action of {_by(intent)} at {_at(intent['at'], known.now)}."


def _lock(known: Known) -> Iterator[str]:
    lock = known.entry.get("lock")
    if lock:
        until = f" until {_at(lock['phase_deadline'], known.now)} at most" if lock.get("phase_deadline") else ""
        yield (
            f"A {lock.get('action')} by {_by(lock)}{_reason(lock)} holds its lock since "
            f"{_at(lock.get('since'), known.now)}: phase {lock.get('phase')}{until}, process {lock.get('pid')}."
        )


def _countdown_of(known: Known) -> Mapping[str, Any] | None:
    """Return the countdown. Its process notices a newer run within seconds, and ends it."""
    countdown = known.entry.get("countdown") or {}
    since, started = (
        engine_time(str(text or "")) for text in (countdown.get("since"), (known.entry.get("container") or {}).get("started_at"))
    )
    return None if not countdown or (since and started and started > since) else countdown


def _countdown(known: Known) -> Iterator[str]:
    countdown = _countdown_of(known)
    if countdown:
        does = "waits for its players" if countdown.get("phase") == "waiting" else "counts down for its players"
        yield (
            f"A {countdown.get('action')} by {_by(countdown)}{_reason(countdown)} {does}, until "
            f"{_at(countdown.get('due'), known.now)} at most."
        )


def _end(known: Known) -> Iterator[str]:
    """Yield how the last runs ended, and when the next try comes."""
    seen = known.entry.get("supervision") or {}
    ends = known.entry.get("crashes") or ()
    if seen.get("verdict"):
        yield f"Its last run: {_verdict(seen)} at {_at(seen.get('ended_at'), known.now)}."
        if ends and ends[0].get("log"):
            yield f"Its last output: {ends[0]['log'][-1]}"
    crashes, today = seen.get("consecutive_crashes") or 0, seen.get("crashes_today") or 0
    if crashes or today:
        loop = ", a crash loop" if seen.get("state") == SupervisionState.CRASH_LOOP.value else ""
        row = f"{plural(crashes, 'time')} in a row{loop}, and " if crashes else ""
        yield f"It crashed {row}{plural(today, 'time')} in 24 hours."
    if seen.get("hang") in _LEFT_UP:
        yield f"The supervisor leaves it up although it hangs: {_LEFT_UP[seen['hang']]}."
    elif _is_restarted_soon(known):
        yield "The supervisor restarts it soon, unless its health check passes again."
    for crash in ends[1 if seen.get("verdict") else 0 :]:
        up = "" if crash.get("seconds") is None else f" after {crash['seconds']:.0f} s"
        output = f"; last output: {crash['log'][-1]}" if crash.get("log") else "."
        yield f"Before: {_verdict(crash)}{up} at {_at(crash.get('ended_at'), known.now)}{output}"
    if seen.get("code"):
        yield f"The supervisor's last try failed: {seen['code']}: {seen.get('msg')}"
    if known.entry.get("state") == _OFFLINE and not known.entry.get("lock"):
        yield from _next_try(known, seen)


def _is_unhealthy(known: Known) -> bool:
    return known.entry.get("state") != _OFFLINE and (known.entry.get("container") or {}).get("health") == UNHEALTHY


def _is_restarted_soon(known: Known) -> bool:
    entry = known.entry
    seen, intent, container = (entry.get(name) or {} for name in ("supervision", "intent", "container"))
    allows = seen.get("restarts_unhealthy") and seen.get("running") and intent.get("up")
    on_trial = (entry.get("proof") or {}).get("ended") == ProofEnd.OPEN.value
    prevents = seen.get("paused") or seen.get("hang") or container.get("paused") or entry.get("suspended") or on_trial or known.maintenance
    return bool(_is_unhealthy(known) and allows and not prevents)


def _next_try(known: Known, seen: Mapping[str, Any]) -> Iterator[str]:
    if seen.get("next_at"):
        yield f"The supervisor starts it at {_at(seen['next_at'], known.now)}."
    elif not (known.entry.get("intent") or {}).get("up"):
        return
    elif seen.get("running") is False:
        yield "No supervisor runs on this node, so it stays down."
    elif seen.get("paused"):
        yield f"The supervisor is paused ({seen['paused']}), so it stays down."
    elif seen.get("why"):
        yield f"The supervisor leaves it alone, because of {seen['why']}."
    else:
        yield "The supervisor does not start it again after such an end."


def _verdict(end: Mapping[str, Any]) -> str:
    code, verdict = "" if end.get("exit_code") is None else f" with {_exit(end['exit_code'])}", str(end.get("verdict"))
    return f"{_VERDICTS.get(verdict) or verdict.replace('_', ' ')}{code}{', out of memory' if end.get('oom_killed') else ''}"


def _exit(code: object) -> str:
    """Return an exit code, and the signal that it stands for."""
    with contextlib.suppress(TypeError, ValueError):
        return f"exit code {code} ({signal.Signals(code - 128).name})"  # type: ignore[operator]
    return f"exit code {code}"


def _pauses(known: Known) -> Iterator[str]:
    freeze, record = known.entry.get("freeze"), known.maintenance
    if freeze and freeze.get("is_frozen"):
        what = "The node" if freeze.get("node") else "It"
        yield f"{what} is frozen until {_at(freeze['until'], known.now)} by {freeze['origin']}: {freeze['reason']}."
    elif freeze:
        yield "Whether it is frozen is unknown: the journal does not tell."
    if isinstance(record, str):
        yield f"Whether a maintenance is under way is unknown: {record}."
    elif record is not None:
        by, phase = record.get("begun_by") or "an unknown user", record.get("phase")
        yield f"A maintenance by {by}, begun at {_at(record.get('begun_at'), known.now)}, has not ended (phase {phase})."


def _start(known: Known) -> Iterator[str]:
    for result, how in (known.start, ""), (known.adopted, " with --adopt"):
        if result is not None:
            verb = f"A {result.action.value} now{how}"
            yield f"{verb} would be refused, code {result.code}: {_bare(result.msg)}" if result.code else f"{verb} would pass its checks."


def _outdated(known: Known) -> Iterator[str]:
    found = known.entry.get("outdated") or {}
    if found.get("is_outdated"):
        keys = ", ".join(found.get("differs") or ())
        yield f"Its container is outdated: the next start {f'changes {keys}' if keys else 'replaces it'}."
    proof = known.entry.get("proof") or {}
    at = _at(proof.get("at"), known.now)
    if proof.get("ended") == ProofEnd.OPEN.value:
        then = "it is left down" if proof.get("forbids") else "the supervisor goes back to the previous one"
        yield f"A new version is on trial, since {at}: if it fails, {then}."
    elif found.get("failed"):
        yield f"The update at {at} to this definition with this image failed ({proof.get('msg')}): an update of outdated servers skips it."


def _players(known: Known) -> Iterator[str]:
    players = known.entry.get("players")
    if players and players["online"] is None:
        yield f"Its players are unknown: {players['unknown_reason']}."
    elif players:
        places = "" if players["max"] is None else f" of {players['max']}"
        yield f"{plural(players['online'], 'player')}{places} on it."


def _engine(known: Known) -> Iterator[str]:
    if known.engine is not None:
        yield f"The engine is {known.engine.called}, asked by API {known.engine.spoken}."
        yield from (f"{warning}." for warning in known.engine.warnings())


def _rules(known: Known) -> Iterator[str]:
    yield from (f"{place} of the settings selects no server of this node." for place in known.unused_rules)


def _operations(known: Known) -> Iterator[str]:
    rows = known.entry.get("operations") or ()
    if rows:
        yield "Last operations:"
    for row in rows:
        code = f", {row['code']}" if row.get("code") else ""
        code += ", ended by SIGKILL" if row.get("forced") and row["action"] != PowerAction.KILL.value else ""
        at = _at(row.get("ended_at") or row.get("begun_at") or row.get("requested_at"), known.now)
        text = f"{at} {row['action']} {row.get('outcome') or 'under way'}{code}, by {_by(row)}{_reason(row)}"
        yield f"  {one_line(text, _LONGEST_ROW)}"
        if row.get("code") == HookFailed.code:
            yield f"    {_bare(str(row.get('msg')))}"


def _advice(known: Known) -> str:
    entry, name, result = known.entry, shlex.quote(known.called), known.adopted or known.start
    code = entry.get("code") if entry.get("state") is None else None
    if code == EngineUnreachable.code:
        if "permission denied" in entry["msg"]:
            return f"{_step(entry['msg'])}."
        return f"start the engine (systemctl status docker, journalctl -u docker); fleet-power kill {name} works without it."
    if entry.get("lock"):
        return f"wait for the end of that action; fleet-power kill {name} ends it and the server at once, then fleet-power start {name}."
    countdown = _countdown_of(known)
    if countdown:
        action = countdown.get("action")
        return f"wait; fleet-power {action} {name} acts at once instead, fleet-power kill {name} cancels it and ends the server."
    if known.maintenance is not None and entry.get("state") == _OFFLINE:
        record = "maintenance.json in the state directory (default /var/lib/fleet-power)"
        again = "run the maintenance of this node again, and it starts its servers"
        return f"{again}; to give it up, remove {record}, then fleet-power start {name}."
    if (entry.get("container") or {}).get("paused"):
        return f"docker unpause {entry['server']}."
    if entry.get("state") != _OFFLINE:
        return _advice_if_up(known, name)
    if result is not None and result.code:
        return _advice_if_refused(name, result, adopt=" --adopt" if known.adopted else "")
    if known.adopted:
        return _ADOPT.format(action="start", name=name)
    if (entry.get("outdated") or {}).get("failed"):
        return f"correct the definition or the image, or restore a backup of the data; then fleet-power start {name}."
    if not (entry.get("intent") or {}).get("up"):
        return f"fleet-power start {name}, if it should be up."
    if (entry.get("supervision") or {}).get("next_at"):
        return f"read fleet-power log {name}, and correct the cause; fleet-power start {name} starts it at once."
    return f"fleet-power start {name}."


def _advice_if_up(known: Known, name: str) -> str:
    entry, result = known.entry, known.adopted or known.start
    code = "" if result is None else result.code
    restart = f"fleet-power restart {name}, {'after the freeze' if code == Frozen.code else 'when its players allow'}."
    if entry.get("state") is None:
        return "correct the cause above, and look again."
    if entry.get("suspended"):
        return f"fleet-power stop {name}, because it is suspended."
    if _is_restarted_soon(known):
        return f"wait for the supervisor; fleet-power restart {name} acts at once instead."
    if _is_unhealthy(known) or entry.get("state") == PowerState.STARTING.value:
        return f"read fleet-power log {name}; if the server hangs, {restart}"
    if result is not None and code not in ("", Frozen.code):
        return f"nothing now; before the next restart{' with --adopt' if known.adopted else ''}, {_step(result.msg)}."
    if known.adopted:
        return f"nothing now; {_ADOPT.format(action='restart', name=name)}"
    outdated = entry.get("outdated") or {}
    if outdated.get("failed"):
        return f"correct the definition or the image, because this update failed; then {restart}"
    if outdated.get("is_outdated"):
        return restart
    return "nothing."


def _advice_if_refused(name: str, result: Result, adopt: str) -> str:
    if result.code == WingsActive.code:
        return "use the Panel, or stop Wings: systemctl stop wings."
    step = "correct that file" if result.code in (DefinitionInvalid.code, SettingsInvalid.code) else _step(result.msg)
    return f"{step}; then fleet-power start {name}{adopt}."


def _step(msg: str) -> str:
    """Return the part of a message that says what to do: after its last semicolon."""
    cause, mark, step = msg.rpartition("; ")
    return step if mark and cause else f"correct this: {_bare(msg)}"


def _bare(msg: str) -> str:
    """Return a message without a beginning that only names the action and the server."""
    return _HEAD.sub("", msg, count=1)


def _by(act: Mapping[str, Any]) -> str:
    return str(act.get("origin") or "an unknown user")


def _reason(act: Mapping[str, Any]) -> str:
    return f" ({act['reason']})" if act.get("reason") else ""


def _at(timestamp: object, now: datetime) -> str:
    """Return a timestamp in short: today's without the date; and its distance to now."""
    then = engine_time(str(timestamp or ""))
    if then is None:
        return str(timestamp or "an unknown time")
    seconds = (now - then).total_seconds()
    text = f"{then:%H:%M:%S}" if then.date() == now.date() else f"{then:%Y-%m-%d %H:%M}"
    return f"{text} UTC ({_distance(abs(seconds))} {'ago' if seconds >= 0 else 'from now'})"


def _distance(seconds: float) -> str:
    for length, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"
