# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One file of a data directory, by its name below an open descriptor of the directory it is in: read whole, or replaced whole."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
import time
from dataclasses import dataclass

from ..model.errors import PrebootFailed
from .volume_walk import shown_path

__all__ = ["FILE_LIMIT", "FileRefusedError", "names_of", "read_file", "replace_file"]

#: The largest configuration file that is read: such files are written by hand or by the server, and go through memory.
FILE_LIMIT = 16 * 1024 * 1024
#: What a write goes to before it is renamed. One name, so that what a crash left behind is replaced by the next write; where it
#: cannot be, because the server made a directory of that name, a random name of its own.
_FRESH = b".fleet-power.new"
#: Bytes of a name, as Linux has it. A path has no longest: it is never handed over as a whole.
_LONGEST_NAME = 255
#: How often, and after how many seconds each, a file is tried on which some process holds a lease, which it is told to give back.
_LEASE_TRIES, _LEASE_SECONDS = 20, 0.05


@dataclass(frozen=True)
class _NewFile:
    """A file as it will be written: what survives of the one that is there, or what a new one gets."""

    mode: int
    uid: int
    gid: int


class FileRefusedError(Exception):
    """A file that is not touched, and why; becomes ``PrebootFailed`` where its path is known."""


def names_of(relative: str, verb: str) -> list[bytes]:
    """Return the names that lead to a file, ``..`` resolved by its text as Wings does: no link can give it another meaning here."""
    parts: list[str] = []
    for part in relative.split("/"):
        if part == "..":
            if not parts:
                raise PrebootFailed(
                    f"Cannot {verb} file {shown_path(relative)}: it leads out of the data directory; correct process_configuration.configs"
                )
            parts.pop()
        elif part not in ("", "."):
            parts.append(part)
    if not parts or "\0" in relative:
        raise PrebootFailed(f"Cannot {verb} file {shown_path(relative)}: the path names no file")
    try:
        # Not os.fsencode: what a definition means by "é" must not depend on this process's locale.
        names = [part.encode("utf-8", "surrogateescape") for part in parts]
    except UnicodeEncodeError as error:
        raise PrebootFailed(f"Cannot {verb} file {shown_path(relative)}: the path is not valid Unicode") from error
    # Said before anything is opened: a name below a directory that is missing would come to light only when it is written.
    if max(map(len, names)) > _LONGEST_NAME:
        raise PrebootFailed(f"Cannot {verb} file {shown_path(relative)}: a name in its path is longer than {_LONGEST_NAME} bytes")
    return names


def _regular(parent: int, name: bytes, uid: int | None) -> os.stat_result | None:
    """Look at what is there by ``name``; None if nothing is. Refuses what is not a regular file of the server's own."""
    try:
        status = os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return None
    return _checked(status, uid)


def _checked(status: os.stat_result, uid: int | None) -> os.stat_result:
    if stat.S_ISLNK(status.st_mode):
        raise FileRefusedError("it is a symbolic link, and links are not followed")
    if not stat.S_ISREG(status.st_mode):
        raise FileRefusedError("it is not a regular file")
    if status.st_nlink > 1 and status.st_uid != uid:
        raise FileRefusedError("it has several hard links and is not the server's own, so it may be a file of somebody else")
    return status


def read_file(parent: int, name: bytes, limit: int, uid: int | None) -> bytes | None:
    """Return the bytes of a file, or None if it is missing."""
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
    """Open for reading what ``held`` (``O_PATH``) is, whatever has its name now: opening a FIFO or a device already does something."""
    for _unused in range(_LEASE_TRIES):
        try:
            # Without waiting: the server's process may hold a lease, and the kernel gives it 45 s to return it.
            return os.open(f"/proc/self/fd/{held}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except BlockingIOError:
            time.sleep(_LEASE_SECONDS)
    raise FileRefusedError("a process holds a lease on it and does not give it back; end that process")


def _create_fresh(parent: int) -> tuple[bytes, int]:
    """Make a new empty file to write to. Return its name and an open descriptor."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    # What is wrong with the directory itself is said by the open.
    with contextlib.suppress(OSError):
        os.unlink(_FRESH, dir_fd=parent)
    try:
        return _FRESH, os.open(_FRESH, flags, 0o600, dir_fd=parent)
    except FileExistsError:
        name = _FRESH + b"." + secrets.token_hex(8).encode()
        return name, os.open(name, flags, 0o600, dir_fd=parent)


def replace_file(parent: int, name: bytes, content: bytes, uid: int, gid: int) -> None:
    """Replace a file of the server's own, which keeps its owner and permission bits; a new one gets ``uid:gid`` and 0644."""
    present = _regular(parent, name, uid)
    target = _NewFile(0o644, uid, gid)
    if present is not None:
        target = _NewFile(present.st_mode & 0o777, present.st_uid, present.st_gid)
    _write(parent, name, content, target)


def _write(parent: int, name: bytes, content: bytes, target: _NewFile) -> None:
    fresh, descriptor = _create_fresh(parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            status = os.fstat(descriptor)
            if (status.st_uid, status.st_gid) != (target.uid, target.gid):
                os.fchown(descriptor, target.uid, target.gid)
            os.fchmod(descriptor, target.mode)
            file.flush()
            os.fsync(descriptor)
        os.rename(fresh, name, src_dir_fd=parent, dst_dir_fd=parent)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(fresh, dir_fd=parent)
        raise
    os.fsync(parent)
