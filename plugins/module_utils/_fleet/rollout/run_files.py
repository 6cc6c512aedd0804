# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files on the controller, mostly JSON, readable only by their owner. A write is complete or changes nothing."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import secrets
from collections.abc import Iterator, Mapping
from typing import Any

from ..._power.definitions.definition_text import json_fault
from ..._power.host.machine import boot_id, lives, start_of
from ..._power.host.own_files import replace_file, sync_directory
from .record import Record, from_json, to_json
from .values import RolloutError

_FOLDER = "~/.ansible/fleet_power"
#: The default: a link to the newest result. Each rolling run has a file of its own beside it.
_LINK = f"{_FOLDER}/rollout.json"
_RESULTS = re.compile(r"rollout-[0-9a-f]{8}\.json")
#: Enough for a daily rolling run over three months. A result of 5,000 servers has 3.3 MB.
_KEPT_RESULTS = 100
_CONSEQUENCE = "only the lines above say what was done"


def write_json(path: str, value: object) -> None:
    """Write JSON, mode 0600. A reader always finds the old file or the new one. Raises OSError."""
    replace_file(path, _json_text(value).encode())


def write(path: str, value: object, consequence: str = "nothing more is begun") -> None:
    """Write JSON as `write_whole` does a text."""
    write_whole(path, _json_text(value), consequence)


def write_whole(path: str, text: str, consequence: str = "nothing more is begun") -> None:
    """Write a text, mode 0600; a reader always finds the old text or the new one. Raises `RolloutError` with the consequence."""
    try:
        folder = os.path.dirname(path) or "."
        if not os.path.isdir(folder):
            os.makedirs(folder, mode=0o700, exist_ok=True)
            sync_directory(os.path.dirname(folder) or ".")
        replace_file(path, text.encode())
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
    """Remove all but the newest matching files of a directory; errors leave files to the next rolling run."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        found = [entry for entry in entries if names.fullmatch(entry.name) and entry.is_file(follow_symlinks=False)]
        found.sort(key=lambda entry: (entry.stat(follow_symlinks=False).st_mtime_ns, entry.path), reverse=True)
        for entry in found[count:]:
            # Another rolling run may do the same.
            with contextlib.suppress(OSError):
                os.unlink(entry.path)


def remove(path: str) -> None:
    """Remove a file that may exist. Raises `RolloutError`."""
    try:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
            sync_directory(os.path.dirname(path) or ".")
    except OSError as error:
        raise RolloutError(f"Cannot remove {path}: {error.strerror or error}", "file_unwritable") from error


def _json_text(value: object) -> str:
    return json.dumps(value, indent=1) + "\n"


@contextlib.contextmanager
def alone(path: str) -> Iterator[None]:
    """Lock a file against another rolling run that resumes it. Raises `RolloutError`."""
    try:
        descriptor = os.open(os.path.dirname(path) or ".", os.O_RDONLY)
    except OSError as error:
        raise RolloutError(f"Cannot read {path}: {error.strerror or error}", "resume_invalid") from error
    try:
        # A file system without locks counts as free.
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def this_command() -> dict[str, Any]:
    """Return the process of this command. Each step has a process of its own, whose parent lives as long as the command."""
    return {"pid": os.getppid(), "start": start_of(os.getppid()), "boot": boot_id()}


def _is_another_command(owner: Mapping[str, Any]) -> bool:
    """Tell whether ``owner`` is another command that still runs. A command on another machine counts as dead."""
    if not owner or owner == this_command():
        return False
    try:
        return lives(int(owner["pid"]), int(owner["start"]), str(owner["boot"]))
    except (KeyError, TypeError, ValueError):
        return False


def save(path: str, record: Record) -> None:
    write(path, to_json(record))


def load(path: str) -> Record:
    """Read a record. Raises `RolloutError` naming the file."""
    try:
        with open(path, encoding="utf-8") as file:
            value = json.load(file)
    except OSError as error:
        is_gone = isinstance(error, FileNotFoundError)
        hint = "a run that did everything removes its resume file" if is_gone else "it should be a resume file"
        raise RolloutError(f"Cannot read {path}: {error.strerror or error}; {hint}", "resume_invalid") from error
    except ValueError as error:
        reason = json_fault(error) if isinstance(error, json.JSONDecodeError) else "it is not UTF-8 text"
        raise RolloutError(f"Cannot read {path}: {reason}; it should be a resume file", "resume_invalid") from error
    return from_json(value, path)


class RunFiles:
    """The paths of a rolling run's files. Check mode changes no lasting file. Ansible removes the directory ``temporary``."""

    def __init__(self, asked: Mapping[str, Any], temporary: str, *, check: bool) -> None:
        self._temporary = temporary
        self.check = check
        #: Empty before the record exists. The other paths are empty unless the task asks for them.
        self.own = _path(asked.get("file"))
        self.resume = _path(asked.get("resume"))
        self._kept = _path(asked.get("resume_file"))
        self._result = _path(asked.get("result_file"))
        self.report = "" if check else _path(asked.get("report"))

    def forget_result(self) -> None:
        """Remove the last result, so that you never take it for the new one."""
        if self._result and not self.check:
            remove(self._result)

    def write_result(self, result: Mapping[str, Any]) -> None:
        """Write the result if the task asks for one: to the requested path, or to a file of its own."""
        if not self._result or self.check:
            return
        if self._result != _path(_LINK):
            write(self._result, result, _CONSEQUENCE)
            return
        folder, name = os.path.dirname(self._result), f"rollout-{result.get('run') or secrets.token_hex(4)}.json"
        write(os.path.join(folder, name), result, _CONSEQUENCE)
        point(self._result, name)
        keep_newest(folder, _RESULTS, _KEPT_RESULTS)

    def to_resume(self) -> Record:
        """Read the record to resume. Raises `RolloutError` if another command runs it."""
        record = load(self.resume)
        if _is_another_command(record.owner):
            raise RolloutError(
                f"Cannot resume from {self.resume}: process {record.owner['pid']} is still at run {record.run}; wait for its end",
                "resume_in_use",
            )
        return record

    def place(self, record: Record, old: Record | None) -> str:
        """Return the record's path: that of the resumed record, or in check mode a temporary file."""
        if self.check:
            return os.path.join(self._temporary, f"rollout-{record.run}.json")
        return self.resume if old is not None else self._kept or os.path.expanduser(f"{_FOLDER}/resume-{record.run}.json")

    def begin(self, record: Record, old: Record | None) -> str:
        """Write a new record; return its path."""
        path = self.place(record, old)
        record.owner = this_command()
        save(path, record)
        return path

    def load(self, run: str) -> Record:
        """Read the record. Raises `RolloutError` if another run has replaced it."""
        record = load(self.own)
        if record.run != run:
            raise RolloutError(f"Cannot go on: {self.own} now belongs to another run, {record.run}", "resume_invalid")
        return record

    def save(self, record: Record) -> None:
        save(self.own, record)

    def end(self, record: Record, resume_file: str | None) -> None:
        """Release the record for a resume, or remove it without a ``resume_file``."""
        # Ansible removes the temporary file of check mode.
        if resume_file is None and not self.check:
            remove(self.own)
            return
        # A resume need not wait for the end of this command.
        record.owner = {}
        save(self.own, record)


def _path(given: object) -> str:
    return os.path.abspath(os.path.expanduser(str(given))) if given else ""
