# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reasons not to act on a node: Wings runs, a maintenance is under way, there may be a freeze, or a hook runs."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable

from .machine import is_in_our_namespace
from .own_files import open_own

_NAME = b"wings\n"


def wings_pid(proc: str = "/proc") -> int | None:
    """Return the pid of a Wings daemon, or None.

    A server's process may use any name, so only those of root and of our own user count: Wings runs as root, also in a container, or
    rootless as our user. Our user's count only in the pid namespace of ``proc``: the containers of a rootless engine have the same user.
    """
    for pid in filter(str.isdigit, os.listdir(proc)):
        directory = os.path.join(proc, pid)
        try:
            # Every action checks every process, so each costs only one open and one read.
            if _command(directory) == _NAME:
                uid = os.stat(directory).st_uid
                if uid == 0 or (uid == os.geteuid() and is_in_our_namespace(pid, proc)):
                    return int(pid)
        except OSError:
            continue  # it ended meanwhile
    return None


def _command(directory: str) -> bytes:
    descriptor = os.open(os.path.join(directory, "comm"), os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(descriptor, 64)
    finally:
        os.close(descriptor)


class Remembered:
    """Caches the search for Wings; of concurrent threads, only one searches."""

    def __init__(self, find: Callable[[], int | None], seconds: float, monotonic: Callable[[], float]) -> None:
        self._find, self._seconds, self._monotonic = find, seconds, monotonic
        self._guard = threading.Lock()
        self._found: tuple[float, int | None] | None = None

    def __call__(self) -> int | None:
        """Return the pid of a Wings daemon or None, at most ``seconds`` old."""
        with self._guard:
            now = self._monotonic()
            if self._found is None or now - self._found[0] >= self._seconds:
                self._found = now, self._find()
            return self._found[1]


MAINTENANCE_RECORD = "maintenance.json"
FREEZE_FILE = "frozen"
_MOST_BYTES = 16 * 1024 * 1024


def maintenance_of(state_directory: str) -> dict[str, object] | None:
    """Return the record of the current maintenance, or None. Raises OSError, ValueError if it is unreadable."""
    try:
        with open(open_own(os.path.join(state_directory, MAINTENANCE_RECORD), os.O_RDONLY), "rb") as source:
            record = json.loads(source.read(_MOST_BYTES))
    except FileNotFoundError:
        return None
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    if not isinstance(record, dict):
        raise ValueError("it is not a map")
    return record


def maintenance_pause(state_directory: str) -> str:
    """Return why a maintenance prevents automatic starts, as a code for readers; empty without one. An unreadable record counts as one."""
    try:
        record = maintenance_of(state_directory)
    except (OSError, ValueError):
        return "maintenance_unreadable"
    if record is None:
        return ""
    return "maintenance" if isinstance(record.get("phase"), str) else "maintenance_unreadable"


def may_be_frozen(state_directory: str) -> bool:
    """Tell if there may be a freeze, by one look for its file. A file that cannot be looked for may exist."""
    try:
        os.lstat(os.path.join(state_directory, FREEZE_FILE))
    except OSError as error:
        return not isinstance(error, (FileNotFoundError, NotADirectoryError))
    return True


_TRANSIENT_UNITS = "/run/systemd/transient"


def hook_unit_of(uuid: str) -> str:
    """Return the unit of systemd that the hooks of a server run in, one at a time."""
    return f"fleet-power-hook-{uuid}.service"


def hook_runs(uuid: str) -> bool:
    """Tell if a hook of the server runs, by one look for its unit. systemd removes the unit's file after the last process."""
    return os.path.lexists(os.path.join(_TRANSIENT_UNITS, hook_unit_of(uuid)))


def is_brought_back(state_directory: str, uuid: str) -> bool:
    """Tell if a maintenance starts the servers that it has stopped, and this is one."""
    try:
        record = maintenance_of(state_directory) or {}
    except (OSError, ValueError):
        return False
    servers = record.get("servers")
    return record.get("phase") == "start" and isinstance(servers, list) and uuid in servers
