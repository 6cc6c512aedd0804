# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The verdict on a run's end, from what was seen of it; pure."""

from __future__ import annotations

from dataclasses import dataclass

from .._power.model.supervision import Verdict
from .hearing import HeardEnd

#: Exit codes that a stop brings by default: 128 and the number of SIGINT, SIGKILL or SIGTERM, and that of who obeys.
_OF_STOPS = (0, 130, 137, 143)


@dataclass(frozen=True)
class Evidence:
    """What is known of an end. None is not known.

    ``here``: the lock's record says that an action here ended the run; ``restarts``: to start it again. ``killed``: the server was killed
    since the latest start that was asked for this run. ``console_stop``: the stop command went through our own console. ``marked`` is the
    engine's own mark of a manual stop. ``another_engine``: the run was seen up by another life of the engine; ``in_startup``: it ended
    while this one came up, which nobody could ask for anything yet.
    """

    heard: HeardEnd | None = None
    exit_code: int | None = None
    oom_killed: bool = False
    is_there: bool = True
    here: bool = False
    restarts: bool = False
    console_stop: bool = False
    killed: bool = False
    marked: bool | None = None
    another_engine: bool = False
    in_startup: bool = False

    @property
    def was_asked(self) -> bool:
        """True for an end that the engine told of, and that somebody may have asked for through it."""
        if self.heard is None:
            return False
        if self.heard.signalled or (self.heard.warned and self.marked is True):
            return True
        return not self.is_telling and (self.heard.warned or self.marked is True)

    @property
    def is_telling(self) -> bool:
        """True for an end that no stop brings by default."""
        # The kernel may have ended another process of the container for memory, and long ago.
        return (self.oom_killed and self.exit_code != 0) or (self.exit_code is not None and self.exit_code not in _OF_STOPS)


def judge(seen: Evidence) -> Verdict:
    """Return what an end is taken for."""
    if seen.here:
        return Verdict.RESTARTING if seen.restarts else Verdict.STOPPED
    if seen.console_stop:
        return Verdict.STOPPED
    if not seen.is_there and seen.heard is None:
        return Verdict.ENDED_UNSEEN
    if seen.heard is not None and not seen.was_asked:
        return Verdict.ENDED if seen.exit_code == 0 else Verdict.CRASHED
    if seen.killed and not seen.is_telling:
        return Verdict.STOPPED
    if seen.another_engine and (seen.in_startup or not seen.marked):
        return Verdict.ENGINE_STOPPED
    return Verdict.STOPPED_AT_ENGINE if seen.heard is not None else _unheard(seen)


def _unheard(seen: Evidence) -> Verdict:
    """Judge an end that the engine did not tell of, or not to us."""
    if seen.marked:
        return Verdict.ENDED_UNSEEN
    if seen.is_telling:
        return Verdict.CRASHED
    if seen.marked is False:
        return Verdict.ENDED if seen.exit_code == 0 else Verdict.CRASHED
    return Verdict.ENDED_UNSEEN


def awaits_shutdown(seen: Evidence) -> bool:
    """Tell if an end may be the engine's own, which shows only when its stream breaks."""
    return seen.was_asked and not (seen.here or seen.console_stop or seen.another_engine or (seen.killed and not seen.is_telling))
