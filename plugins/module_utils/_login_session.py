# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Outliving the unit of systemd that a process began in, whatever session or group of processes it is in.

All that is in a login's ``session-N.scope`` ends with the login where logind.conf has ``KillUserProcesses=yes``, and all that is in the
``run-….service`` of a command that was begun with ``run0`` ends with the command. Only root may leave either, for a scope of its own,
which systemd makes when asked over the system bus.
"""

from __future__ import annotations

import os
import re
import subprocess

_LOGIN = re.compile(r"/user\.slice/.*/session-[^/]+\.scope(/|$)", re.MULTILINE)
_COMMAND = re.compile(r"/run-[^/]+\.(service|scope)(/|$)", re.MULTILINE)
_BUS_SECONDS = 5.0
_BUSCTL = ("busctl", "--system", "--timeout=4")
_KILLS = ("get-property", "org.freedesktop.login1", "/org/freedesktop/login1", "org.freedesktop.login1.Manager", "KillUserProcesses")
_START = ("call", "org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager", "StartTransientUnit")


def outlive_login(pid: int, name: str) -> bool:
    """Have a child of this process live on when its login or command ends, in a scope of that name where it needs one; whether it will.

    What cannot be found out is no.
    """
    try:
        units = _units_of(pid)
        if not _COMMAND.search(units) and (not _LOGIN.search(units) or _asked(*_KILLS) == "b false"):
            return True
        if os.geteuid() != 0:
            return False
        properties = ("2", "Description", "s", "A power action of fleet.power that is followed", "PIDs", "au", "1", str(pid))
        _asked(*_START, "ssa(sv)a(sa(sv))", f"{name}.scope", "fail", *properties, "0")
    except (OSError, subprocess.SubprocessError):
        return False
    return True


def _units_of(pid: int) -> str:
    with open(f"/proc/{pid}/cgroup", encoding="utf-8") as file:
        return file.read()


def _asked(*words: str) -> str:
    """Return what the system bus answers. Raises OSError and SubprocessError."""
    # pylint: disable-next=ansible-bad-function
    asked = subprocess.run([*_BUSCTL, *words], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_BUS_SECONDS, check=True)
    return asked.stdout.strip()
