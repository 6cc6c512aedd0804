# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A long-lived process of a node: the only one of its kind, with a service manager, and with the whole core in memory."""

from __future__ import annotations

import contextlib
import fcntl
import importlib
import os
import pkgutil
import socket
import time
from collections.abc import Callable, Iterator, Mapping

from ..model.errors import LockUnavailable
from .own_files import open_or_make

READY = "READY=1"
STOPPING = "STOPPING=1"
WATCHDOG = "WATCHDOG=1"


@contextlib.contextmanager
def only_process(path: str, group: str, what: str, first: Callable[[], str]) -> Iterator[int]:
    """Be the only process of its kind: hold the lock file ``path``, which ends with the process. Yields its descriptor.

    Raises `LockUnavailable`: ``what`` stands after "Cannot", ``first`` names the process that holds the lock.
    """
    try:
        descriptor = open_or_make(path, os.O_RDWR, group)
    except OSError as error:
        raise LockUnavailable(f"Cannot {what}: {path} cannot be made: {error.strerror}; see system.state_directory") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LockUnavailable(f"Cannot {what}: {first()}") from None
        except OSError as error:
            raise LockUnavailable(f"Cannot {what}: {path} cannot be locked: {error.strerror}") from error
        yield descriptor
    finally:
        os.close(descriptor)


class ServiceManager:
    """The service manager that started this process, as ``variables``, those of the process by default, name it."""

    def __init__(self, variables: Mapping[str, str] | None = None) -> None:
        variables = os.environ if variables is None else variables
        self._address = variables.get("NOTIFY_SOCKET", "")
        meant = variables.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        text = variables.get("WATCHDOG_USEC", "")
        #: Seconds between two signs of life that it asks for; None: it asks for none.
        self.watchdog_seconds = int(text) / 2_000_000 if meant and text.isdigit() and int(text) else None

    def tell(self, *words: str) -> None:
        """Send it words. Raises nothing."""
        if not self._address:
            return
        # An abstract name is written with an at sign.
        address = f"\0{self._address[1:]}" if self._address.startswith("@") else self._address
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as supervisor:
            supervisor.settimeout(1.0)
            supervisor.connect(address)
            supervisor.sendall("\n".join(words).encode())

    def tell_reloading(self) -> None:
        """Tell it that the settings are being read anew; `READY` follows."""
        self.tell("RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")


def import_whole() -> None:
    """Import every file of the core, since an upgrade may replace the files: a later import would get another version."""
    core = __package__.rpartition(".")[0]
    for each in pkgutil.walk_packages([os.path.dirname(os.path.dirname(__file__))], f"{core}."):
        importlib.import_module(each.name)
