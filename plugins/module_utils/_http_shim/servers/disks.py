# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The sizes of the servers' data directories, by walks in the background: short ones in one thread, long ones in another. For threads.

A server that adds directories during a walk uses the whole time limit of a walk. It delays only servers with long walks, and by a small
part of the time.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

from ..._power.actions.boot.prepare import bounds_of
from ..._power.definitions.settings import Settings
from ..._power.model.cancellation import Deadline, no_check
from ..._power.model.clock import SYSTEM_CLOCK
from ..._power.model.records import dataclass, field
from ..._power.volume.volume import Volume
from ..._power.volume.volume_walk import Bounds

#: Seconds that a size counts at least, and the longest wait for one.
_COUNTS_SECONDS, _WAIT_SECONDS = 60.0, 0.25
#: A size counts for so many times the length of its walk, so that one server gets only that part of a thread.
_COUNTS_TIMES = 10
_SHORT_SECONDS = 1.0


@dataclass(frozen=True)
class _Found:
    """The bytes of a walk, how long they count, and if the walk was long."""

    held: int
    until: Deadline
    was_long: bool


@dataclass
class _Lane:
    """The queue of walks: one at a time, to leave the disk to the servers."""

    queued: dict[str, Settings] = field(default_factory=dict)
    walks: bool = False


class Disks:
    """The sizes of data directories. During a walk, the last size counts."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._found: dict[str, _Found] = {}
        self._short = _Lane()
        self._long = _Lane()

    def of(self, uuid: str, settings: Settings) -> int:
        """Return the last known bytes of one server; 0 if unknown."""
        return self.of_each([uuid], settings)[uuid]

    def of_each(self, uuids: Sequence[str], settings: Settings) -> dict[str, int]:
        """Return the bytes of several servers by UUID; the wait is as short as for one."""
        with self._changed:
            for uuid in uuids:
                self._queue(uuid, settings)
            # If there is no thread for walks, do not wait.
            self._changed.wait_for(lambda: not self._short.walks or all(uuid in self._found for uuid in uuids), _WAIT_SECONDS)
            return {uuid: self._held(uuid) for uuid in uuids}

    def _held(self, uuid: str) -> int:
        found = self._found.get(uuid)
        return 0 if found is None else found.held

    def _queue(self, uuid: str, settings: Settings) -> None:
        found = self._found.get(uuid)
        if uuid in self._long.queued or (found is not None and not found.until.is_over):
            return
        lane = self._long if found is not None and found.was_long else self._short
        lane.queued.setdefault(uuid, settings)
        self._begin(lane)

    def _begin(self, lane: _Lane) -> None:
        if lane.walks:
            return
        try:
            threading.Thread(target=self._walk_all, args=(lane,), name="disk", daemon=True).start()
        except RuntimeError:
            # The system has no thread now; the next call tries again.
            lane.queued.clear()
        else:
            lane.walks = True

    def _walk_all(self, lane: _Lane) -> None:
        while True:
            with self._changed:
                uuid, settings = next(iter(lane.queued.items()), (None, None))
                if uuid is None or settings is None:
                    lane.walks = False
                    self._changed.notify_all()
                    return
            bounds = bounds_of(settings)
            if lane is self._short:
                bounds = Bounds(min(bounds.seconds, _SHORT_SECONDS), bounds.entries)
            began = time.monotonic()
            held, cut = self._walk(uuid, settings, bounds)
            seconds = time.monotonic() - began
            with self._changed:
                del lane.queued[uuid]
                until = Deadline.after(SYSTEM_CLOCK, max(_COUNTS_SECONDS, _COUNTS_TIMES * seconds))
                was_long = seconds >= _SHORT_SECONDS
                self._found[uuid] = _Found(held, until, was_long)
                if cut and was_long and lane is self._short:
                    self._long.queued.setdefault(uuid, settings)
                    self._begin(self._long)
                self._changed.notify_all()

    def _walk(self, uuid: str, settings: Settings, bounds: Bounds) -> tuple[int, bool]:
        """Return the bytes found, or the last known ones, and if the walk was cut short."""
        try:
            survey = Volume(f"{settings.data}/{uuid}").survey(no_check, bounds, owner=None)
        except Exception:
            # A fault with one server must not stop the walks of others.
            return self._held(uuid), False
        # A cut walk found a part; the last known size may be larger.
        return (max(survey.used, self._held(uuid)), True) if survey.cut else (survey.used, False)
