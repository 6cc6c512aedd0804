# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who asked for an action, from the side of what acts: whether anybody is still there, and what they are told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .news import Listener, unheard


def never() -> bool:
    """No signal ever asks to begin nothing more."""
    return False


def not_held() -> None:
    """Nothing is waited for before something begins."""


@dataclass(frozen=True)
class Caller:
    """Who asked. ``interrupted`` says whether nothing more is to begin; ``hold`` is called before something does, and returns when it may,
    or is not to any more; ``listener`` is told what becomes of each server.

    ``handed_on`` says whether this process ends and another goes on with what it waits for: a countdown then leaves its record as it is,
    and tells its players nothing. Unlike ``interrupted``, it calls nothing off, and a wait for a server to be ready goes on until the
    process is gone.
    """

    interrupted: Callable[[], bool] = never
    hold: Callable[[], None] = not_held
    listener: Listener = unheard
    handed_on: Callable[[], bool] = never


#: Somebody who stays, and is told nothing.
SILENT = Caller()
