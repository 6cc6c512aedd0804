# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files of a job: an action that goes on after the call that began it has been answered, and is followed by others.

A directory of its own, mode 0700, for each. ``here`` is removed by whoever decides first: the call, as it hands the job over, or the job,
as it ends before that. ``alive`` is locked as long as the job runs, ``lines`` has its news, a JSON object each, ``asked`` is dated by who
waits for it, with the monotonic clock, ``out`` and ``err`` have what it prints, ``rc`` its exit code once it has ended. ``given-up`` is
there once somebody has said that nobody will wait any more. No secret is in a line.

No action that is to be followed begins without its directory, which is kept for some minutes after its end. So one that has none, and that
cannot have ended longer ago, has not begun.
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
from dataclasses import dataclass
from typing import Any

from . import _job_wait
from ._power.host.liveness import life

#: How an action plugin asks to be handed a job over: its id, after how many seconds, and, where it may have begun before, in which life of
#: the machine it may begin, and until which age of it.
VARIABLE = "FLEET_POWER_JOB"
#: The keys of answers: which job goes on; why one has not begun, since its files have no place; that there is none.
FOLLOW = "fleet_follow"
UNFOLLOWED = "fleet_unfollowed"
ABSENT = "fleet_absent"
_ASKED = re.compile(r"([0-9a-f]{32}):([0-9]{1,4}(?:\.[0-9]{1,3})?)(?::([0-9a-f-]*\.[0-9]+):([0-9]{1,12}(?:\.[0-9]{1,3})?))?")
_ID = re.compile(r"[0-9a-f]{32}")
_HOME_OF_ROOT, _HOME_OF_OTHERS = "/run/fleet-power-jobs", "/var/tmp/fleet-power-jobs-"
#: Seconds for which the files of a job are kept after its end: longer than anybody who follows it tries again.
KEPT_SECONDS: float = 240
#: Seconds without anybody who waits, after which the files of a job that did not come to its end are removed.
_LEFT_SECONDS = 43200.0
#: Whoever has this file's lock removes the files of jobs that have ended, until there are none.
_SWEEPER = "sweeper"
#: By no clock that may be set: a job that was found ended is removed at the next look, if that comes after the whole time.
_SWEEP = """trap '' HUP
while :; do
    sleep "$1" || [ $? -gt 128 ] || exit 1
    find "$0" -mindepth 2 -maxdepth 2 -name rc -perm 400 -exec sh -c 'rm -rf -- "${1%/rc}"' sh {} \\;
    find "$0" -mindepth 2 -maxdepth 2 -name rc -exec chmod 400 {} +
    ls "$0"/*/rc >/dev/null 2>&1 || exit 0
done"""
#: Bytes that are to be free for the files of a job.
_ROOM = 1 << 24
#: Seconds without anybody who waits, after which nothing new begins until somebody does.
HOLD_SECONDS = 2.0
#: Seconds without anybody who waits, after which nothing new begins at all: longer than anybody who follows tries to reach the node.
GRACE_SECONDS = 180.0


#: The same as `_home` says, for a shell. Where a job has not begun, its directory is made here, so that it never does; the files are those
#: of one that has ended.
_GIVE_UP = """umask 077
user=$(id -u)
if [ "$user" = 0 ]; then home=%s; else home=%s; fi
mkdir "$home" 2>/dev/null
if [ -d "$home" ] && [ ! -L "$home" ] && [ -O "$home" ]; then
    mkdir "$home/%s" 2>/dev/null && : > "$home/%s/rc"
    : > "$home/%s/given-up"
fi"""


def give_up_command(name: str) -> str:
    """Return a shell command line which says that nobody waits for a job any more: what it has begun is finished, nothing else begins."""
    return _GIVE_UP % (_HOME_OF_ROOT, f"{_HOME_OF_OTHERS}$user", name, name, name)


@dataclass(frozen=True)
class AskedJob:
    """A job that is to be handed over after so many seconds. One that may have begun before may begin in one life of the machine, until its
    age is that."""

    name: str
    after: float
    life: str = ""
    until: float = 0.0

    @property
    def may_begin(self) -> bool:
        """Tell if it is certain that it has not begun before."""
        now, age = life()
        return not self.life or (self.life == now and age <= self.until)


def asked_for(variables: Mapping[str, str]) -> AskedJob | None:
    """Return the job that is to be handed over; None where nobody follows."""
    found = _ASKED.fullmatch(variables.get(VARIABLE, ""))
    return None if found is None else AskedJob(found[1], float(found[2]), found[3] or "", float(found[4] or 0.0))


def asking(name: str, after: float, absent: Mapping[str, Any] | None = None) -> str:
    """Return what `asked_for` reads; ``absent`` is the answer that there was no such job."""
    return f"{name}:{after}" + (f":{absent['fleet_life']}:{absent['fleet_age'] + KEPT_SECONDS:.3f}" if absent else "")


def absent_answer() -> dict[str, Any]:
    """Return the answer that there is no such job: with it the life of the machine, and its age."""
    now, age = life()
    return {"changed": False, ABSENT: True, "fleet_life": now, "fleet_age": age}


def job_path(name: str) -> str:
    """Return where the files of a job of this user are. Raises ValueError for what is no job's id."""
    if not _ID.fullmatch(name):
        raise ValueError(f"{name!r} is no job")
    return os.path.join(_home(), name)


def _home() -> str:
    return _HOME_OF_ROOT if os.geteuid() == 0 else f"{_HOME_OF_OTHERS}{os.geteuid()}"


class Job:
    """One job, on its own side. Several threads may tell."""

    def __init__(self, name: str) -> None:
        """Make its files, and be alive from now on, until this process and its child have ended.

        Raises FileExistsError if there is one of this name, OSError where there is no place for them that is ours alone and has room.
        """
        home = _home()
        with contextlib.suppress(FileExistsError):
            os.mkdir(home, 0o700)
        _require_own(home)
        _clear(home)
        _require_room(home)
        self.path = job_path(name)
        os.mkdir(self.path, 0o700)
        try:
            # First, so that nobody clears what has a date: whoever has this open file has its lock, a child of this process, too, and not
            # what that runs.
            fcntl.flock(os.open(self._file("alive"), os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), fcntl.LOCK_EX)
            for each in ("here", "lines", "asked", "out", "err", "rc.new", "wait"):
                os.close(os.open(self._file(each), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
            _job_wait.Watched(self.path).touch()
        except OSError:
            self.remove()
            raise
        self._guard = threading.Lock()

    def print_into_files(self) -> None:
        """Hold nobody's connection any more."""
        descriptors = (
            (0, os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)),
            (1, os.open(self._file("out"), os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)),
            (2, os.open(self._file("err"), os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)),
        )
        for descriptor, source in descriptors:
            os.dup2(source, descriptor)

    def tell(self, line: Mapping[str, Any]) -> None:
        """Add a line of news; nothing fails for it."""
        text = json.dumps(line, separators=(",", ":")) + "\n"
        with contextlib.suppress(OSError), self._guard, open(self._file("lines"), "ab") as lines:
            lines.write(text.encode("utf-8", "replace"))

    def hand_over(self, *, heard: bool = True) -> bool:
        """Let it be followed, unless it has ended meanwhile, or cannot be for want of room; whether it is.

        ``heard`` says whether anybody is there just now who follows.
        """
        program = _job_wait.__loader__.get_data(str(_job_wait.__file__))  # type: ignore[union-attr]
        try:
            with open(self._file("wait"), "wb") as wait:
                wait.write(program)
            _job_wait.Watched(self.path).touch(0.0 if heard else _job_wait.GONE_SECONDS)
            return self._decide()
        except OSError:
            return False

    def end(self, code: int) -> bool:
        """Say with which exit code it has ended; return whether that is the call's to print, since it was not handed over before."""
        with contextlib.suppress(OSError):
            with open(self._file("rc.new"), "w", encoding="ascii") as file:
                file.write(str(code))
            os.rename(self._file("rc.new"), self._file("rc"))
        return self._decide()

    def leave(self) -> None:
        """Have its files removed once nobody asks for them any more, like those of all others that have ended here.

        Also where it was quick: the answer of the call may be lost, and whoever asks again is to find that it was done.
        """
        with contextlib.suppress(OSError):
            one = os.open(os.path.join(os.path.dirname(self.path), _SWEEPER), os.O_RDWR | os.O_CREAT, 0o600)
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(one, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self._spawn_sweeper(one)
            os.close(one)

    def _spawn_sweeper(self, lock: int) -> None:
        """Begin what removes files, a shell, which has the lock as long as it goes on."""
        # It holds nobody's connection.
        files = [(os.POSIX_SPAWN_DUP2, lock, 9), *((os.POSIX_SPAWN_OPEN, number, os.devnull, os.O_RDWR, 0) for number in range(3))]
        words = ("sh", "-c", _SWEEP, os.path.dirname(self.path), f"{KEPT_SECONDS:g}")
        # What the task's environment says of PATH may lead to no command.
        # pylint: disable-next=ansible-bad-function
        os.posix_spawn("/bin/sh", words, {"PATH": os.defpath}, file_actions=files)

    @property
    def is_handed_over(self) -> bool:
        """True if others follow it."""
        return not os.path.exists(self._file("here"))

    @property
    def is_given_up(self) -> bool:
        """True if somebody has said that nobody will wait for it any more."""
        return os.path.exists(self._file("given-up"))

    @property
    def silence(self) -> float:
        """For how many seconds nobody has waited for it; none if that cannot be told."""
        try:
            return max(0.0, time.monotonic() - os.stat(self._file("asked")).st_mtime)
        except OSError:
            return 0.0

    def printed(self) -> tuple[bytes, bytes]:
        """Return what it has printed: its output, and its errors."""
        return _read(self._file("out")), _read(self._file("err"))

    def remove(self) -> None:
        """Remove its files."""
        shutil.rmtree(self.path, ignore_errors=True)

    def _decide(self) -> bool:
        """Tell if this is the first to decide, call or job."""
        try:
            os.unlink(self._file("here"))
        except FileNotFoundError:
            return False
        return True

    def _file(self, name: str) -> str:
        return os.path.join(self.path, name)


def ended_job(path: str) -> tuple[bytes, bytes, int] | None:
    """Return what a job has printed, its output and its errors, and its exit code; None if it goes on.

    Raises FileNotFoundError if there is none, ValueError if it left no exit code: it was killed. Other errors are OSError, as that of a
    directory that is not ours alone any more.
    """
    _require_own(os.path.dirname(path))
    if _job_wait.Watched(path).is_live():
        return None
    try:
        code = int(_read(os.path.join(path, "rc")))
    except FileNotFoundError:
        raise ValueError(f"{path} has no exit code") from None
    return _read(os.path.join(path, "out")), _read(os.path.join(path, "err")), code


def _require_own(home: str) -> None:
    """Raise PermissionError unless a directory is this user's, and nobody else may look into it."""
    status = os.lstat(home)
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o077:
        raise PermissionError(f"{home} is not ours alone")


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def _require_room(home: str) -> None:
    """Raise OSError where a result might find no room: it would be lost, although the action was done."""
    space = os.statvfs(home)
    # Without any blocks it is in memory, and knows no bounds.
    if space.f_blocks and space.f_bavail * space.f_frsize < _ROOM:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), home)


def _clear(home: str) -> None:
    """Remove the files of jobs that did not come to their end, and that nobody can be waiting for any more."""
    with contextlib.suppress(OSError), os.scandir(home) as entries:
        for entry in entries:
            with contextlib.suppress(OSError):
                has_ended = os.path.exists(os.path.join(entry.path, "rc"))
                if entry.name != _SWEEPER and not has_ended and _age(entry) > _LEFT_SECONDS and not _is_live(entry.path):
                    shutil.rmtree(entry.path)


def _age(entry: os.DirEntry[str]) -> float:
    """Return for how many seconds nobody has waited for a job, by the clock that nobody sets; without end for one of an earlier boot."""
    try:
        age = time.monotonic() - os.stat(os.path.join(entry.path, "asked")).st_mtime
    except FileNotFoundError:
        # Removed by half.
        return time.time() - entry.stat(follow_symlinks=False).st_mtime
    return age if age >= 0 else float("inf")


def _is_live(path: str) -> bool:
    try:
        return _job_wait.Watched(path).is_live()
    except FileNotFoundError:
        # Somebody has begun to remove it, and did not come to the end.
        return False
