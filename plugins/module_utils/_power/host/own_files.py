# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files of our own in the lock and the state directory, on a disk others may write to.

Directories and files appear under their name only when mode and group are right: a neighbour with another user id
never meets one that shuts it out, and a crash half way leaves none behind under that name.

A record in a file is sealed with a checksum, since its write is not atomic to a reader (measured: 2 of 1000 reads taken while a writer
loops are a mixture of two records).
"""

from __future__ import annotations

import errno
import fcntl
import grp
import json
import os
import secrets
import stat
import tempfile
import zlib
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from typing import Any

DIRECTORY_MODE = 0o2770
FILE_MODE = 0o660
_PARENT_MODE = 0o755
#: How often a file or its directory may vanish between being made and being opened before that is an error.
_ATTEMPTS = 100
_CHECK = b',"check":"'


def prepare_directory(path: str, group: str) -> None:
    """Make sure that ``path`` is a directory; one that is there is left as it is.

    A new one, and its missing parents, belongs to ``group`` with mode 2770 where that group exists and we may give it
    away (root, or a member); else it has mode 0700. Raises OSError only.
    """
    path = path.rstrip("/") or "/"
    if _is_directory(path):
        return
    parent = os.path.dirname(path)
    _make_parents(parent)
    fresh = tempfile.mkdtemp(prefix=f".{os.path.basename(path)}.", dir=parent or ".")
    try:
        _share_with_group(fresh, group)
        if os.path.isdir(path):
            os.rmdir(fresh)
        else:
            # Should somebody be quicker just now and theirs still be empty, this one takes its place: see open_or_make.
            os.rename(fresh, path)
            sync_directory(parent or ".")
    except OSError:
        with suppress(OSError):
            os.rmdir(fresh)
        # Somebody else was quicker, and has already put something into theirs.
        if not os.path.isdir(path):
            raise


def sync_directory(path: str) -> None:
    """Put the names in a directory on the disk: of files that were made, renamed or removed there. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some file systems cannot sync a directory, and say that this is no such file.
        if error.errno != errno.EINVAL:
            raise
    finally:
        os.close(descriptor)


def open_own(path: str, flags: int, mode: int = FILE_MODE) -> int:
    """Open a regular file of ours and return its descriptor; no link is followed, no pipe or device waited for.

    With ``O_CREAT`` a missing file is made with exactly ``mode``, whatever the umask; its group is that of a directory
    with the setgid bit. A file that is there keeps its mode. Raises OSError: ELOOP for a symlink, EINVAL for anything
    else that is not a regular file.
    """
    existing = flags & ~(os.O_CREAT | os.O_EXCL)
    for _attempt in range(_ATTEMPTS):
        if not flags & os.O_EXCL:
            with suppress(FileNotFoundError):
                return _open_regular(path, existing)
        if not flags & os.O_CREAT:
            break
        try:
            _make_file(path, mode)
        except FileExistsError:
            if flags & os.O_EXCL:
                raise
        else:
            flags &= ~os.O_EXCL
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)


def open_or_make(path: str, flags: int, group: str) -> int:
    """Open a regular file of ours as ``open_own`` does, making it and its directory (``prepare_directory``) if they are missing.

    Several may make the directory at once, or somebody may remove it just now: then this begins again. Raises OSError.
    """
    for _attempt in range(_ATTEMPTS):
        with suppress(FileNotFoundError):
            return open_own(path, flags | os.O_CREAT)
        prepare_directory(os.path.dirname(path), group)
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)


def open_locked(path: str, opened: Callable[[], int]) -> int | None:
    """Open a file by ``opened``, and return its descriptor, which holds the lock of it (``flock``); None if somebody else does.

    Somebody may have removed the file or its directory: others meet at another one then, and this begins again. Raises OSError, and what
    ``opened`` raises.
    """
    for _attempt in range(_ATTEMPTS):
        with ExitStack() as undo:
            descriptor = opened()
            undo.callback(os.close, descriptor)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return None
            if _is_at(descriptor, path):
                undo.pop_all()
                return descriptor
    raise FileNotFoundError(errno.ENOENT, "the file is removed again and again", path)


def _is_at(descriptor: int, path: str) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path, follow_symlinks=False))
    except OSError:
        return False


def _is_directory(path: str) -> bool:
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return False
    if not stat.S_ISDIR(found.st_mode):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
    return True


def _make_parents(path: str) -> None:
    if not path or os.path.isdir(path):
        return
    _make_parents(os.path.dirname(path))
    with suppress(FileExistsError):
        os.mkdir(path)
        os.chmod(path, _PARENT_MODE)


def _share_with_group(path: str, group: str) -> None:
    """Open a fresh directory, mode 0700, to ``group``, or leave it to its owner alone."""
    try:
        os.chown(path, -1, grp.getgrnam(group).gr_gid)
    except (KeyError, PermissionError):
        return
    os.chmod(path, DIRECTORY_MODE)


def _open_regular(path: str, flags: int) -> int:
    descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    raise OSError(errno.EINVAL, "Not a regular file", path)


def _make_file(path: str, mode: int) -> None:
    """Make an empty file under another name, then link it to ``path``: the umask is never seen there."""
    directory, name = os.path.split(path)
    fresh = os.path.join(directory, f".{name}.{secrets.token_hex(8)}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        os.fchmod(descriptor, mode)
        os.link(fresh, path)
    finally:
        os.close(descriptor)
        with suppress(FileNotFoundError):
            os.unlink(fresh)


def seal(fields: Mapping[str, Any]) -> bytes:
    """Return the text of a record, of which ``fields`` must have some."""
    # A lone surrogate, as from an undecodable argument, becomes a question mark.
    body = json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
    return body[:-1] + _CHECK + _checksum(body)


def unseal(raw: bytes) -> Any:
    """Return what a record says, padded or not; None if there is none, or it is torn or not ours."""
    body, mark, check = raw.rstrip(b" \0\n").rpartition(_CHECK)
    body += b"}"
    if not mark or check != _checksum(body):
        return None
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _checksum(body: bytes) -> bytes:
    """Return what stands behind the checksum's name, up to the end of the record."""
    return b'%08x"}' % zlib.crc32(body)
