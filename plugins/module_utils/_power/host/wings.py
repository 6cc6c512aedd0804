# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tells if a Wings daemon is alive on this node."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

_NAME = b"wings\n"


def wings_pid(proc: str = "/proc") -> int | None:
    """The pid of a Wings daemon, or None.

    A server's own process may call itself anything, so only those of root and of our own user count: Wings runs as root, perhaps in a
    container, or (rootless) as the user who would run us. Containers of a rootless engine belong to that user as well, so of his
    processes only those in the pid namespace of ``proc`` count, which should be ours.
    """
    for pid in filter(str.isdigit, os.listdir(proc)):
        directory = os.path.join(proc, pid)
        try:
            # Every action looks at every process: hence nothing more than one open and one read for each.
            if _command(directory) == _NAME and _may_be_wings(directory):
                return int(pid)
        except OSError:
            continue  # it ended while we looked
    return None


def _may_be_wings(directory: str) -> bool:
    uid = os.stat(directory).st_uid
    return uid == 0 or (uid == os.geteuid() and _is_in_our_pid_namespace(directory))


def _is_in_our_pid_namespace(directory: str) -> bool:
    """Tell if a process has no other number in a namespace below ours. Unlike its namespace's own name, everybody may read that."""
    with open(os.path.join(directory, "status"), "rb") as source:
        # To its end: the groups before it are as many as the process likes.
        numbers = [line.split()[1:] for line in source if line.startswith(b"NSpid:")]
    return all(len(each) == 1 for each in numbers)


def _command(directory: str) -> bytes:
    descriptor = os.open(os.path.join(directory, "comm"), os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(descriptor, 64)
    finally:
        os.close(descriptor)


class Remembered:
    """A look for Wings whose answer counts for a while; of many threads that ask at once, one looks."""

    def __init__(self, find: Callable[[], int | None], seconds: float, monotonic: Callable[[], float]) -> None:
        self._find, self._seconds, self._monotonic = find, seconds, monotonic
        self._guard = threading.Lock()
        self._found: tuple[float, int | None] | None = None

    def __call__(self) -> int | None:
        """The pid of a Wings daemon, or None, as it was at most so many seconds ago."""
        with self._guard:
            now = self._monotonic()
            if self._found is None or now - self._found[0] >= self._seconds:
                self._found = now, self._find()
            return self._found[1]
