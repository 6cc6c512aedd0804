# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Text for the standard input of a container's process, written to the engine's attach socket."""

from __future__ import annotations

import socket
from typing import Any

from ..model.cancellation import Deadline
from ..model.clock import SYSTEM_CLOCK
from .output import release


def write_once(raw: Any, data: bytes, seconds: float, *, until_taken: bool) -> bool:
    """Write, and give the connection back; whether all of it was taken.

    Raises `socket.timeout` if the engine does not take it within ``seconds``.
    With ``until_taken`` it is the pipe of the process that has to take it, in the same time: False if that is full, since the process does
    not read. The engine itself takes what fits into its socket, keeps it, and says nothing.
    """
    deadline = Deadline.after(SYSTEM_CLOCK, seconds)
    sock = getattr(raw, "_sock", raw)
    try:
        sock.settimeout(seconds)
        sock.sendall(data)
        return not until_taken or _is_taken(sock, deadline)
    except socket.timeout:
        if until_taken:
            return False
        raise
    finally:
        release(raw)


def _is_taken(sock: Any, deadline: Deadline) -> bool:
    """Tell if the engine hangs up in time after the last byte: it does so once it has passed on all there was, or nobody is left."""
    try:
        sock.shutdown(socket.SHUT_WR)
        while (left := deadline.left) > 0:
            sock.settimeout(left)
            if not sock.recv(4096):
                return True
    except socket.timeout:
        return False
    except OSError:
        # It has hung up already.
        return True
    return False
