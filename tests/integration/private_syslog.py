# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A private syslog: commands that run `through` it find their own /dev/log."""

from __future__ import annotations

import socket
import subprocess
import threading
from pathlib import Path
from types import TracebackType

import pytest

#: Mounts a copy of /dev with another `log` in its own mount namespace: sh -c SCRIPT sh DIRECTORY SOCKET COMMAND...
_SCRIPT = """
set -e
mount -t tmpfs -o mode=755 tmpfs "$1"
for device in null zero full random urandom tty; do touch "$1/$device"; mount --bind "/dev/$device" "$1/$device"; done
mkdir "$1/pts" "$1/shm"
mount --rbind /dev/pts "$1/pts"
mount --rbind /dev/shm "$1/shm"
ln -s pts/ptmx "$1/ptmx"
ln -s /proc/self/fd "$1/fd"
ln -s "$2" "$1/log"
mount --rbind "$1" /dev
shift 2
exec "$@"
"""
_NAMESPACE = ["unshare", "--mount", "--propagation", "private"]


class PrivateSyslog:
    """Collects the log lines of commands that run through it."""

    def __init__(self, directory: Path) -> None:
        if subprocess.run([*_NAMESPACE, "true"], check=False, capture_output=True).returncode != 0:
            pytest.skip("only root can make a mount namespace")
        (directory / "dev").mkdir(parents=True)
        address = directory / "log"
        self._lines: list[str] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(address))
        self.through = [*_NAMESPACE, "sh", "-c", _SCRIPT, "sh", str(directory / "dev"), str(address)]
        # The socket holds few datagrams; without a reader a program that logs would hang.
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        while datagram := self._socket.recv(1 << 20):
            self._lines.append(datagram.decode())

    def close(self) -> list[str]:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
            end.connect(self._socket.getsockname())
            end.send(b"")
        self._reader.join()
        self._socket.close()
        return self._lines

    def __enter__(self) -> PrivateSyslog:
        return self

    def __exit__(self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None) -> None:
        if self._reader.is_alive():
            self.close()
