# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One walk over a data directory that may change meanwhile: its size and its owners.

The walk holds few descriptors at any depth, and never recurses. It goes down by name with ``O_NOFOLLOW`` and up by ``..``, after a check
that this is the directory it came from. Like Wings and ``du``, it includes mounted file systems: a server cannot mount, but its btrfs
subvolumes look like other file systems and would evade the disk limit.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import stat
import sys
from collections.abc import Callable, Iterator

from ..model.cancellation import Deadline
from ..model.clock import SYSTEM_CLOCK
from ..model.errors import PrebootFailed
from ..model.records import dataclass
from ..model.schema import visible

#: Advice for errors that give none.
_ADVICE = {
    errno.EPERM: "only root may do that; if lsattr shows it as immutable, not even root",
    errno.EROFS: "mount it writable",
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some space or raise the quota",
}
#: Flags that open a directory without following links or waiting.
DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
#: Seconds between two checks: a check costs more than most directories, and a kill waits at most a second.
LOOK_SECONDS = 0.25
#: Entries between two looks at the clock: a slow disk reads these within half a second.
_BATCH = 32
#: Levels of directories: each takes memory, and real files are never so deep.
_DEEPEST = 100_000
#: Bytes of memory for the names of pending directories and the inodes of hard links: their owner may make millions.
_MOST_MEMORY = 64 * 1024 * 1024
#: Bytes that one inode takes in a set, at most, and one name beside its text.
_MEMORY_OF_INODE = 128
_MEMORY_OF_PLACE = 16
_KIND = 0o170000
_REGULAR, _DIRECTORY = stat.S_IFREG, stat.S_IFDIR
#: Errors for a listed directory that has changed or vanished.
GONE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)


@dataclass(frozen=True)
class Bounds:
    """The limits of a walk: the directory's owner may add files without end."""

    seconds: float
    entries: int


@dataclass(frozen=True)
class Survey:
    """The result of a walk.

    ``bytes``: apparent size of all regular files, each inode once. ``files``: their number. ``chowned``: entries that got the owner.
    ``left_alone``: entries of others that did not: devices, and files with several hard links, which may be another user's. ``unreadable``:
    directories that this process may not read. ``cut``: why the walk ended early, as text after the directory; empty if it did not.
    ``directories``: apparent size of all directories in bytes: empty ones fill a disk, too.
    """

    bytes: int
    files: int
    chowned: int
    left_alone: int
    unreadable: int = 0
    cut: str = ""
    directories: int = 0

    @property
    def used(self) -> int:
        """The bytes that count for ``build.disk_space``."""
        return self.bytes + self.directories


def shown_path(text: str, limit: int = 200) -> str:
    """Return ``text`` for a message: one line, no control characters, no invalid UTF-8, at most ``limit`` characters."""
    return visible(text if len(text) <= limit else text[:limit] + "...")


def reason_of(error: Exception) -> str:
    """Return the reason of an error, with advice if known, for the end of a message."""
    if not isinstance(error, OSError):
        return str(error)
    advice = _ADVICE.get(error.errno or 0)
    return f"{error.strerror}; {advice}" if advice else str(error.strerror)


@dataclass
class _Level:
    __slots__ = ("identity", "name", "pending")
    name: str
    identity: tuple[int, int]
    pending: list[str]


class _CutError(Exception):
    """The walk has reached a limit; the text says which, as text after the directory."""


class Walk:
    """One walk. It takes over and closes the open directory ``root``. ``path`` is only for messages."""

    def __init__(
        self,
        root: int,
        path: str,
        check_cancelled: Callable[[], None],
        bounds: Bounds,
        owner: tuple[int, int] | None,
        altered: Callable[[], None],
    ) -> None:
        self._root = root
        self._path = path
        self._look = check_cancelled
        self._bounds = bounds
        self._deadline = Deadline.after(SYSTEM_CLOCK, bounds.seconds)
        self._entries_left = bounds.entries
        self._owner = owner
        self._altered = altered
        self._here = -1
        self._next_look = Deadline(SYSTEM_CLOCK, 0.0)
        self._levels: list[_Level] = []
        self._several_links: set[int] = set()
        self._memory = 0
        self._directories = 0
        self._bytes = self._files = self._chowned = self._left_alone = self._unreadable = 0

    def survey(self) -> Survey:
        """Walk once, within the bounds. Raises ``PrebootFailed``, or what ``check_cancelled`` raises."""
        cut = ""
        try:
            self._walk()
        except _CutError as bound:
            cut = str(bound)
        except OSError as error:
            raise self._failed("walk", "", error) from error
        finally:
            for descriptor in (self._here, self._root):
                if descriptor >= 0:
                    os.close(descriptor)
        return Survey(self._bytes, self._files, self._chowned, self._left_alone, self._unreadable, cut, self._directories)

    def _walk(self) -> None:
        self._here = os.dup(self._root)
        self._levels.append(_Level("", _identity(os.fstat(self._here)), self._visit("", self._here)))
        while self._levels:
            self._glance()
            if self._levels[-1].pending:
                name = self._levels[-1].pending.pop()
                self._memory -= _memory_of(name)
                self._descend(name)
            else:
                self._ascend()

    def _glance(self) -> None:
        """Check for cancellation from time to time; call it in every long loop. Raises `_CutError` at the deadline."""
        if self._next_look.is_over:
            self._look()
            self._next_look = Deadline.after(SYSTEM_CLOCK, LOOK_SECONDS)
        if self._deadline.is_over:
            raise _CutError(f"takes longer than {self._bounds.seconds:g} s to look through")

    def _descend(self, name: str) -> None:
        try:
            below = os.open(name, DIRECTORY, dir_fd=self._here)
        except PermissionError:
            self._unreadable += 1
            return
        except OSError as error:
            if error.errno in GONE:
                return
            raise self._failed("open", name, error) from error
        try:
            pending = self._visit(name, below)
            if pending:  # most directories have no subdirectories and are done
                self._levels.append(_Level(name, _identity(os.fstat(below)), pending))
                self._here, below = below, self._here
        finally:
            os.close(below)

    def _ascend(self) -> None:
        self._levels.pop()
        if not self._levels:
            return
        above = _open_same("..", self._levels[-1].identity, self._here)
        if above is None:
            above = self._find_again()
        os.close(self._here)
        self._here = above

    def _find_again(self) -> int:
        """After a move on the way up, go down again from the root as far as possible, and give up lower levels."""
        here = os.dup(self._root)
        try:
            for depth, level in enumerate(self._levels[1:], start=1):
                self._glance()
                below = _open_same(level.name, level.identity, here)
                if below is None:
                    self._give_up(depth)
                    break
                os.close(here)
                here = below
        except BaseException:
            os.close(here)
            raise
        return here

    def _give_up(self, depth: int) -> None:
        """Forget the levels from ``depth`` on."""
        self._memory -= sum(_memory_of(name) for level in self._levels[depth:] for name in level.pending)
        del self._levels[depth:]

    def _take_memory(self, size: int) -> None:
        """Raises `_CutError` at the limit of memory."""
        self._memory += size
        if self._memory > _MOST_MEMORY:
            limit = f"needs more than {_MOST_MEMORY // (1024 * 1024)} MiB of memory to look through"
            raise _CutError(f"{limit}: it holds too many directories or hard links")

    def _visit(self, name: str, directory: int) -> list[str]:
        """Look at a directory and its entries; return the names of its directories.

        This is the inner loop of the walk: names are local, and an ordinary file needs no call.
        """
        owner, below = self._owner, []
        own = os.fstat(directory)
        self._directories += own.st_size
        if owner is not None and (own.st_uid, own.st_gid) != owner:
            self._chown(directory, owner, name)
        with os.scandir(directory) as listing:
            for entries, statuses in self._looked_at(listing, name):
                size = files = 0
                for entry, status in zip(entries, statuses):
                    kind = status.st_mode & _KIND
                    if kind == _REGULAR:
                        if status.st_nlink == 1 or self._is_new(status):
                            files += 1
                            size += status.st_size
                    elif kind == _DIRECTORY:  # its owner is checked once it is open
                        below.append(entry.name)
                        self._take_memory(_memory_of(entry.name))
                        continue
                    if owner is not None and (status.st_uid != owner[0] or status.st_gid != owner[1]):
                        self._own(directory, owner, name, entry.name)
                self._bytes += size
                self._files += files
        return below

    def _looked_at(self, listing: Iterator[os.DirEntry[str]], name: str) -> Iterator[tuple[list[os.DirEntry[str]], list[os.stat_result]]]:
        """Yield the entries of a directory in batches: a comprehension makes large directories a tenth faster."""
        while True:
            self._glance()
            entries = list(itertools.islice(listing, _BATCH))
            if not entries:
                return
            self._entries_left -= len(entries)
            if self._entries_left < 0:
                raise _CutError(f"holds more than {self._bounds.entries} files and directories")
            if len(self._levels) > _DEEPEST:
                raise _CutError(f"is deeper than {_DEEPEST} levels")
            try:
                try:
                    statuses = [entry.stat(follow_symlinks=False) for entry in entries]
                except FileNotFoundError:
                    entries, statuses = _still_there(entries)
            except PermissionError:  # the names are readable, but not the entries
                self._unreadable += 1
                return
            except OSError as error:
                raise self._failed("look into", name, error) from error
            yield entries, statuses

    def _is_new(self, status: os.stat_result) -> bool:
        inode = status.st_dev << 64 | status.st_ino
        if inode in self._several_links:
            return False
        self._take_memory(_MEMORY_OF_INODE)
        self._several_links.add(inode)
        return True

    def _own(self, directory: int, owner: tuple[int, int], directory_name: str, name: str) -> None:
        """Set the owner of an entry. Check and change use the same inode, held without opening it."""
        try:
            entry = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
        except FileNotFoundError:
            return
        try:
            status = os.fstat(entry)
            kind = status.st_mode & _KIND
            others = status.st_nlink > 1 and kind != stat.S_IFDIR and status.st_uid != owner[0]
            if others or kind in (stat.S_IFBLK, stat.S_IFCHR):
                self._left_alone += 1
            elif (status.st_uid, status.st_gid) != owner:
                # chown takes no O_PATH descriptor; the kernel's link leads to the same inode, even for a symbolic link.
                self._chown(f"/proc/self/fd/{entry}", owner, f"{directory_name}/{name}")
        finally:
            os.close(entry)

    def _chown(self, target: int | str, owner: tuple[int, int], name: str) -> None:
        try:
            os.chown(target, *owner)
        except OSError as error:
            raise self._failed("change the owner of", name, error) from error
        self._chowned += 1
        self._altered()

    def _failed(self, verb: str, name: str, error: OSError) -> PrebootFailed:
        path = "/".join([self._path, *(level.name for level in self._levels[1:]), name.strip("/")]).rstrip("/")
        return PrebootFailed(f"Cannot {verb} {shown_path(path)}: {reason_of(error)}")


def _memory_of(name: str) -> int:
    """Return the bytes of memory that a pending name takes."""
    return sys.getsizeof(name) + _MEMORY_OF_PLACE


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _still_there(entries: list[os.DirEntry[str]]) -> tuple[list[os.DirEntry[str]], list[os.stat_result]]:
    there, statuses = [], []
    for entry in entries:
        with contextlib.suppress(FileNotFoundError):
            statuses.append(entry.stat(follow_symlinks=False))
            there.append(entry)
    return there, statuses


def _open_same(name: str, identity: tuple[int, int], parent: int) -> int | None:
    """Open a directory again; None if it has vanished, or another one has its name."""
    try:
        directory = os.open(name, DIRECTORY, dir_fd=parent)
    except OSError:
        return None
    if _identity(os.fstat(directory)) == identity:
        return directory
    os.close(directory)
    return None
