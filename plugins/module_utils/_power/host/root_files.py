# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files of root alone below the state directory, to which a group may write."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator

from .own_files import replace_file, sync_directory

_MODE = 0o700


def write_private(directory: str, name: str, content: bytes) -> None:
    """Write a file for its owner alone, synced. Creates the directory. Raises OSError, also if others may write to the directory."""
    with contextlib.suppress(FileExistsError):
        os.mkdir(directory, _MODE)
        sync_directory(os.path.dirname(directory))
    with _opened(directory) as path:
        replace_file(os.path.join(path, name), content)


def read_private(directory: str, name: str) -> bytes | None:
    """Return the content of such a file, or None. Raises OSError, also if others may write to the directory."""
    with contextlib.suppress(FileNotFoundError), _opened(directory) as path, open(os.path.join(path, name), "rb") as file:
        return file.read()
    return None


def remove_private(directory: str, name: str) -> None:
    """Remove such a file, if there is one. Raises OSError."""
    with contextlib.suppress(FileNotFoundError), _opened(directory) as path:
        os.unlink(os.path.join(path, name))


@contextlib.contextmanager
def _opened(directory: str) -> Iterator[str]:
    """Yield a path of the directory that stays the same if somebody puts another directory in its place."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        status = os.fstat(descriptor)
        if status.st_uid != os.geteuid() or stat.S_IMODE(status.st_mode) & 0o077:
            raise PermissionError(f"{directory} does not belong to {os.geteuid()} alone")
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)
