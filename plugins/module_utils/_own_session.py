# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lets a process outlive the systemd unit that it began in.

With ``KillUserProcesses=yes`` in logind.conf, all processes in a login's ``session-N.scope`` end with the login. All processes in the
``run-….service`` of a ``run0`` command end with the command. Only root may move a process into another scope, over the system bus.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import signal
import subprocess
import sys
from collections.abc import Callable
from types import FrameType
from typing import NoReturn

_LOGIN = re.compile(r"/user\.slice/.*/session-[^/]+\.scope(/|$)", re.MULTILINE)
_COMMAND = re.compile(r"/run-[^/]+\.(service|scope)(/|$)", re.MULTILINE)
_BUS_SECONDS = 5.0
_BUSCTL = ("busctl", "--system", "--timeout=4")
_KILLS = ("get-property", "org.freedesktop.login1", "/org/freedesktop/login1", "org.freedesktop.login1.Manager", "KillUserProcesses")
_START = ("call", "org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager", "StartTransientUnit")
ENDINGS = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)
STDOUT = 1


def outlive_login(pid: int, name: str) -> bool:
    """Let a child of this process outlive its login or command, in a new scope of that name if needed; False if uncertain."""
    try:
        units = _units_of(pid)
        if not _COMMAND.search(units) and (not _LOGIN.search(units) or _asked(*_KILLS) == "b false"):
            return True
        if os.geteuid() != 0:
            return False
        properties = ("2", "Description", "s", "A power action of fleet.power that is followed", "PIDs", "au", "1", str(pid))
        _asked(*_START, "ssa(sv)a(sa(sv))", f"{name}.scope", "fail", *properties, "0")
    except (OSError, subprocess.SubprocessError):
        return False
    return True


def _units_of(pid: int) -> str:
    with open(f"/proc/{pid}/cgroup", encoding="utf-8") as file:
        return file.read()


def _asked(*words: str) -> str:
    """Return the answer of the system bus. Raises OSError and SubprocessError."""
    # pylint: disable-next=ansible-bad-function
    asked = subprocess.run([*_BUSCTL, *words], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_BUS_SECONDS, check=True)
    return asked.stdout.strip()


class Interruptions:
    """A flag that signals raise, and the end of a caller. Call it: True means that nothing new should begin."""

    def __init__(self, caller: int | None = None) -> None:
        """``caller`` is the process that reads the result. Its end counts, and so does a closed output. None: only signals count."""
        self._caller = caller
        self._signalled = False
        for ending in ENDINGS:
            signal.signal(ending, self._note)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDINGS)

    def _note(self, _number: int, _frame: FrameType | None) -> None:
        self._signalled = True

    def __call__(self) -> bool:
        return self._signalled or (self._caller is not None and (os.getppid() != self._caller or nobody_reads(STDOUT)))

    def hold(self) -> None:
        """Before something begins: no need to wait here."""


def nobody_reads(descriptor: int) -> bool:
    """Tell if the other end of a pipe or socket was closed; False for a file or a terminal."""
    poll = select.poll()
    poll.register(descriptor, 0)
    return any(event & (select.POLLERR | select.POLLHUP | select.POLLNVAL) for _descriptor, event in poll.poll(0))


def in_own_session(main: Callable[[Interruptions], None], tell: Callable[[int], None] | None = None) -> NoReturn:
    """Run ``main`` in a child with its own session and exit with its status; the parent passes signals on and waits. If no child can start,
    run it in this process: a kill must work on an overloaded machine. ``tell`` gets the status of a child that a signal ended; None prints
    a module's failure."""
    status = _await_child(fork_into(lambda parent: _run_child(main, parent), main))
    if os.WIFSIGNALED(status):
        # Only SIGKILL or a crash of the interpreter does this. The journal has the work done so far.
        with contextlib.suppress(OSError):
            (tell or tell_killed)(status)
        raise SystemExit(1)
    raise SystemExit(os.WEXITSTATUS(status))


def fork_into(run_child: Callable[[int], NoReturn], run_here: Callable[[Interruptions], None]) -> int:
    """Return a child that runs ``run_child`` with the id of this process. Signals are blocked until both sides can handle them. If no child
    can start, do ``run_here`` and exit: note signals as a child does."""
    sys.stdout.flush()
    # If our caller ignores SIGCHLD, we cannot wait for a child.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_BLOCK, ENDINGS)
    parent = os.getpid()
    try:
        child = os.fork()
    except OSError:
        # A process that leads a group, as under ``sudo``, cannot have a new session.
        with contextlib.suppress(PermissionError):
            os.setsid()
        run_here(Interruptions(os.getppid()))
        raise SystemExit(0) from None
    if child == 0:
        run_child(parent)
    return child


def _await_child(child: int) -> int:
    """Return the exit status of the child, and pass signals on to it until then. Signals are taken one by one, without handlers: a handler
    for a signal just before the wait would run after it."""
    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGCHLD,))
    while True:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return status
        number = signal.sigwait((*ENDINGS, signal.SIGCHLD))
        if number != signal.SIGCHLD:
            pass_on(child, number)


def tell_killed(status: int) -> None:
    """Print a module's failure: a signal ended the process that acted."""
    msg = f"Cannot tell how the action ended: its process was ended by signal {os.WTERMSIG(status)}; see server_power_info"
    sys.stdout.write(json.dumps({"failed": True, "msg": msg, "code": "interrupted"}) + "\n")
    sys.stdout.flush()


def pass_on(child: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(child, number)


def _run_child(main: Callable[[Interruptions], None], parent: int) -> NoReturn:
    """Never returns: exit handlers of the parent must run only once."""
    code = 1
    try:
        os.setsid()
        main(Interruptions(parent))
        code = 0
    except SystemExit as left:
        code = left.code if isinstance(left.code, int) else 1
    finally:
        with contextlib.suppress(OSError):
            sys.stdout.flush()
        os._exit(code)
