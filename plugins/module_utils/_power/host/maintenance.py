# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The record of a maintenance: role maintenance writes it into the state directory, and removes it at the end."""

from __future__ import annotations

import json
import os

from .own_files import open_own

MEMORY = "maintenance.json"
_MOST_BYTES = 16 * 1024 * 1024


def maintenance_of(state_directory: str) -> dict[str, object] | None:
    """Return the record of the current maintenance, or None. Raises OSError, ValueError if it is unreadable."""
    try:
        with open(open_own(os.path.join(state_directory, MEMORY), os.O_RDONLY), "rb") as source:
            memory = json.loads(source.read(_MOST_BYTES))
    except FileNotFoundError:
        return None
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    if not isinstance(memory, dict):
        raise ValueError("it is no mapping")
    return memory


def maintenance_pause(state_directory: str) -> str:
    """Return why a maintenance prevents automatic starts, as a code for readers; empty without one. An unreadable record counts as one."""
    try:
        memory = maintenance_of(state_directory)
    except (OSError, ValueError):
        return "maintenance_unreadable"
    if memory is None:
        return ""
    return "maintenance" if isinstance(memory.get("phase"), str) else "maintenance_unreadable"
