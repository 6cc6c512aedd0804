# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The node as a process that lives long has it: one engine and one journal for all actions, sources that are asked anew."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from ..._power.actions.node.assemble import build_node, build_sources
from ..._power.actions.node.limiter import Limiter
from ..._power.actions.node.node import Node
from ..._power.definitions.settings import Settings
from ..._power.games.game import ProfiledGames
from ..._power.model.caller import Caller
from ..._power.sources.sources import Sources
from .buffered_journal import BufferedJournal
from .own_generations import OwnGenerations

#: What sources said counts for so long: many actions that come within a moment share one list of the Panel.
_SOURCES_SECONDS = 1.0


class SharedNode:
    """The node that all actions and all looks of one process share. Threads may use it."""

    def __init__(self, settings: Settings, options: Mapping[str, Any], interrupted: Callable[[], bool]) -> None:
        """``options`` are those of the engine, as `build_node` takes them. Raises `SettingsInvalid`."""
        built = build_node(options, settings, caller=Caller(interrupted, handed_on=interrupted))
        self.generations = OwnGenerations(settings.state_directory, settings.group)
        self.journal = BufferedJournal(settings.state_directory, settings.lock_directory, settings.group, built.clock)
        self.clock = built.clock
        #: Boots at a time; whole servers are not bounded.
        self.limiter = Limiter()
        self._node = replace(built, journal=self.journal, generations=self.generations)
        self._guard = threading.Lock()
        self._sources_at = float("-inf")
        self._read: Sources | None = None

    @property
    def settings(self) -> Settings:
        """Return the settings that count now."""
        return self._node.settings

    def use(self, settings: Settings) -> None:
        """Let other settings count from now on; what only a new process can change must be the same."""
        with self._guard:
            self._node = replace(self._node, settings=settings, games=ProfiledGames(settings, self._node.engine))
            self._sources_at, self._read = float("-inf"), None

    def now(self) -> Node:
        """Return the node for something that begins now."""
        with self._guard:
            clock = self._node.clock
            if clock.monotonic() - self._sources_at > _SOURCES_SECONDS:
                self._node = replace(self._node, sources=self.fresh_sources())
                self._sources_at = clock.monotonic()
            return self._node

    def for_reading(self) -> Node:
        """Return the node for a look alone: it knows what the Panel said last, and asks it no more."""
        node, read = self.now(), self._read
        return node if read is None else replace(node, sources=read)

    def keep_for_reading(self, sources: Sources, settings: Settings) -> None:
        """Let readers know what these sources were told, if they are of the settings that count."""
        with self._guard:
            if settings is self._node.settings:
                self._read = sources

    def fresh_sources(self) -> Sources:
        """Return sources that nobody has asked yet."""
        node = self._node
        return build_sources(node.settings, node.engine, node.clock)

    def close(self) -> None:
        """Close the journal: what goes on in this process reads as interrupted."""
        with contextlib.suppress(Exception):
            self.journal.close()
