# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Definitions in files: the administrator's directory, and the last good definitions, which this collection keeps.

The file name is the server's UUID: a lookup reads one file, and a broken file affects one server only.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import stat
from collections.abc import Iterable, Mapping
from typing import Any, BinaryIO

from ..host.own_files import FILE_MODE, open_own, prepare_directory, replace_file
from ..model.cancellation import CheckCancelled, no_check
from ..model.errors import DefinitionInvalid, SourceUnreachable
from ..model.schema import blanked
from ..model.server import parse_uuid
from .definition import Definition, parse_definition
from .definition_keys import PANEL_KEY, SCHEMA_KEY
from .definition_text import invalid, load_text

#: The version of kept definitions; a newer release writes a higher number.
_SCHEMA = 1


def uuid_in(raw: object) -> str | None:
    """Return the UUID in a definition, without a check of the rest."""
    uuid = _below(raw, "settings", "uuid")
    return parse_uuid(uuid) if isinstance(uuid, str) else None


def name_in(raw: object) -> str:
    """Return the server's name in a definition as `Definition.server.name`, without a check of the rest; empty if there is none."""
    name = _below(raw, "settings", "meta", "name")
    if isinstance(name, bool) or not isinstance(name, (str, int, float)):
        return ""
    return blanked(str(name)).strip()


def _below(raw: object, *keys: str) -> object:
    for key in keys:
        raw = raw.get(key) if isinstance(raw, Mapping) else None
    return raw


class DefinitionDirectory:
    """Files ``<uuid>.json``, ``<uuid>.yml`` or ``<uuid>.yaml``, one for each server; a missing directory is empty.

    Files are read again only after a change. Every method raises `SourceUnreachable` for an unreadable directory or file.
    """

    extensions: tuple[str, ...] = (".json", ".yml", ".yaml")
    #: A real definition has a few kilobytes.
    largest = 1024 * 1024
    setting = "system.definitions"

    def __init__(self, path: str) -> None:
        self.path = path
        #: Files of the last listing with an extension of definitions, but no UUID as name.
        self.strays: tuple[str, ...] = ()
        self._read: dict[str, tuple[tuple[int, ...], object]] = {}

    def uuids(self, check_cancelled: CheckCancelled = no_check) -> tuple[str, ...]:
        """Return the servers with a file here, sorted."""
        try:
            names = os.listdir(self.path)
        except FileNotFoundError:
            self._refuse_dead_link()
            names = []
        except (OSError, ValueError) as error:
            raise self._unreachable(error) from error
        candidates = [name for name in names if name.endswith(self.extensions) and not name.startswith(".")]
        stems = {name: os.path.splitext(name)[0] for name in candidates}
        self.strays = tuple(sorted(name for name, stem in stems.items() if parse_uuid(stem) != stem))
        return tuple(sorted({stem for name, stem in stems.items() if parse_uuid(stem) == stem}))

    def name(self, uuid: str) -> str:
        """Return the server's name in its file, or empty. Raises `DefinitionInvalid` only for a wrong file or UUID."""
        found = self._find(uuid)
        return "" if found is None else name_in(found[1])

    def definition(self, uuid: str, *, again: bool = False, check_cancelled: CheckCancelled = no_check) -> Definition | None:
        """Return the definition in the server's file as it is now, with or without ``again``; None without a file.

        Raises `DefinitionInvalid` for two files of one UUID, a different UUID in the file, or an invalid definition.
        """
        found = self._find(uuid)
        return None if found is None else parse_definition(found[1], where=found[0], expect_uuid=uuid)

    def _find(self, uuid: str) -> tuple[str, object] | None:
        present = [path for path in self._paths(uuid) if self._is_there(path)]
        if len(present) > 1:
            raise DefinitionInvalid(
                f"Cannot read the definition of server {uuid}: {' and '.join(present)} both exist; remove one of them", where=present[0]
            )
        if not present:
            self._refuse_dead_link()
            return None
        raw = self._load(present[0])
        itself = uuid_in(raw)
        if itself is not None and itself != uuid:
            raise invalid(present[0], f"its settings.uuid is {itself}; it must be what the file's name says")
        return present[0], raw

    def _paths(self, uuid: str) -> list[str]:
        return [os.path.join(self.path, uuid + extension) for extension in self.extensions]

    def _is_there(self, path: str) -> bool:
        try:
            os.lstat(path)
        except FileNotFoundError:
            return False
        except (OSError, ValueError) as error:
            raise self._unreachable(error) from error
        return True

    def _load(self, path: str) -> object:
        try:
            with open(path, "rb", opener=lambda path, _flags: self._open(path)) as file:
                return self._load_open(path, file)
        except OSError as error:
            if error.errno in (errno.EINVAL, errno.EISDIR, errno.ELOOP):
                raise invalid(path, "it is not a regular file") from error
            raise SourceUnreachable(f"Cannot read definition {path}: {error.strerror}", where=path) from error

    def _load_open(self, path: str, file: BinaryIO) -> object:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise invalid(path, "it is not a regular file")
        version = (status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino, status.st_dev)
        known = self._read.get(path)
        if known is not None and known[0] == version:
            return known[1]
        content = file.read(min(status.st_size, self.largest) + 1)
        if len(content) > self.largest:
            raise invalid(path, f"it is larger than {self.largest} bytes")
        raw = load_text(content, path, yaml=not path.endswith(".json"))
        self._read[path] = (version, raw)
        return raw

    def _open(self, path: str) -> int:
        # Follow links: the administrator may keep definitions elsewhere.
        return os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)

    def _refuse_dead_link(self) -> None:
        """Refuse a link to a missing directory: perhaps its disk is not mounted. A missing directory itself is empty."""
        if os.path.islink(self.path) and not os.path.exists(self.path):
            raise self._unreachable(ValueError("it is a link that leads nowhere"))

    def _unreachable(self, error: Exception) -> SourceUnreachable:
        reason = error.strerror if isinstance(error, OSError) else error
        advice = f"{self.setting} in the settings says where they are"
        if isinstance(error, PermissionError):
            advice = "become root, or join the group that owns them"
        return SourceUnreachable(f"Cannot read definitions in {self.path}: {reason}; {advice}")


class KeptDefinitions(DefinitionDirectory):
    """The last good definition of each server, in the state directory: for stop, kill, and unreachable sources."""

    extensions = (".json",)
    #: A kept file writes out aliases and short escapes.
    largest = 4 * 1024 * 1024
    setting = "system.state_directory"

    def __init__(self, state_directory: str, group: str) -> None:
        super().__init__(os.path.join(state_directory, "definitions"))
        self._state_directory = state_directory
        self._group = group
        self._list_path = os.path.join(state_directory, "panel.json")

    def _find(self, uuid: str) -> tuple[str, object] | None:
        found = super()._find(uuid)
        schema = None if found is None else _below(found[1], SCHEMA_KEY)
        if found is not None and not (isinstance(schema, int) and schema <= _SCHEMA):
            raise invalid(found[0], "it was kept by another version of this collection")
        return found

    def of_panel(self, uuid: str, panel: str) -> Definition | None:
        """Return the server's definition if it was kept from the Panel at ``panel``, else None; see `definition`."""
        found = self._find(uuid)
        return self.definition(uuid) if found is not None and _below(found[1], PANEL_KEY) == panel else None

    def keep(self, definition: Definition, *, panel: str = "") -> None:
        """Write a changed definition atomically; ``panel`` is its Panel's address. Raises OSError and ValueError."""
        content = _written(definition.source, panel)
        if len(content) > self.largest:
            raise ValueError(f"it is larger than {self.largest} bytes")
        self._write(self._paths(definition.server.uuid)[0], content)

    def keep_list(self, panel: str, uuids: Iterable[str]) -> None:
        """Write the servers that the Panel at ``panel`` lists for this node, atomically, if they changed. Raises OSError."""
        self._write(self._list_path, json.dumps({"panel": panel, "servers": sorted(uuids), "schema": _SCHEMA}).encode())

    def last_list(self, panel: str) -> frozenset[str] | None:
        """Return the kept list of the Panel at ``panel``; None if there is none or it is unreadable."""
        try:
            with os.fdopen(self._open(self._list_path), "rb") as file:
                kept: Any = load_text(file.read(self.largest), self._list_path, yaml=False)
            if kept["panel"] != panel or kept["schema"] > _SCHEMA:
                return None
            return frozenset(uuid for uuid in kept["servers"] if parse_uuid(uuid) == uuid)
        except (OSError, ValueError, TypeError, LookupError, DefinitionInvalid):
            return None

    def _write(self, path: str, content: bytes) -> None:
        with contextlib.suppress(OSError), os.fdopen(self._open(path), "rb") as file:
            if file.read(len(content) + 1) == content:
                return
        prepare_directory(self._state_directory, self._group)
        prepare_directory(os.path.dirname(path), self._group)
        replace_file(path, content, mode=FILE_MODE)

    def _open(self, path: str) -> int:
        return open_own(path, os.O_RDONLY)


def _written(source: Mapping[str, Any], panel: str) -> bytes:
    own = {key: value for key, value in source.items() if key not in (SCHEMA_KEY, PANEL_KEY)}
    ours = {SCHEMA_KEY: _SCHEMA, **({PANEL_KEY: panel} if panel else {})}
    try:
        return json.dumps({**own, **ours}, allow_nan=False).encode()
    except (TypeError, RecursionError) as error:
        raise ValueError("it holds values that JSON does not have") from error
