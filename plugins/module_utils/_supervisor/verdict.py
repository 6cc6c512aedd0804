# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The verdict on the end of a run, from the evidence; pure."""

from __future__ import annotations

from dataclasses import dataclass

from .._power.model.supervision import Verdict
from .end_reports import ReportedEnd

#: Exit codes that a stop brings by default: 0, and 128 plus the number of SIGINT, SIGKILL or SIGTERM.
_OF_STOPS = (0, 130, 137, 143)


@dataclass(frozen=True)
class Evidence:
    """The known facts of an end; None is unknown.

    ``heard``: the engine's report. ``ended_here``: the lock's record says that an action ended the run; ``restarts``: it was a restart.
    ``killed``: a kill came after the latest start request. ``console_stop``: our console sent the stop command. ``marked``: the engine's
    mark of a manual stop. ``another_engine``: the run was up in another life of the engine; ``in_startup``: it ended while this engine
    started up.
    """

    heard: ReportedEnd | None = None
    exit_code: int | None = None
    oom_killed: bool = False
    is_there: bool = True
    ended_here: bool = False
    restarts: bool = False
    console_stop: bool = False
    killed: bool = False
    marked: bool | None = None
    another_engine: bool = False
    in_startup: bool = False

    @property
    def was_asked(self) -> bool:
        """True for a reported end that a request to the engine may have caused."""
        if self.heard is None:
            return False
        if self.heard.signalled or (self.heard.warned and self.marked is True):
            return True
        return not self.contradicts_stop and (self.heard.warned or self.marked is True)

    @property
    def contradicts_stop(self) -> bool:
        """True for an end that no stop brings by default."""
        # The kernel may have killed another process of the container, long ago.
        return (self.oom_killed and self.exit_code != 0) or (self.exit_code is not None and self.exit_code not in _OF_STOPS)


def judge(seen: Evidence) -> Verdict:
    """Return the verdict on an end. The first rule that applies decides, so the order of the rules matters.

    Our own records decide first. A reported end that no request to the engine explains is a crash or a clean end, even if a kill came: the
    report would show its signal. Next come our kill and a stop of the whole engine. Every other reported end is a stop of this server at
    the engine. `_unheard` judges the ends without a report.
    """
    if seen.ended_here:
        return Verdict.RESTARTING if seen.restarts else Verdict.STOPPED
    if seen.console_stop:
        return Verdict.STOPPED
    if not seen.is_there and seen.heard is None:
        return Verdict.ENDED_UNOBSERVED
    if seen.heard is not None and not seen.was_asked:
        return Verdict.ENDED if seen.exit_code == 0 else Verdict.CRASHED
    if seen.killed and not seen.contradicts_stop:
        return Verdict.STOPPED
    if seen.another_engine and (seen.in_startup or not seen.marked):
        return Verdict.ENGINE_STOPPED
    return Verdict.STOPPED_EXTERNALLY if seen.heard is not None else _unheard(seen)


def _unheard(seen: Evidence) -> Verdict:
    """Judge an end that the engine did not report to us."""
    if seen.marked:
        return Verdict.ENDED_UNOBSERVED
    if seen.contradicts_stop:
        return Verdict.CRASHED
    if seen.marked is False:
        return Verdict.ENDED if seen.exit_code == 0 else Verdict.CRASHED
    return Verdict.ENDED_UNOBSERVED


def awaits_shutdown(seen: Evidence) -> bool:
    """Tell if the engine's own shutdown may have caused the end. That shows only when its stream breaks."""
    return seen.was_asked and not (
        seen.ended_here or seen.console_stop or seen.another_engine or (seen.killed and not seen.contradicts_stop)
    )
