# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A server's data directory: safe access, usage and ownership.

The server's process writes it, so its content may be hostile. Every access starts at a descriptor of the directory and goes down one name
at a time with ``O_NOFOLLOW``, so symbolic links are refused. Only the administrator's path to it may have links, except in its last part.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
import time
from collections.abc import Callable, Iterator

from ..model.config_rule import LARGEST_FILE
from ..model.errors import PrebootFailed
from .volume_walk import DIRECTORY, GONE, Bounds, Survey, Walk, reason_of, shown_path

#: The name that a write uses before its rename. A fixed name, so that the next write replaces leftovers of a crash; a random one if a
#: directory has this name.
_FRESH = b".fleet-power.new"
#: Bytes of a name in Linux. Paths have no limit: no call gets a whole path.
_LONGEST_NAME = 255
#: Tries, and seconds between them, to open a file on which a process holds a lease.
_LEASE_TRIES, _LEASE_SECONDS = 20, 0.05


class FileRefusedError(Exception):
    """A refused file and the reason; becomes ``PrebootFailed`` once its path is known."""


def names_of(relative: str, verb: str) -> list[bytes]:
    """Return the names that lead to a file. ``..`` is resolved in the text as in Wings: no link can change its meaning here."""
    begin = f"Cannot {verb} file {shown_path(relative)}"
    parts: list[str] = []
    for part in relative.split("/"):
        if part == "..":
            if not parts:
                raise PrebootFailed(f"{begin}: it leads out of the data directory; correct process_configuration.configs")
            parts.pop()
        elif part not in ("", "."):
            parts.append(part)
    if not parts or "\0" in relative:
        raise PrebootFailed(f"{begin}: the path names no file")
    try:
        # Not os.fsencode: the meaning of "é" in a definition must not depend on this process's locale.
        names = [part.encode("utf-8", "surrogateescape") for part in parts]
    except UnicodeEncodeError as error:
        raise PrebootFailed(f"{begin}: the path is not valid Unicode") from error
    # Checked early: below a missing directory, the name would fail only at the write.
    if max(map(len, names)) > _LONGEST_NAME:
        raise PrebootFailed(f"{begin}: a name in its path is longer than {_LONGEST_NAME} bytes")
    return names


def _checked(status: os.stat_result, uid: int | None) -> os.stat_result:
    """Refuse anything but a regular file of the server."""
    if stat.S_ISLNK(status.st_mode):
        raise FileRefusedError("it is a symbolic link, and links are not followed")
    if not stat.S_ISREG(status.st_mode):
        raise FileRefusedError("it is not a regular file")
    if status.st_nlink > 1 and status.st_uid != uid:
        raise FileRefusedError("it has several hard links and is not the server's own, so it may belong to somebody else")
    return status


def read_file(parent: int, name: bytes, limit: int, uid: int | None) -> bytes | None:
    try:
        held = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    except FileNotFoundError:
        return None
    try:
        size = _checked(os.fstat(held), uid).st_size
        content = b""
        if size <= limit:
            with os.fdopen(_open_held(held), "rb") as file:
                content = file.read(limit + 1)
    finally:
        os.close(held)
    if max(size, len(content)) > limit:
        raise FileRefusedError(f"it is larger than {limit} bytes")
    return content


def _open_held(held: int) -> int:
    """Open the file of ``held`` (``O_PATH``) for reading, whatever has its name now: opening a FIFO or a device has side effects."""
    for _unused in range(_LEASE_TRIES):
        try:
            # Without waiting: the kernel gives a lease holder 45 s to return it.
            return os.open(f"/proc/self/fd/{held}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except BlockingIOError:
            time.sleep(_LEASE_SECONDS)
    raise FileRefusedError("a process holds a lease on it and does not give it back; end that process")


def _create_fresh(parent: int) -> tuple[bytes, int]:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    # The open reports faults of the directory itself.
    with contextlib.suppress(OSError):
        os.unlink(_FRESH, dir_fd=parent)
    try:
        return _FRESH, os.open(_FRESH, flags, 0o600, dir_fd=parent)
    except FileExistsError:
        name = _FRESH + b"." + secrets.token_hex(8).encode()
        return name, os.open(name, flags, 0o600, dir_fd=parent)


def replace_file(parent: int, name: bytes, content: bytes, uid: int, gid: int) -> None:
    """Replace a file of the server, which keeps its owner and permission bits; a new one gets ``uid:gid`` and 0644."""
    try:
        present = _checked(os.stat(name, dir_fd=parent, follow_symlinks=False), uid)
        mode, uid, gid = present.st_mode & 0o777, present.st_uid, present.st_gid
    except FileNotFoundError:
        mode = 0o644
    fresh, descriptor = _create_fresh(parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            status = os.fstat(descriptor)
            if (status.st_uid, status.st_gid) != (uid, gid):
                os.fchown(descriptor, uid, gid)
            os.fchmod(descriptor, mode)
            file.flush()
            os.fsync(descriptor)
        os.rename(fresh, name, src_dir_fd=parent, dst_dir_fd=parent)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(fresh, dir_fd=parent)
        raise
    os.fsync(parent)


class Volume:
    """The data directory of one server. ``path`` is absolute. Errors are ``PrebootFailed`` with the path and the reason."""

    def __init__(self, path: str) -> None:
        self.path = path.rstrip("/") or "/"  # a slash at the end would follow a link

    def owner(self) -> int | None:
        """Return its user; None if it is no real directory."""
        try:
            found = os.stat(self.path, follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError) as error:
            raise _failed("look for data directory", self.path, error) from error
        return found.st_uid if stat.S_ISDIR(found.st_mode) else None

    def exists(self) -> bool:
        """Tell whether it is a real directory; a symbolic link counts as missing."""
        return self.owner() is not None

    def create(self, uid: int, gid: int) -> bool:
        """Create it with mode 0700 and ``uid:gid``; missing parents get 0711 and our user. True if it was created.

        Anything else in its place is an error, also a link. A new one is removed if its owner cannot be set: it must not look like a world.
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
        """Measure everything in one walk, and give it to ``owner`` (uid, gid) if given. See ``Survey``.

        The walk ends at its ``bounds`` with a partial result. It calls ``altered`` for each changed owner, since it may end early. It calls
        ``check_cancelled`` at first, then several times a second, which may raise. Files may vanish or move. A missing directory is empty.
        """
        root = self._root()
        if root is None:
            return Survey(0, 0, 0, 0)
        return Walk(root, self.path, check_cancelled, bounds, owner, altered).survey()

    def read_text(self, relative: str, limit: int = LARGEST_FILE, *, uid: int | None = None) -> bytes | None:
        """Return the bytes of a file, or None if it is missing. ``relative`` is confined; a leading ``/`` means the data directory.

        Errors: ``..`` above the data directory, a symbolic link, anything but a regular file, more than ``limit`` bytes, and a file with
        several hard links that does not belong to ``uid``: it may be another user's.
        """
        parts = names_of(relative, "read")
        try:
            with self._parent(parts[:-1]) as parent:
                return None if parent is None else read_file(parent, parts[-1], limit, uid)
        except (OSError, FileRefusedError) as error:
            raise self._file_failed("read", relative, error) from error

    def size(self, relative: str) -> int:
        """Return the size of a file in bytes, 0 if that is unknown. Raises as ``read_text`` for a path outside of the data directory."""
        parts = names_of(relative, "read")
        with contextlib.suppress(OSError), self._parent(parts[:-1]) as parent:
            if parent is not None:
                return os.stat(parts[-1], dir_fd=parent, follow_symlinks=False).st_size
        return 0

    def write(self, relative: str, content: bytes, *, uid: int, gid: int) -> None:
        """Replace a file atomically and durably, with the errors of ``read_text``; other hard links keep the old content.

        An existing file keeps its owner and permission bits, and after an error its content; a new one gets ``uid:gid`` and 0644, missing
        parents ``uid:gid`` and 0755.
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
        except (OSError, ValueError) as error:
            if isinstance(error, OSError) and error.errno in GONE:
                return None
            raise _failed("open data directory", self.path, error) from error

    @contextlib.contextmanager
    def _parent(self, parts: list[bytes], make: tuple[int, int] | None = None) -> Iterator[int | None]:
        """Yield a descriptor of the directory ``parts``; None if it is missing and ``make`` (uid, gid) is not given."""
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
            os.chmod(directory, 0o711)  # against the umask: the servers' users must get through


def _own_directory(descriptor: int, mode: int, uid: int, gid: int) -> None:
    try:
        status = os.fstat(descriptor)
        if (status.st_uid, status.st_gid) != (uid, gid):
            os.fchown(descriptor, uid, gid)
        os.fchmod(descriptor, mode)
    finally:
        os.close(descriptor)


def _enter(parent: int, name: bytes, make: tuple[int, int] | None) -> int | None:
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
