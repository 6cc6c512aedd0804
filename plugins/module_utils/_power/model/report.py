# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Results and facts of servers as users read them; unknown servers are included; pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from typing import Any

from .clock import timestamp
from .errors import EndpointError, EndpointUnreachable, EngineError, EngineUnreachable, FailureBudget, InterruptedBySignal, PowerError
from .records import dataclass, field
from .request import PowerAction
from .result import LimitChange, Outcome, PrebootStep, Result
from .schema import few, printable
from .server import PowerState, Server, parse_uuid


@dataclass(frozen=True)
class Unseen:
    """A server that could not be read; ``server`` has the requested name if that is not resolved."""

    server: Server
    code: str
    msg: str

    @classmethod
    def because(cls, server: Server, error: PowerError) -> Unseen:
        return cls(server, error.code, str(error))

    def entry(self, names: Iterable[str]) -> dict[str, Any]:
        """Return an entry with the fields ``names`` of other servers; unknown values are None."""
        known = {
            "server": self.server.uuid,
            "short_id": None if parse_uuid(self.server.uuid) is None else self.server.short_id,
            "name": self.server.name or None,
        }
        return {**{name: known.get(name) for name in names}, "code": self.code, "msg": self.msg}


@dataclass(frozen=True)
class Described:
    """The facts of servers.

    ``entries`` has one entry for each known server, read or not. ``warnings`` has a message for each server that is unread or unknown,
    ``unlisted`` one for each unread list. ``supervisor``, ``events`` and ``freeze`` are of the node. None is unknown, for ``freeze`` none.
    """

    entries: list[dict[str, Any]] = field(default_factory=list)
    warnings: tuple[str, ...] = ()
    unlisted: tuple[str, ...] = ()
    supervisor: Mapping[str, Any] | None = None
    events: Mapping[str, Any] | None = None
    freeze: Mapping[str, Any] | None = None

    @property
    def complete(self) -> bool:
        return not self.unlisted


_SLOW_SECONDS = 1.0
_SUMMARY_LINES = 20
#: These errors prevent a look at a server.
_BLIND = (EngineError.code, EngineUnreachable.code, EndpointError.code, EndpointUnreachable.code)
_QUIET = (Outcome.DONE, Outcome.UNCHANGED)
_BRIEF = (*_QUIET, Outcome.SKIPPED)


def is_failure(result: Result) -> bool:
    """Return True if a result fails the task. A skip by request does not; a skip by a signal does."""
    return result.outcome in (Outcome.REFUSED, Outcome.CANCELLED, Outcome.FAILED) or (
        result.outcome is Outcome.SKIPPED and result.code in (InterruptedBySignal.code, FailureBudget.code)
    )


class Detail(Enum):
    WHOLE = "whole"
    #: For one of many servers: the outcome, and data that programs need.
    BRIEF = "brief"
    #: For people: without the data for programs.
    SPOKEN = "spoken"


def entry(result: Result, *, check: bool, all_steps: bool, detail: Detail = Detail.WHOLE, timed: bool = False) -> dict[str, Any]:
    """Return one entry. ``all_steps``: also unchanged, quick pre-boot steps. ``timed``: times of phases even if brief."""
    slow = _SLOW_SECONDS if detail is Detail.WHOLE else float("inf")
    preboot = [_step(step) for step in result.preboot if all_steps or step.changed or step.failed or step.seconds > slow]
    fields: dict[str, Any] = {
        "server": result.server.uuid,
        "short_id": None if parse_uuid(result.server.uuid) is None else result.server.short_id,
        "name": result.server.name,
        "action": result.action.value,
        "outcome": result.outcome.value,
        "code": result.code,
        "msg": result.msg,
        "changed": result.changed,
        "state_before": None if result.state_before is None else result.state_before.value,
        "state": None if result.state is None else result.state.value,
        "stop": None if result.stop is None else {"how": result.stop.how, "forced": result.stop.forced, "seconds": result.stop.seconds},
        "stop_timeout": None if result.stop_timeout is None else result.stop_timeout.facts(),
        "lock": present({"waited_seconds": round(result.waited_seconds, 3) or None, "holder": dict(result.holder or {})}),
        "players": None if result.players is None else result.players.facts(),
        "player_wait": None if result.player_wait is None else result.player_wait.facts(),
        "limits": [change.facts() for change in result.limits],
        "restart": list(result.restart),
        "cancelled": None if result.cancelled is None else result.cancelled.value,
        "exit_code": result.exit_code,
        "run": None if result.run is None else {"container": result.run.container, "started_at": result.run.started_at},
        "log": list(result.log),
        "plan": [step.value for step in result.plan] if check or result.outcome not in (Outcome.DONE, Outcome.SKIPPED) else None,
        "preboot": preboot,
        "hooks": [hook.facts() for hook in result.hooks],
        "proof": None if result.proof is None else result.proof.facts(),
        "phases": [{"phase": name, "at": at} for name, at in result.phases],
        "downtime": None if result.downtime is None else result.downtime.facts(),
        "seconds": result.seconds,
        "operation": present(
            {"id": result.operation, "requested_at": timestamp(result.requested_at), "ended_at": timestamp(result.ended_at)}
        ),
    }
    needless = _needless(result, detail) - ({"phases", "operation", "downtime"} if timed or all_steps else set())
    return present({name: value for name, value in fields.items() if name not in needless})


def entries(results: Sequence[Result], *, check: bool, all_steps: bool, detail: Detail, timed: bool = False) -> list[dict[str, Any]]:
    """Return the entry of each server. The task's message has that of a single failed server, so its entry omits it for people."""
    entries = [entry(result, check=check, all_steps=all_steps, detail=detail, timed=timed) for result in results]
    if detail is Detail.SPOKEN and len(results) == 1 and is_failure(results[0]):
        entries[0].pop("msg", None)
    return entries


def _needless(result: Result, detail: Detail) -> set[str]:
    named = {"action", "operation", "phases"} if detail is Detail.SPOKEN else set()
    if detail is Detail.WHOLE or result.outcome not in _BRIEF:
        return named
    named |= {"short_id", "action", "operation", "phases"}
    if detail is Detail.SPOKEN:
        named |= {"changed", "run", "preboot", "hooks", "downtime"}
    if not result.action.boots:
        # The action took it down: that is expected.
        named.add("downtime")
    if result.state_before is result.state:
        named.add("state_before")
    if result.stop is not None and not result.stop.forced:
        named.add("stop")
    return named


def _step(step: PrebootStep) -> dict[str, Any]:
    return present({"step": step.step, "changed": step.changed, "failed": step.failed or None, "seconds": step.seconds, "msg": step.msg})


def present(fields: dict[str, Any]) -> dict[str, Any]:
    """Return the fields that say something: None and empty values are left out."""
    return {name: value for name, value in fields.items() if value is not None and value not in ("", [], {})}


def summary(results: Sequence[Result]) -> dict[str, Any]:
    """Counts by outcome and, for several servers, a line for each of the first that need attention; failed ones come first."""
    counts = Counter(result.outcome.value for result in results)
    noted = [result for result in sorted(results, key=_rank) if result.outcome not in _QUIET] if len(results) > 1 else []
    lines = [f"{called(result)}: {result.outcome.value}, {result.code}" for result in noted]
    text = lines[:_SUMMARY_LINES]
    if len(lines) > len(text):
        text[-1:] = [f"and {len(lines) - len(text) + 1} more"]
    return present({**counts, "text": text})


def _rank(result: Result) -> int:
    return 2 - is_failure(result) - (result.outcome is not Outcome.SKIPPED)


def called(result: Result) -> str:
    """Return the name, the short id, or the whole text that means no server."""
    if result.server.name:
        return result.server.name
    if parse_uuid(result.server.uuid) is not None:
        return result.server.short_id
    return printable(result.server.uuid.strip()) or "a server without a name"


def failure_message(results: Sequence[Result]) -> str:
    """Return the task's failure message: the server's own, else the first few with their codes."""
    failures = sorted((result for result in results if is_failure(result)), key=_rank)
    if len(results) == 1:
        return f"{failures[0].msg} ({failures[0].code})"
    named = few([f"{called(result)}: {result.code}" for result in failures], between="; ")
    return f"Cannot {failures[0].action.value} {len(failures)} of {len(results)} servers: {named}"


def none_up_message(action: PowerAction) -> str:
    """Return the message if states are given for an action on all servers that are up (`ActionTraits.all_means_up`), and none is up."""
    verb = action.value
    return f"Cannot {verb} all servers that are offline: a {verb} of all means those that are up; start them instead"


def incomplete_message(action: PowerAction, results: Sequence[Result], unlisted: Sequence[str]) -> str:
    """Return what an action on all servers may have missed, empty if nothing; ``unlisted`` has a message for each unread list."""
    unseen = [called(result) for result in results if _is_unseen(result)]
    reasons = list(unlisted)
    if unseen:
        reasons.append(f"{len(unseen)} of {len(results)} could not be seen ({few(unseen)})")
    return f"Cannot {action.value} all servers: {'; '.join(reasons)}; the other servers had their turn" if reasons else ""


def _is_unseen(result: Result) -> bool:
    return result.outcome is Outcome.FAILED and result.state_before is None and result.code in _BLIND


def diff(results: Sequence[Result]) -> list[dict[str, str]]:
    """The state of each server before and after (check mode: planned), then each configuration file with masked secrets."""

    def lines(states: Sequence[PowerState | None]) -> str:
        return "".join(f"{_named(result)}: {'unknown' if state is None else state.value}\n" for result, state in zip(results, states))

    changed = [
        (f"{_named(result)}: limits", _amounts(result.limits, "before"), _amounts(result.limits, "after"))
        for result in results
        if result.limits
    ]
    changed += [(f"{_named(result)}: {file.path}", file.before, file.after) for result in results for file in result.files]
    return [
        {
            "before": lines([result.state_before for result in results]),
            "after": lines([result.state_planned or result.state for result in results]),
        },
        *({"before_header": name, "after_header": name, "before": before, "after": after} for name, before, after in changed),
    ]


def _amounts(changes: Sequence[LimitChange], when: str) -> str:
    return "".join(f"{change.key}: {change.facts()[when]}\n" for change in changes)


def _named(result: Result) -> str:
    return result.server.name or result.server.uuid
