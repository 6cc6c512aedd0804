# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A private sshd on the loopback interface, and ways to cut its connections."""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from .lab import free_port, wait_until

#: Runs a command with another sudoers file: sh -c SCRIPT sh FILE COMMAND...
_OWN_SUDOERS = 'set -e; mount --bind "$1" /etc/sudoers; shift; exec "$@"'
_NEEDS = Path(__file__).parents[1] / "lab" / "needs"
_PRIVILEGE_SEPARATION = Path("/run/sshd")


class Sshd:
    """A running sshd; ``variables`` connect Ansible to it. If the tests run as root, its sessions can use sudo, on a pty."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._port = free_port()
        self.may_become = os.geteuid() == 0 and shutil.which("sudo", path=_PATH) is not None
        for name in ("host", "client"):
            key = [_tool("ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-f", str(directory / name)]
            subprocess.run(key, check=True)
        (directory / "sshd_config").write_text(self._configuration())
        command = [_tool("sshd"), "-D", "-e", "-f", str(directory / "sshd_config")]
        if os.geteuid() == 0:
            _PRIVILEGE_SEPARATION.mkdir(mode=0o755, exist_ok=True)
        if self.may_become:
            sudoers = directory / "sudoers"
            sudoers.write_text("Defaults use_pty\nroot ALL=(ALL:ALL) NOPASSWD: ALL\n")
            sudoers.chmod(0o440)
            command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", _OWN_SUDOERS, "sh", str(sudoers), *command]
        with open(directory / "log", "wb") as log:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        wait_until(self._answers, "the sshd answers", seconds=10)

    @property
    def variables(self) -> dict[str, object]:
        """Return variables of a host behind this sshd; each command of Ansible opens its own connection."""
        return {
            "ansible_connection": "ssh",
            "ansible_host": "127.0.0.1",
            "ansible_port": self._port,
            "ansible_user": getpass.getuser(),
            "ansible_ssh_private_key_file": str(self._directory / "client"),
            "ansible_ssh_args": "-F none -o ControlMaster=no -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null",
        }

    def kill_clients(self) -> None:
        _kill(pid for pid, arguments in _processes() if arguments[0].endswith("ssh") and f"Port={self._port}" in arguments)

    def kill_sessions(self) -> None:
        """SIGKILL the processes that serve connections."""
        _kill(pid for pid in _descendants(self._process.pid) if _name(pid).startswith("sshd"))

    def close(self) -> None:
        _kill([*_descendants(self._process.pid), self._process.pid])
        self._process.wait()

    def _answers(self) -> bool:
        assert self._process.poll() is None, (self._directory / "log").read_text()
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self._port), timeout=1):
            return True
        return False

    def _configuration(self) -> str:
        lines = [
            f"Port {self._port}",
            "ListenAddress 127.0.0.1",
            f"HostKey {self._directory}/host",
            f"AuthorizedKeysFile {self._directory}/client.pub",
            "PidFile none",
            "StrictModes no",
            "PermitRootLogin prohibit-password",
            "PasswordAuthentication no",
            "KbdInteractiveAuthentication no",
            "MaxStartups 100",
            "Subsystem sftp internal-sftp",
        ]
        return "\n".join(lines) + "\n"


@contextlib.contextmanager
def running_sshd(directory: Path) -> Iterator[Sshd]:
    """Run an sshd during the block; try to install it where it is missing."""
    if not (shutil.which("sshd", path=_PATH) and shutil.which("sudo", path=_PATH)):
        subprocess.run([_NEEDS, "ssh"], check=False)
    if not shutil.which("sshd", path=_PATH):
        pytest.skip("sshd is missing: install openssh-server")
    sshd = Sshd(directory)
    try:
        yield sshd
    finally:
        sshd.close()


_PATH = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/bin"))


def _tool(name: str) -> str:
    path = shutil.which(name, path=_PATH)
    assert path is not None, name
    return path


def _processes() -> Iterator[tuple[int, list[str]]]:
    for directory in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            yield int(directory.name), (directory / "cmdline").read_text().split("\0")


def _descendants(pid: int) -> list[int]:
    found: list[int] = []
    with contextlib.suppress(OSError):
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            found += [int(child), *_descendants(int(child))]
    return found


def _name(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text().strip()
    return ""


def _kill(pids: Iterator[int] | list[int]) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
