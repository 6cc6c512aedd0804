# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The output of plugins while a play runs: standard output for people, else standard error, so that documents stay whole."""

from __future__ import annotations

import contextlib
import io
import os
import sys

from ansible import constants
from ansible.utils.display import Display

#: Callbacks whose standard output people read. Of any other it is not known, and those of programs are among them.
#: The last one is ansible-runner's: what its terminal shows becomes events, but for standard error.
_READ_BY_PEOPLE = frozenset(("default", "minimal", "oneline", "debug", "tree", "awx_display"))


def speak(text: str) -> None:
    """Show a text of one line or several, whatever the verbosity."""
    Display().display(text, stderr=not is_read_by_people(constants.config.get_config_value("DEFAULT_STDOUT_CALLBACK")))


def is_read_by_people(callback: object) -> bool:
    """Tell if a callback plugin, by its name with or without its collection, prints what people read."""
    return str(callback).rpartition(".")[2] in _READ_BY_PEOPLE


class LineByLine(io.TextIOWrapper):
    """A stream of this process that is written line by line, and of which the rest goes nowhere once nobody reads it any more.

    Into a pipe, as in CI, Ansible's output would come all at the end, since it is never flushed. And the thread that prints what workers
    say ends at the first error of a pipe, as of ``| head``: then the run would wait for their results for ever.
    """

    @classmethod
    def over(cls, stream: io.TextIOWrapper) -> LineByLine:
        """Return one in the place of another, which must be kept: it would close the file as it goes."""
        with contextlib.suppress(BrokenPipeError):
            stream.flush()
        return cls(stream.buffer, stream.encoding, stream.errors, line_buffering=True)

    def write(self, text: str) -> int:
        """Write a text."""
        try:
            return super().write(text)
        except BrokenPipeError:
            self._give_up()
            return len(text)

    def flush(self) -> None:
        """Write what is held."""
        try:
            super().flush()
        except BrokenPipeError:
            self._give_up()

    def _give_up(self) -> None:
        nothing = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
        os.dup2(nothing, self.fileno())
        os.close(nothing)


def _print_at_once() -> None:
    """Have what is no terminal written line by line.

    To be called before a task's worker is forked, since the worker's lines are printed by the process that forks it.
    """
    for number, name in ((1, "stdout"), (2, "stderr")):
        stream = getattr(sys, name)
        # One that was put in its place, as by a test, is left alone.
        with contextlib.suppress(OSError, ValueError):
            is_plain = isinstance(stream, io.TextIOWrapper) and not isinstance(stream, LineByLine)
            if is_plain and stream.fileno() == number and not stream.isatty():
                setattr(sys, name, LineByLine.over(stream))


# A plugin is imported by that process, for each task before it begins.
_print_at_once()


#: Columns where there is no terminal: in a file, a pipe, the log of a CI job.
NO_TERMINAL = 120
#: Ansible takes a narrower terminal, and none, for one with a column more.
_ANSIBLES_LEAST = 79
_STANDARD_OUTPUT = 1


def _width() -> int | None:
    try:
        return os.get_terminal_size(_STANDARD_OUTPUT).columns or None
    except OSError:
        return None


#: A task runs in a fork whose own standard output leads nowhere. But the action plugin is loaded before, to see whether it may run once for
#: all hosts, in the process that has the terminal; so this is too.
_AS_LOADED = _width()


def terminal_width() -> int:
    """Return the columns that ``COLUMNS`` says, else those of the terminal that standard output is, else `NO_TERMINAL`."""
    wished = os.environ.get("COLUMNS", "")
    if wished.isdecimal() and int(wished) > 0:
        return int(wished)
    if _AS_LOADED is not None:
        return _AS_LOADED
    # Loaded in the fork after all: what Ansible saw when it began, as long as that cannot be no terminal.
    seen = Display().columns or 0
    return seen + 1 if seen > _ANSIBLES_LEAST else NO_TERMINAL
