# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One syslog line for each server's end, so that ``journalctl -ft fleet-power`` follows a run from a second terminal."""

from __future__ import annotations

import os
import socket
import syslog

from ..model.cancellation import Deadline
from ..model.clock import SYSTEM_CLOCK
from ..model.request import Request
from ..model.result import Outcome, Result
from ..model.schema import printable

TAG = "fleet-power"
#: How long a line may wait to be taken, and how long it may be, in bytes; what logs itself over the network takes no more.
_PATIENCE_SECONDS = 1.0
_LONGEST = 8192
#: How long a log that takes nothing is left alone: whoever acts must not wait a second for each line.
_STUCK_SECONDS = 30.0
_QUIET = (Outcome.DONE, Outcome.UNCHANGED)


def line_of(result: Result, request: Request) -> str:
    """Say what became of one server, in one line without control characters or secrets."""
    words = [f"{result.action.value} {printable(result.server.uuid)}"]
    if result.server.name:
        words.append(f"({result.server.name})")
    words.append(result.outcome.value)
    words += [result.code] if result.code else []
    words.append(f"in {result.seconds:.1f} s")
    if result.stop is not None and result.stop.forced:
        words.append("forced")
    words += [f"by {request.origin}"] if request.origin else []
    words += [f"for {request.reason!r}"] if request.reason else []
    words += [f"operation {result.operation}"] if result.operation else []
    return _printable(" ".join(words) + (f": {result.msg}" if result.msg else ""))


def announce(result: Result, request: Request) -> None:
    """Write the line; nothing fails for it."""
    level = syslog.LOG_INFO if result.outcome in _QUIET else syslog.LOG_WARNING
    _SYSTEM_LOG.write(level, line_of(result, request))


def announce_line(line: str, *, warn: bool = False) -> None:
    """Write any other line, which has no secrets, without control characters; nothing fails for it."""
    _SYSTEM_LOG.write(syslog.LOG_WARNING if warn else syslog.LOG_INFO, _printable(line))


def _printable(line: str) -> str:
    return line if line.isprintable() else "".join(character if character.isprintable() else "?" for character in line)


class SystemLog:
    """The system log, written without the C library's function: that waits without end for a daemon that reads no more."""

    def __init__(self, address: str = "/dev/log") -> None:
        self._address = address
        self._stuck = Deadline(SYSTEM_CLOCK, 0.0)

    def write(self, level: int, line: str) -> None:
        """Send one line. Where nobody takes it within a second, this line is lost, and so are those of the next half minute."""
        if not self._stuck.is_over:
            return
        datagram = f"<{syslog.LOG_DAEMON | level}>{TAG}[{os.getpid()}]: {line}".encode("utf-8", "replace")
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as log:
                # Connected, since the kernel tells only of a peer whether it has room.
                log.connect(self._address)
                log.settimeout(_PATIENCE_SECONDS)
                log.send(datagram[:_LONGEST])
        except socket.timeout:
            self._stuck = Deadline.after(SYSTEM_CLOCK, _STUCK_SECONDS)
        except OSError:
            return


_SYSTEM_LOG = SystemLog()
