# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ends what was begun in a container past its own process: a command that does not end by itself. For root on the engine's own machine."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from contextlib import suppress

_ID = re.compile(r"[0-9a-f]{64}")
#: Places in /proc/PID/stat, counted from the field after the command: its state, its session, and its start in clock ticks since boot.
_STATE, _SESSION, _START = 0, 3, 19
_ENDED = (b"Z", b"X")
#: What is ended may have begun more meanwhile.
_ROUNDS = 5


def end_session(leader: int, container: str, since: float) -> None:
    """SIGKILL the processes of a session that are in a container, and began at ``since`` or later; ``leader`` is the one that began it.

    Its number is no other process's as long as one of its session lives. ``container`` is a full id, ``since`` in seconds of the machine's
    boot clock: older ones are the server's own. Each is held by a descriptor before it is looked at, so that no other can get its number
    in between. What may not be ended, or not be told, is left.
    """
    if leader <= 1 or not _ID.fullmatch(container) or not hasattr(os, "pidfd_open"):
        return
    for _round in range(_ROUNDS):
        if sum(_end(pid, leader, container, since) for pid in _processes()) == 0:
            return


def _processes() -> Iterator[int]:
    with suppress(OSError):
        yield from (int(name) for name in os.listdir("/proc") if name.isdigit())


def _end(pid: int, leader: int, container: str, since: float) -> bool:
    if not _is_of(pid, leader, since):
        return False
    try:
        held = os.pidfd_open(pid)
    except OSError:
        return False
    try:
        if not (_is_in(pid, container) and _is_of(pid, leader, since)):
            return False
        signal.pidfd_send_signal(held, signal.SIGKILL)
    except OSError:
        return False
    finally:
        os.close(held)
    return True


def _is_in(pid: int, container: str) -> bool:
    with open(f"/proc/{pid}/cgroup", encoding="utf-8", errors="replace") as source:
        return container in source.read()


def _is_of(pid: int, leader: int, since: float) -> bool:
    """Tell if a process lives, belongs to the session of ``leader``, and is not older."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as source:
            # The command stands in parentheses and may hold anything, spaces and parentheses too.
            fields = source.read().rpartition(b")")[2].split()
        ticks = os.sysconf("SC_CLK_TCK")
        is_young = int(fields[_START]) + 1 >= since * ticks
        return fields[_STATE] not in _ENDED and is_young and int(fields[_SESSION]) == leader
    except (OSError, IndexError, ValueError):
        return False
