# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""This machine: its boot, its processes and its time zone. Linux only."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress

from ..model.records import dataclass

#: Fields of /proc/PID/stat after the command: state, session, and start in clock ticks since boot.
_STATE, _SESSION, _START = 0, 3, 19
_ENDED = (b"Z", b"X")
_TIMEZONE = re.compile(r"[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*")
_TIMEZONES = "usr/share/zoneinfo"
FALLBACK = "UTC"
CONTAINER_ID = re.compile("[0-9a-f]{64}")


def boot_id() -> str:
    """Return the id of this boot of the machine; empty if unknown."""
    return text_of("/proc/sys/kernel/random/boot_id")


def boot_seconds() -> float:
    """Return the seconds since boot, sleep included; changes of the clock do not matter."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def life() -> tuple[str, float]:
    """Return an id of this life of the machine, or of the container with its own first process, and its age in seconds."""
    began = start_of(1)
    return f"{boot_id()}.{began}", boot_seconds() - began / os.sysconf("SC_CLK_TCK")


def start_of(pid: int) -> int:
    """Return the start of a process in clock ticks since boot; 0 if unknown."""
    found = stat_of(pid)
    return 0 if found is None else found[2]


def lives(pid: int, pid_start: int, boot: str) -> bool:
    """Tell if the process with this start and boot lives; a zombie does not."""
    if boot != boot_id():
        return False
    found = stat_of(pid)
    if found is None:
        return _is_hidden(pid)
    has_ended, _session, start = found
    return not has_ended and start == pid_start


def end_processes_of(container: str, seconds: float) -> bool:
    """End the processes of a container by SIGKILL, without the engine. Return False if it has none; none are left then.

    The names of their cgroups have the container's id. Raises OSError if one may not be ended, or lives after ``seconds``.
    """
    found, until = False, time.monotonic() + seconds
    if not CONTAINER_ID.fullmatch(container):
        return False
    while pids := [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if _is_of(pid, container)]:
        if time.monotonic() > until:
            raise TimeoutError(f"process {pids[0]} still runs {seconds:.0f} s after SIGKILL")
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        found = True
        time.sleep(0.02)
    return found


def _is_of(pid: int, container: str) -> bool:
    has_ended, _session, _start = stat_of(pid) or (True, 0, 0)
    return not has_ended and container in text_of(f"/proc/{pid}/cgroup")


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


def processes() -> Iterator[int]:
    """Yield the pids of all processes; none if they are unknown."""
    with suppress(OSError):
        yield from (int(name) for name in os.listdir("/proc") if name.isdigit())


def stat_of(pid: int) -> tuple[bool, int, int] | None:
    """Return whether a process has ended (a zombie), its session, and its start in clock ticks since boot; None if unknown."""
    with suppress(OSError, IndexError, ValueError), open(f"/proc/{pid}/stat", "rb") as source:
        # The command stands in parentheses, and may itself hold spaces and parentheses.
        fields = source.read().rpartition(b")")[2].split()
        return fields[_STATE] in _ENDED, int(fields[_SESSION]), int(fields[_START])
    return None


def _is_hidden(pid: int) -> bool:
    """Tell if a /proc with ``hidepid`` hides another user's ``pid``: then it counts as the right process."""
    try:
        os.kill(pid, 0)
    except (OSError, OverflowError) as error:
        return isinstance(error, PermissionError)
    return False


def is_in_our_namespace(pid: int) -> bool:
    """Tell if a process has no pid in a nested namespace; False if that is unknown."""
    return has_one_pid(text_of(f"/proc/{pid}/status"))


def has_one_pid(status: str) -> bool:
    """Tell by the status of a process if it has no pid in a nested namespace. Unlike the namespace's name, all users can read it."""
    return bool(status) and all(len(line.split()) == 2 for line in status.splitlines() if line.startswith("NSpid:"))


def is_timezone(name: str, root: str = "/") -> bool:
    """Tell if ``name`` is a time zone; without a time zone database, if it looks like one."""
    if not _TIMEZONE.fullmatch(name):
        return False
    database = os.path.join(root, _TIMEZONES)
    return name == FALLBACK or not os.path.isdir(database) or os.path.isfile(os.path.join(database, name))


def node_timezone(environment: Mapping[str, str], root: str = "/") -> str:
    """Return the first valid time zone of ``/etc/timezone``, the link ``/etc/localtime``, and ``TZ``; else UTC.

    Wings reads ``TZ`` first; here callers with different environments would recreate each other's containers.
    """
    linked = ""
    with suppress(OSError):
        linked = os.readlink(os.path.join(root, "etc/localtime")).partition("zoneinfo/")[2]
    for name in (text_of(os.path.join(root, "etc/timezone")), linked, environment.get("TZ", "").lstrip(":")):
        if is_timezone(name, root):
            return name
    return FALLBACK


def text_of(path: str) -> str:
    """Return the text of a file without blanks at its ends; empty if it cannot be read."""
    with suppress(OSError), open(path, "rb") as source:
        return source.read().decode("ascii", "replace").strip()
    return ""
