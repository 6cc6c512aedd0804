# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Regular expressions of definitions: RE2 patterns translated for Python, and child interpreters with limits for hostile patterns.

Definitions have patterns for Wings, so for RE2, whose time is linear. Python's matcher may take forever, cannot be interrupted, and blocks
all other threads. So it runs in a child process with limits on CPU time and memory. google-re2 cannot replace the child: it has no wheels
for musl (Alpine), its newest release has none for Python 3.9, and it rejects surrogate escapes, which stand for bytes that are not UTF-8.
Nodes without it would still need the child, and two engines would differ.
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

_PROCESSOR_SECONDS = 1
#: Seconds for the start and for each answer, on a machine too busy to give the child its CPU second sooner.
_ANSWER_SECONDS = 10.0
#: Bytes of memory, the interpreter's own included.
_MEMORY = 256 * 1024 * 1024
#: Characters of a pattern; the search here may take quadratic time.
_LONGEST_PATTERN = 4096

#: The code that starts every child. It imports nothing of ours: a core that runs from an archive has no path.
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
    """A child did not answer. ``spent``: it used up its time; else it ended for another reason."""

    def __init__(self, *, spent: bool) -> None:
        super().__init__()
        self.spent = spent


class PatternChild:
    """An interpreter that runs a program with limits: one CPU second in total, unless the program raises that.

    The program writes an empty line when it is ready, then one line of JSON for each line of JSON. Raises `NotStarted`.
    """

    def __init__(self, program: str, *arguments: str) -> None:
        if not sys.executable:
            raise NotStarted
        # Loaded here: most definitions have no pattern.
        from subprocess import DEVNULL, PIPE, Popen

        command = [sys.executable, "-I", "-S", "-c", _LIMITS + program, str(_PROCESSOR_SECONDS), str(_MEMORY), *arguments]
        try:
            # A separate session, so that Ctrl-C in a terminal does not reach it.
            # pylint: disable-next=ansible-bad-function
            self._running = Popen(command, stdin=PIPE, stdout=PIPE, stderr=DEVNULL, cwd="/", bufsize=0, start_new_session=True)
        except (OSError, ValueError) as error:
            raise NotStarted from error
        # A thread may still wait for an answer when the others end.
        atexit.register(self.end)
        try:
            self._exchange(b"")
        except RegexTimeout as error:
            raise NotStarted from error

    def ask(self, *question: object) -> Any:
        """Return its answer. Raises `RegexTimeout`; after any exception the child is gone."""
        return json.loads(self._exchange(json.dumps(question).encode("ascii") + b"\n"))

    def end(self) -> None:
        # The end of the context closes the pipes and waits.
        with self._running:
            self._running.kill()
        atexit.unregister(self.end)

    def _exchange(self, question: bytes) -> bytes:
        try:
            line = _answer(self._running, question)
        except BaseException:
            # A later question would get this answer.
            self.end()
            raise
        if not line.endswith(b"\n"):
            self.end()
            raise RegexTimeout(spent=self._running.returncode == -signal.SIGXCPU)
        return line


def _answer(child: subprocess.Popen[bytes], question: bytes) -> bytes:
    """Return a child's answer; a complete one ends in a line feed. The child reads a whole line before it writes one."""
    deadline = Deadline.after(SYSTEM_CLOCK, _ANSWER_SECONDS)
    pieces: list[bytes] = []
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
    """Wait until a pipe is ready or its other end closes. Raises `RegexTimeout` at the deadline."""
    poll = select.poll()
    poll.register(descriptor, event)
    if not poll.poll(deadline.left * 1000):
        raise RegexTimeout(spent=True)


#: Parts of a pattern that may need translation: an escaped character, a whole class, a named group and the end.
_PART = re.compile(r"\\.|\[\^?\]?(?:\\.|\[:\^?\w+:\]|[^\]\\])*\]|\(\?<(?![=!])|\(\?[a-zA-Z]*m[a-zA-Z]*[-:)]|\$", re.DOTALL)


def translated(pattern: str) -> str:
    """Return an RE2 pattern in Python's syntax. Raises `ValueError`, with the reason, if that is impossible."""
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
