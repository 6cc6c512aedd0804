# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The life of the engine that the supervisor is connected to, and what it keeps on its disk of stops by hand."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass

from .._power.engine.engine import Engine
from .._power.engine.manual_stop import manual_stop_mark
from .._power.host.engine_process import engine_began, engine_life, is_life
from .._power.host.liveness import boot_id
from .._power.model.clock import engine_time
from .._power.model.errors import PowerError
from .._power.model.server import Run
from .._power.model.supervision import SeenRun

#: No engine takes longer to stop what runs before it lets anybody in: each has 10 s until SIGKILL, many at a time.
_STARTUP_SECONDS = 120.0


@dataclass(frozen=True)
class EngineLink:
    """One connection to one life of an engine. ``root`` is its directory, empty where it is not known or not on this machine.

    ``connected_at`` is when it answered first, in seconds of the wall clock. ``host`` is where.
    """

    life: str
    root: str = ""
    connected_at: float = 0.0
    host: str = ""

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

    def stopped_in_startup(self, ended_at: str) -> bool:
        """Tell if a run ended while the engine came up: one that is killed leaves processes, and the next stops them as a person does.

        Where it has been up for long when this process comes, nobody knows when it let the first one in.
        """
        began, ended = engine_began(self.life), engine_time(ended_at)
        return began is not None and ended is not None and began <= ended.timestamp() <= min(self.connected_at, began + _STARTUP_SECONDS)

    def mark_of(self, run: Run) -> bool | None:
        """Return the engine's own mark of a manual stop of a container's newest run; None where it cannot be read."""
        return manual_stop_mark(self.root, run.container)


def link_to(engine: Engine, host: str, breaks: int) -> EngineLink:
    """Return the link to an engine that answers. ``breaks`` says how often this process lost one: where an engine's process is not known,
    each of its streams counts as a life.
    """
    unknown = f"{boot_id()}/" if breaks == 0 else f"{boot_id()}/?{breaks}"
    root = ""
    if engine.local:
        with contextlib.suppress(PowerError):
            root = str(engine.facts().get("DockerRootDir") or "")
    return EngineLink(engine_life(host) or unknown, root, time.time(), host)
