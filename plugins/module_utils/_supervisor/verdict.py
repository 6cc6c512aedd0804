# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The verdict on the end of a run, from the evidence; pure."""

from __future__ import annotations

from .._power.model.records import dataclass
from .._power.model.supervision import Verdict
from .end_reports import ReportedEnd

#: Exit codes that a stop brings by default: 0, and 128 plus the number of SIGINT, SIGKILL or SIGTERM.
_OF_STOPS = (0, 130, 137, 143)


@dataclass(frozen=True)
class Evidence:
    """The known facts of an end; None is unknown. ``heard``: the engine's report. ``ended_here``: the verdict by the lock's record, which
    says that an action ended the run. ``killed``: a kill came after the latest start request. ``console_stop``: our console sent the stop
    command. ``marked``: the engine's mark of a manual stop. ``forgotten``: the engine knows only an earlier run. ``another_engine``: the
    run was up in another life of the engine; ``in_startup``: it ended while this engine started up."""

    heard: ReportedEnd | None = None
    exit_code: int | None = None
    oom_killed: bool = False
    is_there: bool = True
    forgotten: bool = False
    ended_here: Verdict | None = None
    console_stop: bool = False
    killed: bool = False
    marked: bool | None = None
    another_engine: bool = False
    in_startup: bool = False

    @property
    def may_be_requested(self) -> bool:
        """True for a reported end that a request to the engine may have caused."""
        if self.heard is None:
            return False
        if self.heard.signalled or (self.heard.warned and self.marked is True):
            return True
        return not self.contradicts_stop and (self.heard.warned or self.marked is True)

    @property
    def contradicts_stop(self) -> bool:
        """True for an end that no stop brings by default."""
        return self.oom_killed or (self.exit_code is not None and self.exit_code not in _OF_STOPS)


def judge(evidence: Evidence) -> Verdict:
    """Return the verdict on an end. The first rule that applies decides, so the order of the rules matters.

    Our own records decide first. Then a reported end that no request to the engine explains is a crash or a clean end. That holds also
    after a kill, because the engine also reports the signal of a kill that ends a run. Next come our kill and a stop of the whole engine.
    Every other reported end is a stop of this server at the engine. `_unheard` judges the ends without a report.
    """
    if evidence.ended_here is not None:
        return evidence.ended_here
    if evidence.console_stop:
        return Verdict.STOPPED
    if evidence.forgotten and evidence.another_engine and evidence.heard is None:
        return Verdict.STOPPED if evidence.killed else Verdict.ENGINE_STOPPED
    if not evidence.is_there and evidence.heard is None:
        return Verdict.ENDED_UNOBSERVED
    if evidence.heard is not None and not evidence.may_be_requested:
        return Verdict.ENDED if evidence.exit_code == 0 else Verdict.CRASHED
    if evidence.killed and not evidence.contradicts_stop:
        return Verdict.STOPPED
    if evidence.another_engine and (evidence.in_startup or not evidence.marked):
        return Verdict.ENGINE_STOPPED
    return Verdict.STOPPED_EXTERNALLY if evidence.heard is not None else _unheard(evidence)


def _unheard(evidence: Evidence) -> Verdict:
    """Judge an end that the engine did not report to us."""
    if evidence.marked:
        return Verdict.ENDED_UNOBSERVED
    if evidence.contradicts_stop:
        return Verdict.CRASHED
    if evidence.marked is False:
        return Verdict.ENDED if evidence.exit_code == 0 else Verdict.CRASHED
    return Verdict.ENDED_UNOBSERVED


def awaits_shutdown(evidence: Evidence) -> bool:
    """Tell if the engine's own shutdown may have caused the end. That shows only when its stream breaks."""
    return evidence.may_be_requested and not (
        evidence.ended_here or evidence.console_stop or evidence.another_engine or (evidence.killed and not evidence.contradicts_stop)
    )
