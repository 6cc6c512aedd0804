# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Scripts that run as modules, really started and really killed. Each writes notes to a file."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

Value = TypeVar("Value")

#: Forbids new processes and threads. The limit does not apply to root, so the script changes its user.
AT_THE_LIMIT = """
import resource
if os.getuid() == 0:
    os.setgroups([])
    os.setuid(65534)
resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
"""


class ForkedModule:
    def __init__(self, script: str, notes: Path, *arguments: str) -> None:
        self.notes = notes
        command = [sys.executable, "-c", script, str(notes), *arguments]
        self.parent = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment())

    def noted(self) -> list[str]:
        return self.notes.read_text().splitlines() if self.notes.exists() else []

    def await_note(self, beginning: str) -> str:
        return wait_for(lambda: next((note for note in self.noted() if note.startswith(beginning)), None), f"note {beginning}")

    def child(self) -> int:
        return int(self.await_note("begun").split()[1])

    def end(self) -> tuple[int, str, str]:
        output, errors = self.parent.communicate(timeout=30)
        return self.parent.returncode, output, errors

    def stop_reading(self) -> None:
        assert self.parent.stdout is not None
        self.parent.stdout.close()

    def close(self) -> None:
        self.parent.kill()
        self.parent.wait()
        for stream in (self.parent.stdout, self.parent.stderr):
            if stream is not None:
                stream.close()


def environment() -> dict[str, str]:
    """The environment with the path of the collection: a child reads no pytest configuration."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}


def wait_for(condition: Callable[[], Value | None], what: str) -> Value:
    """Wait until a condition returns a value other than None or False; return the value."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        found = condition()
        if found is not None and found is not False:
            return found
        time.sleep(0.01)
    raise AssertionError(f"{what}: not within 20 s")
