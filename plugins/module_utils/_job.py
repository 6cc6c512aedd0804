# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files of a job: an action that continues after the answer to its call, while the task polls it.

Each job has a directory with mode 0700. The call removes ``here`` as it hands the job over. A job that ends earlier removes it first. The
job locks ``alive`` as long as it runs. ``lines`` has its news, one JSON object a line, without secrets. The polling process dates
``asked``, by the monotonic clock. ``out`` and ``err`` have the output. ``rc`` has the exit code after the end. ``given-up`` exists once the
task has stopped polling for good.

No job begins without its directory, which stays for some minutes after the end. So a job without a directory has not begun, or ended longer
ago.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import re
import shutil
import stat
import threading
import time
from collections.abc import Mapping
from typing import Any

from . import _job_wait
from ._power.host.machine import life
from ._power.model.records import dataclass

#: An action plugin asks for a job with this variable: its id, the seconds until the handover, and the latest start if it may have begun
#: before. That start is a life of the machine and an age in it.
VARIABLE = "FLEET_POWER_JOB"
#: The keys of answers: the job continues; it has not begun for want of a place for its files; there is no such job.
FOLLOW = "fleet_follow"
UNFOLLOWED = "fleet_unfollowed"
ABSENT = "fleet_absent"
_ASKED = re.compile(r"([0-9a-f]{32}):([0-9]{1,4}(?:\.[0-9]{1,3})?)(?::([0-9a-f-]*\.[0-9]+):([0-9]{1,12}(?:\.[0-9]{1,3})?))?")
_ID = re.compile(r"[0-9a-f]{32}")
_HOME_OF_ROOT, _HOME_OF_OTHERS = "/run/fleet-power-jobs", "/var/tmp/fleet-power-jobs-"
#: Seconds that the files of a job stay after its end: longer than the retries of a task.
KEPT_SECONDS: float = 240
#: Seconds without polling after which the files of an unfinished job are removed.
_LEFT_SECONDS = 43200.0
#: The holder of this file's lock removes the files of ended jobs, until there are none.
_SWEEPER = "sweeper"
#: Independent of clocks: one look marks an ended job (mode 400), and the next look removes it.
_SWEEP = """trap '' HUP
while :; do
    sleep "$1" || [ $? -gt 128 ] || exit 1
    find "$0" -mindepth 2 -maxdepth 2 -name rc -perm 400 -exec sh -c 'rm -rf -- "${1%/rc}"' sh {} \\;
    find "$0" -mindepth 2 -maxdepth 2 -name rc -exec chmod 400 {} +
    ls "$0"/*/rc >/dev/null 2>&1 || exit 0
done"""
#: Free bytes that the files of a job need.
_ROOM = 1 << 24
#: Seconds without polling after which nothing new begins until polling resumes.
HOLD_SECONDS = 2.0
#: Seconds without polling after which nothing new begins at all: longer than the retries of a task to reach the node.
GRACE_SECONDS = 180.0


#: `_home` for a shell. If the job has not begun, the shell makes its directory with the files of an ended job, so that it never begins.
_GIVE_UP = """umask 077
user=$(id -u)
if [ "$user" = 0 ]; then home=%s; else home=%s; fi
mkdir "$home" 2>/dev/null
if [ -d "$home" ] && [ ! -L "$home" ] && [ -O "$home" ]; then
    mkdir "$home/%s" 2>/dev/null && : > "$home/%s/rc"
    : > "$home/%s/given-up"
fi"""


def give_up_command(name: str) -> str:
    """Return a shell command line that gives up a job: started work is finished, nothing new begins."""
    return _GIVE_UP % (_HOME_OF_ROOT, f"{_HOME_OF_OTHERS}$user", name, name, name)


@dataclass(frozen=True)
class AskedJob:
    """A job to hand over after so many seconds. After a possible start, it may begin only in that life of the machine, up to that age."""

    name: str
    after: float
    life: str = ""
    until: float = 0.0

    @property
    def may_begin(self) -> bool:
        """Tell if the job has certainly not begun before."""
        now, age = life()
        return not self.life or (self.life == now and age <= self.until)


def asked_for(variables: Mapping[str, str]) -> AskedJob | None:
    """Return the job to hand over; None if the caller does not poll."""
    found = _ASKED.fullmatch(variables.get(VARIABLE, ""))
    return None if found is None else AskedJob(found[1], float(found[2]), found[3] or "", float(found[4] or 0.0))


def asking(name: str, after: float, absent: Mapping[str, Any] | None = None) -> str:
    """Return the text for `asked_for`; ``absent`` is the answer that there was no such job."""
    return f"{name}:{after}" + (f":{absent['fleet_life']}:{absent['fleet_age'] + KEPT_SECONDS:.3f}" if absent else "")


def absent_answer() -> dict[str, Any]:
    """Return the answer that there is no such job, with the life of the machine and its age."""
    now, age = life()
    return {"changed": False, ABSENT: True, "fleet_life": now, "fleet_age": age}


def job_path(name: str) -> str:
    """Return the directory of a job of this user. Raises ValueError for an invalid id."""
    if not _ID.fullmatch(name):
        raise ValueError(f"{name!r} is no job")
    return os.path.join(_home(), name)


def _home() -> str:
    return _HOME_OF_ROOT if os.geteuid() == 0 else f"{_HOME_OF_OTHERS}{os.geteuid()}"


class Job:
    """One job, on its own side. Several threads may call `tell`."""

    def __init__(self, name: str) -> None:
        """Make its files, and be alive until this process and its child have ended. Raises FileExistsError for a name in use, OSError
        without a private place with enough room."""
        home = _home()
        with contextlib.suppress(FileExistsError):
            os.mkdir(home, 0o700)
        _require_own(home)
        _clear(home)
        _require_room(home)
        self.path = job_path(name)
        os.mkdir(self.path, 0o700)
        try:
            # Lock it before ``asked`` exists, or a cleaner may remove the files. A child of this process inherits the open file and its
            # lock; programs that the child runs do not.
            fcntl.flock(os.open(self._file("alive"), os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), fcntl.LOCK_EX)
            for each in ("here", "lines", "asked", "out", "err", "rc.new", "wait"):
                os.close(os.open(self._file(each), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
            _job_wait.Watched(self.path).touch()
        except OSError:
            shutil.rmtree(self.path, ignore_errors=True)
            raise
        self._guard = threading.Lock()

    def print_into_files(self) -> None:
        """Redirect all output into files, to release the connection."""
        for descriptor, path in enumerate((os.devnull, self._file("out"), self._file("err"))):
            os.dup2(os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC), descriptor)

    def tell(self, line: Mapping[str, Any]) -> None:
        text = json.dumps(line, separators=(",", ":")) + "\n"
        with contextlib.suppress(OSError), self._guard, open(self._file("lines"), "ab") as lines:
            lines.write(text.encode("utf-8", "replace"))

    def hand_over(self, *, heard: bool = True) -> bool:
        """Hand the job over; return False if it has ended or there is no room. ``heard``: the caller is still there."""
        program = _job_wait.__loader__.get_data(str(_job_wait.__file__))  # type: ignore[union-attr]
        try:
            with open(self._file("wait"), "wb") as wait:
                wait.write(program)
            _job_wait.Watched(self.path).touch(0.0 if heard else _job_wait.GONE_SECONDS)
            return self._decide()
        except OSError:
            return False

    def end(self, code: int) -> bool:
        """Record the exit code; return True if the job was not handed over, so that the call must print the output."""
        with contextlib.suppress(OSError):
            with open(self._file("rc.new"), "w", encoding="ascii") as file:
                file.write(str(code))
            os.rename(self._file("rc.new"), self._file("rc"))
        return self._decide()

    def leave(self) -> None:
        """Have the files of all ended jobs removed later, quick ones too: the call's answer may get lost, and a retry must find them."""
        with contextlib.suppress(OSError):
            one = os.open(os.path.join(os.path.dirname(self.path), _SWEEPER), os.O_RDWR | os.O_CREAT, 0o600)
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(one, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self._spawn_sweeper(one)
            os.close(one)

    def _spawn_sweeper(self, lock: int) -> None:
        """Start the shell that removes files. It has the lock as long as it runs."""
        # The shell must not hold the connection.
        files = [(os.POSIX_SPAWN_DUP2, lock, 9), *((os.POSIX_SPAWN_OPEN, number, os.devnull, os.O_RDWR, 0) for number in range(3))]
        words = ("sh", "-c", _SWEEP, os.path.dirname(self.path), f"{KEPT_SECONDS:g}")
        # PATH in the task's environment may lead to no command.
        # pylint: disable-next=ansible-bad-function
        os.posix_spawn("/bin/sh", words, {"PATH": os.defpath}, file_actions=files)

    @property
    def is_handed_over(self) -> bool:
        return not os.path.exists(self._file("here"))

    @property
    def is_given_up(self) -> bool:
        """True if the task has stopped polling for good."""
        return os.path.exists(self._file("given-up"))

    @property
    def silence(self) -> float:
        """The seconds since the last poll; 0 if unknown."""
        try:
            return max(0.0, time.monotonic() - os.stat(self._file("asked")).st_mtime)
        except OSError:
            return 0.0

    def printed(self) -> tuple[bytes, bytes]:
        return _read(self._file("out")), _read(self._file("err"))

    def _decide(self) -> bool:
        """Tell if this call is the first to decide between call and job."""
        try:
            os.unlink(self._file("here"))
        except FileNotFoundError:
            return False
        return True

    def _file(self, name: str) -> str:
        return os.path.join(self.path, name)


def ended_job(path: str) -> tuple[bytes, bytes, int] | None:
    """Return the output, the errors and the exit code of a job; None while it runs. Raises FileNotFoundError if there is none, ValueError
    if it was killed and left no exit code. Other errors are OSError, as for a directory that others may enter."""
    _require_own(os.path.dirname(path))
    if _job_wait.Watched(path).is_live():
        return None
    try:
        code = int(_read(os.path.join(path, "rc")))
    except FileNotFoundError:
        raise ValueError(f"{path} has no exit code") from None
    return _read(os.path.join(path, "out")), _read(os.path.join(path, "err")), code


def _require_own(home: str) -> None:
    """Raise PermissionError unless a directory belongs to this user alone."""
    status = os.lstat(home)
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o077:
        raise PermissionError(f"{home} is not ours alone")


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def _require_room(home: str) -> None:
    """Raise OSError if a result might find no room: the action would be done, but its result lost."""
    space = os.statvfs(home)
    # A file system without blocks is in memory and has no limit.
    if space.f_blocks and space.f_bavail * space.f_frsize < _ROOM:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), home)


def _clear(home: str) -> None:
    """Remove the files of unfinished jobs without polling."""
    with contextlib.suppress(OSError), os.scandir(home) as entries:
        for entry in entries:
            with contextlib.suppress(OSError):
                is_dead = entry.name != _SWEEPER and _age(entry) > _LEFT_SECONDS and not _is_live(entry.path)
                # The exit code comes last: the job may have begun and ended since the look at its age.
                if is_dead and not os.path.exists(os.path.join(entry.path, "rc")):
                    shutil.rmtree(entry.path)


def _age(entry: os.DirEntry[str]) -> float:
    """Return the seconds since the last poll, by the monotonic clock; infinite for a job of an earlier boot."""
    try:
        age = time.monotonic() - os.stat(os.path.join(entry.path, "asked")).st_mtime
    except FileNotFoundError:
        # The removal was interrupted.
        return time.time() - entry.stat(follow_symlinks=False).st_mtime
    return age if age >= 0 else float("inf")


def _is_live(path: str) -> bool:
    try:
        return _job_wait.Watched(path).is_live()
    except FileNotFoundError:
        return False
