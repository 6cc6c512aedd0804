# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One syslog line for each server's end, so that ``journalctl -ft fleet-power`` follows a run from a second terminal."""

from __future__ import annotations

import syslog
import threading

from .model import Outcome, Request, Result
from .schema import printable

TAG = "fleet-power"
_MUTEX = threading.Lock()
_QUIET = (Outcome.DONE, Outcome.UNCHANGED)


def line_of(result: Result, request: Request) -> str:
    """What became of one server, in one line without control characters or secrets."""
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
    line = " ".join(words) + (f": {result.msg}" if result.msg else "")
    return "".join(character if character.isprintable() else "?" for character in line)


def announce(result: Result, request: Request) -> None:
    """Write the line; nothing fails for it."""
    line = line_of(result, request)
    # The name that openlog sets is one for the whole process.
    with _MUTEX:
        syslog.openlog(TAG, syslog.LOG_PID, syslog.LOG_DAEMON)
        syslog.syslog(syslog.LOG_INFO if result.outcome in _QUIET else syslog.LOG_WARNING, line)
        syslog.closelog()
