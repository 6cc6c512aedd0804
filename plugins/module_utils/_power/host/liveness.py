# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tells if the process that wrote a record still lives. Linux only, as the engine's node is."""

from __future__ import annotations

import os
import time

_BOOT_ID = "/proc/sys/kernel/random/boot_id"
#: Places in /proc/PID/stat, counted from the field after the command: its state, and its start in clock ticks since boot.
_STATE, _START = 0, 19
_ENDED = (b"Z", b"X")


def boot_id() -> str:
    """The id of this life of the machine; empty where the kernel does not say."""
    try:
        with open(_BOOT_ID, encoding="ascii") as source:
            return source.read().strip()
    except OSError:
        return ""


def boot_seconds() -> float:
    """The seconds since this life of the machine began, those it slept included. Whoever sets its clock does not change them."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def life() -> tuple[str, float]:
    """Return which life of the machine this is, or of the container with a first process of its own, and its age in seconds."""
    began = start_of(1)
    return f"{boot_id()}.{began}", boot_seconds() - began / os.sysconf("SC_CLK_TCK")


def start_of(pid: int) -> int:
    """Return the start of the process ``pid``, in clock ticks since boot; 0 if the kernel does not say."""
    found = _state_and_start(pid)
    return 0 if found is None else found[1]


def lives(pid: int, pid_start: int, boot: str) -> bool:
    """Tell if the process that started then, in that life of the machine, lives; one that only waits for its parent does not."""
    if boot != boot_id():
        return False
    found = _state_and_start(pid)
    if found is None:
        return _is_hidden(pid)
    state, start = found
    return state not in _ENDED and start == pid_start


def _state_and_start(pid: int) -> tuple[bytes, int] | None:
    try:
        with open(f"/proc/{pid}/stat", "rb") as source:
            # The command stands in parentheses and may hold anything, spaces and parentheses too.
            fields = source.read().rpartition(b")")[2].split()
        return fields[_STATE], int(fields[_START])
    except (OSError, IndexError, ValueError):
        return None


def _is_hidden(pid: int) -> bool:
    """Tell if ``pid`` is somebody else's and not shown by a /proc mounted with ``hidepid``: then it is taken for the one meant."""
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (ProcessLookupError, OverflowError):
        return False
    return False
