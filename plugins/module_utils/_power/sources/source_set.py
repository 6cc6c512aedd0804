# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The sources of one call together: the definitions given by the task, on the Panel, in the directory, and kept from earlier fetches."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ..definitions.definition_files import DefinitionDirectory, KeptDefinitions
from ..definitions.settings import Settings
from ..model.cancellation import CheckCancelled
from ..model.errors import PowerError
from ..model.schema import printable
from ..model.server import Server
from .source import FromContainers, FromPanel, FromTask, Listed, SeenOnPanel, Source

if TYPE_CHECKING:
    from .panel import Panel


class SourceSet:
    """All sources of one call, in the order in which they count. Threads may share them.

    ``task``, ``directory``, ``kept`` and ``containers`` list their servers once a call; `given`, `files` and `keeps` are the same, read as
    they are. ``first_wins`` are those that a boot asks, in this order, and ``stop_order`` those that need no Panel to be asked.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        task: Sequence[object] = (),
        containers: Callable[[], Sequence[Server]] = lambda: (),
        panel: Panel | None = None,
    ) -> None:
        """``containers`` returns the servers seen as containers of the node; what it raises is raised where they are needed.

        ``panel`` is the one that the settings name, None if they name none.
        """
        self.warnings: list[str] = []
        self._guard = threading.Lock()
        self.settings = settings
        self.files = DefinitionDirectory(settings.definitions)
        self.keeps = KeptDefinitions(settings.state_directory, settings.group)
        self.panel = panel
        self.given = FromTask(task)
        self.task, self.directory, self.kept = self._once(self.given), self._once(self.files), self._once(self.keeps)
        self.containers = self._once(FromContainers(containers))
        self.first_wins: tuple[Listed, ...] = (self.task, self.directory)
        self.stop_order: tuple[Source, ...] = (self.given, self.files, self.keeps)
        self.from_panel: FromPanel | None = None
        self.glanced = False
        if panel is not None:
            self.from_panel = FromPanel(panel, self.keeps, self.warn, allow_stale=settings.allow_stale)
            self.first_wins = (self.task, self._once(self.from_panel), self.directory)
            self.stop_order = (self.given, SeenOnPanel(panel), self.keeps, self.files)

    def _once(self, source: Source) -> Listed:
        return Listed(source, self.warn)

    def glance_at_panel(self, check_cancelled: CheckCancelled) -> None:
        """Have the list read with little patience; what comes of it is told when it is used."""
        self.glanced = True
        try:
            if self.panel is not None:
                self.panel.listed(check_cancelled, brief=True)
        except PowerError as error:
            if ends_all(error):
                raise

    def listed(self, source: Listed, check_cancelled: CheckCancelled) -> Sequence[str]:
        """Return the servers of a source, and warn of files that name none. Raises what the source raises."""
        uuids = source.uuids(check_cancelled)
        if source is self.directory:
            strays = (self.stray(name) for name in self.files.strays)
            self.warn(*(f"{stray} is ignored: a definition's file is named by its server's uuid, in lower case" for stray in strays))
        return uuids

    def stray(self, name: str) -> str:
        """Return the path of a file in the directory, fit for a message."""
        return f"{self.files.path}/{printable(name)}"

    def warn(self, *warnings: str) -> None:
        """Add warnings, each once."""
        with self._guard:
            self.warnings.extend(warning for warning in dict.fromkeys(warnings) if warning not in self.warnings)


def ends_all(error: PowerError) -> bool:
    """Tell if an error came from a look: it tells of the action, not of a source."""
    return error.cancels or error.skips
