# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a Wings daemon is alive on this node."""

from __future__ import annotations

import os
from pathlib import Path


def wings_pid(proc: str = "/proc") -> int | None:
    """The pid of a Wings daemon, or None.

    A server's own process may call itself anything, so only those of root and of our own user count: Wings runs as root, or
    (rootless) as the user who would run us.
    """
    trusted = {0, os.geteuid()}
    for entry in os.scandir(proc):
        if not entry.name.isdigit():
            continue
        try:
            if entry.stat().st_uid in trusted and Path(entry.path, "comm").read_text().strip() == "wings":
                return int(entry.name)
        except OSError:
            continue  # it ended while we looked
    return None
