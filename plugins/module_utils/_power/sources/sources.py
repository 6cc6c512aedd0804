# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The definitions of servers, from all sources, and the search for a server."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Collection, Sequence

from ..definitions.definition import Definition, parse_definition
from ..model.cancellation import CheckCancelled, no_check
from ..model.errors import AmbiguousServer, DefinitionInvalid, PowerError, ServerNotFound, SourceDenied, SourceUnreachable
from ..model.records import dataclass, field
from ..model.request import PowerAction
from ..model.schema import did_you_mean, few, printable
from ..model.server import SHORT_ID_PATTERN, Server, parse_uuid
from .source_set import Listed, SourceSet, ends_all, tolerantly

_SHOWN = 5
#: A UUID in a form that other programs accept.
_UNHYPHENED = re.compile(r"[0-9a-fA-F]{32}|[{(][0-9a-fA-F-]{32,36}[)}]")
#: The Panel allows 191 characters.
_LONGEST_NAME = 255


@dataclass
class Trouble:
    """Problems of one search: unreadable sources and definitions (by UUID). ``look`` runs during waits."""

    look: CheckCancelled = no_check
    out_of_reach: list[PowerError] = field(default_factory=list)
    #: The file of each unread definition, if known.
    unread: dict[str, str] = field(default_factory=dict)
    #: Servers whose containers have the wanted name, with the current names in their definitions.
    renamed: dict[str, str] = field(default_factory=dict)
    #: The names that were compared, by UUID.
    names: dict[str, str] = field(default_factory=dict)


def ambiguous(wanted: str, uuids: Sequence[str]) -> AmbiguousServer:
    return AmbiguousServer(
        f'Cannot tell which server "{printable(wanted)}" is: {few(uuids, _SHOWN)} are called so; give the full UUID',
        servers=list(uuids[:_SHOWN]),
    )


def unknown(text: str, trouble: Trouble, strays: Sequence[str], *, panel_asked: bool) -> ServerNotFound:
    """Return the error for an unknown server; ``strays`` are files that are not named by a UUID."""
    if not text.strip():
        return ServerNotFound("Cannot find a server: neither UUID, short id nor name was given")
    if trouble.renamed:
        uuid, name = next(iter(trouble.renamed.items()))
        now = f'calls it "{printable(name)}" now; give that name' if name else "gives it no name now; give its UUID"
        return ServerNotFound(
            f'Cannot find server "{printable(text)}": the container of server {uuid} was made under this name, but its definition {now}'
        )
    asked = ", the Panel's list for it included," if panel_asked else ""
    wanted = text.strip()
    reason = f"no definition and no container on this node{asked} has this UUID, short id or name"
    reason += did_you_mean(wanted[:_LONGEST_NAME], trouble.names.values())
    if _UNHYPHENED.fullmatch(wanted):
        reason += "; a UUID is written with hyphens and without braces"
    elif wanted.isdigit():
        reason += "; if it is a short id, put it in quotes: YAML takes digits for a number and drops leading zeros"
    elif "," in wanted:
        reason += "; give each server alone, without commas"
    if trouble.unread:
        several = len(trouble.unread) > 1
        reason += f"; {len(trouble.unread)} {'definitions' if several else 'definition'} could not be read, "
        reason += f"maybe that of this server: {_first([*trouble.unread.values()])}"
    if strays:
        reason += f"; ignored, since no UUID names it: {_first(strays)}"
    listing = "server_power_info, and fleet-power status on the node, list those it knows"
    reason += f"; {'see the warnings' if trouble.unread or strays else listing}"
    return ServerNotFound(f'Cannot find server "{printable(text)}": {reason}', unread=len(trouble.unread))


def _first(paths: Sequence[str]) -> str:
    more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
    return next((path for path in paths if path), "one without a place") + more


class ServerListing:
    def __init__(self, sources: SourceSet) -> None:
        #: One error for each source that the last `everything` could not list.
        self.unlisted: list[PowerError] = []
        self._set = sources

    def everything(self, action: PowerAction | None, *, check_cancelled: CheckCancelled = no_check) -> list[Server]:
        """Return every server of the sources, by UUID; one with a broken definition has no name and makes a warning.

        Stop and kill leave the Panel out. ``None`` is a read, with one try of at most 10 s at the Panel. ``unlisted`` gets unlisted sources
        except for stop and kill, which need only containers: there, and for a read, they are warnings. A boot raises the node's faults.
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
                uuids = self._instead_of(error, action)
            for uuid in uuids:
                names[uuid] = names.get(uuid) or source.name(uuid) or ""
        return [Server(uuid, name) for uuid, name in sorted(names.items())]

    @property
    def is_whole(self) -> bool:
        """Tell if `everything` was complete and current: no source was missing, and no older list replaced the Panel's."""
        return not self.unlisted and (self._set.panel is None or self._set.panel.seen is not None)

    def has(self, uuid: str) -> bool:
        """Tell if any source has a definition, even a broken one, without a request to the Panel. Else raises an unread source's fault."""
        panel = self._set.panel
        if panel is not None and panel.seen is not None and uuid in panel.seen.servers:
            return True
        faults: list[PowerError] = []
        for source in (self._set.task, self._set.directory, self._set.kept, *(self._set.first_wins if self._set.glanced else ())):
            try:
                if uuid in source.uuids():
                    return True
            except PowerError as error:
                faults.append(error)
        if faults:
            raise faults[0]
        return False

    def _instead_of(self, error: PowerError, action: PowerAction | None) -> Collection[str]:
        """Return the kept servers in place of an unreachable directory, for a boot: their definitions replace it too."""
        if action is None or not action.boots:
            self._set.warn(str(error))
            self.unlisted += [error] if action is None else []
            return ()
        if not isinstance(error, (SourceUnreachable, SourceDenied)):
            raise error
        if isinstance(error, SourceDenied) or not self._set.settings.allow_stale or self._set.panel is not None:
            self.unlisted.append(error)
            return ()
        self._set.warn(f"{error}; it uses the servers last seen, as allow_stale says")
        return self._set.kept.uuids()


class ServerSearch:
    def __init__(self, sources: SourceSet, listing: ServerListing) -> None:
        self._set = sources
        self._listing = listing

    def identify(self, text: str, action: PowerAction, *, check_cancelled: CheckCancelled = no_check) -> Server:
        """Return the server that ``text`` means: a full UUID in any case, which needs no source, a unique short id, or a unique name.

        The sources with definitions come first, the Panel only for start and restart. Then come the kept definitions (stop, kill), then the
        containers. An unreadable definition has its kept name, so that an action on it can report the fault. The result has a name if that
        is cheap. ``check_cancelled`` runs at least every second during a wait, and may raise.

        Raises `ServerNotFound`, `AmbiguousServer`, and the error of an unreadable source that may have the server.
        """
        wanted = text.strip() if len(text) <= _LONGEST_NAME else ""
        uuid = parse_uuid(wanted)
        if uuid is not None:
            with contextlib.suppress(PowerError):
                return Server(uuid, self._set.given.name(uuid) or self._set.keeps.name(uuid))
            return Server(uuid)
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

    def identify_to_look(self, text: str) -> Server:
        """Identify as for a stop, without a definition; if needed, the Panel gets one try of at most 10 s."""
        try:
            server = self.identify(text, PowerAction.STOP)
        except ServerNotFound:
            if self._set.panel is None:
                raise
            self._set.glance_at_panel(no_check)
            return self.identify(text, PowerAction.START)
        is_at_hand = False
        with contextlib.suppress(PowerError):
            is_at_hand = self._set.panel is None or self._listing.has(server.uuid)
        if not is_at_hand:
            self._set.glance_at_panel(no_check)
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
        names = trouble.names
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

    def _uuids(self, source: Listed, trouble: Trouble) -> Collection[str]:
        try:
            return self._set.listed(source, trouble.look)
        except PowerError as error:
            if ends_all(error):
                raise
            trouble.out_of_reach.append(error)
            return ()

    def _name(self, source: Listed, uuid: str, trouble: Trouble) -> str | None:
        """Return the server's name; the kept one if its definition cannot be read, None if that is unknown."""
        name = source.name(uuid)
        if name is None:
            trouble.unread.setdefault(uuid, source.places.get(uuid, ""))
            name = self._set.kept.name(uuid) or None
        return name

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


class Sources:
    """All sources of one call. Thread-safe. ``warnings`` holds faults that do not end an action, each once.

    Start and restart use the first source that has the server: the task, the Panel if there is one, the directory. Stop and kill make no
    request to the Panel: its earlier answers of this call, and kept definitions, replace it.
    """

    def __init__(self, sources: SourceSet) -> None:
        self._set = sources
        self.warnings = sources.warnings
        self.listing = ServerListing(sources)
        self.search = ServerSearch(sources, self.listing)

    def definition(self, uuid: str, *, again: bool = False, check_cancelled: CheckCancelled = no_check) -> Definition:
        """Return the definition of the first source that has the server.

        ``again`` makes a new request to the Panel instead of using the list. ``check_cancelled`` runs at least every second during a wait,
        and may raise. Raises `ServerNotFound`, `DefinitionInvalid`, `MissingLibrary`, `SourceDenied`, and `SourceUnreachable`, unless
        ``allow_stale`` lets the last seen definition replace it.
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
        raise self._nowhere(uuid)

    def glance(self) -> None:
        """Read the Panel's list with little patience, unless it was read; see `definition_as_asked`."""
        if not self._set.glanced:
            self._set.glance_at_panel(no_check)

    def definition_as_asked(self, uuid: str) -> Definition:
        """Return a boot's definition without a new request. Raises as `definition`, and `SourceUnreachable` before any request."""
        panel = self._set.panel
        found = self._set.given.definition(uuid)
        if found is None and panel is not None:
            if panel.seen is None and not self._set.glanced:
                raise SourceUnreachable(f"Cannot tell what the Panel at {panel.address} says: it was not asked yet")
            panel.listed()
            found = panel.seen_definition(uuid)
        found = found or self._set.files.definition(uuid)
        if found is None:
            raise self._nowhere(uuid)
        return found

    def task_definition(self, uuid: str) -> Definition | None:
        """Return the task's own definition, which overrides the stop settings of a run's creation; a broken one is None, with a warning."""
        return tolerantly(self._set.warn, self._set.given.definition, uuid)

    def definition_for_stop(self, uuid: str) -> Definition | None:
        """Return the first readable definition that needs no request to the Panel, or None. A broken one is a warning."""
        candidates = (tolerantly(self._set.warn, read, uuid) for read in self._set.stop_order)
        return next((definition for definition in candidates if definition is not None), None)

    def surely_lacks(self, uuid: str) -> bool:
        """Tell if all sources of a boot are readable and lack the server; False if a disk may not be mounted."""
        panel, files = self._set.panel, self._set.files
        if panel is not None:
            return panel.seen is not None and uuid not in panel.seen.servers
        try:
            found, kept = set(files.uuids()), set(self._set.keeps.uuids())
        except PowerError:
            return False
        # A directory that lost all of several servers may be the mount point of a missing disk.
        return os.path.isdir(files.path) and uuid not in found and (bool(found) or kept <= {uuid})

    def keep(self, definition: Definition) -> None:
        """Keep a good definition for later stops and kills, and the Panel's list. Never raises: a failure is a warning."""
        try:
            (self._set.from_panel or self._set.keeps).keep(definition)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            self._set.warn(f"Cannot keep the definition of server {definition.server.uuid} in {self._set.keeps.path}: {reason}")
        self.keep_list()

    def is_of_panel(self, definition: Definition) -> bool:
        return self._set.from_panel is not None and self._set.from_panel.gave(definition)

    def fetched_at(self, uuid: str) -> float | None:
        """Return the monotonic time at which the Panel gave the last definition; None for one from another source."""
        return None if self._set.panel is None else self._set.panel.fetched_at.get(uuid)

    def keep_list(self) -> None:
        """Keep the Panel's list if it was read, for actions that may write. Never raises: a failure is a warning."""
        try:
            if self._set.from_panel is not None:
                self._set.from_panel.keep_list()
        except OSError as error:
            self._set.warn(f"Cannot keep the Panel's list of servers in {self._set.settings.state_directory}: {error.strerror}")

    def _nowhere(self, uuid: str) -> ServerNotFound:
        directory, panel = self._set.files.path, self._set.panel
        reason = f"neither the task nor {directory} has one; give it in definitions, or put it there"
        if panel is not None:
            reason = f"neither the task, nor the Panel's list for this node ({panel.address}), nor {directory} has one; "
            reason += "act on the server's own node, or move it on the Panel"
        return ServerNotFound(f"Cannot find a definition of server {printable(uuid)}: {reason}")

    def _stale(self, uuid: str, error: SourceUnreachable) -> Definition:
        """Return the kept definition for an unreachable directory. `FromPanel` does this for the Panel: the server may have moved."""
        may_replace = self._set.settings.allow_stale and self._set.panel is None
        kept = tolerantly(self._set.warn, self._set.keeps.definition, uuid) if may_replace else None
        if kept is None:
            raise error
        self._set.warn(f"{error}; the last definition seen is used, as allow_stale says")
        return kept
