# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hands a long action over: the call returns, and the action continues as a job that the task polls.

As in a session of its own, started work is finished. Without polling nothing new begins. The connection may be lost for a while, so waiting
work is held first, and given up later.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from types import FrameType
from typing import Any, NoReturn

from ._job import FOLLOW, GRACE_SECONDS, HOLD_SECONDS, UNFOLLOWED, AskedJob, Job, absent_answer, job_path
from ._own_session import ENDINGS, STDOUT, Interruptions, fork_into, nobody_reads, outlive_login, pass_on, tell_killed

#: Seconds between two looks of a job for polls, and of a call for its reader.
_LOOK_SECONDS = 0.1
_LONG_SECONDS = 3600.0


class Followed(Interruptions):
    """A flag that signals raise, and the end of the caller: the reader of the call before the handover, the polling task after it."""

    def __init__(self, job: Job, parent: int) -> None:
        self._job, self._parent = job, parent
        super().__init__()

    def __call__(self) -> bool:
        if super().__call__():
            return True
        if self._job.is_given_up:
            self._signalled = True
            return True
        if self._job.is_handed_over:
            # Final: a task that returns later must not find some work begun and some given up.
            self._signalled = self._job.silence > GRACE_SECONDS
            return self._signalled
        return os.getppid() != self._parent and not self._job.is_handed_over

    def hold(self) -> None:
        """Before something begins: wait while polling is interrupted, until it resumes or has ended for good."""
        while self._job.is_handed_over and self._job.silence > HOLD_SECONDS and not self():
            time.sleep(_LOOK_SECONDS)


def in_followed_session(main: Callable[[Interruptions, Job | None], None], asked: AskedJob) -> None:
    """Run ``main`` in its own session; after ``asked.after`` seconds answer that it continues as a job. A second call for the same job, as
    after a lost connection, gets the same answer. If the files have no place, or the job may have begun before and left none, nothing is
    done, and the answer says why. A job that would end with the login is waited for."""
    job = _begun(asked)
    child = fork_into(lambda parent: _run_job(main, job, parent), lambda interrupted: _run_unfollowed(main, job, interrupted))
    hearer = _Hearer(child)
    status = _ended_within(child, asked.after, hearer)
    if status is None and outlive_login(child, f"fleet-power-job-{asked.name}") and job.hand_over(heard=hearer.is_there()):
        _answer(_goes_on(job.path))
        # The job runs the module's exit handlers, because it still needs the unpacked files.
        os._exit(0)
    while status is None:
        if not hearer.is_there():
            # Begin nothing more: no task can return for it.
            pass_on(child, signal.SIGTERM)
            status = os.waitpid(child, 0)[1]
        else:
            status = _ended_within(child, _LONG_SECONDS, hearer)
    _leave_as(job, status)


def _begun(asked: AskedJob) -> Job:
    """Return the new job, whose directory marks it as begun. Otherwise print an answer with the reason, and leave."""
    answer = _goes_on(job_path(asked.name))
    try:
        if asked.may_begin:
            return Job(asked.name)
        if not os.path.exists(job_path(asked.name)):
            answer = absent_answer()
    except FileExistsError:
        pass
    except OSError as error:
        answer = {"changed": False, UNFOLLOWED: str(error)}
    _answer(answer)
    raise SystemExit(0)


def _goes_on(path: str) -> dict[str, Any]:
    return {"changed": False, FOLLOW: {"job": path, "python": sys.executable}}


def _run_unfollowed(main: Callable[[Interruptions, Job | None], None], job: Job, interrupted: Interruptions) -> None:
    """Run it in this process, which holds the job. Its output is not kept, so a retry cannot get it."""
    try:
        main(interrupted, None)
    finally:
        job.end(1)
        job.leave()


class _Hearer:
    """The reader of the call's output. A closed terminal or pipe is Ctrl-C or a broken connection, and the reader may return."""

    def __init__(self, child: int) -> None:
        """Note the end of a terminal, and pass other signals on to the job."""
        self._hung_up = False
        signal.signal(signal.SIGHUP, self._note)
        for ending in (signal.SIGINT, signal.SIGTERM):
            signal.signal(ending, lambda number, _frame: pass_on(child, number))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDINGS)

    def _note(self, _number: int, _frame: FrameType | None) -> None:
        self._hung_up = True

    def is_there(self) -> bool:
        return not self._hung_up and not nobody_reads(STDOUT)


def _ended_within(child: int, seconds: float, hearer: _Hearer) -> int | None:
    """Wait that long for a child, or until the reader is gone; return its status, None if it runs on."""
    began = time.monotonic()
    # SIGCHLD wakes the wait, so that a quick task is not delayed.
    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGCHLD,))
    while True:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return status
        passed = time.monotonic() - began
        if passed >= seconds or not hearer.is_there():
            return None
        signal.sigtimedwait((signal.SIGCHLD,), min(seconds - passed, _LOOK_SECONDS))


def _answer(answer: Mapping[str, Any]) -> None:
    with _perhaps_unread():
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


@contextlib.contextmanager
def _perhaps_unread() -> Iterator[None]:
    """Ignore that the reader is gone, and prevent another try at the exit."""
    try:
        yield
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC), STDOUT)


def _leave_as(job: Job, status: int) -> NoReturn:
    """Print a job's output, run the module's exit handlers, and leave with the job's exit code."""
    output, errors = job.printed()
    if os.WIFSIGNALED(status):
        # A retry must not take the job for one that never began.
        job.end(1)
    job.leave()
    with _perhaps_unread():
        sys.stderr.buffer.write(errors)
        sys.stderr.flush()
        sys.stdout.buffer.write(output)
        sys.stdout.flush()
        if os.WIFSIGNALED(status):
            tell_killed(status)
    raise SystemExit(os.WEXITSTATUS(status) if os.WIFEXITED(status) else 1)


def _run_job(main: Callable[[Interruptions, Job | None], None], job: Job, parent: int) -> NoReturn:
    """Never returns. Exit handlers run once, in the call or in the job, whichever is there at the end."""
    code = 1
    try:
        os.setsid()
        job.print_into_files()
        main(Followed(job, parent), job)
        code = 0
    except SystemExit as left:
        code = left.code if isinstance(left.code, int) else 1
    finally:
        with contextlib.suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        if job.end(code) and os.getppid() == parent:
            os._exit(code)
    job.leave()
    raise SystemExit(code)
