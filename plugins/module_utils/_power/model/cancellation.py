# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Looking up from long work: whatever waits calls ``look`` at least every second; it raises where the work must not go on."""

from __future__ import annotations

from collections.abc import Callable

CheckCancelled = Callable[[], None]


def no_check() -> None:
    """Nothing to look at: the work is always finished."""
