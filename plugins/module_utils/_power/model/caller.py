# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The origin of a request, where the front door does not know better."""

from __future__ import annotations

import os
import pwd
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from .news import Listener, unheard

AD_HOC = "ad hoc"
#: Who asks for a start after a boot.
RESTORE_ORIGIN = "restore after boot"


def is_ad_hoc(origin: str | None) -> bool:
    """Tell by an origin whether a person at a shell asks, as the action plugin writes it; who names an origin of its own does not."""
    return (origin or "").endswith(f"({AD_HOC})")


def default_origin(variables: Mapping[str, str] | None = None) -> str:
    """The sudo or login user, and the address of the SSH client where one is known: ``alice from 192.0.2.7``."""
    environ = os.environ if variables is None else variables
    user = environ.get("SUDO_USER") or _user_name(os.getuid())
    client = (environ.get("SSH_CONNECTION") or environ.get("SSH_CLIENT") or "").split(" ")[0]
    return f"{user} from {client}" if client else user


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


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
