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

#: Callbacks whose standard output people read. Other callbacks may print for programs. awx_display is ansible-runner's: it turns all output
#: but standard error into events.
_READ_BY_PEOPLE = frozenset(("default", "minimal", "oneline", "debug", "tree", "awx_display"))
#: Columns without a terminal: in a file, a pipe, a CI log.
NO_TERMINAL = 120
#: The least value of Ansible's `Display.columns`, also without a terminal. It is one less than the terminal has.
_ANSIBLES_LEAST = 79


def speak(text: str) -> None:
    """Show a text, with any verbosity."""
    Display().display(text, stderr=not is_read_by_people(constants.config.get_config_value("DEFAULT_STDOUT_CALLBACK")))


def is_read_by_people(callback: object) -> bool:
    """Tell whether people read the output of a callback plugin. Its name may include the collection."""
    return str(callback).rpartition(".")[2] in _READ_BY_PEOPLE


class LineByLine(io.TextIOWrapper):
    """A stream that writes each line at once, and drops the rest once its reader has closed it.

    Ansible never flushes, so a pipe, as in CI, would get all output at the end. Ansible's printing thread ends at the first error of a
    pipe, as with ``| head``; then Ansible would wait for results without end.
    """

    @classmethod
    def over(cls, stream: io.TextIOWrapper) -> LineByLine:
        """Replace another stream. Keep the other one: its destructor would close the file."""
        with contextlib.suppress(BrokenPipeError):
            stream.flush()
        return cls(stream.buffer, stream.encoding, stream.errors, line_buffering=True)

    def write(self, text: str) -> int:
        try:
            return super().write(text)
        except BrokenPipeError:
            self._give_up()
            return len(text)

    def flush(self) -> None:
        try:
            super().flush()
        except BrokenPipeError:
            self._give_up()

    def _give_up(self) -> None:
        nothing = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
        os.dup2(nothing, self.fileno())
        os.close(nothing)


def _print_at_once() -> None:
    """Make streams that are no terminal write each line at once. Call it in the process that forks workers: it prints their lines."""
    for number, name in ((1, "stdout"), (2, "stderr")):
        stream = getattr(sys, name)
        # Leave a replaced stream alone, for example that of a test.
        with contextlib.suppress(OSError, ValueError):
            is_plain = isinstance(stream, io.TextIOWrapper) and not isinstance(stream, LineByLine)
            if is_plain and stream.fileno() == number and not stream.isatty():
                setattr(sys, name, LineByLine.over(stream))


# The forking process imports a plugin before each of its tasks.
_print_at_once()


#: The terminal's columns, 0 without one. A task's fork has no terminal. The process with the terminal loads the action plugin earlier, to
#: check whether it runs once for all hosts.
_AS_LOADED = 0
with contextlib.suppress(OSError):
    _AS_LOADED = os.get_terminal_size().columns


def terminal_width() -> int:
    """Return the columns of ``COLUMNS``, else of the terminal on standard output, else `NO_TERMINAL`."""
    wished = os.environ.get("COLUMNS", "")
    if wished.isdecimal() and int(wished) > 0:
        return int(wished)
    if _AS_LOADED:
        return _AS_LOADED
    # This module was loaded in the fork: use Ansible's own value, unless it may mean no terminal.
    seen = Display().columns or 0
    return seen + 1 if seen > _ANSIBLES_LEAST else NO_TERMINAL
