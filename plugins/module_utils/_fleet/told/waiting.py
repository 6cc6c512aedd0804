# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Events of rolling runs that wait for a receiver: a file each, written before it is tried and removed when it is taken.

They lie beside the runs' own files. All runs with files in one directory share them, so that the next run sends what one before could
not. A receiver is known by its name and its address together: what was meant for one is never sent to another that is called the same.
Neither address nor secret is in a file.

What lies there is signed and sent as the user's own. The runs' directory may be shared: another user may have made this one in it, or a
link of its name. So it is used only if it is the user's alone.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import re
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from ..._power.events.event import ROLLOUT_TYPES, Event, EventType
from ..._power.model.cancellation import Deadline
from ..._power.receivers.receiver import Receiver
from ..rollout import files
from ..rollout.words import RolloutError
from .run_events import BEGUN, CLOSED, word_of

FOLDER = "rollout-events"
KEPT_SECONDS = 86400
_SCHEMA = 1
#: What the name of a file ends with in addition once a look has found that it has waited for a day.
_OLD = ".old"
_NAME = re.compile(rf"[0-9a-f]+-(?:{BEGUN}|{CLOSED})-[0-9a-f]{{16}}\.json(?:{re.escape(_OLD)})?")
_LOOK_SECONDS = 0.05


@dataclass(frozen=True)
class WaitingEvent:
    """An event of a run, and the name of the file in which it waits for a receiver."""

    name: str
    run: str
    #: When, in nanoseconds since 1970.
    written: int
    event: Event


class WaitingEvents:
    """The events that wait beside the file of a run."""

    def __init__(self, run_file: str) -> None:
        self._folder = os.path.join(os.path.dirname(run_file), FOLDER)

    def require_own(self) -> None:
        """Raise `RolloutError` unless the directory is the user's alone, or is not there yet."""
        with contextlib.suppress(FileNotFoundError):
            os.close(self._opened())

    def add(self, run: str, event: Event, receivers: Iterable[Receiver]) -> None:
        """Have an event of a run wait for those of the receivers that are told of it; where it waits already, it does so once.

        Raises `RolloutError`.
        """
        for receiver in receivers:
            if not is_told(receiver, event):
                continue
            self.require_own()
            path = os.path.join(self._folder, f"{run}-{word_of(event)}-{_digest(receiver)}.json")
            if not os.path.exists(path):
                # By this they come in the order in which they were written.
                written = time.time_ns()
                value = {"type": event.type.value, "at": event.at, "id": event.id, "data": dict(event.data)}
                whole = {"schema": _SCHEMA, "receiver": receiver.name, "run": run, "written": written, "event": value}
                files.write(path, whole, "receivers are not told of it")

    def of(self, receiver: Receiver) -> list[WaitingEvent]:
        """Return what waits for a receiver, run by run, the oldest first."""
        found: list[WaitingEvent] = []
        self._each(f"-{_digest(receiver)}.json", lambda folder, name: found.extend(_read(folder, name)))
        first: dict[str, int] = {}
        for each in found:
            first[each.run] = min(each.written, first.get(each.run, each.written))
        return sorted(found, key=lambda each: (first[each.run], each.run, word_of(each.event)))

    def remove(self, waiting: Iterable[WaitingEvent]) -> None:
        """Let go of events that were taken, or that nobody takes any more. What cannot be removed is sent again, under the same id."""
        names = {each.name for each in waiting}
        self._each(".json", lambda folder, name: os.unlink(name, dir_fd=folder) if name in names else None)

    def drop_older(self, now: float) -> int:
        """Let go of what has waited for a day, whoever it is for, and return how many these were; ``now`` is in seconds since 1970.

        Two looks in a row must say so, since a clock may be wrong for a moment. Between them it has another name, and is not sent.
        """
        dropped: list[str] = []

        def look(folder: int, name: str) -> None:
            is_old = os.stat(name, dir_fd=folder, follow_symlinks=False).st_mtime < now - KEPT_SECONDS
            was_old = name.endswith(_OLD)
            if is_old and was_old:
                os.unlink(name, dir_fd=folder)
                dropped.append(name)
            elif is_old != was_old:
                os.rename(name, name + _OLD if is_old else name.removesuffix(_OLD), src_dir_fd=folder, dst_dir_fd=folder)

        self._each((".json", f".json{_OLD}"), look)
        return len(dropped)

    @contextlib.contextmanager
    def alone(self, receiver: Receiver, deadline: Deadline) -> Iterator[bool]:
        """Be the only one who sends to a receiver, so that none is sent twice; false if another run still does at the deadline."""
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            folder = self._opened()
            try:
                descriptor = os.open(f"{_digest(receiver)}.lock", flags, 0o600, dir_fd=folder)
            finally:
                os.close(folder)
        except (OSError, RolloutError):
            # What can be read can be sent: it is known by its id.
            yield True
            return
        try:
            yield _lock(descriptor, deadline)
        finally:
            os.close(descriptor)

    def _each(self, end: str | tuple[str, ...], act: Callable[[int, str], object]) -> None:
        """Do something with each file whose name ends so, given the directory's descriptor; a file that cannot be acted on is left."""
        with contextlib.suppress(OSError, RolloutError):
            folder = self._opened()
            try:
                for name in sorted(os.listdir(folder)):
                    if name.endswith(end) and _NAME.fullmatch(name):
                        with contextlib.suppress(OSError):
                            act(folder, name)
            finally:
                os.close(folder)

    def _opened(self) -> int:
        """Open the directory. Raises `FileNotFoundError` where there is none, `RolloutError` where it is not the user's alone."""
        try:
            folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            raise
        except OSError as error:
            reason = "it is a link or no directory" if error.errno in (errno.ELOOP, errno.ENOTDIR) else str(error.strerror)
            raise self._not_own(reason) from error
        found = os.fstat(folder)
        if found.st_uid == os.geteuid() and not found.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            return folder
        os.close(folder)
        raise self._not_own("it belongs to another user" if found.st_uid != os.geteuid() else "its mode lets others in")

    def _not_own(self, reason: str) -> RolloutError:
        return RolloutError(
            f"Cannot keep events for receivers in {self._folder}: {reason}; remove it, make it yours with mode 0700, "
            "or name a rollout_resume_file in another directory",
            "file_unwritable",
        )


def is_told(receiver: Receiver, event: Event) -> bool:
    """Tell if a receiver is told of an event of a run: not if it is for some servers alone, whose runs are others' as well."""
    return not receiver.servers and (not receiver.types or event.type in receiver.types)


def tells_of_runs(receiver: Receiver) -> bool:
    """Tell if a receiver is told of runs at all."""
    return not receiver.servers and (not receiver.types or not receiver.types.isdisjoint(ROLLOUT_TYPES))


def _digest(receiver: Receiver) -> str:
    return hashlib.sha256(f"{receiver.name}\n{receiver.url}".encode()).hexdigest()[:16]


def _lock(descriptor: int, deadline: Deadline) -> bool:
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if deadline.is_over:
                return False
            deadline.pause(_LOOK_SECONDS)
        except OSError:
            # Where the file system knows no locks, it is as if nobody else were there.
            return True
        else:
            return True


def _read(folder: int, name: str) -> list[WaitingEvent]:
    """Read a file; nothing for what is none of ours, which is let go of in a day."""
    try:
        with open(os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder), encoding="utf-8") as file:
            value: Any = json.load(file)
        given = value["event"]
        event = Event(EventType(given["type"]), str(given["at"]), dict(given["data"]), id=str(given["id"]))
        return [WaitingEvent(name, str(value["run"]), int(value["written"]), event)] if value["schema"] == _SCHEMA else []
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return []
