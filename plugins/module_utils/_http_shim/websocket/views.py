# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A server as it was seen, and the changes of its state that this means; pure."""

from __future__ import annotations

from dataclasses import dataclass

from ..._power.actions.node.node import Observed
from ..._power.model.result import Phase
from ..._power.model.server import PowerState, Run, Snapshot, Startup
from ..._power.model.supervision import SeenRun

#: Seconds until a server is looked at again though nothing was told of it: some changes no event tells of.
_SOON, _WHILE_STARTING, _WHILE_STOPPING, _ELSE = 0.05, 1.0, 2.0, 15.0


@dataclass(frozen=True)
class ServerView:
    """A server at one moment. Not ``settled``: whoever started it is just about to write down what it started."""

    state: PowerState
    startup: Startup = Startup.UNKNOWN
    snapshot: Snapshot | None = None
    settled: bool = True

    @property
    def run(self) -> Run | None:
        """Return the run that is live, if any."""
        return self.snapshot.run if self.snapshot is not None and self.snapshot.live else None

    @property
    def due(self) -> float:
        """Return after how many seconds it is to be looked at again."""
        if not self.settled:
            return _SOON
        return {PowerState.STARTING: _WHILE_STARTING, PowerState.STOPPING: _WHILE_STOPPING}.get(self.state, _ELSE)


def view_of(seen: Observed, started: SeenRun | None) -> ServerView:
    """Return what a look at a server saw; ``started`` is the run of it that the journal knew after that."""
    beginning = seen.holder is not None and seen.holder.phase in (Phase.START.value, Phase.OBSERVE.value)
    if seen.snapshot is None or not seen.live:
        return ServerView(seen.state, seen.startup, seen.snapshot)
    if started is None or started.run != seen.snapshot.run or started.matchers is None:
        return ServerView(seen.state, seen.startup, seen.snapshot, settled=not beginning)
    # It may have been written between the two looks into the journal.
    return ServerView(seen.state, seen.startup, seen.snapshot, settled=not (started.matchers and seen.startup is Startup.UNKNOWN))


def state_changes(before: ServerView | None, after: ServerView, last: PowerState | None = None) -> list[PowerState]:
    """Return the states to tell of, in order, those included that were over before they could be seen; ``last`` is the one told last.

    A run that was said to run does not begin anew: somebody else's start was seen, and ours, which came too late, has taken its run over.
    """
    if before is None:
        return [after.state]
    if after.run is None or after.run == before.run:
        taken_over = after.run is not None and (last, after.state) == (PowerState.RUNNING, PowerState.STARTING)
        return [] if taken_over or after.state is (last or before.state) else [after.state]
    ended = [] if before.run is None else [PowerState.OFFLINE]
    was = [PowerState.RUNNING] if after.startup is Startup.UNKNOWN else [PowerState.STARTING]
    if after.startup is Startup.MATCHED:
        was.append(PowerState.RUNNING)
    return [*ended, *(state for state in was if state is not after.state), after.state]
