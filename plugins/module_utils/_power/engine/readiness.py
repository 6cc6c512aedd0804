# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Readiness lines: whether a server's output says that it is up, by the rules of Wings' console reader."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence

from ..definitions.definition import StartupRule
from ..model.cancellation import Deadline
from ..model.clock import SYSTEM_CLOCK
from ..model.redaction import SHORTEST_SECRET, mask
from ..model.schema import few, printable
from ..model.server import Run

# {0,16} bounds Wings' *: a line of semicolons would take quadratic time otherwise.
_ANSI = re.compile(
    rb"[\x1b\x9b][\[\]()#;?]{0,16}(?:(?:(?:[a-zA-Z\d]*(?:;[-a-zA-Z\d/#&.:=?%@~_]*)*)?\x07)|(?:(?:\d{1,4}(?:;\d{0,4})*)?[\dA-PR-TZcf-ntqry=><~]))"
)
#: A longer line is cut; its rest is a line of its own.
_LINE_BYTES = 64 * 1024
#: A pattern may take quadratic time. No readiness line is longer than this.
_PATTERN_CHARACTERS = 4096
_SEARCH_SECONDS = 0.5
_BATCH_CHARACTERS = 1024 * 1024


def strip_ansi(line: bytes) -> bytes:
    return _ANSI.sub(b"", line)


class Matchers:
    """The readiness lines of a definition: each a substring, or ``regex:`` and a pattern that may match anywhere in a line.

    A pattern sees the first 4096 characters of a line. ``warnings`` names bad patterns, and grows when a pattern takes too long or cannot
    be tried. Such a pattern matches nothing more in that run.
    """

    def __init__(self, done: Sequence[str], *, strip: bool) -> None:
        self.warnings: list[str] = []
        self._strip = strip
        self._substrings: list[str] = []
        self._patterns: dict[str, str] = {}
        for entry in done:
            self._add(entry)

    @classmethod
    def of(cls, rule: StartupRule) -> Matchers:
        return cls(rule.done, strip=rule.strip_ansi)

    def _add(self, entry: str) -> None:
        if entry.startswith("regex:") and len(entry) > len("regex:"):
            # Most lines are plain text and need no child interpreter.
            from ..model.re2_pattern import translated
            from . import ready_patterns  # noqa: F401 # what `_find` needs is there before anything waits for readiness

            try:
                pattern = translated(entry[len("regex:") :])
                re.compile(pattern)
                self._patterns[entry] = pattern
                return
            except (re.error, ValueError, OverflowError, RecursionError) as error:
                self.warnings.append(f"startup.done: {entry!r} is not a regular expression ({error}); it is looked for as plain text")
        self._substrings.append(entry)

    def __bool__(self) -> bool:
        return bool(self._substrings or self._patterns)

    @property
    def words(self) -> str:
        return few([f'"{printable(entry)}"' for entry in (*self._substrings, *self._patterns)])

    def match(self, lines: Iterable[bytes], run: Run | None = None, budget: float = math.inf) -> bool:
        """Tell if a line of ``run`` says that the server is up, within ``budget`` seconds. Slow patterns are given up for this run."""
        deadline = Deadline.after(SYSTEM_CLOCK, budget)
        batch: list[str] = []
        size = 0
        for line in lines:
            text = (strip_ansi(line) if self._strip else line).decode("utf-8", "replace")
            if any(part in text for part in self._substrings):
                return True
            if self._patterns:
                batch.append(text[:_PATTERN_CHARACTERS])
                size += len(batch[-1]) + 1
            if size >= _BATCH_CHARACTERS:
                if self._find(batch, run):
                    return True
                batch, size = [], 0
            if deadline.is_over:
                break
        return bool(batch) and self._find(batch, run)

    def match_any(self, output: bytes, run: Run | None = None, budget: float = _SEARCH_SECONDS) -> bool:
        """Search a whole log, which may be long; see `match`."""
        lines = Lines()
        return self.match((*lines.feed(output), *lines.rest()), run, budget)

    def _find(self, lines: Sequence[str], run: Run | None) -> bool:
        if not self._patterns:
            return False
        from .ready_patterns import NotTried, ready_patterns

        for entry, pattern in self._patterns.items():
            try:
                if ready_patterns.find(pattern, lines, run):
                    return True
            except NotTried as fault:
                warning = f"startup.done: {entry!r} {fault}"
                if warning not in self.warnings:
                    self.warnings.append(warning)
        return False


class Lines:
    """Cuts a stream into lines, whatever the chunks."""

    def __init__(self) -> None:
        self._pending = b""

    def feed(self, chunk: bytes) -> Iterable[bytes]:
        """Return the lines that are complete now, without their ends."""
        *complete, last = (self._pending + chunk).split(b"\n")
        found: list[bytes] = []
        for line in complete:
            *parts, end = _parts(line)
            found += [*parts, end.rstrip(b"\r")]
        *parts, self._pending = _parts(last)
        return found + parts

    def rest(self) -> Iterable[bytes]:
        """Return the text after the last line end."""
        return [self._pending] if self._pending else []


def _parts(line: bytes) -> list[bytes]:
    return [line[start : start + _LINE_BYTES] for start in range(0, len(line), _LINE_BYTES)] or [b""]


#: Characters that move the cursor, end a line, or change the text direction.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def readable_lines(log: bytes, count: int, limit: int, secrets: Iterable[str] = ()) -> tuple[str, ...]:
    """Return the last ``count`` lines of a log without escapes, masked, then cut to ``limit`` bytes: no half of a secret shows."""
    lines_of_secrets = (line for secret in secrets for line in secret.split("\n"))
    shown = {_readable(_bytes_of(line)).strip() for line in lines_of_secrets}
    shown = {text for text in shown if len(text) >= SHORTEST_SECRET}
    lines = [_readable(line) for line in log.split(b"\n")]
    lines = [line for line in lines if line.strip()][-count:]
    return tuple(mask(line, shown).encode()[:limit].decode("utf-8", "ignore") for line in lines)


def _readable(line: bytes) -> str:
    return _CONTROL.sub("", strip_ansi(line).decode("utf-8", "replace"))


def _bytes_of(text: str) -> bytes:
    """Return text as a process writes it. JSON can hold lone surrogates, which no encoding has."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")
