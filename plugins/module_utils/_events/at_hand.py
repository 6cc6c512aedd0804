# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The definitions that are at hand on the node, for receivers that want events of some servers alone: the Panel is not asked."""

from __future__ import annotations

import contextlib
import threading

from .._power.definitions.definition import Definition
from .._power.definitions.definition_files import DefinitionDirectory, KeptDefinitions
from .._power.definitions.settings import Settings
from .._power.model.cancellation import Deadline
from .._power.model.clock import SYSTEM_CLOCK, Clock
from .._power.model.errors import PowerError
from .._power.model.server import Server

#: For so many seconds what was read of a server counts: many events of it come at once.
FRESH_SECONDS = 10.0


class DefinitionsAtHand:
    """The definition of a server as it was last seen. Safe between threads."""

    def __init__(self, settings: Settings, clock: Clock = SYSTEM_CLOCK) -> None:
        self._clock = clock
        self._seen: dict[str, tuple[Deadline, Definition | None]] = {}
        kept, files = KeptDefinitions(settings.state_directory, settings.group), DefinitionDirectory(settings.definitions)
        # Where there is a Panel, what it said of a server counts before a file.
        self._sources = (kept, files) if settings.remote else (files, kept)
        self._guard = threading.Lock()

    def __call__(self, server: Server) -> Definition | None:
        """Return the definition of a server; None if there is none that can be read."""
        with self._guard:
            found = self._seen.get(server.uuid)
            if found is None or found[0].is_over:
                found = self._seen[server.uuid] = (Deadline.after(self._clock, FRESH_SECONDS), self._read(server.uuid))
            return found[1]

    def _read(self, uuid: str) -> Definition | None:
        for source in self._sources:
            with contextlib.suppress(PowerError, OSError):
                found = source.definition(uuid)
                if found is not None:
                    return found
        return None
