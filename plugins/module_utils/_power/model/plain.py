# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plain values from other programs. A value of the wrong type or outside its range is empty or None, never an error; pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def as_map(value: object) -> Mapping[str, Any]:
    """Return an object; an empty one for any other value."""
    return value if isinstance(value, Mapping) else {}


def as_list(value: object) -> Sequence[Any]:
    """Return a list; an empty one for any other value."""
    return value if isinstance(value, list) else ()


def read_number(value: object, least: float = -1e18, below: float = 1e18) -> float | None:
    """Return a number from ``least`` to under ``below``; None for any other value, also for a boolean."""
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) and least <= value < below else None


def read_whole(value: object, least: int = 0, below: int = 2**63) -> int | None:
    """Return a whole number from ``least`` to under ``below``; None for any other value."""
    return value if isinstance(value, int) and not isinstance(value, bool) and least <= value < below else None


def read_flag(value: object) -> bool | None:
    return value if isinstance(value, bool) else None
