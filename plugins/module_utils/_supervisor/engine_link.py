# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The connection to one life of the engine, and the thread that reads its events."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Mapping
from typing import Any

from .._power.engine.docker_engine import DockerEngine
from .._power.engine.event_stream import ContainerEvent, DockerEventStream
from .._power.host.engine_process import engine_life, is_life
from .._power.host.machine import boot_id
from .._power.model.errors import PowerError
from .._power.model.records import dataclass
from .._power.model.server import Run
from .._power.model.supervision import SeenRun
from .end_reports import ReportedEnd


class EventReader:
    def __init__(self, stream: DockerEventStream) -> None:
        self._stream = stream
        self._events: queue.SimpleQueue[ContainerEvent | None] = queue.SimpleQueue()
        self.is_closed = False
        threading.Thread(target=self._read, name="engine-events", daemon=True).start()

    def next(self, seconds: float) -> ContainerEvent | None:
        """Return the next event; None after so many seconds without one. Raises `StreamEnded` once the stream has ended."""
        try:
            event = self._events.get(timeout=max(0.0, seconds)) if seconds > 0 else self._events.get_nowait()
        except queue.Empty:
            return None
        if event is None:
            raise StreamEnded
        return event

    def close(self) -> None:
        self.is_closed = True
        self._stream.close()

    def _read(self) -> None:
        try:
            for event in self._stream:
                self._events.put(event)
        except PowerError:
            pass
        finally:
            self._events.put(None)


class StreamEnded(Exception):
    """The stream of events has ended."""


@dataclass(frozen=True)
class EngineLink:
    """One connection to one life of an engine at ``host``. ``root`` is its directory; empty if unknown or on another machine. ``before`` is
    the life before it, if this process has read all events up to its end."""

    life: str
    root: str = ""
    host: str = ""
    live_restore: bool = False
    before: str = ""

    def is_over(self) -> bool:
        """Tell if another life of the engine answers there now; False if a process is unknown. With socket activation, a request during an
        engine's end may reach the next engine."""
        now = engine_life(self.host)
        return bool(now) and is_life(self.life) and now != self.life

    def is_gone(self) -> bool:
        """Tell if the known engine process is gone. False if it was never known."""
        return is_life(self.life) and engine_life(self.host) != self.life

    def is_another(self, seen: SeenRun | None, run: Run) -> bool:
        """Tell if the journal has a run in another life of the engine. If its life is unknown, it counts as this one."""
        if seen is None or seen.run != run or not seen.engine:
            return False
        # If the process is unknown, the boot stands for it.
        return seen.engine != self.life if not self.life.endswith("/") else not seen.engine.startswith(self.life)

    def stopped_in_startup(self, seen: SeenRun | None, heard: ReportedEnd | None) -> bool:
        """Tell if a run of another life ended during this engine's startup. Then the engine itself stopped it. A killed engine leaves
        processes behind. The next engine stops them like a manual stop, unless live-restore is on.

        No clock tells, because it may have been set: either this engine reports the end, or the life before reported none.
        """
        if seen is None or self.live_restore or not is_life(self.life):
            return False
        return seen.engine == self.before if heard is None else heard.engine == self.life


def link_to(engine: DockerEngine, before: str = "") -> EngineLink:
    """Return the link to an engine that answers. If its process is unknown, the boot stands for its life, and nothing starts on a guess."""
    facts: Mapping[str, Any] = {}
    if engine.local:
        with contextlib.suppress(PowerError):
            facts = engine.facts()
    root, live_restore = str(facts.get("DockerRootDir") or ""), facts.get("LiveRestoreEnabled") is True
    return EngineLink(engine_life(engine.host) or f"{boot_id()}/", root, engine.host, live_restore, before)
