# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A rule for a configuration file, and the largest file; pure."""

from __future__ import annotations

from .records import dataclass, field

#: Bytes of the largest configuration file, before and after its edit, since it is held in memory.
LARGEST_FILE = 16 * 1024 * 1024


@dataclass(frozen=True)
class ConfigRule:
    """One replacement in a configuration file. ``if_value`` None: replace any value."""

    match: str
    replace_with: str | int | float | bool | None = field(repr=False)
    if_value: str | None = None
