# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible in a real terminal: its output, and the effect of keys."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import signal
import struct
import subprocess
import termios
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from .lab import CHECKOUT, Node, environment, inventory, tool


class Terminal:
    """A terminal of 120 columns with one command in the foreground. The end of ``with`` kills the command."""

    def __init__(self, nodes: Sequence[Node] | Path, module: str, options: Mapping[str, object]) -> None:
        import json

        where = nodes if isinstance(nodes, Path) else inventory(nodes)
        words = [tool("ansible"), "-i", str(where), "nodes", "-m", f"fleet.power.{module}", "-a", json.dumps(options)]
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
        # A shell with job control does the same: the command leads a session with this terminal.
        self._child = subprocess.Popen(
            ["env", "--default-signal=INT", "setsid", "--ctty", "--wait", *words],
            cwd=CHECKOUT,
            env={**environment(), "TERM": "xterm"},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
        )
        os.close(theirs)
        self._terminal, self._began = ours, time.monotonic()
        #: The output, with its times.
        self.shown: list[tuple[float, str]] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_unused: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._child.send_signal(signal.SIGKILL)
        self._child.wait()
        # Remaining processes get SIGHUP, as from a closed window.
        os.close(self._terminal)

    @property
    def text(self) -> str:
        return "".join(text for _moment, text in self.shown)

    def type(self, keys: str) -> None:
        os.write(self._terminal, keys.encode())

    def finish(self, seconds: float = 120) -> int:
        """Wait for the end of the command; return its exit code."""
        code = self._child.wait(seconds)
        self._reader.join(2)
        return code

    def _read(self) -> None:
        with contextlib.suppress(OSError):
            while text := os.read(self._terminal, 65536):
                self.shown.append((time.monotonic() - self._began, text.decode("utf-8", "replace")))
