# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Operations that an HTTP endpoint reports. A value that is missing or of the wrong type is unknown; pure."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from ..model.errors import FailureBudget, NotSelected
from ..model.plain import as_list, as_map, read_number, read_whole
from ..model.players import PlayerWait
from ..model.records import dataclass, field
from ..model.request import PowerAction
from ..model.result import Downtime, Outcome, PlanStep, PrebootStep, StopReport
from ..model.server import PowerState, Server
from .answers import Masked, ReadText, plain_text, plain_values, read_code, read_countdown, read_players, read_word

if TYPE_CHECKING:
    # The inventory needs neither the engine nor the journal.
    from ..actions.node.progress import Ending, Progress

_LOG_LINES = 20
#: Codes of servers without a request. An operation never has one, whatever the endpoint reports.
_NEVER_ASKED = (NotSelected.code, FailureBudget.code)


@dataclass(frozen=True)
class Operation:
    """How an operation ended; ``outcome`` is None while it runs. Unknown ``id``, ``server`` and ``action`` are empty."""

    outcome: Outcome | None
    id: str = ""
    server: str = ""
    action: str = ""
    code: str = ""
    msg: str = ""
    changed: bool = False
    state: PowerState | None = None
    #: All other facts of the result, by the attributes of `Progress`.
    facts: Mapping[str, Any] = field(default_factory=dict)
    #: Whether the server is up, and the operation waits until it is ready.
    awaits_ready: bool = False
    #: The phase of a countdown that the operation waits for, and its due time; empty without a wait.
    waits: str = ""
    due: str = ""

    def is_of(self, operation: str, uuid: str, action: PowerAction) -> bool:
        """Tell whether nothing contradicts that it is this operation, server and action."""
        servers = ("", uuid, Server(uuid).short_id)
        return self.id in ("", operation) and self.server.lower() in servers and self.action in ("", action.value)


def read_operation(value: object, masked: Masked = str) -> Operation:
    """Read an operation from the fields of a result. Raises `ValueError` with the reason."""
    if not isinstance(value, Mapping):
        raise ValueError("no operation")
    outcome = read_word(Outcome, value.get("outcome"))
    if outcome is None and value.get("outcome") not in (None, ""):
        raise ValueError("an operation with an unknown outcome")
    changed, exit_code = value.get("changed"), value.get("exit_code")
    lock, text = as_map(value.get("lock")), partial(plain_text, masked=masked)
    countdown = read_countdown(value.get("countdown"), text) or {}
    steps = (read_word(PlanStep, each) for each in as_list(value.get("plan")))
    facts = {
        "state_before": read_word(PowerState, value.get("state_before")),
        "stop": _stop(as_map(value.get("stop")), text),
        "waited_seconds": read_number(lock.get("waited_seconds")) or 0.0,
        "holder": dict(plain_values(as_map(lock.get("holder")), text)) or None,
        "plan": tuple(step for step in steps if step is not None),
        "preboot": tuple(_preboot(as_map(each), text) for each in as_list(value.get("preboot"))),
        "cancelled": read_word(PowerAction, value.get("cancelled")),
        "exit_code": exit_code if isinstance(exit_code, int) and not isinstance(exit_code, bool) else None,
        "log": tuple(text(line) for line in as_list(value.get("log"))[-_LOG_LINES:]),
        "players": read_players(value.get("players"), text),
        "player_wait": _player_wait(as_map(value.get("player_wait"))),
        "downtime": _downtime(as_map(value.get("downtime")), text),
    }
    return Operation(
        outcome=outcome,
        id=text(value.get("id")),
        server=text(value.get("server")),
        action=text(value.get("action")),
        code=read_code(value.get("code"), masked),
        msg=text(value.get("msg")),
        changed=changed if isinstance(changed, bool) else outcome is Outcome.DONE,
        state=read_word(PowerState, value.get("state")),
        facts=facts,
        awaits_ready="awaits" in value,
        waits=countdown.get("phase", ""),
        due=countdown.get("due", ""),
    )


def _stop(fields: Mapping[str, Any], text: ReadText) -> StopReport | None:
    how, forced, seconds = fields.get("how"), fields.get("forced"), read_number(fields.get("seconds"))
    if not isinstance(how, str) or not isinstance(forced, bool) or seconds is None:
        return None
    return StopReport(text(how), forced, seconds)


def _downtime(fields: Mapping[str, Any], text: ReadText) -> Downtime | None:
    since, seconds, ready = text(fields.get("since")), read_number(fields.get("seconds")), read_number(fields.get("ready_seconds"))
    if not since and seconds is None:
        return None
    return Downtime(since, seconds, ready, None if seconds is None else 0.0)


def _preboot(fields: Mapping[str, Any], text: ReadText) -> PrebootStep:
    return PrebootStep(
        step=text(fields.get("step")),
        changed=fields.get("changed") is True,
        failed=fields.get("failed") is True,
        seconds=read_number(fields.get("seconds")) or 0.0,
        msg=text(fields.get("msg")),
    )


def _player_wait(fields: Mapping[str, Any]) -> PlayerWait | None:
    seconds, announced = read_number(fields.get("seconds")), fields.get("announced")
    if seconds is None:
        return None
    marks = tuple(mark for mark in map(read_whole, as_list(fields.get("marks"))) if mark is not None)
    return PlayerWait(seconds, marks, announced if isinstance(announced, bool) else None)


def ending_of(operation: Operation) -> Ending:
    """Return how an operation ended, corrected for an action that the endpoint accepted."""
    outcome, code = operation.outcome or Outcome.FAILED, operation.code
    if outcome in (Outcome.SKIPPED, Outcome.REFUSED):
        # An accepted action is never skipped, and an action that changed something was not refused.
        outcome = Outcome.FAILED if operation.changed else Outcome.REFUSED
    return outcome, "" if code in _NEVER_ASKED else code, operation.msg


def take_over(operation: Operation, progress: Progress) -> None:
    """Copy the facts of the operation to the result. A plan or an earlier state that it lacks stays as this side saw it."""
    progress.changed, progress.state = operation.changed, operation.state
    for name, value in operation.facts.items():
        if value or name not in ("plan", "state_before"):
            setattr(progress, name, value)
