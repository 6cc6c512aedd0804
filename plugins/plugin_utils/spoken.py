# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a plugin tells while a play runs: on standard output where people read it, else on standard error, so that documents stay whole."""

from __future__ import annotations

import io
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


def _print_at_once() -> None:
    """Have standard output written line by line. Into a pipe, as in CI, all of it would come at the end: Ansible never flushes it.

    To be called before a task's worker is forked, since the worker's lines are printed by the process that forks it.
    """
    if isinstance(sys.stdout, io.TextIOWrapper) and not sys.stdout.line_buffering:
        sys.stdout.reconfigure(line_buffering=True)


# A plugin is imported by that process, for each task before it begins.
_print_at_once()
