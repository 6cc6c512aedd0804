# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reasons not to act on a node: it stops, Wings runs, a maintenance is under way, there may be a freeze, or a hook runs."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable

from ..model.errors import PowerError, WingsUnknown
from .machine import CONTAINER_ID, has_one_pid
from .own_files import open_own

_NAME = b"wings\n"


def wings_pid(proc: str = "/proc", is_server: Callable[[str], bool] = lambda _container: False) -> int | None:
    """Return the pid of a Wings daemon, or None. Raises `WingsUnknown` if the processes cannot be read.

    A server's process may use any name, so only those of root and of our own user count, outside the containers of servers. ``is_server``
    tells by its id if a container is a server's. It may raise `PowerError` if that is unknown. Wings runs as root, also in a container of
    its own, or rootless as our user. Our user's count only in the pid namespace of ``proc``: the containers of a rootless engine have the
    same user.
    """
    try:
        for pid in filter(str.isdigit, os.listdir(proc)):
            directory = os.path.join(proc, pid)
            try:
                # Every action checks every process, so each costs only one open and one read.
                if _content(directory, "comm") == _NAME and _is_trusted(directory) and not _is_in_server(directory, is_server):
                    return int(pid)
            except (FileNotFoundError, NotADirectoryError, ProcessLookupError, PermissionError):
                continue  # it ended meanwhile, or belongs to another user
    except OSError as error:
        raise WingsUnknown(f"Cannot tell whether Wings runs: {error.strerror}") from error
    return None


def _is_trusted(directory: str) -> bool:
    """Tell if a process belongs to root or to our user. The owner of its directory may be root for any process."""
    status = _content(directory, "status").decode("ascii", "replace")
    user = next(int(line.split()[2]) for line in status.splitlines() if line.startswith("Uid:"))
    return user == 0 or (user == os.geteuid() and has_one_pid(status))


def _is_in_server(directory: str, is_server: Callable[[str], bool]) -> bool:
    containers = set(CONTAINER_ID.findall(_content(directory, "cgroup").decode("ascii", "replace")))
    try:
        return any(is_server(container) for container in containers)
    except PowerError:
        return False


def _content(directory: str, name: str) -> bytes:
    """Return the content of a file of a process. Raises OSError."""
    with open(os.path.join(directory, name), "rb", buffering=0) as source:
        return source.readall()


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
NODE_STOPPING_FILE = "node-stopping"
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


def is_node_stopping(lock_directory: str) -> bool:
    """Tell if the node stops, by one look for a file. A user who cannot look for it cannot lock a server either."""
    return os.path.lexists(os.path.join(lock_directory, NODE_STOPPING_FILE))


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
