# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Putting a node together from options and settings: what every front door does first."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ...definitions.settings import Settings, load_settings
from ...engine.connection import connect
from ...engine.docker_engine import DockerEngine
from ...engine.engine import Engine
from ...games.game import ProfiledGames
from ...host.wings import Remembered, wings_pid
from ...journal.journal import Journal
from ...locking.countdown import Countdowns
from ...locking.generation import KillGenerations
from ...locking.lock import Locks
from ...model.caller import SILENT, Caller
from ...model.clock import Clock, SystemClock
from ...model.errors import LockUnavailable
from ...model.request import ALL, PowerAction
from ...model.server import parse_uuid
from ...sources.source import SourceSet
from ...sources.sources import Sources
from .node import Node

if TYPE_CHECKING:
    from ...sources.panel import Panel


#: How long what was found of Wings counts for the actions that follow, in seconds.
_WINGS_SECONDS = 1.0


def build_node(options: Mapping[str, Any], settings: Settings | None = None, *, caller: Caller = SILENT, read_only: bool = False) -> Node:
    """The node that options describe: ``config``, ``definitions`` and those of the engine (`connect`), each None or absent if not given.

    ``settings`` are those of ``config``, where it was read already. ``read_only`` creates no file or directory. Raises `SettingsInvalid`.
    """
    settings = settings or load_settings(options.get("config"))
    clock = SystemClock()
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
        # A look at every process of the machine: not for each of hundreds of servers.
        wings_pid=Remembered(wings_pid, _WINGS_SECONDS, clock.monotonic),
    )


def build_sources(settings: Settings, engine: Engine, clock: Clock, definitions: Sequence[object] = ()) -> Sources:
    """The sources of one call, or of what is asked within a moment."""
    return Sources(SourceSet(settings, task=definitions, containers=engine.servers, panel=_panel(settings, clock)))


def _panel(settings: Settings, clock: Clock) -> Panel | None:
    if not settings.remote:
        return None
    # Nodes without one, which are many, need none of what it takes to ask it.
    from ...sources.panel import Panel

    return Panel(settings, clock)


def build_journal(settings: Settings, clock: Clock, *, read_only: bool = False) -> Journal:
    """The journal that settings describe; see `Journal`."""
    return Journal(settings.state_directory, settings.lock_directory, settings.group, clock, read_only=read_only)


def read_generations(names: Sequence[str], node: Node, action: PowerAction) -> dict[str, int]:
    """The kill generations as they are now, to be read before anything else: of full UUIDs, or else of all servers.

    A kill needs none. A stop needs them only to say whether a kill forced it, and goes on without. Raises `LockUnavailable`.
    """
    if action is PowerAction.KILL:
        return {}
    try:
        return _read(names, node)
    except LockUnavailable:
        if action.boots:
            raise
        return {}


def _read(names: Sequence[str], node: Node) -> dict[str, int]:
    uuids = [parse_uuid(name) for name in names]
    if None in uuids:
        return node.generations.scan()
    generations = {ALL: node.generations.of_all()}
    for uuid in filter(None, uuids):
        # One that cannot be read ends the action on its server when it is read again, and no other.
        with contextlib.suppress(LockUnavailable):
            generations[uuid] = node.generations.read(uuid)
    return generations
