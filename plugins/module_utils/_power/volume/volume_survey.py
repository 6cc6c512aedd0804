# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The bounds and the findings of a walk over a data directory, and the words for its paths and errors; pure."""

from __future__ import annotations

import errno
from dataclasses import dataclass

from ..model.schema import visible

#: What to do about errors that do not say it.
_ADVICE = {
    errno.EPERM: "only root may do that, and nobody where it is immutable, as lsattr shows",
    errno.EROFS: "mount it writable",
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some space or raise the quota",
}


@dataclass(frozen=True)
class Bounds:
    """How much of a walk there may be: whoever owns the directory may make more ahead of it, without end."""

    seconds: float
    entries: int


@dataclass(frozen=True)
class Survey:
    """The findings of a walk.

    ``bytes``: apparent size of all regular files, a file with several hard links counted once. ``files``: their number.
    ``chowned``: how many entries were given to the owner. ``left_alone``: how many were not, though they are another's: files with
    several hard links (they may be somebody else's files) and devices. ``unreadable``: directories this process may not look into.
    ``cut``: why the walk ended before it was over, as what the directory does; empty where it did not.
    """

    bytes: int
    files: int
    chowned: int
    left_alone: int
    unreadable: int = 0
    cut: str = ""


def shown_path(text: str, limit: int = 200) -> str:
    """``text`` fit for a message: one line, no control characters, no invalid UTF-8, at most ``limit`` characters of it."""
    cut = text if len(text) <= limit else text[:limit] + "..."
    return visible(cut)


def reason_of(error: Exception) -> str:
    """Why something failed, and what to do about it where that is known, for the end of a message."""
    if not isinstance(error, OSError):
        return str(error)
    advice = _ADVICE.get(error.errno or 0)
    return f"{error.strerror}; {advice}" if advice else str(error.strerror)
