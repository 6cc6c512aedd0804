# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Decides from the observed states how an action at an HTTP endpoint ended; pure.

Wings reports only states. It drops an action whose lock is held, and reports ``offline`` before a process has ended. So only observed
changes count as done. One time limit bounds the wait for the action's start, one the wait for its end. Times are seconds since the request;
``sent`` is when a look was sent, ``at`` when its answer arrived.
"""

from __future__ import annotations

import abc
from collections.abc import Mapping

from ..model.errors import KillUnsettled, OutcomeUnknown, PowerError, StartFailed, StartTimeout, Suspended
from ..model.request import PowerAction, Request, WaitFor
from ..model.server import PowerState
from .answers import Seen

#: From the end of the wait for the lock to the first sign of a stop or a kill; also the minimum for a boot.
GRACE_SECONDS = 30.0
#: Wings sends SIGKILL 10 minutes after a stop.
STOP_SECONDS = 630.0
KILL_SECONDS = 60.0
#: A restart or boot that the kill interrupted may start the server again within this time.
SETTLE_SECONDS = 2.0
#: Longest wait for a sign of a process: Wings reports ``starting`` before it pulls the image.
PROCESS_SECONDS = 3.0
#: Figures may be two seconds old, so they may grow by this much more than the time between them.
_LAG_MILLISECONDS = 2000


def lost(action: PowerAction, uuid: str, why: str) -> OutcomeUnknown:
    """Return the error of an action that the endpoint may have taken, without a known end."""
    return OutcomeUnknown(f"Cannot tell what became of the {action.value} of server {uuid}: {why}")


def seconds_until_begun(request: Request) -> int:
    """Return how long an action that was accepted may wait: for its turn and, before that, for players."""
    return request.wait_seconds + (0 if request.players is None else request.players.max_delay)


class RunChanges:
    """Tells whether the observed run began after the request. Figures may be old, constant, or wrong once: in doubt, it did not."""

    def __init__(self, before: Seen | None) -> None:
        self.ended = False
        self._was_up = before is not None and before.up
        self._was_offline = before is not None and before.state is PowerState.OFFLINE
        self._uptime_before = 0 if before is None or self._was_offline else before.uptime
        #: An uptime that the next one must confirm, with its sent and at.
        self._first: tuple[int, float, float] | None = None

    def began_after(self, seen: Seen, sent: float, at: float) -> bool:
        """Tell whether the server is up with a process younger than the request, even if the earlier process was young too."""
        self._note(seen)
        if not seen.up or not seen.uptime:
            return False
        # The uptime of one run never decreases.
        is_another = seen.uptime < self._uptime_before
        # Compared with the time of sending: the answer may be late.
        if seen.uptime >= sent * 1000 or not (is_another or self.ended or self._was_offline):
            self._first = None
            return False
        certain = self._was_offline and (is_another or self._uptime_before == 0)
        if not certain and not self._fits(seen.uptime, sent, at):
            return False
        self.ended = True
        return True

    def _note(self, seen: Seen) -> None:
        # An earlier stop is no sign of this action, but its end does end the run.
        self._was_offline = self._was_offline or seen.state is PowerState.OFFLINE
        self.ended = self.ended or seen.state is PowerState.OFFLINE or (self._was_up and seen.state is PowerState.STOPPING)

    def _fits(self, uptime: int, sent: float, at: float) -> bool:
        """Tell whether the uptime grew as a clock does. An equal figure proves nothing."""
        if self._first is not None:
            first, first_sent, first_at = self._first
            if uptime == first:
                # The first sighting stays: figures may change seldom.
                return False
            # A figure is up to a second old, so one second of growth may show within two.
            if (sent - first_at) * 1000 / 3 <= uptime - first <= (at - first_sent) * 1000 + _LAG_MILLISECONDS:
                return True
        self._first = (uptime, sent, at)
        return False


class Following(abc.ABC):
    """Follows one accepted action. Feed it each look; it returns whether the action is done, and raises if it failed."""

    def __init__(self, request: Request, uuid: str, before: Seen | None) -> None:
        self.begun = False
        #: Whether a boot has brought the server up; it stays up if the wait for ``running`` fails.
        self.up = False
        self.warnings: list[str] = []
        self._request = request
        self._uuid = uuid
        self._before = before
        self._runs = RunChanges(before)
        self._state = None if before is None else before.state
        self._deadline = 0.0

    @property
    def altered(self) -> bool:
        """Tell whether the action was seen to change something."""
        return self.begun

    def raise_if_hopeless(self, at: float) -> None:
        """Raise `OutcomeUnknown` or `StartTimeout` after the time limit."""
        if at >= self._deadline:
            raise self._too_late(at)

    @abc.abstractmethod
    def see(self, seen: Seen, sent: float, at: float) -> bool:
        """Take in a look; return whether the action is done. Raises how it ended otherwise."""

    def _too_late(self, at: float) -> PowerError:
        state = "" if self._state is None else f"; the last state seen is {self._state.value}"
        why = f"it began, but did not end within {at:.0f} s{state}; look at the server"
        if not self.begun:
            why = (
                f"the endpoint accepted it, but no sign of it was seen within {at:.0f} s{state}; Wings drops an action whose lock is held, "
                "or that may not be done, and says so in its own log alone; look there, then ask again, with a longer wait_seconds"
            )
        return lost(self._request.action, self._uuid, why)


class FollowingDown(Following):
    """A stop or a kill: done when the server is offline, as far as the endpoint reports it."""

    def __init__(self, request: Request, uuid: str, before: Seen | None) -> None:
        super().__init__(request, uuid, before)
        self._kill = request.action is PowerAction.KILL
        self._deadline = GRACE_SECONDS + (0 if self._kill else seconds_until_begun(request))
        self._down_at: float | None = None
        self._was_up = before is not None and before.state is not PowerState.OFFLINE
        # A running server has no boot or restart in progress that could start it again.
        settled = not self._kill or (before is not None and before.state is PowerState.RUNNING)
        self._settle = 0.0 if settled else SETTLE_SECONDS

    @property
    def altered(self) -> bool:
        """Tell whether the action was seen to change something; false if the server was offline in every look."""
        return self.begun and self._was_up

    def see(self, seen: Seen, sent: float, at: float) -> bool:
        self._state = seen.state
        # A server that came up since the last look counts too.
        self._was_up = self._was_up or seen.state is not PowerState.OFFLINE
        if seen.state is PowerState.OFFLINE:
            self._begin(at)
            self._down_at = at if self._down_at is None else self._down_at
            return at - self._down_at >= self._settle
        if seen.state is PowerState.STOPPING:
            self._begin(at)
        again = self._runs.began_after(seen, sent, at)
        if seen.up and (again or self._down_at is not None):
            raise self._back()
        return False

    def _begin(self, at: float) -> None:
        if not self.begun:
            self.begun = True
            self._deadline = at + (KILL_SECONDS if self._kill else STOP_SECONDS)

    def _back(self) -> PowerError:
        self.begun = True
        if self._kill:
            return KillUnsettled(
                f"Cannot keep server {self._uuid} down: it was killed, but it is up again; an action under way on the endpoint started it; "
                "kill it again"
            )
        why = "it went down and is up again; another action, or Wings' crash detection, started it"
        return lost(PowerAction.STOP, self._uuid, why)


class FollowingUp(Following):
    """A start or a restart: done when the server is up, or running if the request waits for that. A restart needs a younger run."""

    def __init__(self, request: Request, uuid: str, before: Seen | None, *, up_already: bool = False) -> None:
        """``up_already``: nothing was requested; only the wait for ``running`` is left."""
        super().__init__(request, uuid, before)
        self._boot_seconds = max(GRACE_SECONDS, request.wait_timeout)
        self._restarts = request.action is PowerAction.RESTART and before is not None and before.state is not PowerState.OFFLINE
        self._deadline = seconds_until_begun(request) + (GRACE_SECONDS if self._restarts else self._boot_seconds)
        self._down_at: float | None = None
        self._tried_at: float | None = None
        if up_already:
            self._note_up(0.0)

    def see(self, seen: Seen, sent: float, at: float) -> bool:
        self._state = seen.state
        young = self._runs.began_after(seen, sent, at)
        if not seen.up:
            return self._see_down(seen, at)
        if self._request.action is PowerAction.RESTART and not self.up:
            if self._runs.ended or not self._restarts:
                self._try(at)
            if not young:
                return False
        self._try(at)
        if not self._has_process(seen, at):
            return False
        self._note_up(at)
        return self._request.wait_for is WaitFor.CONTAINER or seen.state is PowerState.RUNNING

    def _see_down(self, seen: Seen, at: float) -> bool:
        offline, before = seen.state is PowerState.OFFLINE, self._before
        # The end of an earlier stop is no sign of this action.
        if self._restarts and before is not None and before.up and not self.begun:
            self.begun = True
            self._deadline = at + STOP_SECONDS
        if offline and seen.suspended:
            raise Suspended(f"Cannot {self._request.action.value} server {self._uuid}: the endpoint found it suspended before its start")
        if offline and self._tried_at is not None:
            raise StartFailed(
                f"Cannot start server {self._uuid}: it went offline again, by itself or by another action; look at its console"
            )
        if offline and self._down_at is None and before is not None and before.state is not PowerState.OFFLINE:
            self._down_at = at
            self._deadline = at + self._boot_seconds
        return False

    def _try(self, at: float) -> None:
        if self._tried_at is None:
            self.begun = True
            self._tried_at = at
            self._deadline = at + self._boot_seconds

    def _note_up(self, at: float) -> None:
        if not self.up:
            self._try(at)
            self.up = True
            self._deadline = at + self._request.wait_timeout

    def _has_process(self, seen: Seen, at: float) -> bool:
        """Tell whether there seems to be a process: ``starting`` alone may be the pull of an image."""
        if seen.state is PowerState.RUNNING or seen.uptime > 0:
            return True
        if self._tried_at is None or at - self._tried_at < PROCESS_SECONDS:
            return False
        if self._request.wait_for is WaitFor.CONTAINER:
            self.warnings.append(
                f"server {self._uuid}: the endpoint says starting, but reports no process yet; its image may still be pulled"
            )
            return True
        return False

    def _too_late(self, at: float) -> PowerError:
        if self._tried_at is None or self._request.wait_for is WaitFor.CONTAINER:
            return super()._too_late(at)
        return StartTimeout(
            f"Cannot tell that server {self._uuid} is {self._request.wait_for.value}: "
            f"not ready {at - self._tried_at:.0f} s after its start; it is left up"
        )


#: What follows an accepted action, by whether the server should be up after it.
FOLLOWING_BY_END: Mapping[bool | None, type[FollowingUp | FollowingDown]] = {True: FollowingUp, False: FollowingDown}
