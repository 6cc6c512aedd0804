# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An action that takes longer than a moment is handed over: the call is answered, and the action goes on as a job that others follow.

As in a session of its own, what has begun is finished. Nothing else begins while nobody follows; whoever does may have lost the connection
for a while, so that what waits for its turn waits for them, too, before it is given up.
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
from ._own_session import ENDINGS, STDOUT, Interruptions, hold_signals, nobody_reads, outlive_login, pass_on, run_here, tell_killed

#: Between two looks of a job at who follows it, and of a call at who reads its answer.
_LOOK_SECONDS = 0.1
_LONG_SECONDS = 3600.0


class Followed(Interruptions):
    """A flag that signals raise, and the caller by going away: the call itself until the job was handed over, then whoever follows it."""

    def __init__(self, job: Job, parent: int) -> None:
        self._job, self._parent = job, parent
        super().__init__()

    def __call__(self) -> bool:
        if super().__call__():
            return True
        if self._job.is_given_up:
            # Somebody said so: no need to see whether they come back.
            self._signalled = True
            return True
        if self._job.is_handed_over:
            # For good: who comes back later is not to find some of it begun and some given up.
            self._signalled = self._job.silence > GRACE_SECONDS
            return self._signalled
        return os.getppid() != self._parent and not self._job.is_handed_over

    def hold(self) -> None:
        """Before something begins: wait while nobody follows the job, who may be back or gone for good."""
        while self._job.is_handed_over and self._job.silence > HOLD_SECONDS and not self():
            time.sleep(_LOOK_SECONDS)


def in_followed_session(main: Callable[[Interruptions, Job | None], None], asked: AskedJob) -> None:
    """Run ``main`` as in a session of its own; if it has not ended after so many seconds, answer that it goes on, as a job to be followed.

    A second call for the same job, as where a lost connection is tried again, answers that it goes on. Nothing is done, and the answer says
    why, where a job has no place for its files, or may have begun before and left none. One that would end with the login is waited for.
    """
    job = _begun(asked)
    sys.stdout.flush()
    hold_signals()
    parent = os.getpid()
    try:
        child = os.fork()
    except OSError:
        run_here(lambda interrupted: _run_untold(main, job, interrupted))
    if child == 0:
        _run_job(main, job, parent)
    hearer = _Hearer(child)
    status = _ended_within(child, asked.after, hearer)
    if status is None and outlive_login(child, f"fleet-power-job-{asked.name}") and job.hand_over(heard=hearer.is_there()):
        _answer(_goes_on(job.path))
        # What a module does at its exit is the job's to do: it still needs the files that this was unpacked into.
        os._exit(0)
    while status is None:
        if not hearer.is_there():
            # Nothing else is to begin, as nobody can come back for it.
            pass_on(child, signal.SIGTERM)
            status = os.waitpid(child, 0)[1]
        else:
            status = _ended_within(child, _LONG_SECONDS, hearer)
    _leave_as(job, status)


def _begun(asked: AskedJob) -> Job:
    """Return the job, whose directory says from now on that it has begun. Else leave with an answer that says why it has not."""
    answer = _goes_on(job_path(asked.name))
    try:
        if asked.may_begin:
            return Job(asked.name)
        if not os.path.exists(job_path(asked.name)):
            answer = absent_answer()
    except FileExistsError:
        # It has begun.
        pass
    except OSError as error:
        answer = {"changed": False, UNFOLLOWED: str(error)}
    _answer(answer)
    raise SystemExit(0)


def _goes_on(path: str) -> dict[str, Any]:
    """Return the answer that a job goes on, and which Python can be asked for its news."""
    return {"changed": False, FOLLOW: {"job": path, "python": sys.executable}}


def _run_untold(main: Callable[[Interruptions, Job | None], None], job: Job, interrupted: Interruptions) -> None:
    """Run it in this process, which holds the job: what it prints is kept by nobody, so that nobody can be told who asks again."""
    try:
        main(interrupted, None)
    finally:
        job.end(1)
        job.leave()


class _Hearer:
    """Whoever reads what the call prints. A terminal or pipe that was closed is Ctrl-C, or a connection that broke: they may come back."""

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
        """Tell if anybody reads."""
        return not self._hung_up and not nobody_reads(STDOUT)


def _ended_within(child: int, seconds: float, hearer: _Hearer) -> int | None:
    """Wait that long for a child, or until nobody reads any more; return its status, None if it goes on."""
    began = time.monotonic()
    # It wakes at the child's end: a quick task is not to wait for it.
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
    """Answer in place of the action."""
    with _perhaps_unread():
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


@contextlib.contextmanager
def _perhaps_unread() -> Iterator[None]:
    """Nobody may be there any more who reads what is printed; nor is it to be tried once more at the exit."""
    try:
        yield
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC), STDOUT)


def _leave_as(job: Job, status: int) -> NoReturn:
    """Print what a job has printed, and leave as it left; what a module does at its exit is done here."""
    output, errors = job.printed()
    if os.WIFSIGNALED(status):
        # Whoever did not hear it is not to take it for one that never began.
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
    """Never returns. What a module does at its exit is done once, by whichever of call and job is there at the end."""
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
