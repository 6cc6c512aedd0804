# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A node: its engine, journal, locks and definitions, built from settings."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any

from ...definitions.settings import Settings, load_settings
from ...engine.connection import connect
from ...engine.docker_engine import DockerEngine
from ...games.game import ProfiledGames
from ...host.pauses import Remembered, wings_pid
from ...journal.journal import Journal
from ...locking.countdown import Countdowns
from ...locking.generation import KillGenerations
from ...locking.holder import Holder, Leftover
from ...locking.lock import Locks, PowerLock
from ...model.caller import SILENT, Caller
from ...model.cancellation import CheckCancelled, Deadline
from ...model.clock import SYSTEM_CLOCK, Clock, engine_time
from ...model.errors import LockUnavailable
from ...model.records import dataclass
from ...model.request import ALL, PowerAction, Request
from ...model.result import Phase, RunEnd
from ...model.server import PowerState, Run, Snapshot, Startup, parse_uuid
from ...model.supervision import SeenRun
from ...sources.source_set import SourceSet
from ...sources.sources import Sources


def derive_state(
    snapshot: Snapshot | None, *, stopping: Run | None, started: SeenRun | None, now: datetime, startup_window: float
) -> tuple[PowerState, Startup]:
    """Return state and readiness of a server.

    ``stopping`` is the run with a stop in progress. A server is ``starting`` only if we started this run, its readiness line is not seen
    yet, and it is younger than ``startup_window`` seconds: a missing line must not mean "starting" forever.
    """
    if snapshot is None or not snapshot.live:
        return PowerState.OFFLINE, Startup.UNKNOWN
    startup = Startup.UNKNOWN
    if started is not None and started.run == snapshot.run and started.matchers:
        startup = Startup.MATCHED if started.matched else Startup.WAITING
    if stopping == snapshot.run:
        return PowerState.STOPPING, startup
    age = age_seconds(snapshot.started_at, now)
    if startup is Startup.WAITING and age is not None and age < startup_window:
        return PowerState.STARTING, startup
    return PowerState.RUNNING, startup


def age_seconds(started_at: str, now: datetime) -> float | None:
    moment = engine_time(started_at)
    return None if moment is None else (now - moment).total_seconds()


#: First and longest pause between looks at the engine: most servers stop at once.
_POLL_SECONDS = (0.01, 0.5)
#: After a longer pause we wait for the engine's event; while events work, we look every _HINTED_SECONDS.
_HINT_SECONDS = 0.05
_HINTED_SECONDS = 2.0


@dataclass(frozen=True)
class Node:
    """One machine with its engine, as actions and readers use it."""

    settings: Settings
    engine: DockerEngine
    sources: Sources
    locks: Locks
    generations: KillGenerations
    journal: Journal
    clock: Clock
    countdowns: Countdowns
    games: ProfiledGames
    caller: Caller = SILENT
    wings_pid: Callable[[], int | None] = wings_pid

    def observe(self, uuid: str) -> Observed:
        """Return a server as any reader sees it: the lock holder's phase, or a leftover, shows a stop in progress."""
        return self.seen_as(uuid, self.engine.inspect(uuid))

    def seen_as(self, uuid: str, snapshot: Snapshot | None, record: tuple[Holder | None, Leftover | None] | None = None) -> Observed:
        """Return a server as any reader sees it with this snapshot and the lock's ``record``; None: the present one."""
        holder, leftover = record or self.locks.look(uuid)
        stopping = holder.run if holder is not None and holder.phase == Phase.STOP.value else _stopped_run(leftover)
        started = self.journal.runs.of(uuid) if snapshot is not None and snapshot.live else None
        state, startup = derive_state(
            snapshot, stopping=stopping, started=started, now=self.clock.now(), startup_window=self.settings.startup_window
        )
        return Observed(snapshot, state, startup, holder, leftover)

    def observe_held(self, uuid: str, leftover: Leftover | None) -> Observed:
        """Return a server as its lock holder sees it: only a leftover stop counts, because the record is its own."""
        return self.seen_as(uuid, self.engine.inspect(uuid), (None, leftover))

    def acquire(
        self, request: Request, uuid: str, seconds: float, check_cancelled: CheckCancelled, waited_before: float = 0.0
    ) -> PowerLock:
        """Take a server's lock, waiting at most ``seconds``; see `Locks.acquire`."""
        return self.locks.acquire(
            uuid, request, wait_seconds=seconds, clock=self.clock, check_cancelled=check_cancelled, waited_before=waited_before
        )

    def await_end(self, run: Run, seconds: float, check_cancelled: CheckCancelled) -> RunEnd | None:
        """Return the end of this run; None if it still lives after ``seconds``. ``check_cancelled`` may raise."""
        deadline = Deadline.after(self.clock, seconds)
        pause, longest = _POLL_SECONDS
        while True:
            end = self._end_of(run)
            if end is not None:
                return end
            check_cancelled()
            if deadline.is_over:
                return None
            if not self._await_hint(run, deadline.left, check_cancelled, begin=pause > _HINT_SECONDS):
                deadline.pause(pause)
                pause = min(pause * 1.5, longest)

    def _end_of(self, run: Run) -> RunEnd | None:
        """Return the end of a run; None while it lives. The time is unknown if the container is gone or runs again."""
        snapshot = self.engine.inspect(run.container)
        if snapshot is None or snapshot.run != run:
            return RunEnd()
        return None if snapshot.live else RunEnd(snapshot.finished_at, snapshot.exit_code)

    def _await_hint(self, run: Run, seconds: float, check_cancelled: CheckCancelled, *, begin: bool) -> bool:
        deadline = Deadline.after(self.clock, min(seconds, _HINTED_SECONDS))
        while True:
            left = deadline.left
            hint = self.engine.events.await_end_hint(run.container, min(left, _POLL_SECONDS[1]), begin=begin)
            if hint is None:
                return False
            if hint or left <= _POLL_SECONDS[1]:
                return True
            check_cancelled()


def _stopped_run(leftover: Leftover | None) -> Run | None:
    return leftover.run if leftover is not None and leftover.phase is Phase.STOP else None


@dataclass(frozen=True)
class Observed:
    """A server at one moment. ``leftover`` is unfinished work in the lock file."""

    snapshot: Snapshot | None
    state: PowerState
    startup: Startup
    holder: Holder | None
    leftover: Leftover | None

    @property
    def live(self) -> bool:
        return self.snapshot is not None and self.snapshot.live

    @property
    def stop_left(self) -> bool:
        """True if a process that is gone left a stop of this run unfinished."""
        return self.snapshot is not None and _stopped_run(self.leftover) == self.snapshot.run

    @property
    def is_steady(self) -> bool:
        """True if the server is up, and no change is in progress."""
        return self.live and self.holder is None and not self.stop_left


#: Seconds for which a look for Wings counts.
_WINGS_SECONDS = 1.0


def build_node(options: Mapping[str, Any], settings: Settings | None = None, *, caller: Caller = SILENT, read_only: bool = False) -> Node:
    """Build the node from options: ``config``, ``definitions`` and those of the engine (`connect`); None means absent.

    ``settings`` are those of ``config``, if read already. ``read_only`` creates no file or directory. Raises `SettingsInvalid`.
    """
    settings = settings or load_settings(options.get("config"))
    clock = SYSTEM_CLOCK
    engine = DockerEngine(connect(options, settings.docker_host))
    return Node(
        settings=settings,
        engine=engine,
        sources=build_sources(settings, engine, clock, options.get("definitions") or ()),
        locks=Locks(settings.lock_directory, settings.group),
        generations=KillGenerations(settings.state_directory, settings.group),
        journal=build_journal(settings, clock, read_only=read_only),
        clock=clock,
        countdowns=Countdowns(settings.lock_directory, settings.group),
        games=ProfiledGames(settings, engine),
        caller=caller,
        # This look at every process of the machine must not repeat for each of hundreds of servers.
        wings_pid=Remembered(partial(wings_pid, is_server=engine.is_server), _WINGS_SECONDS, clock.monotonic),
    )


def build_sources(settings: Settings, engine: DockerEngine, clock: Clock, definitions: Sequence[object] = ()) -> Sources:
    panel = None
    if settings.remote:
        # Many nodes have no Panel.
        from ...sources.panel import Panel

        panel = Panel(settings, clock)
    return Sources(SourceSet(settings, task=definitions, containers=engine.servers, panel=panel))


def build_journal(settings: Settings, clock: Clock, *, read_only: bool = False) -> Journal:
    return Journal(settings.state_directory, settings.lock_directory, settings.group, clock, read_only=read_only)


def read_generations(names: Sequence[str], node: Node, action: PowerAction) -> dict[str, int]:
    """Return the kill generations of full UUIDs, else of all servers. Call this before anything else.

    A kill needs none. A stop continues without them: it uses them only to report a kill. Raises `LockUnavailable`.
    """
    if action is PowerAction.KILL:
        return {}
    uuids = [parse_uuid(name) for name in names]
    try:
        if None in uuids:
            return node.generations.scan()
        generations = {ALL: node.generations.of_all()}
    except LockUnavailable:
        if action.boots:
            raise
        return {}
    for uuid in filter(None, uuids):
        # An unreadable one ends only its own server's action, at the next read.
        with contextlib.suppress(LockUnavailable):
            generations[uuid] = node.generations.read(uuid)
    return generations
