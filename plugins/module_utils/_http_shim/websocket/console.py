# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The output of a server for its console."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import threading
import time
from collections.abc import Callable, Sequence

from ..._power.engine.docker_engine import DockerLogs
from ..._power.engine.output import Deframer, Output
from ..._power.engine.readiness import Lines, Matchers
from ..._power.model.cancellation import Deadline
from ..._power.model.clock import SYSTEM_CLOCK
from ..._power.model.errors import PowerError
from ..._power.model.server import Snapshot
from ..acceptance.shared_node import SharedNode
from ..http.worker_pool import soon
from . import frames
from .frames import Bucket
from .stats import ServerView

#: The longest wait for output. A stop is noticed after it.
_READ_SECONDS = 0.5
#: After a start: how long output is gathered before it is joined with the log, and how many lines of the log are shown.
_GATHER_SECONDS, _FIRST_LINES = 0.1, 500
#: Limits of the shown output, a second and at once: lines, and bytes. All of it is read, because a full pipe blocks the server.
_LINES = (1000.0, 2000.0)
_BYTES = (256.0 * 1024, 512.0 * 1024)
_TELL_SECONDS = 1.0
_LISTEN_SECONDS = 2.0


class Follower:
    """Reads the output of one run for a console, in a thread. ``begin``: the run has just begun, so its earlier output is shown, too."""

    def __init__(self, console: ConsoleOutput, logs: DockerLogs, snapshot: Snapshot, matchers: Matchers | None, *, begin: bool) -> None:
        self.run = snapshot.run
        self._console = console
        self._logs = logs
        self._matchers = matchers
        self._begin = begin
        self._stopped = threading.Event()
        self._lines = Lines()
        self._deframer = None if snapshot.tty else Deframer()
        now = time.monotonic()
        self._line_room, self._byte_room = Bucket(*_LINES, now), Bucket(*_BYTES, now)
        self._lost, self._loss_shown_at = 0, now

    def start(self) -> None:
        threading.Thread(target=self._follow, name="follower", daemon=True).start()

    def stop(self) -> None:
        self._stopped.set()

    def _follow(self) -> None:
        try:
            output = self._logs.attach(self.run.container)
            soon(self._console.loop, self._console.attached.set)
            try:
                self._read_all(output)
            finally:
                output.close()
        except (PowerError, RuntimeError):
            # It ended, or the engine does not answer. The next look finds out.
            return
        finally:
            soon(self._console.loop, self._console.forget, self)

    def _read_all(self, output: Output) -> None:
        if self._begin:
            self._show(self._first(output))
        while not self._stopped.is_set():
            lines = self._read(output, _READ_SECONDS)
            if lines is None:
                self._show(list(self._lines.rest()))
                return
            self._show(lines)

    def _read(self, output: Output, seconds: float) -> list[bytes] | None:
        chunk = output.read(seconds)
        if chunk == b"":
            return None
        payload = b"" if not chunk else chunk if self._deframer is None else self._deframer.feed(chunk)
        return list(self._lines.feed(payload))

    def _first(self, output: Output) -> list[bytes]:
        log = self._logs.of_run(self.run).split(b"\n")
        before = [line.rstrip(b"\r") for line in log[:-1]][-_FIRST_LINES:]
        live: list[bytes] = []
        deadline = Deadline.after(SYSTEM_CLOCK, _GATHER_SECONDS)
        while (left := deadline.left) > 0:
            lines = self._read(output, left)
            if lines is None:
                break
            live += lines
        return frames.joined(before, live)

    def _show(self, lines: Sequence[bytes]) -> None:
        if self._matchers is not None and self._matchers.match(lines, self.run):
            self._matchers = None
            self._console.node.journal.runs.record_match(self._console.uuid, self.run)
            soon(self._console.loop, self._console.ready)
        shown = self._within_bounds(lines)
        texts = [frames.frame(frames.OUTPUT, frames.line_text(line)) for line in shown]
        if self._lost and time.monotonic() - self._loss_shown_at >= _TELL_SECONDS:
            lost = f"{self._lost} lines are not shown: the server writes faster than a console can show"
            texts.append(frames.frame(frames.MESSAGE, lost))
            self._lost, self._loss_shown_at = 0, time.monotonic()
        if texts and not self._stopped.is_set():
            soon(self._console.loop, self._console.tell, texts)

    def _within_bounds(self, lines: Sequence[bytes]) -> Sequence[bytes]:
        now = time.monotonic()
        most, room = self._line_room.room(now), self._byte_room.room(now)
        ends = itertools.accumulate(map(len, lines[:most]))
        shown = lines[: sum(end <= room for end in ends)]
        self._line_room.most(now, len(shown))
        self._byte_room.most(now, sum(map(len, shown)))
        self._lost += len(lines) - len(shown)
        return shown


class ConsoleOutput:
    """Follows only the live run. Called in the event loop: ``tell`` with new frames, ``ready`` for a readiness line, ``ended`` at the end
    of the output."""

    def __init__(
        self, uuid: str, node: SharedNode, *, tell: Callable[[Sequence[str]], None], ready: Callable[[], None], ended: Callable[[], None]
    ) -> None:
        self.uuid = uuid
        self.node = node
        self.tell = tell
        self.ready = ready
        self._ended = ended
        self.loop = asyncio.get_running_loop()
        self._follower: Follower | None = None
        #: Set while a follower is attached, and while there is none.
        self.attached = asyncio.Event()
        self._in_order = asyncio.Lock()

    async def listening(self) -> None:
        """Wait a short time until the follower is attached. Callers continue in their order."""
        async with self._in_order:
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self.attached.wait(), _LISTEN_SECONDS)

    def follow(self, view: ServerView, matchers: Matchers | None, *, begin: bool) -> None:
        """Follow the live run; ``begin``: it has just begun. Raises RuntimeError if there is no thread for it."""
        follower = self._follower
        if follower is not None and follower.run != view.run:
            follower.stop()
            follower = self._follower = None
        if follower is not None:
            return
        if view.snapshot is None or view.run is None:
            self.attached.set()
            return
        self.attached.clear()
        self._follower = Follower(self, self.node.now().engine.logs, view.snapshot, matchers, begin=begin)
        try:
            self._follower.start()
        except RuntimeError:
            self._follower = None
            raise

    def stop(self) -> None:
        if self._follower is not None:
            self._follower.stop()

    def forget(self, follower: Follower) -> None:
        if self._follower is follower:
            self._follower = None
            self._ended()
