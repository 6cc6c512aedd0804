# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The caller of an action, and its default origin."""

from __future__ import annotations

import os
import pwd
from collections.abc import Callable

from .news import Listener, unheard
from .records import dataclass

AD_HOC = "ad hoc"
RESTORE_ORIGIN = "restore after boot"


def is_ad_hoc(origin: str | None) -> bool:
    """Return True if the action plugin wrote this origin for an ad hoc command."""
    return (origin or "").endswith(f"({AD_HOC})")


def default_origin() -> str:
    """The sudo or login user, and the address of the SSH client if there is one: ``alice from 192.0.2.7``."""
    user = os.environ.get("SUDO_USER") or _user_name(os.getuid())
    client = (os.environ.get("SSH_CONNECTION") or os.environ.get("SSH_CLIENT") or "").split(" ")[0]
    return f"{user} from {client}" if client else user


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


@dataclass(frozen=True)
class Caller:
    """The callbacks of a caller.

    ``interrupted``: begin nothing new. ``hold`` blocks until the action may begin, or is interrupted. ``listener`` gets the news of each
    server. ``handed_on``: the interruption cancels nothing, because another process or a later try begins the rest. Such an action leaves
    no trace. Its countdown keeps its record and sends players nothing. A wait for ready lasts until its end or the end of the process.
    """

    interrupted: Callable[[], bool] = lambda: False
    hold: Callable[[], None] = lambda: None
    listener: Listener = unheard
    handed_on: Callable[[], bool] = lambda: False


SILENT = Caller()
