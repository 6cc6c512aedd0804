# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Regular expressions of definitions: what RE2 has in other words, and child interpreters that a hostile pattern can burn without harm.

Whoever writes a definition writes patterns for Wings, that is for RE2, which no pattern can slow down. Python's matcher may take longer
than the world lasts, cannot be interrupted, and holds up every other thread meanwhile. So it runs in a process of its own, with a limit
on its processor time that the kernel keeps and one on its memory.

RE2's own library, google-re2, does not replace the child: it has no wheels for musl (Alpine), its newest release has none for Python 3.9,
and it takes no text with surrogate escapes, as which bytes that are not UTF-8 are read here. A node without it would need the child
still, and two engines would differ on one definition.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import re
import select
import signal
import sys
from typing import TYPE_CHECKING, Any

from ..model.cancellation import Deadline
from ..model.clock import SYSTEM_CLOCK

if TYPE_CHECKING:
    import subprocess

#: Processor seconds; the limit is counted in whole ones.
_PROCESSOR_SECONDS = 1
#: Seconds for one answer, and before it for the start, on a machine that is too busy to give the child its processor second sooner.
_ANSWER_SECONDS = 10.0
#: Bytes of memory, the interpreter's own included.
_MEMORY = 256 * 1024 * 1024
#: Characters of a pattern; what looks through them here takes the square of that at worst.
_LONGEST_PATTERN = 4096

#: What every child begins with. It imports nothing of ours: where the core runs from an archive there is no path to give it.
_LIMITS = r"""
import json, re, resource, sys, time
seconds, memory = map(int, sys.argv[1:3])

def limit(kind, most):
    hard = resource.getrlimit(kind)[1]
    resource.setrlimit(kind, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))

limit(resource.RLIMIT_CORE, 0)
limit(resource.RLIMIT_CPU, seconds)
limit(resource.RLIMIT_AS, memory)
"""


class NotStarted(Exception):
    """No child can be started."""


class RegexTimeout(Exception):
    """A child has not answered. ``spent``: its time was up; else it ended for a reason of its own, or somebody ended it."""

    def __init__(self, *, spent: bool) -> None:
        super().__init__()
        self.spent = spent


class PatternChild:
    """An interpreter that runs a program within the limits: a second of processor time in all, unless the program lifts that.

    The program writes an empty line when it is ready, then a line of JSON for each line of JSON, until its input ends. Raises `NotStarted`.
    """

    def __init__(self, program: str, *arguments: str) -> None:
        if not sys.executable:
            raise NotStarted
        try:
            self._running = _started(program, arguments)
        except (OSError, ValueError) as error:
            raise NotStarted from error
        # A thread may be left behind with its question when the others end.
        atexit.register(self.end)
        try:
            self._exchange(b"")
        except RegexTimeout as error:
            raise NotStarted from error

    def ask(self, *question: object) -> Any:
        """Its answer. Raises `RegexTimeout`; whatever is raised, the child is gone then."""
        return json.loads(self._exchange(json.dumps(question).encode("ascii") + b"\n"))

    def end(self) -> None:
        """Kill it and take its leave, so that not even a dead process is left."""
        self._running.kill()
        for pipe in (self._running.stdin, self._running.stdout):
            if pipe is not None:
                # What could not be written is given up with it.
                with contextlib.suppress(OSError):
                    pipe.close()
        self._running.wait()
        atexit.unregister(self.end)

    def _exchange(self, question: bytes) -> bytes:
        late = False
        try:
            line = _answer(self._running, question)
        except _Late:
            line, late = b"", True
        except BaseException:
            # Its answer would be taken for that to the next question.
            self.end()
            raise
        if not line.endswith(b"\n"):
            self.end()
            raise RegexTimeout(spent=late or self._running.returncode == -signal.SIGXCPU)
        return line


def _started(program: str, arguments: tuple[str, ...]) -> subprocess.Popen[bytes]:
    # Not before it is needed: most definitions have no pattern.
    import subprocess

    # A session of its own: Ctrl-C in a terminal is not for it.
    # pylint: disable-next=ansible-bad-function
    return subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", _LIMITS + program, str(_PROCESSOR_SECONDS), str(_MEMORY), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd="/",
        bufsize=0,
        start_new_session=True,
    )


class _Late(Exception):
    """The time for an answer is up."""


def _answer(child: subprocess.Popen[bytes], question: bytes) -> bytes:
    """Return what a child answers in time, complete where it ends in a line feed. It reads a whole line before it writes one."""
    deadline = Deadline.after(SYSTEM_CLOCK, _ANSWER_SECONDS)
    pieces: list[bytes] = []
    # A child that is gone has not answered.
    with contextlib.suppress(OSError):
        if child.stdin is None or child.stdout is None:
            return b""
        os.set_blocking(child.stdin.fileno(), False)
        view = memoryview(question)
        while view:
            _await(child.stdin.fileno(), select.POLLOUT, deadline)
            view = view[child.stdin.write(view) or 0 :]
        while not pieces or not pieces[-1].endswith(b"\n"):
            _await(child.stdout.fileno(), select.POLLIN, deadline)
            piece = child.stdout.read(1 << 20)
            if not piece:
                break
            pieces.append(piece)
    return b"".join(pieces)


def _await(descriptor: int, event: int, deadline: Deadline) -> None:
    """Wait until a pipe can be read or written, or its other end is closed. Raises `_Late` at the deadline."""
    poll = select.poll()
    poll.register(descriptor, event)
    if not poll.poll(deadline.left * 1000):
        raise _Late


#: An escaped character, a class as a whole, a named group and the end: what may have to be written in another way.
_PART = re.compile(r"\\.|\[\^?\]?(?:\\.|\[:\^?\w+:\]|[^\]\\])*\]|\(\?<(?![=!])|\(\?[a-zA-Z]*m[a-zA-Z]*[-:)]|\$", re.DOTALL)


def translated(pattern: str) -> str:
    """A pattern of RE2 as Python writes it. Raises `ValueError`, which says what it is or has, for one that cannot be written so."""
    if len(pattern) > _LONGEST_PATTERN:
        raise ValueError(f"is longer than {_LONGEST_PATTERN} characters")
    several_lines = False

    def translate(found: re.Match[str]) -> str:
        nonlocal several_lines
        part = found.group()
        if part.startswith("[") and re.search(r"\[:\^?\w+:\]", part):
            raise ValueError("has a class like [:digit:], which is not known here; write 0-9")
        if part.startswith("(?") and part != "(?<":
            several_lines = True
        if part == "$" and several_lines:
            return part
        return {"$": r"\Z", r"\z": r"\Z", "(?<": "(?P<"}.get(part, part)

    return _PART.sub(translate, pattern)
