# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The permissions of a token; pure. Their names are the Panel's."""

from __future__ import annotations

from collections.abc import Collection

CONNECT = "websocket.connect"
CONSOLE = "control.console"
#: Whose bearer may see what an error says of the node: administrators of the Panel.
ERRORS = "admin.websocket.errors"
_ALL, _ADMIN = "*", "admin."


def grants(permissions: Collection[str], wanted: str) -> bool:
    """Tell whether ``wanted`` is among the permissions. ``*`` is every one that is not an administrator's."""
    return wanted in permissions or (_ALL in permissions and not wanted.startswith(_ADMIN))


def allows_origin(origin: str | None, remote: str, allowed: Collection[str]) -> bool:
    """Tell whether a browser's page of this origin may open a websocket: the Panel's, and those the settings allow; no origin is none."""
    if not origin:
        return False
    return origin == remote.rstrip("/") or origin in allowed or "*" in allowed
