# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tells if the process that wrote a record still lives. Linux only."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

_BOOT_ID = "/proc/sys/kernel/random/boot_id"
#: Fields of /proc/PID/stat after the command: state, and start in clock ticks since boot.
_STATE, _START = 0, 19
_ENDED = (b"Z", b"X")


def boot_id() -> str:
    """Return the id of this boot of the machine; empty if unknown."""
    try:
        with open(_BOOT_ID, encoding="ascii") as source:
            return source.read().strip()
    except OSError:
        return ""


def boot_seconds() -> float:
    """Return the seconds since boot, sleep included; changes of the clock do not matter."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def life() -> tuple[str, float]:
    """Return an id of this life of the machine, or of the container with its own first process, and its age in seconds."""
    began = start_of(1)
    return f"{boot_id()}.{began}", boot_seconds() - began / os.sysconf("SC_CLK_TCK")


def start_of(pid: int) -> int:
    """Return the start of a process in clock ticks since boot; 0 if unknown."""
    found = _state_and_start(pid)
    return 0 if found is None else found[1]


def lives(pid: int, pid_start: int, boot: str) -> bool:
    """Tell if the process with this start and boot lives; a zombie does not."""
    if boot != boot_id():
        return False
    found = _state_and_start(pid)
    if found is None:
        return _is_hidden(pid)
    state, start = found
    return state not in _ENDED and start == pid_start


@dataclass(frozen=True)
class ProcessRecord:
    """A record of the process that wrote it. ``pid_start`` is in clock ticks since boot."""

    pid: int
    pid_start: int
    boot_id: str

    @property
    def is_alive(self) -> bool:
        return lives(self.pid, self.pid_start, self.boot_id)


def this_process() -> tuple[int, int, str]:
    """Return the fields of `ProcessRecord` for a record of this process."""
    return os.getpid(), start_of(os.getpid()), boot_id()


def _state_and_start(pid: int) -> tuple[bytes, int] | None:
    try:
        with open(f"/proc/{pid}/stat", "rb") as source:
            # The command stands in parentheses, and may itself hold spaces and parentheses.
            fields = source.read().rpartition(b")")[2].split()
        return fields[_STATE], int(fields[_START])
    except (OSError, IndexError, ValueError):
        return None


def _is_hidden(pid: int) -> bool:
    """Tell if a /proc with ``hidepid`` hides another user's ``pid``: then it counts as the right process."""
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (ProcessLookupError, OverflowError):
        return False
    return False
