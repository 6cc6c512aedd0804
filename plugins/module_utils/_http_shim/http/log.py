# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Structured logs: one JSON object a line on standard output. A thread writes them, so that a slow reader delays nothing."""

from __future__ import annotations

import functools
import json
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from datetime import datetime, timezone
from typing import IO

from ..._power.model.clock import timestamp

#: The limit of lines that wait for a slow reader. Lines beyond it are counted and lost.
_MOST_WAITING = 10_000
_GATHER_SECONDS = 0.02

#: Made once: almost every request has a line.
_encode = json.JSONEncoder(default=str, check_circular=False).encode


@functools.lru_cache(maxsize=2)
def _second(at: int) -> str:
    """Return the beginning of a timestamp, which many lines share."""
    return timestamp(datetime.fromtimestamp(at, timezone.utc))[:19]


class Log:
    """The log of one process. Logging never waits and never fails. Callers pass no secrets."""

    def __init__(self, stream: IO[str] | None = None) -> None:
        self._stream = stream or sys.stdout
        self._lines: deque[tuple[float, str, str, dict[str, object]]] = deque()
        self._there = threading.Event()
        self._ending = False
        self._lost = 0
        self._thread = threading.Thread(target=self._write, name="log", daemon=True)
        self._thread.start()

    def note(self, event: str, **fields: object) -> None:
        self._put("info", event, fields)

    def warn(self, event: str, **fields: object) -> None:
        self._put("warning", event, fields)

    def error(self, event: str, **fields: object) -> None:
        self._put("error", event, fields)

    def close(self) -> None:
        """Write the waiting lines, for a second at most."""
        self._ending = True
        self._there.set()
        self._thread.join(1.0)

    def _put(self, level: str, event: str, fields: dict[str, object]) -> None:
        if len(self._lines) >= _MOST_WAITING:
            self._lost += 1
            return
        self._lines.append((time.time(), level, event, fields))
        if not self._there.is_set():
            self._there.set()

    def _write(self) -> None:
        while not self._ending or self._lines:
            self._there.wait()
            # Gather lines, so that not each one wakes this thread.
            time.sleep(_GATHER_SECONDS)
            self._there.clear()
            text = "".join(self._taken())
            try:
                self._stream.write(text)
                self._stream.flush()
            except (OSError, ValueError):
                return

    def _taken(self) -> Iterator[str]:
        for _unused in range(len(self._lines)):
            at, level, event, fields = self._lines.popleft()
            said = {name: value for name, value in fields.items() if value not in (None, "")}
            entry: dict[str, object] = {"time": f"{_second(int(at))}.{int(at % 1 * 1000):03}Z", "level": level, "event": event, **said}
            if self._lost:
                entry["lost_lines"], self._lost = self._lost, 0
            yield f"{_encode(entry)}\n"
