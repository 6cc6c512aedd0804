# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The list of all servers of a node, from every source."""

from __future__ import annotations

from collections.abc import Sequence

from ..model.cancellation import CheckCancelled, no_check
from ..model.errors import PowerError, SourceDenied, SourceUnreachable
from ..model.request import PowerAction
from ..model.server import Server
from .source_set import SourceSet, ends_all


class ServerListing:
    """Lists the servers of the sources of one call."""

    def __init__(self, sources: SourceSet) -> None:
        #: Why what `everything` returned last is not everything, an error for each source that could not be listed.
        self.unlisted: list[PowerError] = []
        self._set = sources

    def everything(self, action: PowerAction | None, *, check_cancelled: CheckCancelled = no_check) -> list[Server]:
        """Every server of the sources, by uuid; one whose definition is broken counts, without a name and with a warning.

        Stop and kill leave the Panel out, and ``None``, which only reads, asks it once, for 10 s at most. What cannot be listed is in
        ``unlisted``, but for stop and kill, which the containers decide; there, and for a reader, it is a warning. Start and restart raise
        what is wrong with the node itself.
        """
        asked = self._set.first_wins if action is None or action.boots else (self._set.task, self._set.directory)
        if action is None:
            self._set.glance_at_panel(check_cancelled)
        names: dict[str, str] = {}
        self.unlisted = []
        for source in asked:
            try:
                uuids = self._set.listed(source, check_cancelled)
            except PowerError as error:
                if ends_all(error):
                    raise
                uuids = self._stale_list(error) if action is not None and action.boots else self._leave_out(error, action)
            for uuid in uuids:
                names[uuid] = names.get(uuid) or source.name(uuid) or ""
        return [Server(uuid, name) for uuid, name in sorted(names.items())]

    @property
    def is_whole(self) -> bool:
        """Tell if `everything` returned all there is now: no source was left out, and nothing older stood in for the Panel's list."""
        return not self.unlisted and (self._set.panel is None or self._set.panel.seen is not None)

    def has(self, uuid: str) -> bool:
        """Tell if any source has a definition of the server, be it a broken one; of the Panel counts what it was asked already.

        Raises what a source raises that cannot be read, if none of the others has the server.
        """
        panel = self._set.panel
        if panel is not None and panel.seen is not None and uuid in panel.seen.servers:
            return True
        faults: list[PowerError] = []
        for source in (self._set.task, self._set.directory, self._set.kept, *(self._set.first_wins if self._set.glanced else ())):
            try:
                if source.has(uuid):
                    return True
            except PowerError as error:
                faults.append(error)
        if faults:
            raise faults[0]
        return False

    def _stale_list(self, error: PowerError) -> Sequence[str]:
        """List for a boot, in place of a directory out of reach, the servers that were kept, whose definitions stand in as well."""
        if not isinstance(error, (SourceUnreachable, SourceDenied)):
            raise error
        if isinstance(error, SourceDenied) or not self._set.settings.allow_stale or self._set.panel is not None:
            self.unlisted.append(error)
            return ()
        self._set.warn(f"{error}; the servers last seen are meant, as allow_stale says")
        return self._set.kept.uuids()

    def _leave_out(self, error: PowerError, action: PowerAction | None) -> Sequence[str]:
        self._set.warn(str(error))
        if action is None:
            self.unlisted.append(error)
        return ()
