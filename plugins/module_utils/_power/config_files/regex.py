# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Regular expressions of rules, applied in child interpreters (see `pattern_child`): a few at a time, however many servers start."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator

from ..host.regex_sandbox import NotStarted, PatternChild, RegexTimeout, translated
from .fault import ConfigFault

__all__ = ["one_child", "substitute"]

#: How many children there are at most; more would only wait for the processors.
_places = threading.BoundedSemaphore(max(2, os.cpu_count() or 1))
#: Characters of a result: as much as the largest file that is read.
_LONGEST = 16 * 1024 * 1024

#: What the child runs, a question being pattern, text and template. As in Go an empty match right behind another match does not count,
#: a group that does not exist or took no part is empty, and what follows a $ is the longest possible name.
_CHILD = r"""
longest = int(sys.argv[3])
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
    child = getattr(_local, "child", None)
    if child is not None:
        return _result(child.ask(_translated(pattern), text, template))
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
_TOO_LONG = "the regular expression in if_value takes too long, or too much memory"


class _Child:
    """An interpreter that applies patterns: started when it is first asked, gone for good after its first fault."""

    def __init__(self) -> None:
        self._running: PatternChild | None = None
        self._spent = False

    def ask(self, *question: str) -> list[str]:
        """Its answer to pattern, text and template. Raises `ConfigFault` where there is none."""
        if self._spent:
            raise ConfigFault("the regular expressions in the if_values of this file together take too long")
        try:
            child = self._running or self._start()
            answer: list[str] = child.ask(*question)
        except (NotStarted, RegexTimeout) as fault:
            self._spent = True
            self.end()
            raise ConfigFault(_NOT_STARTED if isinstance(fault, NotStarted) else _TOO_LONG) from None
        return answer

    def end(self) -> None:
        """End it and make room for another."""
        child, self._running = self._running, None
        if child is not None:
            try:
                child.end()
            finally:
                _places.release()

    def _start(self) -> PatternChild:
        """Start it, once there is a place for it."""
        _places.acquire()
        try:
            self._running = child = PatternChild(_CHILD, str(_LONGEST))
        except BaseException:
            _places.release()
            raise
        return child


def _translated(pattern: str) -> str:
    try:
        return translated(pattern)
    except ValueError as fault:
        raise ConfigFault(f"the regular expression in if_value {fault}") from None
