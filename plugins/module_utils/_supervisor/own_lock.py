# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The right to be the only supervisor of a node, and the record in which it says what keeps it from starting anything."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import replace

from .._power.definitions.settings import Settings
from .._power.host.daemon import only_process
from .._power.host.supervisor_record import SUPERVISOR_LOCK, SupervisorRecord, read_record, write_record
from .._power.model.clock import SYSTEM_CLOCK, timestamp


class OwnLock:
    """The lock of the supervisor, held. Not for use by several threads at once."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._record = SupervisorRecord.of_this_process(timestamp(SYSTEM_CLOCK.now()))
        self._write()

    def tell(self, paused: str) -> bool:
        """Write what keeps it from starting anything, empty if nothing does; return True if that is new."""
        if paused == self._record.paused:
            return False
        self._record = replace(self._record, paused=paused)
        self._write()
        return True

    def _write(self) -> None:
        """Write the record over the one that is there: that needs no more room on the disk."""
        with contextlib.suppress(OSError):
            write_record(self._descriptor, self._record)


@contextlib.contextmanager
def own_lock(settings: Settings) -> Iterator[OwnLock]:
    """Hold the right to supervise this node. Raises `LockUnavailable`, which names who does already."""
    directory = settings.state_directory

    def first() -> str:
        return f"{_first(directory)} does already; look at fleet-power-supervisor"

    with only_process(os.path.join(directory, SUPERVISOR_LOCK), settings.group, "supervise", first) as descriptor:
        yield OwnLock(descriptor)


def _first(directory: str) -> str:
    with contextlib.suppress(OSError):
        record = read_record(directory)
        if record is not None:
            return f"process {record.pid}, since {record.since},"
    return "another process"
