# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The limits of a container: memory, swap, CPU and disk weight in the engine's units. The arithmetic is Wings'; pure."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from ..definitions.definition import Build
from ..definitions.settings import Settings
from ..model.schema import Mismatch

#: Definitions count memory in decimal megabytes.
_MB = 1_000_000
#: What every container has anyway. Asking for it would only make engines that cannot weigh disk access warn at each create.
_ENGINE_IO_WEIGHT = 500
#: In MB: the engine refuses a limit or a reservation below 6 MiB.
_LEAST_MEMORY = 7
#: Wings' overhead by memory limit in MB (a limit up to the number), and above them all.
_MULTIPLIERS = ((2048, 1.15), (4096, 1.10))
_DEFAULT_MULTIPLIER = 1.05
_CPU_PERIOD_MICROSECONDS = 100_000
_CPU_SHARES = 1024


def resources(build: Build, settings: Settings) -> tuple[dict[str, Any], list[str]]:
    """The engine's HostConfig keys for a build, and warnings. Raises `Mismatch` for less memory than the engine can give."""
    if 0 < build.memory_limit < _LEAST_MEMORY:
        raise Mismatch(
            "settings.build.memory_limit",
            f"is {build.memory_limit} MB, expected at least {_LEAST_MEMORY} (the engine's least is 6 MiB), or 0 for unlimited",
        )
    memory = memory_bytes(build.memory_limit, settings)
    swap, warnings = _memory_swap(build, memory)
    found: dict[str, Any] = {
        "Memory": memory,
        "MemoryReservation": build.memory_limit * _MB,
        "MemorySwap": swap,
        "PidsLimit": settings.container_pid_limit,
    }
    if build.cpu_limit > 0:
        found.update(CpuQuota=build.cpu_limit * 1000, CpuPeriod=_CPU_PERIOD_MICROSECONDS, CpuShares=_CPU_SHARES)
    if build.threads:
        found["CpusetCpus"] = build.threads
    if build.io_weight not in (0, _ENGINE_IO_WEIGHT):
        found["BlkioWeight"] = build.io_weight
    if build.oom_disabled:
        found["OomKillDisable"] = True
    return found, warnings


def memory_bytes(limit: int, settings: Settings) -> int:
    """Bytes of memory for a limit in MB, overhead included; 0 is unlimited.

    A larger limit never gets less than a smaller one: with Wings' factors alone, 2049 MB would get 101 MB less than 2048.
    """
    if settings.overhead_override:
        bands, beyond = settings.overhead_multipliers, settings.overhead_default_multiplier
    else:
        bands, beyond = _MULTIPLIERS, _DEFAULT_MULTIPLIER
    smaller = [_with_overhead(bound, factor) for bound, factor in bands if bound < limit]
    return max([_with_overhead(limit, _factor(limit, bands, beyond)), *smaller])


def _factor(limit: int, bands: Sequence[tuple[int, float]], beyond: float) -> float:
    return next((factor for bound, factor in bands if limit <= bound), beyond)


def _with_overhead(limit: int, factor: float) -> int:
    # Decimal, because 1.15 in binary is a little less than 1.15.
    return int((Decimal(limit) * Decimal(str(factor)) * _MB).to_integral_value(ROUND_HALF_UP))


def _memory_swap(build: Build, memory: int) -> tuple[int, list[str]]:
    """The engine's sum of memory and swap: equal to the memory for none, -1 for unlimited."""
    if build.swap < 0:
        return -1, []
    if build.swap and not build.memory_limit:
        return 0, [f"settings.build.swap: {build.swap} MB is ignored, the memory being unlimited; set memory_limit to limit both"]
    return memory + build.swap * _MB, []
