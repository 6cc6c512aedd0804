# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files of a job: an action that goes on after the call that began it has been answered, and is followed by others.

A directory of its own, mode 0700, for each: ``alive`` is locked as long as the job runs, ``lines`` has its progress, a JSON object each,
``asked`` is touched by whoever waits for it, ``out`` has what it prints, ``rc`` its exit code once it has ended. No secret is in a line.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import shutil
import threading
import time
from collections.abc import Mapping
from typing import Any

#: How an action plugin asks to be handed a job over: its id, and after how many seconds.
VARIABLE = "FLEET_POWER_FOLLOW"
_ASKED = re.compile(r"([0-9a-f]{32}):([0-9]{1,4}(?:\.[0-9]{1,3})?)")
#: Seconds for which the files of a job that nobody fetched are kept.
_KEPT_SECONDS = 86400.0
#: Seconds without anybody who waits, after which nothing new begins. Whoever waits asks again within ten.
GRACE_SECONDS = 30.0


def asked_for(variables: Mapping[str, str]) -> tuple[str, float] | None:
    """Return the id of the job that is to be handed over, and after how many seconds; None where nobody follows."""
    found = _ASKED.fullmatch(variables.get(VARIABLE, ""))
    return None if found is None else (found[1], float(found[2]))


def job_directory() -> str:
    """Return where the jobs of this user are."""
    return "/run/fleet-power-jobs" if os.geteuid() == 0 else f"/var/tmp/fleet-power-jobs-{os.geteuid()}"


class Job:
    """One job, on its own side. Several threads may tell."""

    def __init__(self, name: str) -> None:
        """Make its files. Raises OSError where there is no place for them that is ours alone."""
        home = job_directory()
        with contextlib.suppress(FileExistsError):
            os.mkdir(home, 0o700)
        status = os.lstat(home)
        if status.st_uid != os.geteuid() or status.st_mode & 0o077:
            raise PermissionError(f"{home} is not ours alone")
        _clear(home)
        self.path = os.path.join(home, name)
        os.mkdir(self.path, 0o700)
        for each in ("lines", "asked", "out", "alive"):
            os.close(os.open(self._file(each), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        self._guard = threading.Lock()
        self._alive = -1

    def begin(self) -> None:
        """Be alive from now on, until this process ends, and print into a file; nobody's connection is held any more."""
        self._alive = os.open(self._file("alive"), os.O_RDWR | os.O_CLOEXEC)
        fcntl.flock(self._alive, fcntl.LOCK_EX)
        out = os.open(self._file("out"), os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        nothing = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        for descriptor, source in ((0, nothing), (1, out), (2, nothing)):
            os.dup2(source, descriptor)

    def tell(self, line: Mapping[str, Any]) -> None:
        """Add a line of progress; nothing fails for it."""
        text = json.dumps(line, separators=(",", ":")) + "\n"
        with contextlib.suppress(OSError), self._guard, open(self._file("lines"), "ab") as lines:
            lines.write(text.encode("utf-8", "replace"))

    def end(self, code: int) -> None:
        """Say with which exit code it has ended."""
        with contextlib.suppress(OSError):
            with open(self._file("rc.new"), "w", encoding="ascii") as file:
                file.write(str(code))
            os.rename(self._file("rc.new"), self._file("rc"))

    @property
    def is_unasked(self) -> bool:
        """True if nobody has waited for it for too long, or whoever did has gone for good."""
        try:
            return os.path.exists(self._file("gone")) or time.time() - os.stat(self._file("asked")).st_mtime > GRACE_SECONDS
        except OSError:
            return True

    def touch(self) -> None:
        """Somebody is about to wait for it."""
        with contextlib.suppress(OSError):
            os.utime(self._file("asked"))

    def printed(self) -> str:
        """Return what it has printed."""
        with open(self._file("out"), encoding="utf-8") as out:
            return out.read()

    def remove(self) -> None:
        """Remove its files."""
        shutil.rmtree(self.path, ignore_errors=True)

    def _file(self, name: str) -> str:
        return os.path.join(self.path, name)


def _clear(home: str) -> None:
    """Remove the files of jobs that nobody fetched within a day."""
    with contextlib.suppress(OSError), os.scandir(home) as entries:
        for entry in entries:
            with contextlib.suppress(OSError):
                if time.time() - entry.stat(follow_symlinks=False).st_mtime > _KEPT_SECONDS:
                    shutil.rmtree(entry.path)
