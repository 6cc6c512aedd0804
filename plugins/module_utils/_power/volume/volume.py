# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A server's data directory: safe access, usage and ownership.

Whatever lies in a data directory was written by the server's process, so it is hostile until proven otherwise. Every access starts at
a descriptor of the data directory and goes down one name at a time with ``O_NOFOLLOW``; symbolic links are refused even where they
stay inside. Only the path of the data directory itself, which the administrator owns, may lead through links, its last part excepted.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Callable, Iterator

from ..model.errors import PrebootFailed
from .volume_file import FILE_LIMIT, FileRefusedError, names_of, read_file, replace_file
from .volume_walk import DIRECTORY, Bounds, Survey, Walk, reason_of, shown_path


class Volume:
    """The data directory of one server. ``path`` is absolute. Errors are ``PrebootFailed``, naming the path and the reason."""

    def __init__(self, path: str) -> None:
        self.path = path.rstrip("/") or "/"  # a slash at the end would lead through a link

    def owner(self) -> int | None:
        """The user it belongs to; None if it is not there as a real directory."""
        try:
            found = os.stat(self.path, follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError) as error:
            raise _failed("look for data directory", self.path, error) from error
        return found.st_uid if stat.S_ISDIR(found.st_mode) else None

    def exists(self) -> bool:
        """Tell whether it is there as a real directory; a symbolic link in its place counts as missing."""
        return self.owner() is not None

    def create(self, uid: int, gid: int) -> bool:
        """Make it: mode 0700, owned by ``uid:gid``; missing parents 0711, owned by whoever runs this. True if it was made.

        Anything else in its place, a symbolic link included, is an error. What could not be given to its owner is removed again, so
        that a directory without the right owner is never taken for a world.
        """
        try:
            _make_parents(os.path.dirname(os.path.abspath(self.path)))
            os.mkdir(self.path, 0o700)
        except FileExistsError as error:
            if self.exists():
                return False
            raise PrebootFailed(
                f"Cannot create data directory {shown_path(self.path)}: something that is not a directory has its name; move it away"
            ) from error
        except (OSError, ValueError) as error:
            raise _failed("create data directory", self.path, error) from error
        try:
            _own_directory(os.open(self.path, DIRECTORY), 0o700, uid, gid)
        except OSError as error:
            with contextlib.suppress(OSError):
                os.rmdir(self.path)
            raise _failed(f"give data directory to {uid}:{gid}", self.path, error) from error
        return True

    def survey(
        self,
        check_cancelled: Callable[[], None],
        bounds: Bounds,
        *,
        owner: tuple[int, int] | None,
        altered: Callable[[], None] = lambda: None,
    ) -> Survey:
        """Measure everything below in one walk and, where ``owner`` (uid, gid) is given, give it what differs. See ``Survey``.

        The walk ends at its ``bounds``, and says so; what was found until then is told.

        ``altered`` is called for whatever was given to the owner, since the walk may end half way. ``check_cancelled`` is called at
        first and then
        several times a second; what it raises ends the walk. What vanishes or moves meanwhile is no error, and a data directory that is
        missing is empty.
        """
        root = self._root()
        if root is None:
            return Survey(0, 0, 0, 0)
        return Walk(root, self.path, check_cancelled, bounds, owner, altered).survey()

    def read_text(self, relative: str, limit: int = FILE_LIMIT, *, uid: int | None = None) -> bytes | None:
        """The bytes of a file, or None if it is missing. ``relative`` is confined; a leading ``/`` means the data directory.

        An error: ``..`` above the data directory, a symbolic link anywhere, anything but a regular file, more than ``limit`` bytes,
        and a file with several hard links that does not belong to ``uid`` (not given: to nobody): it may be somebody else's.
        """
        parts = names_of(relative, "read")
        try:
            with self._parent(parts[:-1]) as parent:
                return None if parent is None else read_file(parent, parts[-1], limit, uid)
        except (OSError, FileRefusedError) as error:
            raise self._file_failed("read", relative, error) from error

    def write(self, relative: str, content: bytes, *, uid: int, gid: int) -> None:
        """Replace a file atomically and durably, under the conditions of ``read_text``; other hard links to it keep the old content.

        A file that is there keeps its owner and its permission bits; a new one gets ``uid:gid`` and 0644, missing parents ``uid:gid``
        and 0755. After an error the old file is untouched.
        """
        parts = names_of(relative, "write")
        try:
            with self._parent(parts[:-1], make=(uid, gid)) as parent:
                if parent is None:
                    raise FileRefusedError("the data directory is missing")
                replace_file(parent, parts[-1], content, uid, gid)
        except (OSError, FileRefusedError) as error:
            raise self._file_failed("write", relative, error) from error

    def _root(self) -> int | None:
        try:
            return os.open(self.path, DIRECTORY)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError) as error:
            if isinstance(error, OSError) and error.errno == errno.ELOOP:
                return None
            raise _failed("open data directory", self.path, error) from error

    @contextlib.contextmanager
    def _parent(self, parts: list[bytes], make: tuple[int, int] | None = None) -> Iterator[int | None]:
        """A descriptor of the directory that ``parts`` lead to; None where one is missing and ``make`` (uid, gid) is not given."""
        here = self._root()
        try:
            for part in parts:
                if here is None:
                    break
                below = _enter(here, part, make)
                os.close(here)
                here = below
            yield here
        finally:
            if here is not None:
                os.close(here)

    def _file_failed(self, verb: str, relative: str, error: Exception) -> PrebootFailed:
        return PrebootFailed(f"Cannot {verb} file {shown_path(relative)} in data directory {shown_path(self.path)}: {reason_of(error)}")


def _failed(what: str, path: str, error: Exception) -> PrebootFailed:
    return PrebootFailed(f"Cannot {what} {shown_path(path)}: {reason_of(error)}")


def _make_parents(path: str) -> None:
    missing = []
    while not os.path.isdir(path):
        missing.append(path)
        path = os.path.dirname(path)
    for directory in reversed(missing):
        with contextlib.suppress(FileExistsError):
            os.mkdir(directory, 0o711)
            os.chmod(directory, 0o711)  # whatever the umask is: the servers' users must get through


def _own_directory(descriptor: int, mode: int, uid: int, gid: int) -> None:
    """Give an open directory its owner and mode, and close it."""
    try:
        status = os.fstat(descriptor)
        if (status.st_uid, status.st_gid) != (uid, gid):
            os.fchown(descriptor, uid, gid)
        os.fchmod(descriptor, mode)
    finally:
        os.close(descriptor)


def _enter(parent: int, name: bytes, make: tuple[int, int] | None) -> int | None:
    """Open a directory below ``parent``; missing: make it, or None."""
    try:
        return os.open(name, DIRECTORY, dir_fd=parent)
    except FileNotFoundError:
        if make is None:
            return None
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR):
            raise FileRefusedError(f"{shown_path(os.fsdecode(name))} in its path is a symbolic link or a file, not a directory") from error
        raise
    os.mkdir(name, 0o755, dir_fd=parent)
    _own_directory(os.open(name, DIRECTORY, dir_fd=parent), 0o755, *make)
    os.fsync(parent)
    return os.open(name, DIRECTORY, dir_fd=parent)
