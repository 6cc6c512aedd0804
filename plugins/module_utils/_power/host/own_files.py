# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files of our own in the lock and the state directory, on a disk that others may write to.

Directories and files appear under their name only with the right mode and group. So another user is never locked out, and a crash leaves no
partial file. A checksum seals each record, since readers can see partial writes (measured: 2 of 1000 reads mixed two records).
"""

from __future__ import annotations

import errno
import fcntl
import grp
import json
import os
import stat
import tempfile
import zlib
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from typing import Any, ClassVar, TypeVar

from ..model.server import parse_uuid

T = TypeVar("T")

DIRECTORY_MODE = 0o2770
FILE_MODE = 0o660
_PARENT_MODE = 0o755
#: How often a file or directory may vanish between creation and opening before this is an error.
_ATTEMPTS = 100
#: After so many torn reads a record counts as damaged.
_TORN_READS = 5
_CHECK = b',"check":"'
#: Padding around a record.
BLANKS = b" \0\n"


def prepare_directory(path: str, group: str) -> None:
    """Create the directory ``path``; an existing one stays as it is. Raises only OSError.

    A new one gets ``group`` and mode 2770 if the group exists and we may assign it (root, or a member); else mode 0700.
    """
    path = path.rstrip("/") or "/"
    with suppress(FileNotFoundError):
        if stat.S_ISDIR(os.stat(path).st_mode):
            return
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
    parent = os.path.dirname(path)
    _make_parents(parent)
    fresh = tempfile.mkdtemp(prefix=f".{os.path.basename(path)}.", dir=parent or ".")
    try:
        with suppress(KeyError, PermissionError):
            os.chown(fresh, -1, grp.getgrnam(group).gr_gid)
            os.chmod(fresh, DIRECTORY_MODE)
        if os.path.isdir(path):
            os.rmdir(fresh)
        else:
            # If another process was faster, and its directory is still empty, ours replaces it: see open_or_make.
            os.rename(fresh, path)
            sync_directory(parent or ".")
    except OSError:
        with suppress(OSError):
            os.rmdir(fresh)
        # Another process was faster, and has already filled its directory.
        if not os.path.isdir(path):
            raise


def sync_directory(path: str) -> None:
    """Sync the names in a directory to the disk: of new, renamed or removed files. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some file systems cannot sync a directory, and return this error.
        if error.errno != errno.EINVAL:
            raise
    finally:
        os.close(descriptor)


def replace_file(path: str, content: bytes, *, mode: int = 0o600, gid: int = -1, new: bool = False) -> None:
    """Write a file to disk; a reader always finds the old content or the new one. Raises OSError; with ``new`` if there is an old one."""
    folder, name = os.path.split(os.path.abspath(path))
    descriptor, fresh = tempfile.mkstemp(dir=folder, prefix=f".{name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchown(descriptor, -1, gid)
            os.fchmod(descriptor, mode)
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        (os.link if new else os.replace)(fresh, path)
    finally:
        with suppress(OSError):
            os.unlink(fresh)
    sync_directory(folder)


def open_own(path: str, flags: int) -> int:
    """Open a regular file of ours and return its descriptor, without following links or waiting for pipes or devices.

    With ``O_CREAT`` a new file gets exactly mode 0660, and the group of a directory with the setgid bit; an existing file keeps its mode.
    Raises OSError: ELOOP for a symlink, EINVAL for anything else that is not a regular file.
    """
    existing = flags & ~(os.O_CREAT | os.O_EXCL)
    for _attempt in range(_ATTEMPTS):
        if not flags & os.O_EXCL:
            with suppress(FileNotFoundError):
                return _open_regular(path, existing)
        if not flags & os.O_CREAT:
            break
        try:
            _make_file(path)
        except FileExistsError:
            if flags & os.O_EXCL:
                raise
        else:
            flags &= ~os.O_EXCL
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)


def open_or_make(path: str, flags: int, group: str) -> int:
    """Open as `open_own`; create the file and its directory if missing, even if another process removes it. Raises OSError."""
    for _attempt in range(_ATTEMPTS):
        with suppress(FileNotFoundError):
            return open_own(path, flags | os.O_CREAT)
        prepare_directory(os.path.dirname(path), group)
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)


def open_locked(path: str, opened: Callable[[], int]) -> int | None:
    """Open a file by ``opened`` and lock it (``flock``); return its descriptor, or None if another process holds the lock.

    It retries if the file or its directory was removed meanwhile. Raises OSError, and what ``opened`` raises.
    """
    for _attempt in range(_ATTEMPTS):
        with ExitStack() as undo:
            descriptor = opened()
            undo.callback(os.close, descriptor)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return None
            with suppress(OSError):
                if os.path.samestat(os.fstat(descriptor), os.stat(path, follow_symlinks=False)):
                    undo.pop_all()
                    return descriptor
    raise FileNotFoundError(errno.ENOENT, "the file is removed again and again", path)


def _make_parents(path: str) -> None:
    if not path or os.path.isdir(path):
        return
    _make_parents(os.path.dirname(path))
    with suppress(FileExistsError):
        os.mkdir(path)
        os.chmod(path, _PARENT_MODE)


def _open_regular(path: str, flags: int) -> int:
    descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    raise OSError(errno.EINVAL, "Not a regular file", path)


def _make_file(path: str) -> None:
    """Create an empty file under another name, then link it to ``path``: the umask never shows there."""
    directory, name = os.path.split(path)
    descriptor, fresh = tempfile.mkstemp(dir=directory or ".", prefix=f".{name}.")
    try:
        os.fchmod(descriptor, FILE_MODE)
        os.link(fresh, path)
    finally:
        os.close(descriptor)
        with suppress(FileNotFoundError):
            os.unlink(fresh)


def seal(fields: Mapping[str, Any]) -> bytes:
    """Return the text of a record; ``fields`` must not be empty."""
    # A lone surrogate, from an undecodable argument, becomes a question mark.
    body = json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
    return body[:-1] + _CHECK + _checksum(body)


def unseal(raw: bytes) -> Any:
    """Return the content of a record, padded or not; None if it is missing, torn or not ours."""
    body, mark, check = raw.rstrip(BLANKS).rpartition(_CHECK)
    body += b"}"
    if not mark or check != _checksum(body):
        return None
    with suppress(ValueError, RecursionError):
        return json.loads(body)
    return None


def read_sealed(path: str, size: int, decode: Callable[[bytes], T | None], torn: str = "Not a record") -> T | None:
    """Return the record in a file of ours; None if the file is missing or blank. ``decode`` returns None for a torn record.

    Raises OSError: EINVAL, with ``torn``, if every read is torn.
    """
    try:
        descriptor = open_own(path, os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        for _attempt in range(_TORN_READS):
            raw = os.pread(descriptor, size, 0)
            record = decode(raw)
            if record is not None or not raw.strip(BLANKS):
                return record
    finally:
        os.close(descriptor)
    raise OSError(errno.EINVAL, torn, path)


class ServerFiles:
    """Files of one kind in a directory, one for each server. Every ``uuid`` is full and canonical; anything else is a ValueError."""

    suffix: ClassVar[str]

    def __init__(self, directory: str, group: str) -> None:
        self._directory = directory
        self._group = group

    def _path(self, uuid: str) -> str:
        if parse_uuid(uuid) != uuid:
            raise ValueError("not a canonical UUID")
        return os.path.join(self._directory, f"{uuid}{self.suffix}")

    def _servers(self) -> list[str]:
        """Return the servers that have a file; none if the directory cannot be read."""
        names: list[str] = []
        with suppress(OSError):
            names += os.listdir(self._directory)
        uuids = (name[: -len(self.suffix)] for name in names if name.endswith(self.suffix))
        return [uuid for uuid in uuids if parse_uuid(uuid) == uuid]

    def _read(self, uuid: str, size: int, decode: Callable[[bytes], T | None]) -> T | None:
        """Return the record in a server's file; None if it is missing, blank, torn or unreadable. Takes no lock."""
        path = self._path(uuid)
        with suppress(OSError):
            return read_sealed(path, size, decode)
        return None


def read_held(descriptor: int, size: int) -> bytes:
    """Return the record in a locked file; empty if it cannot be read."""
    with suppress(OSError):
        return os.pread(descriptor, size, 0)
    return b""


def write_held(descriptor: int, record: bytes) -> None:
    """Replace the record in a locked file. Raises OSError, also for a part of it."""
    if os.pwrite(descriptor, record, 0) != len(record):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _checksum(body: bytes) -> bytes:
    return b'%08x"}' % zlib.crc32(body)
