# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The search for the server that somebody means."""

from __future__ import annotations

from collections.abc import Sequence

from ..definitions.definition import parse_definition
from ..model.cancellation import CheckCancelled, no_check
from ..model.errors import DefinitionInvalid, PowerError, ServerNotFound
from ..model.request import PowerAction
from ..model.server import SHORT_ID_PATTERN, Server, parse_uuid
from .search_faults import Trouble, ambiguous, unknown
from .server_listing import ServerListing
from .source import Listed
from .source_set import SourceSet, ends_all

#: The Panel allows 191 characters.
_LONGEST_NAME = 255


class ServerSearch:
    """Finds a server by UUID, short id or name in the sources of one call."""

    def __init__(self, sources: SourceSet, listing: ServerListing) -> None:
        self._set = sources
        self._listing = listing

    def identify(self, text: str, action: PowerAction, *, check_cancelled: CheckCancelled = no_check) -> Server:
        """The server that ``text`` means: a full UUID in any case, which needs no source, a unique short id, or a unique name.

        The sources with definitions are looked at together, the Panel only for start and restart; what they do not know is looked for in
        the kept definitions (stop, kill), then in the containers. A definition that cannot be read has the name it had when it was kept,
        so that whoever acts on it is told what is wrong with it. Raises `ServerNotFound`, `AmbiguousServer`, and `SourceUnreachable` or
        whatever a source raises if the server may be in what could not be read. The name is filled in where that is cheap.
        ``check_cancelled`` is
        called at least every second while the Panel is waited for, and may raise.
        """
        wanted = text.strip() if len(text) <= _LONGEST_NAME else ""
        uuid = parse_uuid(wanted)
        if uuid is not None:
            return Server(uuid, self._name_at_hand(uuid))
        layers, trouble = self._layers(action), Trouble(check_cancelled)
        found = self._by_short_id(wanted.lower(), layers, trouble)
        if not found and wanted:
            found = self._by_name(wanted, layers, trouble)
        if not found:
            raise self._unknown(text, action, trouble)
        self._set.warn(*(str(error) for error in trouble.out_of_reach))
        if len(found) > 1:
            raise ambiguous(wanted, sorted(found))
        return next(Server(uuid, name) for uuid, name in found.items())

    def identify_to_look(self, text: str, *, check_cancelled: CheckCancelled = no_check) -> Server:
        """As `identify` for a stop, which needs no definition; the Panel is asked for what is not at hand, once, for 10 s at most."""
        try:
            server = self.identify(text, PowerAction.STOP, check_cancelled=check_cancelled)
        except ServerNotFound:
            if self._set.panel is None:
                raise
            self._set.glance_at_panel(check_cancelled)
            return self.identify(text, PowerAction.START, check_cancelled=check_cancelled)
        if not self._is_at_hand(server.uuid):
            self._set.glance_at_panel(check_cancelled)
        return server

    def _layers(self, action: PowerAction) -> tuple[tuple[Listed, ...], ...]:
        if action.boots:
            return self._set.first_wins, (self._set.containers,)
        return (self._set.task, self._set.directory), (self._set.kept,), (self._set.containers,)

    def _by_short_id(self, short_id: str, layers: tuple[tuple[Listed, ...], ...], trouble: Trouble) -> dict[str, str]:
        for layer in layers if SHORT_ID_PATTERN.fullmatch(short_id) else ():
            found = {uuid: source for source in reversed(layer) for uuid in self._uuids(source, trouble) if uuid.startswith(short_id)}
            if found:
                return {uuid: self._name(source, uuid, trouble) or "" for uuid, source in found.items()}
        return {}

    def _by_name(self, wanted: str, layers: tuple[tuple[Listed, ...], ...], trouble: Trouble) -> dict[str, str]:
        names: dict[str, str] = {}
        for layer in layers:
            for source in layer:
                for uuid in self._uuids(source, trouble):
                    if uuid not in names:
                        name = self._name(source, uuid, trouble)
                        if name is not None:
                            names[uuid] = name
                    elif source is self._set.containers and source.name(uuid) == wanted:
                        trouble.renamed[uuid] = names[uuid]
            found = {uuid: name for uuid, name in names.items() if name == wanted}
            if found:
                return found
        return {}

    def _uuids(self, source: Listed, trouble: Trouble) -> Sequence[str]:
        try:
            return self._set.listed(source, trouble.look)
        except PowerError as error:
            if ends_all(error):
                raise
            trouble.out_of_reach.append(error)
            return ()

    def _is_at_hand(self, uuid: str) -> bool:
        """Tell if the Panel need not be asked for the server."""
        try:
            return self._set.panel is None or self._listing.has(uuid)
        except PowerError:
            return False

    def _name(self, source: Listed, uuid: str, trouble: Trouble) -> str | None:
        """The server's name; where its definition cannot be read the one it had last, None if nobody knows that."""
        name = source.name(uuid)
        if name is None:
            trouble.unread.setdefault(uuid, source.place(uuid))
            name = self._set.kept.name(uuid) or None
        return name

    def _name_at_hand(self, uuid: str) -> str:
        try:
            return self._set.given.name(uuid) or self._set.keeps.name(uuid)
        except PowerError:
            return ""

    def _unknown(self, text: str, action: PowerAction, trouble: Trouble) -> PowerError:
        if trouble.out_of_reach:
            return trouble.out_of_reach[0]
        try:
            for where, raw in self._set.given.strays if action.boots else ():
                parse_definition(raw, where=where)
        except DefinitionInvalid as error:
            return error
        strays = [self._set.stray(name) for name in self._set.files.strays]
        return unknown(text, trouble, strays, panel_asked=self._set.panel is not None and action.boots)
