# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which server is meant, and what it is: definitions given by the task, in the directory, and kept from earlier fetches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from .definition import Definition, parse_definition
from .definition_files import DefinitionDirectory, KeptDefinitions, name_in, uuid_in
from .errors import AmbiguousServer, DefinitionInvalid, PowerError, ServerNotFound, SourceUnreachable
from .look import nothing
from .model import SHORT_ID_PATTERN, PowerAction, Server, parse_uuid
from .schema import printable
from .settings import Settings

#: The Panel allows 191 characters.
_LONGEST_NAME = 255
_SHOWN = 5


class _Source(Protocol):
    """Where definitions come from. Each method may raise `SourceUnreachable`; the last two `DefinitionInvalid`."""

    def uuids(self) -> Sequence[str]:
        """The servers it has."""

    def name(self, uuid: str) -> str:
        """A server's name; empty if it has none."""

    def definition(self, uuid: str) -> Definition | None:
        """A server's definition, or None if it does not have the server."""


class _Task:
    """The definitions that the task gives. One that says no uuid belongs to no server; it is kept to explain why nothing was found."""

    def __init__(self, given: Sequence[object]) -> None:
        self._given: dict[str, list[tuple[str, object]]] = {}
        self.strays: list[tuple[str, object]] = []
        for index, raw in enumerate(given):
            uuid, entry = uuid_in(raw), (f"definitions[{index}]", raw)
            if uuid is None:
                self.strays.append(entry)
            else:
                self._given.setdefault(uuid, []).append(entry)

    def uuids(self) -> Sequence[str]:
        return tuple(self._given)

    def name(self, uuid: str) -> str:
        return name_in(self._given[uuid][0][1]) if uuid in self._given else ""

    def definition(self, uuid: str) -> Definition | None:
        given = self._given.get(uuid)
        if given is None:
            return None
        where, raw = given[0]
        for other, second in given[1:]:
            if second != raw:
                raise DefinitionInvalid(f"Cannot read the definition of server {uuid}: {where} and {other} differ; give it once")
        return parse_definition(raw, where=where, expect_uuid=uuid)


class _Containers:
    """The servers seen as containers of the node; they have no definition. Asked for once."""

    def __init__(self, seen: Callable[[], Sequence[Server]]) -> None:
        self._seen = seen
        self._names: dict[str, str] | None = None

    def uuids(self) -> Sequence[str]:
        if self._names is None:
            self._names = {server.uuid: server.name for server in self._seen()}
        return tuple(self._names)

    def name(self, uuid: str) -> str:
        return (self._names or {}).get(uuid, "")

    def definition(self, uuid: str) -> Definition | None:
        return None


class Sources:
    """All sources of one call. What does not end an action is a sentence in ``warnings``, once each."""

    def __init__(self, settings: Settings, *, task: Sequence[object] = (), containers: Callable[[], Sequence[Server]] = lambda: ()) -> None:
        """``containers`` returns the servers seen as containers of the node; what it raises is raised where they are needed."""
        self.warnings: list[str] = []
        self._settings = settings
        self._task = _Task(task)
        self._directory = DefinitionDirectory(settings.definitions)
        self._kept = KeptDefinitions(settings.state_directory, settings.group)
        self._containers = _Containers(containers)
        self._first_wins: tuple[_Source, ...] = (self._task, self._directory)
        # The Panel, where there is one, will stand between the two, and the kept definitions in its place for stop.
        self._stop_order: tuple[_Source, ...] = (self._task, self._directory, self._kept)

    def identify(self, text: str, action: PowerAction) -> Server:
        """The server that ``text`` means: a full UUID in any case, which needs no source, a unique short id, or a unique name.

        Task and directory are looked at together; only what they do not know is looked for in the kept definitions (stop, kill), then
        in the containers. Raises `ServerNotFound`, `AmbiguousServer`, and `SourceUnreachable` or what the containers raise if the server
        may be in what could not be read. The name is filled in where that is cheap.
        """
        wanted = text.strip() if len(text) <= _LONGEST_NAME else ""
        uuid = parse_uuid(wanted)
        if uuid is not None:
            return Server(uuid, self._name_at_hand(uuid))
        layers, trouble = self._layers(action), _Trouble()
        found = self._by_short_id(wanted.lower(), layers, trouble)
        if not found and wanted:
            found = self._by_name(wanted, layers, trouble)
        if not found:
            raise self._unknown(text, action, trouble)
        self._warn(*(str(error) for error in trouble.out_of_reach))
        if len(found) > 1:
            raise _ambiguous(wanted, sorted(found))
        return next(Server(uuid, name) for uuid, name in found.items())

    def has(self, uuid: str) -> bool:
        """Whether any source that can be read has a definition of the server, be it a broken one."""
        return any(uuid in self._uuids(source, _Trouble()) for source in self._stop_order)

    def definition(self, uuid: str, *, again: bool = False, look: Callable[[], None] = nothing) -> Definition:
        """The definition of the first source that has the server; what the others say does not matter.

        ``again`` asks the Panel for this one server, instead of taking what it was listed with. ``look`` is called at least every second
        where that takes long, and may raise.

        Raises `ServerNotFound`, `DefinitionInvalid`, `MissingLibrary`, and `SourceUnreachable`, unless the settings' ``allow_stale`` lets
        the last definition seen take its place.
        """
        for source in self._first_wins if parse_uuid(uuid) == uuid else ():
            try:
                definition = source.definition(uuid)
            except SourceUnreachable as error:
                return self._stale(uuid, error)
            if definition is not None:
                return definition
        for where, raw in self._task.strays:
            parse_definition(raw, where=where)
        raise ServerNotFound(
            f"Cannot find a definition of server {printable(uuid)}: neither the task nor {self._directory.path} has one; "
            "give it in definitions, or put it there"
        )

    def task_definition(self, uuid: str) -> Definition | None:
        """The task's own definition, which overrides how a run was created to be stopped; a broken one counts as absent, with a warning."""
        return self._tolerantly(self._task, uuid)

    def definition_for_stop(self, uuid: str) -> Definition | None:
        """The first readable definition of task, directory and kept ones; None if there is none. A broken one is a warning."""
        candidates = (self._tolerantly(source, uuid) for source in self._stop_order)
        return next((definition for definition in candidates if definition is not None), None)

    def keep(self, definition: Definition) -> None:
        """Keep a good definition for later stops and kills. Never raises: failing to is a warning."""
        try:
            self._kept.keep(definition)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            self._warn(f"Cannot keep the definition of server {definition.server.uuid} in {self._kept.path}: {reason}")

    def _layers(self, action: PowerAction) -> tuple[tuple[_Source, ...], ...]:
        defined, containers = (self._task, self._directory), self._containers
        return (defined, (containers,)) if action.boots else (defined, (self._kept,), (containers,))

    def _by_short_id(self, short_id: str, layers: tuple[tuple[_Source, ...], ...], trouble: _Trouble) -> dict[str, str]:
        for layer in layers if SHORT_ID_PATTERN.fullmatch(short_id) else ():
            found = {uuid: source for source in reversed(layer) for uuid in self._uuids(source, trouble) if uuid.startswith(short_id)}
            if found:
                return {uuid: self._name(source, uuid, trouble) or "" for uuid, source in found.items()}
        return {}

    def _by_name(self, wanted: str, layers: tuple[tuple[_Source, ...], ...], trouble: _Trouble) -> dict[str, str]:
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

    def _uuids(self, source: _Source, trouble: _Trouble) -> Sequence[str]:
        try:
            return self._listed(source)
        except PowerError as error:
            trouble.out_of_reach.append(error)
            return ()

    def _listed(self, source: _Source) -> Sequence[str]:
        uuids = source.uuids()
        if source is self._directory:
            strays = (f"{self._directory.path}/{printable(name)}" for name in self._directory.strays)
            self._warn(*(f"{stray} is ignored: a definition's file is named by its server's uuid, in lower case" for stray in strays))
        return uuids

    def _name(self, source: _Source, uuid: str, trouble: _Trouble) -> str | None:
        """A server's name, or None and a warning if it cannot be read."""
        try:
            return source.name(uuid)
        except PowerError as error:
            trouble.unread += 1
            self._warn(str(error))
            return None

    def _name_at_hand(self, uuid: str) -> str:
        try:
            return self._task.name(uuid) or self._kept.name(uuid)
        except PowerError:
            return ""

    def _unknown(self, text: str, action: PowerAction, trouble: _Trouble) -> PowerError:
        if trouble.out_of_reach:
            return trouble.out_of_reach[0]
        try:
            for where, raw in self._task.strays if action.boots else ():
                parse_definition(raw, where=where)
        except DefinitionInvalid as error:
            return error
        if not text.strip():
            return ServerNotFound("Cannot find a server: neither UUID, short id nor name was given")
        reason = "no definition and no container on this node has this UUID, short id or name"
        if text.strip().isdigit():
            reason += "; if it is a short id, put it in quotes: YAML takes digits for a number and drops leading zeros"
        if trouble.unread:
            reason += f"; {trouble.unread} definitions could not be read, see the warnings"
        return ServerNotFound(f'Cannot find server "{printable(text)}": {reason}')

    def _stale(self, uuid: str, error: SourceUnreachable) -> Definition:
        kept = self._tolerantly(self._kept, uuid) if self._settings.allow_stale else None
        if kept is None:
            raise error
        self._warn(f"{error}; the last definition seen is used, as allow_stale says")
        return kept

    def _tolerantly(self, source: _Source, uuid: str) -> Definition | None:
        try:
            return source.definition(uuid)
        except PowerError as error:
            self._warn(str(error))
            return None

    def _warn(self, *warnings: str) -> None:
        self.warnings.extend(warning for warning in dict.fromkeys(warnings) if warning not in self.warnings)

    def list(self) -> _Servers:
        """All servers of task and directory, by uuid; broken files count, without a name and with a warning. Raises `SourceUnreachable`."""
        trouble = _Trouble()
        names: dict[str, str] = {}
        for source in (self._task, self._directory):
            for uuid in self._listed(source):
                names[uuid] = names.get(uuid) or self._name(source, uuid, trouble) or ""
        return [Server(uuid, name) for uuid, name in sorted(names.items())]


@dataclass
class _Trouble:
    """What a search could not read: whole sources, and the number of single definitions."""

    out_of_reach: list[PowerError] = field(default_factory=list)
    unread: int = 0


#: Named here because `Sources.list` hides the type's own name within the class.
_Servers = list[Server]


def _ambiguous(wanted: str, uuids: Sequence[str]) -> AmbiguousServer:
    more = f" and {len(uuids) - _SHOWN} more" if len(uuids) > _SHOWN else ""
    return AmbiguousServer(
        f'Cannot tell which server "{printable(wanted)}" is: {", ".join(uuids[:_SHOWN])}{more} are called so; give the full UUID',
        servers=list(uuids[:_SHOWN]),
    )
