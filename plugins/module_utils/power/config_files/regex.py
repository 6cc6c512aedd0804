# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Regular expressions of definitions, applied in a child interpreter that a hostile pattern can burn without harm.

Whoever writes a definition writes patterns for Wings, that is for RE2, which no pattern can slow down. Python's matcher may take longer
than the world lasts, cannot be interrupted, and holds up every other thread meanwhile. So it runs in a process of its own, with a limit
on its processor time that the kernel keeps and one on its memory. There are only so many of them at a time, however many servers start.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

from .fault import ConfigFault

__all__ = ["one_child", "substitute"]

#: Processor seconds for all patterns of one file; its limit is counted in whole seconds.
_PROCESSOR_SECONDS = 1
#: Seconds for one answer, and before it for the start, on a machine that is too busy to give the child its processor second sooner.
_ANSWER_SECONDS = 10.0
#: Bytes of memory, the interpreter's own included.
_MEMORY = 256 * 1024 * 1024
#: How many children there are at most; more would only wait for the processors.
_places = threading.BoundedSemaphore(max(2, os.cpu_count() or 1))
#: Characters of a pattern; what looks through them here takes the square of that at worst.
_LONGEST_PATTERN = 4096
#: Characters of a result: as much as the largest file that is read.
_LONGEST = 16 * 1024 * 1024

#: What the child runs: an empty line when it is ready, then a request per line, an answer per line, until its input ends. It imports
#: nothing of ours: where the core runs from an archive there is no path to give it. As in Go an empty match right behind another match
#: does not count, a group that does not exist or took no part is empty, and what follows a $ is the longest possible name.
_CHILD = r"""
import json, re, resource, sys
seconds, longest, memory = map(int, sys.argv[1:])
for kind, limit in ((resource.RLIMIT_CORE, 0), (resource.RLIMIT_CPU, seconds), (resource.RLIMIT_AS, memory)):
    hard = resource.getrlimit(kind)[1]
    limit = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
    resource.setrlimit(kind, (limit, hard))
holes = re.compile(r"\$(?:(\$)|(\w+)|\{(\w+)\})", re.ASCII)

def group(match, name):
    try:
        return match.group(int(name) if name.isdigit() else name) or ""
    except (IndexError, ValueError):
        return ""

def filled(match, template):
    return holes.sub(lambda hole: hole.group(1) or group(match, hole.group(2) or hole.group(3)), template)

def substituted(pattern, text, template):
    pieces, position, size, found = [], 0, 0, False
    for match in re.compile(pattern, re.ASCII).finditer(text):
        if match.end() == match.start() == position and found:
            continue
        found = True
        pieces += text[position : match.start()], filled(match, template)
        size += len(pieces[-2]) + len(pieces[-1])
        if size > longest:
            return ["long"]
        position = match.end()
    return ["text", "".join(pieces) + text[position:]] if found else ["none"]

print(flush=True)
for line in sys.stdin:
    try:
        answer = substituted(*json.loads(line))
    except (re.error, ValueError, OverflowError, RecursionError):
        answer = ["bad"]
    except MemoryError:
        answer = ["long"]
    print(json.dumps(answer), flush=True)
"""

_local = threading.local()


def substitute(pattern: str, text: str, template: str) -> str | None:
    """``text`` with each match of ``pattern`` replaced by ``template``, or None where nothing matches.

    ``$1``, ``${1}``, ``$name`` and ``${name}`` stand for groups and ``$$`` for a dollar, as in Go. Patterns are Python's, with RE2's
    ``\\z``, ``(?<name>...)`` and ``$`` (the very end of the text), and ``\\d``, ``\\w``, ``\\s`` and ``\\b`` that know ASCII alone. Raises
    `ConfigFault` for a pattern that is none, that takes longer than about a second of processor time, or that writes more than 16 MiB.
    """
    translated = _translated(pattern)
    child = getattr(_local, "child", None)
    if child is not None:
        return _result(child.ask(translated, text, template))
    with one_child():
        return substitute(pattern, text, template)


@contextlib.contextmanager
def one_child() -> Iterator[None]:
    """Within this, all of this thread's patterns share one child, its second and its memory; it is started when the first one comes.

    When it is left the child is gone. Within another one it does nothing.
    """
    if getattr(_local, "child", None) is not None:
        yield
        return
    _local.child = child = _Child()
    try:
        yield
    finally:
        _local.child = None
        child.end()


def _result(answer: list[str]) -> str | None:
    kind = answer[0]
    if kind == "text":
        return answer[1]
    if kind == "none":
        return None
    if kind == "long":
        raise ConfigFault("what the regular expression in if_value writes is larger than 16 MiB")
    raise ConfigFault("the regular expression in if_value is not valid")


_NOT_STARTED = "the interpreter that applies the regular expression in if_value cannot be started"


class _Child:
    """An interpreter that applies patterns: started when it is first asked, gone for good after its first fault."""

    def __init__(self) -> None:
        self._running: subprocess.Popen[bytes] | None = None
        self._spent = False

    def ask(self, *question: str) -> list[str]:
        """Its answer to pattern, text and template. Raises `ConfigFault` where there is none."""
        if self._spent:
            raise ConfigFault("the regular expressions in the if_values of this file together take too long")
        child = self._running or self._start()
        line = _answer(child, json.dumps(question).encode("ascii") + b"\n")
        if not line.endswith(b"\n"):
            self._spent = True
            self.end()
            raise ConfigFault("the regular expression in if_value takes too long, or too much memory")
        answer: list[str] = json.loads(line)
        return answer

    def end(self) -> None:
        """Kill it and take its leave, so that not even a dead process is left."""
        child, self._running = self._running, None
        if child is None:
            return
        try:
            child.kill()
            for pipe in (child.stdin, child.stdout):
                if pipe is not None:
                    # What could not be written is given up with it.
                    with contextlib.suppress(OSError):
                        pipe.close()
            child.wait()
        finally:
            _places.release()

    def _start(self) -> subprocess.Popen[bytes]:
        """Start it, once there is a place for it, and wait until it is ready."""
        if not sys.executable:
            raise ConfigFault(_NOT_STARTED)
        _places.acquire()
        try:
            child = _started()
        except BaseException as error:
            _places.release()
            if isinstance(error, (OSError, ValueError)):
                raise ConfigFault(_NOT_STARTED) from error
            raise
        self._running = child
        if not _answer(child, b"").endswith(b"\n"):
            self._spent = True
            self.end()
            raise ConfigFault(_NOT_STARTED)
        return child


def _started() -> subprocess.Popen[bytes]:
    # A session of its own: Ctrl-C in a terminal is not for it.
    return subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", _CHILD, str(_PROCESSOR_SECONDS), str(_LONGEST), str(_MEMORY)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd="/",
        bufsize=0,
        start_new_session=True,
    )


def _answer(child: subprocess.Popen[bytes], question: bytes) -> bytes:
    """What a child answers in time, complete where it ends in a line feed. It reads a whole line before it writes one."""
    deadline = time.monotonic() + _ANSWER_SECONDS
    pieces: list[bytes] = []
    # A child that is gone, or that reads or writes nothing until it is too late, has not answered.
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


def _await(descriptor: int, event: int, deadline: float) -> None:
    """Wait until a pipe can be read or written, or its other end is closed. Raises `TimeoutError` at the deadline."""
    poll = select.poll()
    poll.register(descriptor, event)
    if not poll.poll(max(deadline - time.monotonic(), 0) * 1000):
        raise TimeoutError


#: An escaped character, a class as a whole, a named group and the end: what may have to be written in another way.
_PART = re.compile(r"\\.|\[\^?\]?(?:\\.|\[:\^?\w+:\]|[^\]\\])*\]|\(\?<(?![=!])|\(\?[a-zA-Z]*m[a-zA-Z]*[-:)]|\$", re.DOTALL)


def _translated(pattern: str) -> str:
    """A pattern of RE2 as Python writes it."""
    if len(pattern) > _LONGEST_PATTERN:
        raise ConfigFault(f"the regular expression in if_value is longer than {_LONGEST_PATTERN} characters")
    several_lines = False

    def translate(found: re.Match[str]) -> str:
        nonlocal several_lines
        part = found.group()
        if part.startswith("[") and re.search(r"\[:\^?\w+:\]", part):
            raise ConfigFault("the regular expression in if_value has a class like [:digit:], which is not known here; write 0-9")
        if part.startswith("(?") and part != "(?<":
            several_lines = True
        if part == "$" and several_lines:
            return part
        return {"$": r"\Z", r"\z": r"\Z", "(?<": "(?P<"}.get(part, part)

    return _PART.sub(translate, pattern)
