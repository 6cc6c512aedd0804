# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The sources of definitions and their order: the task, the Panel, its last list, kept files and containers."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Protocol

from ..definitions.definition import Definition, parse_definition
from ..definitions.definition_files import DefinitionDirectory, KeptDefinitions, name_in, uuid_in
from ..definitions.settings import Settings
from ..model.cancellation import CheckCancelled, no_check
from ..model.errors import DefinitionInvalid, PowerError, SourceUnreachable
from ..model.schema import printable
from ..model.server import Server

if TYPE_CHECKING:
    from .panel import Panel


Warn = Callable[[str], None]


class Source(Protocol):
    """A source of definitions. A method raises `SourceUnreachable` or the like if the whole source cannot be read."""

    def uuids(self, check_cancelled: CheckCancelled = no_check) -> Sequence[str]:
        """Return its servers."""

    def name(self, uuid: str) -> str:
        """Return a server's name; empty if it has none. May raise `DefinitionInvalid`."""

    def definition(self, uuid: str, *, again: bool = False, check_cancelled: CheckCancelled = no_check) -> Definition | None:
        """Return a server's definition, or None if it lacks the server. May raise `DefinitionInvalid`. See `Sources.definition`."""


class FromTask:
    """The definitions in the task. Definitions without a UUID are ``strays``, for error messages."""

    def __init__(self, given: Sequence[object]) -> None:
        self._given: dict[str, list[tuple[str, object]]] = {}
        self.strays: list[tuple[str, object]] = []
        for index, raw in enumerate(given):
            uuid, entry = uuid_in(raw), (f"definitions[{index}]", raw)
            if uuid is None:
                self.strays.append(entry)
            else:
                self._given.setdefault(uuid, []).append(entry)

    def uuids(self, check_cancelled: CheckCancelled = no_check) -> Sequence[str]:
        return tuple(self._given)

    def name(self, uuid: str) -> str:
        return name_in(self._given[uuid][0][1]) if uuid in self._given else ""

    def definition(self, uuid: str, *, again: bool = False, check_cancelled: CheckCancelled = no_check) -> Definition | None:
        """See `Source`. Two different definitions are an error."""
        given = self._given.get(uuid)
        if given is None:
            return None
        where, raw = given[0]
        for other, second in given[1:]:
            if second != raw:
                raise DefinitionInvalid(f"Cannot read the definition of server {uuid}: {where} and {other} differ; give it once")
        return parse_definition(raw, where=where, expect_uuid=uuid)


class FromContainers:
    """The servers with containers on the node, without definitions. See `Source`."""

    def __init__(self, seen: Callable[[], Sequence[Server]]) -> None:
        self._seen = seen
        self._names: dict[str, str] = {}

    def uuids(self, check_cancelled: CheckCancelled = no_check) -> Sequence[str]:
        self._names = {server.uuid: server.name for server in self._seen()}
        return tuple(self._names)

    def name(self, uuid: str) -> str:
        return self._names.get(uuid, "")

    def definition(self, uuid: str, *, again: bool = False, check_cancelled: CheckCancelled = no_check) -> Definition | None:
        return None


class FromPanel:
    """The Panel. If it is unreachable and ``allow_stale`` is set, kept definitions replace it, with a warning.

    Then the last list decides which servers are this node's. A refused token is a fault of its own.
    """

    def __init__(self, panel: Panel, kept: KeptDefinitions, warn: Warn, *, allow_stale: bool) -> None:
        self._panel = panel
        self._kept = kept
        self._warn = warn
        self._allow_stale = allow_stale
        self._guard = threading.Lock()
        self._given: dict[str, Definition] = {}
        self._list_kept: object = None

    def uuids(self, check_cancelled: CheckCancelled = no_check) -> Sequence[str]:
        try:
            found = self._panel.listed(check_cancelled)
        except SourceUnreachable as error:
            listed = self._listed_last(error)
            self._warn(f"{error}; the definitions last seen are used, as allow_stale says")
            return tuple(uuid for uuid in self._kept.uuids() if uuid in listed)
        if found.strays:
            self._warn(f"{found.strays} entries in the list of the Panel at {self._panel.address} name no server and are ignored")
        return tuple(found.servers)

    def name(self, uuid: str) -> str:
        try:
            return name_in(self._panel.listed().servers.get(uuid))
        except SourceUnreachable as error:
            return self._kept.name(uuid) if uuid in self._listed_last(error) else ""

    def definition(self, uuid: str, *, again: bool = False, check_cancelled: CheckCancelled = no_check) -> Definition | None:
        try:
            found = self._panel.definition(uuid, again=again, check_cancelled=check_cancelled)
        except SourceUnreachable as error:
            if uuid not in self._listed_last(error):
                return None
            found = tolerantly(self._warn, self._kept.of_panel, uuid, self._panel.address)
            if found is None:
                raise
            self._warn(f"{error}; the last definition seen is used, as allow_stale says")
        if found is not None:
            self._given[uuid] = found
        return found

    def keep(self, definition: Definition) -> None:
        """Keep a definition. It is marked as the Panel's only if the Panel gave it last. Raises OSError, ValueError."""
        self._kept.keep(definition, panel=self._panel.address if self.gave(definition) else "")

    def gave(self, definition: Definition) -> bool:
        """Tell if the Panel, or what was kept of it, gave this definition last."""
        return self._given.get(definition.server.uuid) is definition

    def keep_list(self) -> None:
        """Keep the last list, if it is new since the last call. Raises OSError."""
        with self._guard:
            seen = self._panel.seen
            if seen is None or seen is self._list_kept:
                return
            self._list_kept = seen
            self._kept.keep_list(self._panel.address, seen.servers)

    def _listed_last(self, error: SourceUnreachable) -> frozenset[str]:
        listed = self._kept.last_list(self._panel.address) if self._allow_stale else None
        if listed is None:
            raise error
        return listed


class Listed:
    """A source whose list and names are read once a call, for all threads. Definitions are read each time."""

    def __init__(self, source: Source, warn: Warn) -> None:
        self.source = source
        self._warn = warn
        self._uuids: dict[str, None] | None = None
        self._names: dict[str, str | None] = {}
        #: The files of the definitions whose names could not be read; empty if unknown.
        self.places: dict[str, str] = {}

    def uuids(self, check_cancelled: CheckCancelled = no_check) -> Collection[str]:
        """Return the servers of the source. Raises what the source raises, each time."""
        if self._uuids is None:
            self._uuids = dict.fromkeys(self.source.uuids(check_cancelled))
        return self._uuids

    def name(self, uuid: str) -> str | None:
        """Return a listed server's name; None, and a warning, if it cannot be read."""
        if uuid not in self._names:
            try:
                self._names[uuid] = self.source.name(uuid)
            except PowerError as error:
                self._warn(str(error))
                self._names[uuid] = None
                self.places[uuid] = str(error.facts.get("where", ""))
        return self._names[uuid]


class SourceSet:
    """All sources of one call, in their order. Thread-safe.

    ``task``, ``directory``, ``kept`` and ``containers`` list their servers once a call; `given`, `files` and `keeps` read the same sources
    anew. A boot asks ``first_wins`` in this order; a stop asks ``stop_order``, without a request to the Panel.
    """

    def __init__(
        self, settings: Settings, *, task: Sequence[object], containers: Callable[[], Sequence[Server]], panel: Panel | None = None
    ) -> None:
        """``containers`` returns the servers with containers on the node. ``panel`` is None if the settings name none."""
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
        self.stop_order: tuple[Callable[[str], Definition | None], ...]
        self.stop_order = (self.given.definition, self.files.definition, self.keeps.definition)
        self.from_panel: FromPanel | None = None
        self.glanced = False
        if panel is not None:
            self.from_panel = FromPanel(panel, self.keeps, self.warn, allow_stale=settings.allow_stale)
            self.first_wins = (self.task, self._once(self.from_panel), self.directory)
            self.stop_order = (self.given.definition, panel.seen_definition, self.keeps.definition, self.files.definition)

    def _once(self, source: Source) -> Listed:
        return Listed(source, self.warn)

    def glance_at_panel(self, check_cancelled: CheckCancelled) -> None:
        """Read the list with little patience; later uses report its failure."""
        self.glanced = True
        try:
            if self.panel is not None:
                self.panel.listed(check_cancelled, brief=True)
        except PowerError as error:
            if ends_all(error):
                raise

    def listed(self, source: Listed, check_cancelled: CheckCancelled) -> Collection[str]:
        """Return the servers of a source, and warn of files without a server's name. Raises what the source raises."""
        uuids = source.uuids(check_cancelled)
        if source is self.directory:
            strays = (self.stray(name) for name in self.files.strays)
            self.warn(*(f"{stray} is ignored: a definition's file is named by its server's uuid, in lower case" for stray in strays))
        return uuids

    def stray(self, name: str) -> str:
        return f"{self.files.path}/{printable(name)}"

    def warn(self, *warnings: str) -> None:
        with self._guard:
            self.warnings.extend(warning for warning in dict.fromkeys(warnings) if warning not in self.warnings)


def tolerantly(warn: Callable[[str], object], read: Callable[..., Definition | None], *arguments: str) -> Definition | None:
    """Return the definition that ``read`` returns; None, with a warning, if it cannot be read."""
    try:
        return read(*arguments)
    except PowerError as error:
        warn(str(error))
        return None


def ends_all(error: PowerError) -> bool:
    """Tell if an error concerns the action, not the source: it came from ``check_cancelled``."""
    return error.cancels or error.skips
