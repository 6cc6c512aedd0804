# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Outliving the login that a process began in. Where logind.conf has ``KillUserProcesses=yes``, all of a login's processes end with it.

They are those of its scope, ``session-N.scope``, whatever session or group of processes they are in. Only root may leave it, for a scope of
its own, which systemd makes when asked over the system bus.
"""

from __future__ import annotations

import os
import re
import subprocess

_SCOPE = re.compile(r"/user\.slice/.*/session-[^/]+\.scope(/|$)", re.MULTILINE)
_BUS_SECONDS = 5.0
_BUSCTL = ("busctl", "--system", "--timeout=4")
_KILLS = ("get-property", "org.freedesktop.login1", "/org/freedesktop/login1", "org.freedesktop.login1.Manager", "KillUserProcesses")
_START = ("call", "org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager", "StartTransientUnit")


def outlive_login(pid: int, name: str) -> bool:
    """Have a child of this process live on when its login ends, in a scope of that name where it needs one; whether it will.

    What cannot be found out is no.
    """
    try:
        with open(f"/proc/{pid}/cgroup", encoding="utf-8") as file:
            if not _SCOPE.search(file.read()):
                return True
        kills = _asked(*_KILLS)
        if kills == "b false":
            return True
        if kills != "b true" or os.geteuid() != 0:
            return False
        properties = ("2", "Description", "s", "A power action of fleet.power that is followed", "PIDs", "au", "1", str(pid))
        _asked(*_START, "ssa(sv)a(sa(sv))", f"{name}.scope", "fail", *properties, "0")
    except (OSError, subprocess.SubprocessError):
        return False
    return True


def _asked(*words: str) -> str:
    """Return what the system bus answers. Raises OSError and SubprocessError."""
    asked = subprocess.run([*_BUSCTL, *words], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_BUS_SECONDS, check=True)
    return asked.stdout.strip()
