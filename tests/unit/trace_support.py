# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A trace of system calls, and the files that were not on the disk when a process answered."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

_WRITES = ("write", "pwrite64", "writev", "pwritev", "pwritev2", "ftruncate", "fallocate")
_SYNCS = ("fsync", "fdatasync")
_NAMES = ("rename", "renameat", "renameat2", "link", "linkat", "symlink", "symlinkat", "mkdir", "mkdirat")
_ENDS = ("unlink", "unlinkat", "rmdir")
_ANSWERS = ("write", "writev", "sendto", "sendmsg")
_CALLS = sorted({"open", "openat", "creat", *_WRITES, *_SYNCS, *_NAMES, *_ENDS, *_ANSWERS})

#: A line of ``strace -f -yy``: the process, then a call, its beginning or its end.
_LINE = re.compile(r"(\d+) +(?:<\.\.\. (\w+) resumed>|(\w+)\()(.*)")
_UNFINISHED = " <unfinished ...>"
_RESULT = re.compile(r"\) += (-?\d+|\?)")
_DESCRIPTOR = re.compile(r"(\d+)<(.*?)>(?=[,) ]|$)")
_PATH = re.compile(r'(?:(?:AT_FDCWD|\d+)<([^>]*)>, )?"((?:[^"\\]|\\.)*)"')
#: Files that a node does not need after a power cut: locks, and the index that SQLite rebuilds.
_PASSING = ("-shm", ".lock")


def traced(output: Path) -> list[str]:
    """Return the prefix of a command, which writes a trace for `answers_in`."""
    return ["strace", "-f", "-I", "2", "--seccomp-bpf", "-yy", "-s", "256", "-o", str(output), "-e", f"trace={','.join(_CALLS)}"]


def files_below(*roots: Path) -> list[str]:
    """Return the files and directories that exist before a trace."""
    return [str(each) for root in roots for each in (root, *root.rglob("*"))]


@dataclass
class Answers:
    """The files ``written`` below the roots, and for each answer the files that were not on the disk at its beginning."""

    written: set[str] = field(default_factory=set)
    not_synced: list[tuple[str, ...]] = field(default_factory=list)


@dataclass(frozen=True)
class _Call:
    """A system call. ``begun`` and ``ended`` are line numbers of the trace."""

    name: str
    text: str
    begun: int
    ended: int | None

    @property
    def succeeded(self) -> bool:
        found = _RESULT.search(self.text)
        return found is not None and not found[1].startswith("-")

    @property
    def descriptor(self) -> tuple[int, str]:
        found = _DESCRIPTOR.match(self.text)
        return (-1, "") if found is None else (int(found[1]), found[2])

    @property
    def paths(self) -> list[str]:
        return [os.path.normpath(os.path.join(directory, name)) for directory, name in _PATH.findall(self.text)]


class _Disk:
    """The files below ``roots`` during a trace, and the files that are not on the disk."""

    def __init__(self, roots: Sequence[Path], there: Iterable[str]) -> None:
        self._roots = [str(root) for root in roots]
        self._exist = set(there)
        #: The moment of the last write to a file, or of the last new name in a directory.
        self.dirty: dict[str, int] = {}
        self.written: set[str] = set()

    def end(self, call: _Call, moment: int) -> None:
        number, path = call.descriptor
        if call.name in _WRITES and number >= 0:
            self._write(path, moment)
        elif call.name in _SYNCS and self.dirty.get(path, moment) < call.begun:
            del self.dirty[path]
        elif call.name in ("open", "openat", "creat") and ("O_CREAT" in call.text or call.name == "creat"):
            self._add_name(call.paths[0], moment)
        elif call.name in _ENDS:
            self._remove(call.paths[0])
        elif call.name.startswith("rename"):
            since = self._remove(call.paths[0])
            self._remove(call.paths[1])
            self._add_name(call.paths[1], moment)
            if since is not None and self._is_ours(call.paths[1]):
                self.dirty[call.paths[1]] = since
        elif call.name in _NAMES:
            self._add_name(call.paths[-1], moment)

    def _is_ours(self, path: str) -> bool:
        return not path.endswith(_PASSING) and any(path == root or path.startswith(f"{root}/") for root in self._roots)

    def _write(self, path: str, moment: int) -> None:
        if self._is_ours(path):
            self.dirty[path] = moment
            self.written.add(path)

    def _add_name(self, path: str, moment: int) -> None:
        if self._is_ours(path) and path not in self._exist:
            self._exist.add(path)
            self.dirty[os.path.dirname(path)] = moment

    def _remove(self, path: str) -> int | None:
        """Forget a file. Return the moment of its unsynced write; None if it was on the disk."""
        self._exist.discard(path)
        return self.dirty.pop(path, None)


def answers_in(trace: str, roots: Sequence[Path], there: Iterable[str], is_answer: Callable[[int, str, str], bool]) -> Answers:
    """Return the files below ``roots`` that were not on the disk at each answer. ``there`` are the files of `files_below`.

    A file is on the disk after a sync of its last write, and of its directory after its creation or rename. ``is_answer`` gets each
    write: its descriptor, the open file, and the text of the call.
    """
    disk = _Disk(roots, there)
    answers = Answers(disk.written)
    for call in _calls(trace):
        if call.ended is None:
            if call.name in _ANSWERS and is_answer(*call.descriptor, call.text):
                answers.not_synced.append(tuple(sorted(disk.dirty)))
        elif call.succeeded:
            disk.end(call, call.ended)
    return answers


def _calls(trace: str) -> Iterator[_Call]:
    """Return each call twice: at its beginning, with ``ended`` None, and at its end."""
    open_calls: dict[str, _Call] = {}
    for moment, line in enumerate(trace.splitlines()):
        found = _LINE.fullmatch(line)
        if found is None:
            continue
        process, resumed, name, rest = found.groups()
        if resumed:
            begun = open_calls.pop(process, None)
            if begun is not None:
                yield _Call(begun.name, begun.text + rest, begun.begun, moment)
            continue
        call = _Call(name, rest.removesuffix(_UNFINISHED), moment, None)
        yield call
        if rest.endswith(_UNFINISHED):
            open_calls[process] = call
        else:
            yield _Call(name, rest, moment, moment)
