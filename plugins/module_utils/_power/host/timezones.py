# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The node's time zone. It must not depend on the caller: a container is recreated when it changes."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

_NAME = re.compile(r"[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*")
_DATABASE = "usr/share/zoneinfo"
FALLBACK = "UTC"


def is_timezone(name: str, root: str = "/") -> bool:
    """Tell if ``name`` is a time zone; without a time zone database, if it looks like one."""
    if not _NAME.fullmatch(name):
        return False
    database = os.path.join(root, _DATABASE)
    return name == FALLBACK or not os.path.isdir(database) or os.path.isfile(os.path.join(database, name))


def node_timezone(environment: Mapping[str, str], root: str = "/") -> str:
    """Return the first valid time zone of ``/etc/timezone``, the link ``/etc/localtime``, and ``TZ``; else UTC.

    Wings reads ``TZ`` first; here callers with different environments would recreate each other's containers.
    """
    for name in (_from_file(root), _from_link(root), environment.get("TZ", "").lstrip(":")):
        if is_timezone(name, root):
            return name
    return FALLBACK


def _from_file(root: str) -> str:
    try:
        return Path(root, "etc/timezone").read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""


def _from_link(root: str) -> str:
    try:
        return os.readlink(os.path.join(root, "etc/localtime")).partition("zoneinfo/")[2]
    except OSError:
        return ""
