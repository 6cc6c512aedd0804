# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One syslog line for each server's end, so that ``journalctl -ft fleet-power`` follows an action from a second terminal."""

from __future__ import annotations

import os
import socket
import syslog

from ..model.cancellation import Deadline
from ..model.clock import SYSTEM_CLOCK
from ..model.request import Request
from ..model.result import Outcome, Result
from ..model.schema import blanked, printable

TAG = "fleet-power"
#: The timeout of a line, and its most bytes: network logging takes no more.
_PATIENCE_SECONDS = 1.0
_LONGEST = 8192
#: The pause after a timeout: an action must not wait a second for each line.
_STUCK_SECONDS = 30.0
_QUIET = (Outcome.DONE, Outcome.UNCHANGED)


def line_of(result: Result, request: Request) -> str:
    """Return the end of an action on one server, in one line without control characters or secrets."""
    words = [f"{result.action.value} {printable(result.server.uuid)}"]
    words += [f"({result.server.name})"] if result.server.name else []
    words.append(result.outcome.value)
    words += [result.code] if result.code else []
    words.append(f"in {result.seconds:.1f} s")
    words += ["forced"] if result.stop is not None and result.stop.forced else []
    words += [f"by {request.origin}"] if request.origin else []
    words += [f"for {request.reason!r}"] if request.reason else []
    words += [f"operation {result.operation}"] if result.operation else []
    return blanked(" ".join(words) + (f": {result.msg}" if result.msg else ""), "?")


def announce(result: Result, request: Request) -> None:
    """Write the line; errors are ignored."""
    level = syslog.LOG_INFO if result.outcome in _QUIET else syslog.LOG_WARNING
    _SYSTEM_LOG.write(level, line_of(result, request))


def announce_line(line: str, *, warn: bool = False) -> None:
    """Write another line without secrets, and remove control characters; errors are ignored."""
    _SYSTEM_LOG.write(syslog.LOG_WARNING if warn else syslog.LOG_INFO, blanked(line, "?"))


class SystemLog:
    """The system log, without the C library's function: that waits endlessly for a stuck daemon."""

    def __init__(self, address: str = "/dev/log") -> None:
        self._address = address
        self._stuck = Deadline(SYSTEM_CLOCK, 0.0)

    def write(self, level: int, line: str) -> None:
        """Send one line. After a timeout of a second, this line and those of the next half minute are lost."""
        if not self._stuck.is_over:
            return
        datagram = f"<{syslog.LOG_DAEMON | level}>{TAG}[{os.getpid()}]: {line}".encode("utf-8", "replace")
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as log:
                # Connected, because the kernel reports a full queue only for a peer.
                log.connect(self._address)
                log.settimeout(_PATIENCE_SECONDS)
                log.send(datagram[:_LONGEST])
        except socket.timeout:
            self._stuck = Deadline.after(SYSTEM_CLOCK, _STUCK_SECONDS)
        except OSError:
            return


_SYSTEM_LOG = SystemLog()
