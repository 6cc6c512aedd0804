# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Child interpreters with limits of memory and time, for work on hostile content: patterns, configuration files, and output of servers.

A process that serves others must not do such work: it may take all memory of a service, and a C library holds the lock of the interpreter.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import select
import signal
import sys
from typing import IO, Any, NamedTuple, cast

from ..model.cancellation import Deadline
from ..model.clock import SYSTEM_CLOCK

#: The code that starts every child. It imports nothing of ours: each program decides about that. A message is the sizes of its two parts,
#: then the parts: JSON, and content.
_BEGIN = r"""
import json, os, resource, sys, time
seconds, memory, no_memory = map(int, sys.argv[1:4])

def limit(kind, most):
    hard = resource.getrlimit(kind)[1]
    resource.setrlimit(kind, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))

def say(said, content=b""):
    limit(resource.RLIMIT_CPU, int(time.process_time()) + 1 + seconds)
    said = json.dumps(said).encode()
    sys.stdout.buffer.write(b"%8d%8d" % (len(said), len(content)) + said)
    sys.stdout.buffer.write(content)
    sys.stdout.buffer.flush()

def serve(answer):
    say(None)
    while header := sys.stdin.buffer.read(16):
        try:
            asked = json.loads(sys.stdin.buffer.read(int(header[:8])))
            said = answer(sys.stdin.buffer.read(int(header[8:])), *asked)
        except MemoryError:
            os._exit(no_memory)
        say(*said)

limit(resource.RLIMIT_CORE, 0)
limit(resource.RLIMIT_AS, memory)
limit(resource.RLIMIT_CPU, seconds)
"""
_HEADER = 16
_MIB = 1024 * 1024
#: Bytes of an answer in JSON.
_LONGEST_ANSWER = 64 * 1024
#: The status of a child that needs more memory than it may have.
_NO_MEMORY = 77
#: Seconds for a child that closed its pipe to end.
_ENDING_SECONDS = 1.0


class Limits(NamedTuple):
    """The limits of one child. ``seconds``: of processor time for each answer, up to one more. ``memory``: MiB of address space, with the
    interpreter's own. ``patience``: seconds for the start and for each answer, for a busy machine. ``content``: bytes of an answer."""

    seconds: int
    memory: int
    patience: float
    content: int = 0


class NotStarted(Exception):
    """No child can be started."""


class SandboxEnded(Exception):
    """A child did not answer. The text continues a sentence about its work. ``spent``: it used up its time; else it ended for another
    reason."""

    def __init__(self, why: str, *, spent: bool = False) -> None:
        super().__init__(why)
        self.spent = spent


class Sandbox:
    """A child that runs a program, which calls ``serve`` with a function: content and question in, answer and content out.

    Raises `NotStarted`.
    """

    def __init__(self, program: str, limits: Limits, *arguments: str) -> None:
        if not sys.executable:
            raise NotStarted
        # Loaded here: most servers need no child.
        from subprocess import DEVNULL, PIPE, Popen

        given = (str(limits.seconds), str(limits.memory * _MIB), str(_NO_MEMORY), *arguments)
        try:
            # A separate session, so that Ctrl-C in a terminal does not reach it.
            # pylint: disable-next=ansible-bad-function
            running = Popen(
                [sys.executable, "-I", "-S", "-c", _BEGIN + program, *given],
                stdin=PIPE,
                stdout=PIPE,
                stderr=DEVNULL,
                cwd="/",
                bufsize=0,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            raise NotStarted from error
        self._limits = limits
        self._running = running
        self._to, self._from = cast("IO[bytes]", running.stdin), cast("IO[bytes]", running.stdout)
        os.set_blocking(self._to.fileno(), False)
        # A thread may still wait for an answer when the others end.
        atexit.register(self.end)
        try:
            self._exchange()
        except SandboxEnded as error:
            raise NotStarted from error

    def ask(self, *question: object, content: bytes = b"") -> tuple[Any, bytes]:
        """Return the answer and its content. Raises `SandboxEnded`; after any exception the child is gone."""
        asked = json.dumps(question).encode("ascii")
        return self._exchange(b"%8d%8d" % (len(asked), len(content)), asked, content)

    def end(self) -> None:
        # The end of the context closes the pipes and waits.
        with self._running:
            self._running.kill()
        atexit.unregister(self.end)

    def _exchange(self, *question: bytes) -> tuple[Any, bytes]:
        try:
            deadline = Deadline.after(SYSTEM_CLOCK, self._limits.patience)
            self._write(question, deadline)
            header = self._read(_HEADER, deadline)
            said = self._read(min(int(header[:8]), _LONGEST_ANSWER), deadline)
            content = self._read(min(int(header[8:]), self._limits.content), deadline)
            return json.loads(said), content
        except BaseException:
            # A later question would get this answer.
            self.end()
            raise

    def _write(self, parts: tuple[bytes, ...], deadline: Deadline) -> None:
        # A child that ended already tells why by its status.
        with contextlib.suppress(BrokenPipeError):
            for part in parts:
                view = memoryview(part)
                while view:
                    _await(self._to, select.POLLOUT, deadline)
                    view = view[self._to.write(view) or 0 :]

    def _read(self, size: int, deadline: Deadline) -> bytes:
        pieces: list[bytes] = []
        left = size
        while left > 0:
            _await(self._from, select.POLLIN, deadline)
            piece = self._from.read(left)
            if not piece:
                raise self._ended()
            pieces.append(piece)
            left -= len(piece)
        return b"".join(pieces)

    def _ended(self) -> SandboxEnded:
        with contextlib.suppress(Exception):
            self._running.wait(_ENDING_SECONDS)
        status = self._running.poll()
        if status == -signal.SIGXCPU:
            return SandboxEnded(f"takes more than the {self._limits.seconds} s of processor time that are allowed", spent=True)
        if status == _NO_MEMORY:
            return SandboxEnded(f"needs more than the {self._limits.memory} MiB of memory that are allowed")
        return SandboxEnded(f"cannot be done: the process for it ended with status {status}")


def _await(pipe: IO[bytes], event: int, deadline: Deadline) -> None:
    """Wait until a pipe is ready or its other end closes. Raises `SandboxEnded` at the deadline."""
    poll = select.poll()
    poll.register(pipe.fileno(), event)
    if not poll.poll(deadline.left * 1000):
        raise SandboxEnded("takes too long on this busy machine", spent=True)
