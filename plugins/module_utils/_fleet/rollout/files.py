# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The run's own files on the controller: whole or as they were, and for their owner's eyes only."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import secrets
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ..._power.definitions.text_faults import json_fault
from ..._power.host.liveness import boot_id, lives, start_of
from ..._power.host.own_files import sync_directory
from ..json_file import write_json, write_text
from .record import Record, from_json, to_json
from .words import RolloutError


def write(path: str, value: object, consequence: str = "nothing more is begun") -> None:
    """Write JSON as `write_whole` does a text."""
    _written(path, lambda: write_json(path, value), consequence)


def write_whole(path: str, text: str, consequence: str = "nothing more is begun") -> None:
    """Write a text so that whoever reads the file at any moment finds the old text or the new one.

    Raises `RolloutError`, which says what follows from it.
    """
    _written(path, lambda: write_text(path, text), consequence)


def _written(path: str, write_it: Callable[[], None], consequence: str) -> None:
    try:
        folder = os.path.dirname(path) or "."
        if not os.path.isdir(folder):
            os.makedirs(folder, mode=0o700, exist_ok=True)
            sync_directory(os.path.dirname(folder) or ".")
        write_it()
    except OSError as error:
        raise RolloutError(f"Cannot write {path}: {error.strerror or error}; {consequence}", "file_unwritable") from error


def point(path: str, name: str) -> None:
    """Make a symbolic link to a file of the same directory, in one step. Raises `RolloutError`."""
    fresh = os.path.join(os.path.dirname(path), f".{os.path.basename(path)}.{secrets.token_hex(4)}")
    try:
        os.symlink(name, fresh)
        try:
            os.replace(fresh, path)
        except OSError:
            os.unlink(fresh)
            raise
        sync_directory(os.path.dirname(path))
    except OSError as error:
        raise RolloutError(f"Cannot link {path} to {name}: {error.strerror or error}", "file_unwritable") from error


def keep_newest(folder: str, names: re.Pattern[str], count: int) -> None:
    """Remove all but the newest files of a directory whose names match; what cannot be removed stays."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        found = [entry for entry in entries if names.fullmatch(entry.name) and entry.is_file(follow_symlinks=False)]
        # Another run may be at the same.
        aged = [(_written_at(entry), entry.path) for entry in found]
        for _written, path in sorted(aged, reverse=True)[count:]:
            with contextlib.suppress(OSError):
                os.unlink(path)


def _written_at(entry: os.DirEntry[str]) -> int:
    try:
        return entry.stat(follow_symlinks=False).st_mtime_ns
    except OSError:
        return 0


def remove(path: str) -> None:
    """Remove a file that may be there. Raises `RolloutError`."""
    try:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
            sync_directory(os.path.dirname(path) or ".")
    except OSError as error:
        raise RolloutError(f"Cannot remove {path}: {error.strerror or error}", "file_unwritable") from error


@contextlib.contextmanager
def alone(path: str) -> Iterator[None]:
    """Be the only one at this file while another run might take it up at the same moment. Raises `RolloutError`."""
    try:
        descriptor = os.open(os.path.dirname(path) or ".", os.O_RDONLY)
    except OSError as error:
        raise RolloutError(f"Cannot read {path}: {error.strerror or error}", "resume_invalid") from error
    try:
        # Where the file system knows no locks, it is as if nobody else were there.
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def this_command() -> dict[str, Any]:
    """The command that this process is part of. Each step of a run has a process of its own, whose parent lives as long as the command."""
    return {"pid": os.getppid(), "start": start_of(os.getppid()), "boot": boot_id()}


def is_at_it(owner: Mapping[str, Any]) -> bool:
    """Tell whether ``owner`` is another command, and lives; one on another machine is taken for dead."""
    if not owner or owner == this_command():
        return False
    try:
        return lives(int(owner["pid"]), int(owner["start"]), str(owner["boot"]))
    except (KeyError, TypeError, ValueError):
        return False


def save(path: str, record: Record) -> None:
    """Write the run as it is now."""
    write(path, to_json(record))


def load(path: str) -> Record:
    """The run that was written. Raises `RolloutError` naming the file."""
    return from_json(_read(path), path)


def _read(path: str) -> Any:
    try:
        with open(path, encoding="utf-8") as file:
            return json.load(file)
    except OSError as error:
        reason = f"{error.strerror or error}; it should be a resume file, which a run names when it begins and ends"
        raise RolloutError(f"Cannot read {path}: {reason}", "resume_invalid") from error
    except ValueError as error:
        reason = json_fault(error) if isinstance(error, json.JSONDecodeError) else "it is not UTF-8 text"
        raise RolloutError(f"Cannot read {path}: {reason}; it should be a resume file", "resume_invalid") from error
