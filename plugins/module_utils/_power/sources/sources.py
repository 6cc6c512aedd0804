# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The definitions of servers: given by the task, on the Panel, in the directory, and kept from earlier fetches."""

from __future__ import annotations

import os

from ..definitions.definition import Definition, parse_definition
from ..model.cancellation import CheckCancelled, no_check
from ..model.errors import PowerError, ServerNotFound, SourceUnreachable
from ..model.schema import printable
from ..model.server import parse_uuid
from .server_search import ServerListing, ServerSearch
from .source import Source, SourceSet


class Sources:
    """All sources of one call; threads may share them. What does not end an action is a sentence in ``warnings``, once each.

    Start and restart ask the first that has the server: the task, the Panel if there is one, the directory. Stop and kill never ask the
    Panel: what it said earlier in this call, and what was kept of it, take its place.
    """

    def __init__(self, sources: SourceSet) -> None:
        self._set = sources
        self.listing = ServerListing(self._set)
        self.search = ServerSearch(self._set, self.listing)

    @property
    def warnings(self) -> list[str]:
        """Return sentences, each once, about what does not end an action."""
        return self._set.warnings

    def definition(self, uuid: str, *, again: bool = False, check_cancelled: CheckCancelled = no_check) -> Definition:
        """The definition of the first source that has the server; what the others say does not matter.

        ``again`` has the Panel say it anew, instead of taking what it was listed with. ``check_cancelled`` is called at least every second
        where that takes long, and may raise.

        Raises `ServerNotFound`, `DefinitionInvalid`, `MissingLibrary`, `SourceDenied`, and `SourceUnreachable`, unless the settings'
        ``allow_stale`` lets the last definition seen take its place.
        """
        for source in self._set.first_wins if parse_uuid(uuid) == uuid else ():
            try:
                definition = source.source.definition(uuid, again=again, check_cancelled=check_cancelled)
            except SourceUnreachable as error:
                return self._stale(uuid, error)
            if definition is not None:
                return definition
        for where, raw in self._set.given.strays:
            parse_definition(raw, where=where)
        raise ServerNotFound(f"Cannot find a definition of server {printable(uuid)}: {self._nowhere()}")

    def glance(self) -> None:
        """Have the Panel say what this node's servers are, unless it was asked, with little patience: see `definition_as_asked`."""
        if not self._set.glanced:
            self._set.glance_at_panel(no_check)

    def definition_as_asked(self, uuid: str) -> Definition:
        """The definition that a boot would use, by what the Panel said earlier in this call; nobody is asked for it.

        Raises as `definition`, and `SourceUnreachable` where the Panel was not asked.
        """
        panel = self._set.panel
        found = self._set.given.definition(uuid)
        if found is None and panel is not None:
            if panel.seen is None and not self._set.glanced:
                raise SourceUnreachable(f"Cannot tell what the Panel at {panel.address} says: it was not asked yet")
            raw = panel.listed().servers.get(uuid)
            found = None if raw is None else panel.parsed(uuid, raw)
        found = found or self._set.files.definition(uuid)
        if found is None:
            raise ServerNotFound(f"Cannot find a definition of server {printable(uuid)}: {self._nowhere()}")
        return found

    def task_definition(self, uuid: str) -> Definition | None:
        """The task's own definition, which overrides how a run was created to be stopped; a broken one counts as absent, with a warning."""
        return self._tolerantly(self._set.given, uuid)

    def definition_for_stop(self, uuid: str) -> Definition | None:
        """The first readable definition of those that need no Panel to be asked; None if there is none. A broken one is a warning."""
        candidates = (self._tolerantly(source, uuid) for source in self._set.stop_order)
        return next((definition for definition in candidates if definition is not None), None)

    def surely_lacks(self, uuid: str) -> bool:
        """Tell if all that a boot asks could be read now, and has no such server; False where a disk may not be mounted."""
        panel, files = self._set.panel, self._set.files
        if panel is not None:
            return panel.seen is not None and uuid not in panel.seen.servers
        try:
            found, kept = set(files.uuids()), set(self._set.keeps.uuids())
        except PowerError:
            return False
        # A directory that has lost all of several servers may be the place where their disk belongs.
        return os.path.isdir(files.path) and uuid not in found and (bool(found) or kept <= {uuid})

    def keep(self, definition: Definition) -> None:
        """Keep a good definition for later stops and kills, and the Panel's list with it. Never raises: failing to is a warning."""
        try:
            (self._set.from_panel or self._set.keeps).keep(definition)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            self._set.warn(f"Cannot keep the definition of server {definition.server.uuid} in {self._set.keeps.path}: {reason}")
        self.keep_list()

    def fetched_at(self, uuid: str) -> float | None:
        """Return the moment when the Panel said the definition returned last, by the monotonic clock; None for one not from there."""
        return None if self._set.panel is None else self._set.panel.fetched_at(uuid)

    def keep_list(self) -> None:
        """Keep the Panel's list if it was read: for actions that may write. Never raises: failing to is a warning."""
        try:
            if self._set.from_panel is not None:
                self._set.from_panel.keep_list()
        except OSError as error:
            self._set.warn(f"Cannot keep the Panel's list of servers in {self._set.settings.state_directory}: {error.strerror}")

    def _nowhere(self) -> str:
        if self._set.panel is None:
            return f"neither the task nor {self._set.files.path} has one; give it in definitions, or put it there"
        panel = f"the Panel's list for this node ({self._set.panel.address})"
        return f"neither the task, nor {panel}, nor {self._set.files.path} has one; act on the server's own node, or move it on the Panel"

    def _stale(self, uuid: str, error: SourceUnreachable) -> Definition:
        """Return the kept definition for a directory out of reach. For the Panel `FromPanel` does it: the server may have moved."""
        kept = self._tolerantly(self._set.keeps, uuid) if self._set.settings.allow_stale and self._set.panel is None else None
        if kept is None:
            raise error
        self._set.warn(f"{error}; the last definition seen is used, as allow_stale says")
        return kept

    def _tolerantly(self, source: Source, uuid: str) -> Definition | None:
        try:
            return source.definition(uuid)
        except PowerError as error:
            self._set.warn(str(error))
            return None
