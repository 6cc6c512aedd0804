# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Words to the service manager: a datagram to the socket that it named, nothing where it named none."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Mapping

READY = "READY=1"
STOPPING = "STOPPING=1"
WATCHDOG = "WATCHDOG=1"


class ServiceManager:
    """The service manager that started this process, as ``variables``, those of the process by default, name it."""

    def __init__(self, variables: Mapping[str, str] | None = None) -> None:
        variables = os.environ if variables is None else variables
        self._address = variables.get("NOTIFY_SOCKET", "")
        meant = variables.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        text = variables.get("WATCHDOG_USEC", "")
        #: Seconds between two signs of life that it asks for; None: it asks for none.
        self.watchdog_seconds = int(text) / 2_000_000 if meant and text.isdigit() and int(text) else None

    def tell(self, *words: str) -> None:
        """Send it words. Raises nothing."""
        if not self._address:
            return
        # An abstract name is written with an at sign.
        address = f"\0{self._address[1:]}" if self._address.startswith("@") else self._address
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as supervisor:
            supervisor.settimeout(1.0)
            supervisor.connect(address)
            supervisor.sendall("\n".join(words).encode())

    def tell_reloading(self) -> None:
        """Tell it that the settings are being read anew; `READY` follows."""
        self.tell("RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")
