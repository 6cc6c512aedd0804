# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The node and the threads that the rooms of all servers share."""

from __future__ import annotations

from dataclasses import dataclass

from ..acceptance.shared_node import SharedNode
from ..process.log import Log
from ..process.worker_pool import WorkerPool
from ..servers.disks import Disks

_STATE_THREADS, _STATS_THREADS, _REQUEST_THREADS = 16, 16, 16


@dataclass(frozen=True)
class RoomResources:
    """The node, and the threads that look at states, look at what is used, and do what clients ask."""

    node: SharedNode
    log: Log
    disks: Disks
    state_threads: WorkerPool
    stats_threads: WorkerPool
    request_threads: WorkerPool

    @classmethod
    def of(cls, node: SharedNode, log: Log, disks: Disks) -> RoomResources:
        """Return them with threads of their own."""
        return cls(
            node,
            log,
            disks,
            state_threads=WorkerPool(_STATE_THREADS, "looks"),
            stats_threads=WorkerPool(_STATS_THREADS, "uses"),
            request_threads=WorkerPool(_REQUEST_THREADS, "requests"),
        )
