# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The kill generation: the number of kills of a server. A kill cancels every earlier request."""

from __future__ import annotations

import os
import stat
from contextlib import suppress

from ..host.own_files import ServerFiles, open_or_make, open_own, sync_directory
from ..model.errors import LockUnavailable
from ..model.request import ALL
from ..model.server import parse_uuid


class KillGenerations(ServerFiles):
    """A node's kill generations: the size of ``UUID.kills`` plus that of ``all.kills``. Compare them only for equality."""

    suffix = ".kills"

    def __init__(self, state_directory: str, group: str) -> None:
        super().__init__(state_directory, group)
        self._path_of_all = os.path.join(state_directory, f"all{self.suffix}")
        self._raised_all = False

    def read(self, uuid: str) -> int:
        """Return the server's generation, 0 if it was never killed. Raises `LockUnavailable`."""
        return self._size(self._path(uuid)) + self.of_all()

    def read_or_none(self, uuid: str) -> int | None:
        """Return the server's generation; None if it is unreadable: only a boot needs it."""
        with suppress(LockUnavailable):
            return self.read(uuid)
        return None

    def of_all(self) -> int:
        """Return the number of kills of all servers, which applies to each. Raises `LockUnavailable`."""
        return self._size(self._path_of_all)

    def _size(self, path: str) -> int:
        try:
            found = os.stat(path, follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError):
            return 0
        except OSError as error:
            advice = f"; act as root or as a member of the group {self._group}" if isinstance(error, PermissionError) else ""
            raise LockUnavailable(f"Cannot read the count of kills {path}: {error.strerror}{advice}") from error
        if not stat.S_ISREG(found.st_mode):
            raise LockUnavailable(f"Cannot read the count of kills {path}: not a regular file; remove it")
        return found.st_size

    def scan(self) -> dict[str, int]:
        """Return the generation of every killed server, and under `ALL` that of the others. Raises `LockUnavailable`."""
        of_all = self.of_all()
        generations = {ALL: of_all}
        try:
            with os.scandir(self._directory) as entries:
                for entry in entries:
                    uuid = entry.name[: -len(self.suffix)]
                    if entry.name.endswith(self.suffix) and parse_uuid(uuid) == uuid and entry.is_file(follow_symlinks=False):
                        generations[uuid] = entry.stat(follow_symlinks=False).st_size + of_all
        except (FileNotFoundError, NotADirectoryError):
            return generations
        except OSError as error:
            raise LockUnavailable(f"Cannot read the state directory {self._directory}: {error.strerror}") from error
        return generations

    def raise_for(self, uuid: str) -> None:
        """Count a kill of the server, exactly even between processes. Raises `LockUnavailable`."""
        self._raise(self._path(uuid))

    def raise_for_all(self) -> None:
        """Count a kill of all servers, unknown ones included. Raises `LockUnavailable`."""
        self._raise(self._path_of_all)
        self._raised_all = True

    def keep(self, uuid: str) -> None:
        """Sync counted kills to the disk. It is separate because a kill must not wait for a disk. Raises `LockUnavailable`."""
        path = self._path(uuid)
        try:
            for each in (path, *([self._path_of_all] if self._raised_all else [])):
                with os.fdopen(open_own(each, os.O_RDONLY), "rb") as kills:
                    os.fsync(kills.fileno())
            # The directory has the names of new files.
            sync_directory(self._directory)
        except OSError as error:
            raise LockUnavailable(f"Cannot keep the count of kills {path} on the disk: {error.strerror}") from error

    def _raise(self, path: str) -> None:
        try:
            with os.fdopen(open_or_make(path, os.O_WRONLY | os.O_APPEND, self._group), "ab", buffering=0) as kills:
                kills.write(b".")
        except OSError as error:
            raise LockUnavailable(f"Cannot raise the count of kills {path}: {error.strerror}") from error

    def changed_since(self, uuid: str, generation: int) -> bool:
        """Return True if the server was killed since ``generation`` was read. Raises `LockUnavailable`."""
        return self.read(uuid) != generation
