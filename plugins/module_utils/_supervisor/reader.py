# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The thread that reads the engine's events and hands them to the one that decides."""

from __future__ import annotations

import queue
import threading

from .._power.engine.engine import EventStream
from .._power.engine.event_stream import ContainerEvent
from .._power.model.errors import PowerError


class Reader:
    """Reads one stream until it breaks or is closed."""

    def __init__(self, stream: EventStream) -> None:
        self._stream = stream
        self._events: queue.SimpleQueue[ContainerEvent | None] = queue.SimpleQueue()
        threading.Thread(target=self._read, name="engine-events", daemon=True).start()

    def next(self, seconds: float) -> ContainerEvent | None:
        """Return the next event, None where there is none within so many seconds. Raises `Broken` once the stream has ended."""
        try:
            event = self._events.get(timeout=max(0.0, seconds)) if seconds > 0 else self._events.get_nowait()
        except queue.Empty:
            return None
        if event is None:
            raise Broken
        return event

    def close(self) -> None:
        """End the stream."""
        self._stream.close()

    def _read(self) -> None:
        try:
            for event in self._stream:
                self._events.put(event)
        except PowerError:
            pass
        finally:
            self._events.put(None)


class Broken(Exception):
    """The engine tells nothing any more."""
