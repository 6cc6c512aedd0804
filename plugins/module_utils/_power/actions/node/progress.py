# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The progress of an action, which becomes its result."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ...journal.journal import Journal
from ...locking.countdown import HeldCountdown
from ...model.cancellation import CheckCancelled, no_check
from ...model.clock import Clock
from ...model.errors import INTERNAL_ERROR, EngineError, HookFailed, PowerError, ServerNotFound, Suspended, internal_error
from ...model.players import PlayerCount, PlayerWait
from ...model.records import dataclass, field
from ...model.redaction import mask, mask_line
from ...model.request import PowerAction, Request
from ...model.result import Downtime, FileDiff, HookReport, LimitChange, Outcome, PlanStep, PrebootStep, Result, StopReport, StopTimeout
from ...model.server import PowerState, Run, Server, parse_uuid
from .node import Observed

if TYPE_CHECKING:
    from ...definitions.revert_policy import RevertPolicy
    from ...model.proof import Proof

#: Outcome, code, message.
Ending = tuple[Outcome, str, str]


def fault_of_ours(error: Exception) -> Ending:
    """Return the ending after a fault of this collection on one server. It must not hide the results of others."""
    return Outcome.FAILED, INTERNAL_ERROR, internal_error(error)


#: The fields that a result takes over from a progress.
_IN_RESULT = (
    *("server", "changed", "state_before", "state", "state_planned", "stop", "stop_timeout", "waited_seconds", "holder", "plan"),
    *("preboot", "players", "player_wait", "limits", "restart", "cancelled", "exit_code", "run", "log", "warnings", "phases", "downtime"),
    *("hooks", "proof"),
)


@dataclass(eq=False, repr=False)
class Progress:
    """A running action on one server. ``changed`` becomes true with the first change on engine or disk."""

    request: Request
    clock: Clock
    #: The server, if it was found before its turn.
    known: Server | None = None
    server: Server = field(init=False)
    changed: bool = False
    begun: bool = False
    state_before: PowerState | None = None
    state: PowerState | None = None
    #: The last change is newer than the last look.
    is_state_old: bool = False
    #: The engine gave no answer. Another look would only wait for its timeout again.
    is_engine_silent: bool = False
    has_container: bool = False
    state_planned: PowerState | None = None
    plan: tuple[PlanStep, ...] = ()
    stop: StopReport | None = None
    stop_timeout: StopTimeout | None = None
    #: The run that this action ended, once its row is written.
    stopped_run: Run | None = None
    downtime: Downtime | None = None
    run: Run | None = None
    #: The container's run at the last look, ended or not.
    seen_run: Run | None = None
    preboot: tuple[PrebootStep, ...] = ()
    hooks: tuple[HookReport, ...] = ()
    #: How a hook failed that prevents nothing.
    hook_fault: str = ""
    files: tuple[FileDiff, ...] = ()
    waited_seconds: float = 0.0
    holder: Mapping[str, Any] | None = None
    cancelled: PowerAction | None = None
    cancelled_operation: str = ""
    players: PlayerCount | None = None
    player_wait: PlayerWait | None = None
    #: Changed limits, and the keys that need a restart.
    limits: tuple[LimitChange, ...] = ()
    restart: tuple[str, ...] = ()
    #: The countdown's record, until the action begins.
    countdown: HeldCountdown | None = None
    #: The run whose players were waited for. The action must not touch another one.
    waited_run: Run | None = None
    #: The last player check, under the lock before the action begins; raises if players now prevent it.
    last_look: CheckCancelled = no_check
    exit_code: int | None = None
    log: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    #: What to do if the start fails; None: leave it.
    revert: RevertPolicy | None = None
    #: The proof of the new version, once the journal has it.
    proof: Proof | None = None
    #: False if the journal lacks the intent.
    is_durable: bool = True
    secrets: frozenset[str] = frozenset()
    phases: tuple[tuple[str, float], ...] = ()

    def __post_init__(self) -> None:
        self.server = self.known or Server(self.request.server)
        self._started = self.clock.monotonic()

    @property
    def seconds(self) -> float:
        return self.clock.monotonic() - self._started

    def saw(self, seen: Observed, *, late: bool = False) -> None:
        """Note the state. The first one is the state before, unless it is seen too ``late`` for that."""
        if self.state_before is None and not late:
            self.state_before = seen.state
        self.state = seen.state
        self.has_container = seen.snapshot is not None
        self.seen_run = None if seen.snapshot is None else seen.snapshot.run
        self.is_state_old = False

    def alter(self) -> None:
        self.changed = True

    def begin(self, journal: Journal) -> None:
        """Note that the action has begun. From here on, signals end only waits that leave no unfinished work."""
        self.begun = True
        if self.countdown is not None:
            self.countdown.release()
        journal.operations.begin(self.request, self.server)

    def enter(self, phase: str) -> None:
        self.is_state_old = True
        self.note(phase)

    def note(self, doing: str, at: float | None = None) -> None:
        """Note the start of a phase or wait: now, or ``at`` seconds since the action began."""
        self.phases += ((doing, round(self.seconds if at is None else at, 3)),)

    def warn(self, *sentences: str) -> None:
        self.warnings += tuple(sentence for sentence in sentences if sentence not in self.warnings)

    def show_log(self, lines: tuple[str, ...]) -> None:
        """Keep a log excerpt, with the secrets of the server's environment masked."""
        self.log = tuple(mask(line, self.secrets) for line in lines)

    def failure(self, error: PowerError) -> Ending:
        """Return the ending for an error: refused and skipped only without a change."""
        if error.cancels:
            outcome = Outcome.CANCELLED
        elif error.always_failed or self.changed:
            outcome = Outcome.FAILED
        else:
            outcome = Outcome.SKIPPED if self._skips(error) else Outcome.REFUSED
        return outcome, error.code, self.sentence(error)

    def _skips(self, error: PowerError) -> bool:
        """Return True for one of all servers that may not start, or a found server that is gone by its turn."""
        one_of_all = self.request.one_of_all
        if isinstance(error, Suspended):
            return one_of_all
        if isinstance(error, ServerNotFound):
            resolved = one_of_all or (self.known is not None and parse_uuid(self.request.server) is None)
            return resolved and not self.has_container
        return error.skips

    def sentence(self, error: PowerError) -> str:
        """Return an error's message. Secrets, also cut ones, are masked only in the engine's words, which may repeat input."""
        text = str(error)
        link: BaseException | None = error
        while link is not None:
            if isinstance(link, EngineError):
                # Some messages have all of it, others only the engine's words.
                for said in (str(link), link.reason):
                    text = text.replace(said, mask_line(said, self.secrets))
            link = link.__cause__
        return text

    def result(self, outcome: Outcome, code: str = "", msg: str = "") -> Result:
        if self.hook_fault and outcome is Outcome.DONE:
            code, msg = code or HookFailed.code, "; ".join(filter(None, (msg, self.hook_fault)))
        return Result(
            action=self.request.action,
            outcome=outcome,
            operation=self.request.operation,
            requested_at=self.request.requested_at,
            ended_at=self.clock.now(),
            code=code,
            msg=msg,
            seconds=round(self.seconds, 3),
            # Check mode knows them before it knows that there is nothing to do.
            files=self.files if self.changed else (),
            **{name: getattr(self, name) for name in _IN_RESULT},
        )
