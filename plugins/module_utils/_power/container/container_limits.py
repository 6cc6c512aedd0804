# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The limits of a container: wanted and current ones, and how to change them while it runs; pure.

In an update, the engine (20.10 to 28.5, tested) keeps the current limit for 0, empty and, for memory and swap, -1, whatever it reports
later. So only CPU time and pids can become unlimited again. That works with both versions of control groups.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from ..definitions.definition import Build
from ..definitions.settings import Settings
from ..model.records import dataclass
from ..model.schema import Mismatch
from ..model.server import Amount, ContainerLimits

MEMORY, OVERHEAD, SWAP = "build.memory_limit", "docker.overhead", "build.swap"
CPU, THREADS, IO, PIDS = "build.cpu_limit", "build.threads", "build.io_weight", "docker.container_pid_limit"
LIMIT_KEYS = (MEMORY, OVERHEAD, SWAP, CPU, THREADS, IO, PIDS)

#: Definitions count memory in decimal megabytes.
_MB = 1_000_000
#: Microseconds, and the weight of every container.
_PERIOD, _SHARES = 100_000, 1024
_UNLIMITED = -1
#: The default. Setting it only makes engines without weights warn at each create.
_IO_WEIGHT = 500
#: In MB: the engine refuses a limit or a reservation below 6 MiB.
_LEAST_MEMORY = 7
#: Wings' overhead by memory limit in MB (up to the number), and above all.
_MULTIPLIERS = ((2048, 1.15), (4096, 1.10))
_DEFAULT_MULTIPLIER = 1.05


def limits_of(host: Mapping[str, Any]) -> ContainerLimits:
    """Read the limits in a HostConfig, from the engine or for a create call."""
    pids = host.get("PidsLimit")
    return ContainerLimits(
        memory=int(host.get("Memory") or 0),
        reservation=int(host.get("MemoryReservation") or 0),
        memory_swap=int(host.get("MemorySwap") or 0),
        cpu_quota=int(host.get("CpuQuota") or 0),
        cpu_period=int(host.get("CpuPeriod") or 0),
        cpu_shares=int(host.get("CpuShares") or 0),
        cpus=str(host.get("CpusetCpus") or ""),
        io_weight=int(host.get("BlkioWeight") or 0),
        pids=None if pids is None else int(pids),
        nano_cpus=int(host.get("NanoCpus") or 0),
    )


@dataclass(frozen=True)
class _Limit:
    """One limit: its amount in the units of its key, and whether the engine reports none."""

    amount: Callable[[ContainerLimits], Amount]
    is_none: Callable[[ContainerLimits], bool]


def _swap(limits: ContainerLimits) -> int | None:
    """Return the swap beyond the memory in bytes, -1 for unlimited; None if the memory is unlimited."""
    if not limits.memory:
        return None
    return _UNLIMITED if limits.memory_swap < 0 else limits.memory_swap - limits.memory


def _shown_swap(limits: ContainerLimits) -> Amount:
    swap = _swap(limits)
    return swap if swap is None or swap < 0 else _in_mb(swap)


def _in_mb(size: int) -> int | float:
    return size // _MB if size % _MB == 0 else round(size / _MB, 3)


def _percent(limits: ContainerLimits) -> int | float:
    if limits.cpu_quota <= 0 and not limits.nano_cpus:
        return 0
    # The engine accepts only one of the two.
    percent = limits.nano_cpus / 10_000_000 if limits.nano_cpus else limits.cpu_quota * 100 / (limits.cpu_period or _PERIOD)
    return int(percent) if percent == int(percent) else round(percent, 3)


def _weight(limits: ContainerLimits) -> int:
    return 0 if limits.io_weight == _IO_WEIGHT else limits.io_weight


_KEYS: Mapping[str, _Limit] = {
    MEMORY: _Limit(lambda limits: _in_mb(limits.reservation or limits.memory), lambda limits: not limits.memory),
    OVERHEAD: _Limit(lambda limits: limits.memory, lambda limits: not limits.memory),
    SWAP: _Limit(_shown_swap, lambda limits: limits.memory_swap < 0),
    CPU: _Limit(_percent, lambda limits: limits.cpu_quota == 0 and not limits.nano_cpus),
    THREADS: _Limit(lambda limits: limits.cpus, lambda limits: not limits.cpus),
    IO: _Limit(_weight, lambda limits: not limits.io_weight),
    PIDS: _Limit(lambda limits: max(limits.pids or 0, 0), lambda limits: limits.pids is None),
}


def amount(key: str, limits: ContainerLimits) -> Amount:
    """Return a limit in the units of its key: MB, percent of a core, a list of CPUs, bytes for the overhead; 0 is none (swap: -1)."""
    return _KEYS[key].amount(limits)


def is_unreported(key: str, limits: ContainerLimits) -> bool:
    """Tell if the engine reports no such limit: none was requested, or it is unsupported."""
    return _KEYS[key].is_none(limits)


def differing_limits(now: ContainerLimits, wanted: ContainerLimits) -> list[str]:
    """Return the keys of the limits that differ, one for each effective difference."""
    found = []
    if now.memory != wanted.memory or (now.memory and now.reservation not in (0, wanted.reservation)):
        only_overhead = now.reservation == wanted.reservation and wanted.memory and now.memory
        found.append(OVERHEAD if only_overhead else MEMORY)
    if now.memory and wanted.memory and _swap(now) != _swap(wanted):
        found.append(SWAP)
    if (_percent(now), now.cpu_shares or _SHARES) != (_percent(wanted), wanted.cpu_shares or _SHARES):
        found.append(CPU)
    if _cpus(now.cpus) != _cpus(wanted.cpus):
        found.append(THREADS)
    return found + [key for key in (IO, PIDS) if amount(key, now) != amount(key, wanted)]


def _cpus(text: str) -> frozenset[int] | str:
    """Return the numbers in a list such as ``0,2-3``; the text itself if it is no list."""
    numbers: set[int] = set()
    for part in filter(None, text.split(",")):
        first, _dash, last = part.partition("-")
        if not (first.isdigit() and (last or first).isdigit()):
            return text
        numbers.update(range(int(first), int(last or first) + 1))
    return frozenset(numbers)


def can_change(key: str, now: ContainerLimits, wanted: ContainerLimits) -> bool:
    """Tell if a differing limit can be changed while the container runs."""
    if key in (MEMORY, OVERHEAD):
        return wanted.memory > 0
    if key == SWAP:
        return _swap(wanted) != _UNLIMITED
    if key == CPU:
        # After ``docker update --cpus`` the engine refuses a quota, and keeps its limit if that is taken back.
        return not now.nano_cpus
    if key == THREADS:
        return bool(wanted.cpus)
    if key == IO:
        # A container without a weight has the kernel's, which has no number.
        return _weight(wanted) > 0
    return True


def update_of(now: ContainerLimits, wanted: ContainerLimits, keys: Iterable[str]) -> dict[str, Any]:
    """Return the body that changes these limits. Memory and swap go together: the engine refuses a memory above the current sum."""
    chosen = set(keys)
    body: dict[str, Any] = {}
    if chosen & {MEMORY, OVERHEAD, SWAP}:
        memory = now.memory if chosen.isdisjoint((MEMORY, OVERHEAD)) else wanted.memory
        swap = _swap(wanted if SWAP in chosen or not now.memory else now)
        body |= {"Memory": memory, "MemorySwap": _UNLIMITED if swap is None or swap < 0 else memory + swap}
        if memory == wanted.memory:
            body["MemoryReservation"] = wanted.reservation
    if CPU in chosen:
        limited = wanted.cpu_quota > 0
        body |= {
            "CpuQuota": wanted.cpu_quota if limited else _UNLIMITED,
            "CpuPeriod": wanted.cpu_period if limited else _PERIOD,
            "CpuShares": wanted.cpu_shares or _SHARES,
        }
    if THREADS in chosen:
        body["CpusetCpus"] = wanted.cpus
    if IO in chosen:
        body["BlkioWeight"] = wanted.io_weight
    if PIDS in chosen:
        body["PidsLimit"] = wanted.pids if wanted.pids and wanted.pids > 0 else _UNLIMITED
    return body


def resources(build: Build, settings: Settings) -> tuple[dict[str, Any], list[str]]:
    """Return the engine's HostConfig keys for a build, and warnings. Raises `Mismatch` for too little memory."""
    if 0 < build.memory_limit < _LEAST_MEMORY:
        raise Mismatch(
            "settings.build.memory_limit",
            f"is {build.memory_limit} MB, expected at least {_LEAST_MEMORY} (the engine's least is 6 MiB), or 0 for unlimited",
        )
    memory, warnings = memory_bytes(build.memory_limit, settings), []
    # The engine's sum of memory and swap: the memory for no swap, -1 for unlimited.
    both = _UNLIMITED if build.swap < 0 else memory + build.swap * _MB
    if build.swap > 0 and not build.memory_limit:
        both = 0
        warnings.append(f"settings.build.swap: {build.swap} MB is ignored, the memory being unlimited; set memory_limit to limit both")
    found: dict[str, Any] = {
        "Memory": memory,
        "MemoryReservation": build.memory_limit * _MB,
        "MemorySwap": both,
        "PidsLimit": settings.container_pid_limit,
    }
    if build.cpu_limit > 0:
        found.update(CpuQuota=build.cpu_limit * 1000, CpuPeriod=_PERIOD, CpuShares=_SHARES)
    if build.threads:
        found["CpusetCpus"] = build.threads
    if build.io_weight not in (0, _IO_WEIGHT):
        found["BlkioWeight"] = build.io_weight
    if build.oom_disabled:
        found["OomKillDisable"] = True
    return found, warnings


def memory_bytes(limit: int, settings: Settings) -> int:
    """Return the bytes for a limit in MB with overhead; 0 is unlimited. With Wings' factors alone, 2049 MB would get less than 2048."""
    if settings.overhead_override:
        bands, beyond = settings.overhead_multipliers, settings.overhead_default_multiplier
    else:
        bands, beyond = _MULTIPLIERS, _DEFAULT_MULTIPLIER
    own = next((factor for bound, factor in bands if limit <= bound), beyond)
    smaller = [_with_overhead(bound, factor) for bound, factor in bands if bound < limit]
    return max([_with_overhead(limit, own), *smaller])


def _with_overhead(limit: int, factor: float) -> int:
    # Decimal, because 1.15 in binary is a little less than 1.15.
    return int((Decimal(limit) * Decimal(str(factor)) * _MB).to_integral_value(ROUND_HALF_UP))
