# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which server is meant, and what it is: definitions given by the task, on the Panel, in the directory, and kept from earlier fetches."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ..definitions.definition import Definition, parse_definition
from ..definitions.definition_files import DefinitionDirectory, KeptDefinitions
from ..definitions.settings import Settings
from ..model.cancellation import CheckCancelled, no_check
from ..model.errors import DefinitionInvalid, PowerError, ServerNotFound, SourceDenied, SourceUnreachable
from ..model.model import SHORT_ID_PATTERN, PowerAction, Server, parse_uuid
from ..model.schema import printable
from .search_faults import Trouble, ambiguous, unknown
from .source import FromContainers, FromPanel, FromTask, Listed, SeenOnPanel, Source

if TYPE_CHECKING:
    from .panel import Panel

#: The Panel allows 191 characters.
_LONGEST_NAME = 255


class Sources:
    """All sources of one call; threads may share them. What does not end an action is a sentence in ``warnings``, once each.

    Start and restart ask the first that has the server: the task, the Panel if there is one, the directory. Stop and kill never ask the
    Panel: what it said earlier in this call, and what was kept of it, take its place.
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
        #: Why what `everything` returned last is not everything, an error for each source that could not be listed.
        self.unlisted: list[PowerError] = []
        self._guard = threading.Lock()
        self._settings = settings
        self._files = DefinitionDirectory(settings.definitions)
        self._keeps = KeptDefinitions(settings.state_directory, settings.group)
        self._panel = panel
        self._given = FromTask(task)
        self._task, self._directory, self._kept = self._once(self._given), self._once(self._files), self._once(self._keeps)
        self._containers = self._once(FromContainers(containers))
        self._first_wins: tuple[Listed, ...] = (self._task, self._directory)
        self._stop_order: tuple[Source, ...] = (self._given, self._files, self._keeps)
        self._asked: FromPanel | None = None
        self._glanced = False
        if panel is not None:
            self._asked = FromPanel(panel, self._keeps, self._warn, allow_stale=settings.allow_stale)
            self._first_wins = (self._task, self._once(self._asked), self._directory)
            self._stop_order = (self._given, SeenOnPanel(panel), self._keeps, self._files)

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
        self._warn(*(str(error) for error in trouble.out_of_reach))
        if len(found) > 1:
            raise ambiguous(wanted, sorted(found))
        return next(Server(uuid, name) for uuid, name in found.items())

    def identify_to_look(self, text: str, *, check_cancelled: CheckCancelled = no_check) -> Server:
        """As `identify` for a stop, which needs no definition; the Panel is asked for what is not at hand, once, for 10 s at most."""
        try:
            server = self.identify(text, PowerAction.STOP, check_cancelled=check_cancelled)
        except ServerNotFound:
            if self._panel is None:
                raise
            self._glance_at_panel(check_cancelled)
            return self.identify(text, PowerAction.START, check_cancelled=check_cancelled)
        if not self._is_at_hand(server.uuid):
            self._glance_at_panel(check_cancelled)
        return server

    def everything(self, action: PowerAction | None, *, check_cancelled: CheckCancelled = no_check) -> list[Server]:
        """Every server of the sources, by uuid; one whose definition is broken counts, without a name and with a warning.

        Stop and kill leave the Panel out, and ``None``, which only reads, asks it once, for 10 s at most. What cannot be listed is in
        ``unlisted``, but for stop and kill, which the containers decide; there, and for a reader, it is a warning. Start and restart raise
        what is wrong with the node itself.
        """
        asked = self._first_wins if action is None or action.boots else (self._task, self._directory)
        if action is None:
            self._glance_at_panel(check_cancelled)
        names: dict[str, str] = {}
        self.unlisted = []
        for source in asked:
            try:
                uuids = self._listed(source, check_cancelled)
            except PowerError as error:
                if _ends_all(error):
                    raise
                uuids = self._stale_list(error) if action is not None and action.boots else self._leave_out(error, action)
            for uuid in uuids:
                names[uuid] = names.get(uuid) or source.name(uuid) or ""
        return [Server(uuid, name) for uuid, name in sorted(names.items())]

    @property
    def lists_are_whole(self) -> bool:
        """Whether `everything` returned all there is now: no source was left out, and nothing older stood in for the Panel's list."""
        return not self.unlisted and (self._panel is None or self._panel.seen is not None)

    def has(self, uuid: str) -> bool:
        """Whether any source has a definition of the server, be it a broken one; of the Panel counts what it was asked already.

        Raises what a source raises that cannot be read, if none of the others has the server.
        """
        if self._panel is not None and self._panel.seen is not None and uuid in self._panel.seen.servers:
            return True
        faults: list[PowerError] = []
        for source in (self._task, self._directory, self._kept, *(self._first_wins if self._glanced else ())):
            try:
                if source.has(uuid):
                    return True
            except PowerError as error:
                faults.append(error)
        if faults:
            raise faults[0]
        return False

    def definition(self, uuid: str, *, again: bool = False, check_cancelled: CheckCancelled = no_check) -> Definition:
        """The definition of the first source that has the server; what the others say does not matter.

        ``again`` has the Panel say it anew, instead of taking what it was listed with. ``check_cancelled`` is called at least every second
        where that takes long, and may raise.

        Raises `ServerNotFound`, `DefinitionInvalid`, `MissingLibrary`, `SourceDenied`, and `SourceUnreachable`, unless the settings'
        ``allow_stale`` lets the last definition seen take its place.
        """
        for source in self._first_wins if parse_uuid(uuid) == uuid else ():
            try:
                definition = source.source.definition(uuid, again=again, check_cancelled=check_cancelled)
            except SourceUnreachable as error:
                return self._stale(uuid, error)
            if definition is not None:
                return definition
        for where, raw in self._given.strays:
            parse_definition(raw, where=where)
        raise ServerNotFound(f"Cannot find a definition of server {printable(uuid)}: {self._nowhere()}")

    def task_definition(self, uuid: str) -> Definition | None:
        """The task's own definition, which overrides how a run was created to be stopped; a broken one counts as absent, with a warning."""
        return self._tolerantly(self._given, uuid)

    def definition_for_stop(self, uuid: str) -> Definition | None:
        """The first readable definition of those that need no Panel to be asked; None if there is none. A broken one is a warning."""
        candidates = (self._tolerantly(source, uuid) for source in self._stop_order)
        return next((definition for definition in candidates if definition is not None), None)

    def keep(self, definition: Definition) -> None:
        """Keep a good definition for later stops and kills, and the Panel's list with it. Never raises: failing to is a warning."""
        try:
            (self._asked or self._keeps).keep(definition)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            self._warn(f"Cannot keep the definition of server {definition.server.uuid} in {self._keeps.path}: {reason}")
        self.keep_list()

    def fetched_at(self, uuid: str) -> float | None:
        """When the Panel said the definition returned last, by the node's monotonic clock; None for one that is not from there."""
        return None if self._panel is None else self._panel.fetched_at(uuid)

    def keep_list(self) -> None:
        """Keep the Panel's list if it was read: for actions that may write. Never raises: failing to is a warning."""
        try:
            if self._asked is not None:
                self._asked.keep_list()
        except OSError as error:
            self._warn(f"Cannot keep the Panel's list of servers in {self._settings.state_directory}: {error.strerror}")

    def _once(self, source: Source) -> Listed:
        return Listed(source, self._warn)

    def _glance_at_panel(self, check_cancelled: CheckCancelled) -> None:
        """Have the list read with little patience; what comes of it is told when it is used."""
        self._glanced = True
        try:
            if self._panel is not None:
                self._panel.listed(check_cancelled, brief=True)
        except PowerError as error:
            if _ends_all(error):
                raise

    def _layers(self, action: PowerAction) -> tuple[tuple[Listed, ...], ...]:
        if action.boots:
            return self._first_wins, (self._containers,)
        return (self._task, self._directory), (self._kept,), (self._containers,)

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
                    name = None if uuid in names else self._name(source, uuid, trouble)
                    if name is not None:
                        names[uuid] = name
            found = {uuid: name for uuid, name in names.items() if name == wanted}
            if found:
                return found
        return {}

    def _uuids(self, source: Listed, trouble: Trouble) -> Sequence[str]:
        try:
            return self._listed(source, trouble.look)
        except PowerError as error:
            if _ends_all(error):
                raise
            trouble.out_of_reach.append(error)
            return ()

    def _listed(self, source: Listed, check_cancelled: CheckCancelled) -> Sequence[str]:
        uuids = source.uuids(check_cancelled)
        if source is self._directory:
            strays = (self._stray(name) for name in self._files.strays)
            self._warn(*(f"{stray} is ignored: a definition's file is named by its server's uuid, in lower case" for stray in strays))
        return uuids

    def _stray(self, name: str) -> str:
        return f"{self._files.path}/{printable(name)}"

    def _is_at_hand(self, uuid: str) -> bool:
        """Whether the Panel need not be asked whether it has the server."""
        try:
            return self._panel is None or self.has(uuid)
        except PowerError:
            return False

    def _name(self, source: Listed, uuid: str, trouble: Trouble) -> str | None:
        """The server's name; where its definition cannot be read the one it had last, None if nobody knows that."""
        name = source.name(uuid)
        if name is None:
            trouble.unread.setdefault(uuid, source.place(uuid))
            name = self._kept.name(uuid) or None
        return name

    def _name_at_hand(self, uuid: str) -> str:
        try:
            return self._given.name(uuid) or self._keeps.name(uuid)
        except PowerError:
            return ""

    def _nowhere(self) -> str:
        if self._panel is None:
            return f"neither the task nor {self._files.path} has one; give it in definitions, or put it there"
        panel = f"the Panel's list for this node ({self._panel.address})"
        return f"neither the task, nor {panel}, nor {self._files.path} has one; act on the server's own node, or move it on the Panel"

    def _unknown(self, text: str, action: PowerAction, trouble: Trouble) -> PowerError:
        if trouble.out_of_reach:
            return trouble.out_of_reach[0]
        try:
            for where, raw in self._given.strays if action.boots else ():
                parse_definition(raw, where=where)
        except DefinitionInvalid as error:
            return error
        strays = [self._stray(name) for name in self._files.strays]
        return unknown(text, trouble, strays, panel_asked=self._panel is not None and action.boots)

    def _stale_list(self, error: PowerError) -> Sequence[str]:
        """What is listed for a boot in place of a source: the servers that were kept stand in for a directory, as their definitions do."""
        if not isinstance(error, (SourceUnreachable, SourceDenied)):
            raise error
        if isinstance(error, SourceDenied) or not self._settings.allow_stale or self._panel is not None:
            self.unlisted.append(error)
            return ()
        self._warn(f"{error}; the servers last seen are meant, as allow_stale says")
        return self._kept.uuids()

    def _leave_out(self, error: PowerError, action: PowerAction | None) -> Sequence[str]:
        self._warn(str(error))
        if action is None:
            self.unlisted.append(error)
        return ()

    def _stale(self, uuid: str, error: SourceUnreachable) -> Definition:
        """What was kept stands in for a directory out of reach. For the Panel `FromPanel` knows what may: the server may have moved."""
        kept = self._tolerantly(self._keeps, uuid) if self._settings.allow_stale and self._panel is None else None
        if kept is None:
            raise error
        self._warn(f"{error}; the last definition seen is used, as allow_stale says")
        return kept

    def _tolerantly(self, source: Source, uuid: str) -> Definition | None:
        try:
            return source.definition(uuid)
        except PowerError as error:
            self._warn(str(error))
            return None

    def _warn(self, *warnings: str) -> None:
        with self._guard:
            self.warnings.extend(warning for warning in dict.fromkeys(warnings) if warning not in self.warnings)


def _ends_all(error: PowerError) -> bool:
    """Whether an error came from a look: it tells of the action, not of a source."""
    return error.cancels or error.skips
