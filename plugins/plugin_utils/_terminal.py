# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How wide the terminal is that a play is shown on."""

from __future__ import annotations

import os

from ansible.utils.display import Display

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
