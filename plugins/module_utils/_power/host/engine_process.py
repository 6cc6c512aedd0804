# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine's process on this machine: its life according to the kernel, and its mark of a manual stop."""

from __future__ import annotations

import os
import re
import socket
import struct
from contextlib import suppress

from ..model.schema import parsed_json
from .machine import CONTAINER_ID, boot_id, is_in_our_namespace, lives, processes, start_of, text_of
from .own_files import open_own

_UNIX = "unix://"
_COMMAND = "dockerd"
_PID_FILES = ("/run/docker.pid", "/var/run/docker.pid")
_CONNECT_SECONDS = 2.0
#: Pid, user and group of a socket's other end, from the kernel.
_CREDENTIALS = struct.Struct("3i")
_LIFE = re.compile(r"([0-9a-f-]{36})/([1-9][0-9]{0,9})/([1-9][0-9]{0,18})")
#: Bytes of a container's file; it has some thousand, plus its labels and variables.
_MOST_CONFIG_BYTES = 8 * 1024 * 1024
_MOST_NESTED = 64


def engine_life(host: str) -> str:
    """Return a name for this life of an engine's process: boot id, pid and start in clock ticks, with slashes between.

    Empty if unknown: a remote or stopped engine, another pid namespace, or several engines behind a socket of another process.
    """
    boot = boot_id()
    if not host.startswith(_UNIX) or not boot:
        return ""
    pid = _engine_at(host[len(_UNIX) :], boot)
    start = start_of(pid) if pid else 0
    return f"{boot}/{pid}/{start}" if start else ""


def is_life(name: str) -> bool:
    """Tell if a text is a name of `engine_life`."""
    return _LIFE.fullmatch(name) is not None


def _engine_at(path: str, boot: str) -> int:
    listener = _listener_at(path)
    if listener == 0 or _command_of(listener) == _COMMAND:
        return listener
    # Another process listens for it: systemd with socket activation, or a proxy.
    for file in _PID_FILES:
        text = text_of(file)
        pid = int(text) if text.isdigit() else 0
        if pid and _command_of(pid) == _COMMAND and lives(pid, start_of(pid), boot):
            return pid
    # An engine in a container is another one.
    engines = [pid for pid in processes() if _command_of(pid) == _COMMAND and is_in_our_namespace(pid)]
    return engines[0] if len(engines) == 1 else 0


def _listener_at(path: str) -> int:
    with suppress(OSError, ValueError), socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(_CONNECT_SECONDS)
        client.connect(path)
        credentials = client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        return max(0, int(_CREDENTIALS.unpack(credentials)[0]))
    return 0


def _command_of(pid: int) -> str:
    return text_of(f"/proc/{pid}/comm")


def manual_stop_mark(root: str, container: str) -> bool | None:
    """Tell if a signal came to this run of a container through the engine's API, from any sender, also from us.

    ``root`` is the engine's ``DockerRootDir``, ``container`` a full id. The engine writes the mark before the signal, and removes it at the
    next start. Its own shutdown leaves no mark. But after a kill of the engine, the next one stops and marks containers that still run.
    None if unreadable: another machine, user or engine.
    """
    if not CONTAINER_ID.fullmatch(container) or not os.path.isabs(root):
        return None
    try:
        with open(open_own(os.path.join(root, "containers", container, "config.v2.json"), os.O_RDONLY), "rb") as source:
            content = source.read(_MOST_CONFIG_BYTES + 1)
    except (OSError, ValueError):
        return None
    found = parsed_json(content, _MOST_NESTED) if len(content) <= _MOST_CONFIG_BYTES else None
    if not isinstance(found, dict) or found.get("ID") != container:
        return None
    mark = found.get("HasBeenManuallyStopped")
    return mark if isinstance(mark, bool) else None
