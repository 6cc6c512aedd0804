# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The use that a container makes of the machine, read from an answer of the engine; pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..model.clock import engine_time


@dataclass(frozen=True)
class Use:
    """The use of one container at one moment: ``at`` in seconds of the engine's clock, ``cpu_seconds`` since it was started.

    ``memory_limit`` is that of the machine where the container has none. Bytes of the network are the sums over its interfaces.
    """

    at: float
    cpu_seconds: float
    memory: int
    memory_limit: int
    received: int = 0
    sent: int = 0

    def cpu_percent_since(self, before: Use) -> float:
        """How much of one core was used between two moments, in percent; 0 where no time has passed."""
        seconds = self.at - before.at
        return 0.0 if seconds <= 0 else max(0.0, self.cpu_seconds - before.cpu_seconds) / seconds * 100


def use_of(found: Mapping[str, Any]) -> Use | None:
    """Read an answer about use; None for a container that does not run. What can be given back at once is not counted as memory used."""
    moment = engine_time(str(found.get("read") or ""))
    memory, cpu = _map(found.get("memory_stats")), _map(_map(found.get("cpu_stats")).get("cpu_usage"))
    if moment is None or "usage" not in memory:
        return None
    details = _map(memory.get("stats"))
    # The names of the two versions of control groups.
    cached = details.get("total_inactive_file", details.get("inactive_file", 0))
    interfaces = [_map(each) for each in _map(found.get("networks")).values()]
    return Use(
        at=moment.timestamp(),
        cpu_seconds=int(cpu.get("total_usage") or 0) / 1e9,
        memory=max(0, int(memory["usage"]) - int(cached or 0)),
        memory_limit=int(memory.get("limit") or 0),
        received=sum(int(each.get("rx_bytes") or 0) for each in interfaces),
        sent=sum(int(each.get("tx_bytes") or 0) for each in interfaces),
    )


def _map(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
