# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The connection to one life of the engine, and the thread that reads its events."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .._power.engine.engine import Engine, EventStream
from .._power.engine.event_stream import ContainerEvent
from .._power.host.engine_process import engine_began, engine_life, is_life, manual_stop_mark
from .._power.host.liveness import boot_id
from .._power.model.clock import engine_time
from .._power.model.errors import PowerError
from .._power.model.server import Run
from .._power.model.supervision import SeenRun


class EventReader:
    """Reads one stream until it breaks or is closed."""

    def __init__(self, stream: EventStream) -> None:
        self._stream = stream
        self._events: queue.SimpleQueue[ContainerEvent | None] = queue.SimpleQueue()
        threading.Thread(target=self._read, name="engine-events", daemon=True).start()

    def next(self, seconds: float) -> ContainerEvent | None:
        """Return the next event, None where there is none within so many seconds. Raises `StreamEnded` once the stream has ended."""
        try:
            event = self._events.get(timeout=max(0.0, seconds)) if seconds > 0 else self._events.get_nowait()
        except queue.Empty:
            return None
        if event is None:
            raise StreamEnded
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


class StreamEnded(Exception):
    """The engine tells nothing any more."""


@dataclass(frozen=True)
class EngineLink:
    """One connection to one life of an engine. ``root`` is its directory, empty where it is not known or not on this machine.

    ``host`` is where it answers. ``live_restore``: what ran goes on when it ends.
    """

    life: str
    root: str = ""
    host: str = ""
    live_restore: bool = False

    def is_over(self) -> bool:
        """Tell if another life of the engine answers there now: whoever asks while one goes may be answered by the next, behind a socket at
        which systemd listens for both. False where the process of neither is known.
        """
        now = engine_life(self.host)
        return bool(now) and is_life(self.life) and now != self.life

    def is_gone(self) -> bool:
        """Tell if the process is gone that was known. False where it was never known."""
        return is_life(self.life) and engine_life(self.host) != self.life

    def is_another(self, seen: SeenRun | None, run: Run) -> bool:
        """Tell if a run was seen up by another life of the engine, or, where nobody saw it, began before this one."""
        if seen is not None and seen.run == run and seen.engine:
            # Where the process is not known, the boot is.
            return seen.engine != self.life if not self.life.endswith("/") else not seen.engine.startswith(self.life)
        began, started = engine_began(self.life), engine_time(run.started_at)
        return began is not None and started is not None and started.timestamp() < began

    def stopped_in_startup(self, run: Run, ended_at: str) -> bool:
        """Tell if a run of an earlier life ended in this one: no other than the engine itself has stopped it, before it let anybody in.

        One that is killed leaves processes, and the next stops them as a person does, unless it lets them live on.
        """
        began, started, ended = engine_began(self.life), engine_time(run.started_at), engine_time(ended_at)
        if began is None or started is None or ended is None or self.live_restore:
            return False
        return started.timestamp() < began <= ended.timestamp()

    def mark_of(self, run: Run) -> bool | None:
        """Return the engine's own mark of a manual stop of a container's newest run; None where it cannot be read."""
        return manual_stop_mark(self.root, run.container)


def link_to(engine: Engine, host: str) -> EngineLink:
    """Return the link to an engine that answers. Of one whose process is not known the boot stands for its life: it may have been another
    one at any time, and nothing is started on a guess.
    """
    facts: Mapping[str, Any] = {}
    if engine.local:
        with contextlib.suppress(PowerError):
            facts = engine.facts()
    root, live_restore = str(facts.get("DockerRootDir") or ""), facts.get("LiveRestoreEnabled") is True
    return EngineLink(engine_life(host) or f"{boot_id()}/", root, host, live_restore)
