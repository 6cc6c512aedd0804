# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The events of a rolling run, and the files in which they wait for a receiver."""

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
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID, uuid5

from ..._power.events.event import ROLLOUT_TYPES, Event, EventType
from ..._power.model.cancellation import Deadline
from ..._power.receivers.receiver import Receiver
from . import run_files
from .record import Record, Row
from .report import counts, going_on, result
from .values import RolloutError

#: The two notifications of a rolling run. The second has one id for all its event types.
BEGUN, CLOSED = "begun", "closed"
_NAMESPACE = UUID("5b0a4a0e-2f0b-4c1c-9d5a-3f6d1c7e8a42")
_MOST_NAMED = 20
_INTERRUPTED = "its command ended before it did"
FOLDER = "rollout-events"
KEPT_SECONDS = 86400
_SCHEMA = 1
#: The first look that finds an event older than a day adds this ending.
_OLD = ".old"
_NAME = re.compile(rf"[0-9a-f]+-(?:{BEGUN}|{CLOSED})-[0-9a-f]{{16}}\.json(?:{re.escape(_OLD)})?")
_LOOK_SECONDS = 0.05


def begun_event(record: Record) -> Event | None:
    """Return the event of a begin; None if there is nothing to do, or the rolling run must not begin."""
    if not record.batches or record.stopped:
        return None
    return _event(record, BEGUN, EventType.ROLLOUT_BEGUN, record.began_at, _plan(record))


def closing_event(record: Record, whole: Mapping[str, Any]) -> Event:
    """Return the event of an end; ``whole`` is the result for programs."""
    kind = EventType.ROLLOUT_STOPPED if record.stopped else EventType.ROLLOUT_ENDED
    names = ("ok", "msg", "stopped", "ended_at", "seconds", "counts", "budget", "resume_file")
    data = {
        **_plan(record),
        **{name: whole[name] for name in names},
        "batches": {"planned": record.batches, "begun": record.begun},
        "go_on": going_on(record, whole["resume_file"]) if whole["resume_file"] else None,
        "failed": [_failed(row) for row in record.rows if row.is_failure][:_MOST_NAMED],
    }
    return _event(record, CLOSED, kind, whole["ended_at"], data)


def missed_events(old: Record, now: str) -> list[Event]:
    """Return the events that the interrupted command of a resumed rolling run did not write. ``now`` is a timestamp."""
    if not old.notifies or CLOSED in old.notified:
        return []
    begun = None if BEGUN in old.notified else begun_event(old)
    stopped = replace(old, stopped=old.stopped or _INTERRUPTED)
    whole = {**result(stopped, ended_at=now, seconds=0, resume_file=None), "ok": False, "seconds": None}
    return [event for event in (begun, closing_event(stopped, whole)) if event is not None]


def word_of(event: Event) -> str:
    """Return which of the two notifications an event is."""
    return BEGUN if event.type is EventType.ROLLOUT_BEGUN else CLOSED


def _plan(record: Record) -> dict[str, Any]:
    return {
        "run": record.run,
        "action": record.action,
        "reason": record.reason or None,
        "by": record.by or None,
        "resumes": record.resumes or None,
        "began_at": record.began_at,
        "nodes": len({row.node for row in record.rows if row.batch}),
        "servers": counts(record)["selected"],
        "batches": {"planned": record.batches, "begun": 0},
        "budget": {"allowed": record.budget, "used": record.failures},
        "window": {"not_before": record.not_before or None, "deadline": record.deadline or None},
    }


def _failed(row: Row) -> dict[str, Any]:
    fields = {"node": row.node, "server": row.server, "name": row.name, "outcome": row.outcome, "code": row.code}
    return {name: value for name, value in fields.items() if value}


def _event(record: Record, word: str, kind: EventType, at: str, data: Mapping[str, Any]) -> Event:
    return Event(kind, at, data, id=str(uuid5(_NAMESPACE, f"{record.run} {record.began_at} {word}")))


@dataclass(frozen=True)
class WaitingEvent:
    """An event of a rolling run, and the name of the file in which it waits for a receiver."""

    name: str
    run: str
    written: int
    event: Event


class WaitingEvents:
    """The waiting events beside a record."""

    def __init__(self, run_file: str) -> None:
        self._folder = os.path.join(os.path.dirname(run_file), FOLDER)

    def require_own(self) -> None:
        """Raise `RolloutError` unless the directory is missing, or belongs to the user alone."""
        with contextlib.suppress(FileNotFoundError):
            os.close(self._opened())

    def add(self, run: str, event: Event, receivers: Iterable[Receiver]) -> None:
        """Let an event wait for each receiver that wants it; an event that already waits stays. Raises `RolloutError`."""
        for receiver in receivers:
            if not wants(receiver, event):
                continue
            self.require_own()
            path = os.path.join(self._folder, f"{run}-{word_of(event)}-{_digest(receiver)}.json")
            if not os.path.exists(path):
                # The order of sending.
                written = time.time_ns()
                value = {"type": event.type.value, "at": event.at, "id": event.id, "data": dict(event.data)}
                whole = {"schema": _SCHEMA, "receiver": receiver.name, "run": run, "written": written, "event": value}
                run_files.write(path, whole, "receivers do not get it")

    def of(self, receiver: Receiver) -> list[WaitingEvent]:
        """Return the events for a receiver, run by run, the oldest first."""
        found: list[WaitingEvent] = []
        self._each(f"-{_digest(receiver)}.json", lambda folder, name: found.extend(_read(folder, name)))
        first: dict[str, int] = {}
        for each in found:
            first[each.run] = min(each.written, first.get(each.run, each.written))
        return sorted(found, key=lambda each: (first[each.run], each.run, word_of(each.event)))

    def remove(self, waiting: Iterable[WaitingEvent]) -> None:
        """Remove delivered or unwanted events. If a removal fails, the next round sends the event again under the same id."""
        names = {each.name for each in waiting}
        self._each(".json", lambda folder, name: os.unlink(name, dir_fd=folder) if name in names else None)

    def drop_older(self, now: float) -> int:
        """Drop the events of all receivers that are a day old for the second call in a row; return their number. The clock may be wrong in
        one call. Between the two, the event has another name, and is not sent."""
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
        """Lock a receiver, so that each event is sent once. Yield false if another rolling run holds the lock until the deadline."""
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            folder = self._opened()
            try:
                descriptor = os.open(f"{_digest(receiver)}.lock", flags, 0o600, dir_fd=folder)
            finally:
                os.close(folder)
        except (OSError, RolloutError):
            # Sending without a lock is safe: receivers know the event by its id.
            yield True
            return
        try:
            yield _lock(descriptor, deadline)
        finally:
            os.close(descriptor)

    def _each(self, end: str | tuple[str, ...], act: Callable[[int, str], object]) -> None:
        """Call ``act`` with the directory's descriptor and each name that ends so; errors leave the file."""
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
        """Open the directory. Raises `FileNotFoundError` without one, `RolloutError` unless it belongs to the user alone."""
        try:
            folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            raise
        except OSError as error:
            reason = "it is a link or not a directory" if error.errno in (errno.ELOOP, errno.ENOTDIR) else str(error.strerror)
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


def wants(receiver: Receiver, event: Event) -> bool:
    """Tell whether a receiver gets an event of a rolling run. A receiver for certain servers does not."""
    return not receiver.servers and (not receiver.types or event.type in receiver.types)


def tells_of_runs(receiver: Receiver) -> bool:
    """Tell whether a receiver gets events of rolling runs at all."""
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
            # A file system without locks counts as free.
            return True
        else:
            return True


def _read(folder: int, name: str) -> list[WaitingEvent]:
    """Read a file; nothing for an invalid one, which goes after a day."""
    try:
        with open(os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder), encoding="utf-8") as file:
            value: Any = json.load(file)
        given = value["event"]
        event = Event(EventType(given["type"]), str(given["at"]), dict(given["data"]), id=str(given["id"]))
        return [WaitingEvent(name, str(value["run"]), int(value["written"]), event)] if value["schema"] == _SCHEMA else []
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return []
