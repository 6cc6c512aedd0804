# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A hook as a transient unit of systemd. With the unit ends all that the hook began."""

from __future__ import annotations

import contextlib
import os
import pwd
import select
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence

from ..model.cancellation import Deadline, wait_until
from ..model.clock import SYSTEM_CLOCK
from ..model.records import dataclass
from .machine import text_of
from .pauses import hook_runs, hook_unit_of

#: With systemd as process 1, and its bus.
_NEEDED = ("/run/systemd/system", "/run/dbus/system_bus_socket")
_CGROUPS = "/proc/self/cgroup"
#: The unit's shell announces itself by an empty line, then waits for an answer. So an actor that died before knows no unit that begins
#: after it. A message of systemd-run itself comes without that line.
_SHELL = ("/bin/sh", "-c", 'echo && read -r _ && exec "$@" </dev/null', "hook")
#: Seconds from SIGTERM to SIGKILL at the end of the timeout.
_GRACE_SECONDS = 10
#: More seconds until a unit that systemd should have ended is killed.
_LATE_SECONDS = 20.0
_LOOK_SECONDS = 0.1
#: After its end, a unit is unloaded in this time; else something of it still runs.
_UNLOAD_SECONDS = 0.5
_END_SECONDS = 20.0
_CALL_SECONDS = 10.0
_CHUNK, _KEPT = 1 << 14, 1 << 16
#: What a pipe holds when its unit ends.
_LATE_CHUNKS = 8


@dataclass(frozen=True)
class HookEnd:
    """``exit_code``: None if it did not end by itself. ``output``: its last bytes. ``is_gone``: nothing of it is left."""

    exit_code: int | None
    output: bytes
    seconds: float
    is_gone: bool


def is_inside(uuid: str) -> bool:
    """Tell if this process belongs to a hook of the server, by its cgroup: a process cannot forget that."""
    return f"/{hook_unit_of(uuid)}" in text_of(_CGROUPS)


def unavailable(command: Sequence[str], user: str) -> str:
    """Return why a hook cannot run here, as the end of a sentence; "" if it can."""
    if os.geteuid() != 0:
        return "only root can run hooks; act as root (become: true)"
    if not all(map(os.path.exists, _NEEDED)) or shutil.which("systemd-run") is None:
        return "hooks need systemd as process 1, and its bus (Debian package dbus)"
    if not (os.path.isfile(command[0]) and os.access(command[0], os.X_OK)):
        return f"{command[0]} is no program; install it, or correct hooks in the settings"
    try:
        pwd.getpwnam(user)
    except KeyError:
        return f"this machine has no user {user}; make it, or correct hooks in the settings"
    return ""


def words_of(uuid: str, hook: str, command: Sequence[str], user: str, timeout: int, environment: Mapping[str, str]) -> list[str]:
    """Return the words that ask systemd for the hook. systemd replaces variables in arguments, even in quotes, unless ``$`` is doubled."""
    return [
        *("systemd-run", "--quiet", "--wait", "--pipe", "--collect", f"--unit={hook_unit_of(uuid)}"),
        f"--description=Hook {hook} of server {uuid}",
        f"--uid={user}",
        *(f"--property={name}={seconds}" for name, seconds in (("RuntimeMaxSec", timeout), ("TimeoutStopSec", _GRACE_SECONDS))),
        *(f"--setenv={name}={value}" for name, value in environment.items()),
        "--",
        *(word.replace("$", "$$") for word in (*_SHELL, *command)),
    ]


def run(uuid: str, words: Sequence[str], timeout: int, is_cancelled: Callable[[], bool]) -> HookEnd:
    """Run a hook until its end, or end it: when ``is_cancelled``, called ten times a second. Raises OSError if it did not begin."""
    began, code = SYSTEM_CLOCK.monotonic(), None
    deadline = Deadline(SYSTEM_CLOCK, began + timeout + _GRACE_SECONDS + _LATE_SECONDS)
    # A session of its own: a signal for this process must not end the wait for the unit.
    # pylint: disable-next=ansible-bad-function
    child = subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd="/", bufsize=0, start_new_session=True
    )
    try:
        output, has_begun = _follow(child, lambda: deadline.is_over or is_cancelled())
        code = child.poll()
    finally:
        with child:
            child.kill()
        is_gone = _end(uuid, at_once=code is None)
    seconds = SYSTEM_CLOCK.monotonic() - began
    by_itself = code == 0 or (code is not None and code > 0 and seconds < timeout and not is_cancelled())
    if code and by_itself and is_gone and not has_begun:
        raise OSError(" ".join(output.decode(errors="replace").split()) or f"systemd-run ended with exit code {code}")
    return HookEnd(code if by_itself else None, output, seconds, is_gone)


def _follow(child: subprocess.Popen[bytes], ends_early: Callable[[], bool]) -> tuple[bytes, bool]:
    """Answer the unit's shell; return the last output, and if the hook has begun. A process outside of the unit may keep the pipe open."""
    if child.stdin is None or child.stdout is None:
        raise TypeError("the hook has no pipes")
    os.set_blocking(child.stdout.fileno(), False)
    poll, output, has_begun, is_open, left = select.poll(), b"", False, True, _LATE_CHUNKS
    poll.register(child.stdout, select.POLLIN)
    while left and not ends_early():
        has_ended = child.poll() is not None
        left -= has_ended
        if is_open and poll.poll(0 if has_ended else _LOOK_SECONDS * 1000):
            piece = child.stdout.read(_CHUNK) or b""
            if piece and not output:
                has_begun = piece.startswith(b"\n")
                with contextlib.suppress(BrokenPipeError):
                    child.stdin.write(b"\n")
            output = (output + piece)[-_KEPT:]
            is_open = bool(piece)
        elif has_ended:
            break
        elif not is_open:
            SYSTEM_CLOCK.sleep(_LOOK_SECONDS)
    return output, has_begun


def end(uuid: str) -> str:
    """End the hook of a server with all that it began; return why that is impossible, as the end of a sentence."""
    if os.geteuid() != 0:
        return "only root can end it"
    return "" if _end(uuid, at_once=True) else "it could not be ended"


def _end(uuid: str, *, at_once: bool) -> bool:
    """``at_once``: else the unit has ended, and systemd only needs a moment."""
    deadline, kills = Deadline.after(SYSTEM_CLOCK, _END_SECONDS), at_once
    while hook_runs(uuid):
        if deadline.is_over:
            return False
        if kills:
            command = ["systemctl", "kill", "--signal=SIGKILL", hook_unit_of(uuid)]
            with contextlib.suppress(OSError, subprocess.SubprocessError):
                # pylint: disable-next=ansible-bad-function
                subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_CALL_SECONDS, check=False)
        kills = True
        wait_until(lambda: not hook_runs(uuid), Deadline.after(SYSTEM_CLOCK, _UNLOAD_SECONDS), every=_LOOK_SECONDS / 10)
    return True
