# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The records of the supervisor and of the event sender: that one runs on this node, since when, and why it is paused.

A record is in the lock file of its process: JSON of a fixed size with a checksum, from one write. Readers take no lock: it could stop a
process that starts at the same moment.
"""

from __future__ import annotations

import errno
import os
from dataclasses import asdict, dataclass
from typing import Any

from .liveness import boot_id, lives, start_of
from .own_files import open_own, seal, unseal

SUPERVISOR_LOCK = "supervisor.lock"
PAUSES = ("wings", "maintenance", "maintenance_unreadable", "journal", "engine", "fault")
_SIZE = 512
#: How often a read may meet a write before the record counts as damaged.
_ATTEMPTS = 5
_TEXTS = ("boot_id", "since", "paused")
NOT_RUNNING: dict[str, Any] = {"running": False, "since": None, "paused": None}
UNKNOWN: dict[str, Any] = {"running": None, "since": None, "paused": None}
EVENTS_LOCK = "events.lock"


@dataclass(frozen=True)
class SupervisorRecord:
    """One life of the supervisor: ``since`` is a timestamp, ``pid_start`` clock ticks since boot, ``paused`` one of `PAUSES` or empty."""

    pid: int
    pid_start: int
    boot_id: str
    since: str
    paused: str = ""

    @classmethod
    def of_this_process(cls, since: str, paused: str = "") -> SupervisorRecord:
        return cls(os.getpid(), start_of(os.getpid()), boot_id(), since, paused)

    @property
    def is_alive(self) -> bool:
        return lives(self.pid, self.pid_start, self.boot_id)

    def facts(self) -> dict[str, Any]:
        return {"running": True, "since": self.since, "paused": self.paused or None}


def write_record(descriptor: int, record: SupervisorRecord) -> None:
    """Write a record into the file; the caller holds its lock. Raises OSError."""
    os.pwrite(descriptor, seal(asdict(record)).ljust(_SIZE), 0)


def read_record(state_directory: str, name: str = SUPERVISOR_LOCK) -> SupervisorRecord | None:
    """Return the record of the running supervisor, or service with lock file ``name``; else None. Raises OSError."""
    path = os.path.join(state_directory, name)
    try:
        descriptor = open_own(path, os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        for _attempt in range(_ATTEMPTS):
            text = os.pread(descriptor, _SIZE, 0).strip(b" \0\n")
            if not text:
                # The file is new and still empty.
                return None
            record = _decoded(text)
            if record is not None:
                return record if record.is_alive else None
    finally:
        os.close(descriptor)
    raise OSError(errno.EINVAL, "Not a record of a supervisor", path)


def supervisor_facts(state_directory: str) -> tuple[dict[str, Any], str]:
    """Return the facts of the supervisor for readers, and a warning if they are unknown."""
    try:
        record = read_record(state_directory)
    except OSError as error:
        path = os.path.join(state_directory, SUPERVISOR_LOCK)
        return UNKNOWN, f"Cannot tell whether the supervisor runs: {path} cannot be read: {error.strerror}"
    return (NOT_RUNNING if record is None else record.facts()), ""


def _decoded(text: bytes) -> SupervisorRecord | None:
    fields = unseal(text)
    try:
        return SupervisorRecord(int(fields["pid"]), int(fields["pid_start"]), *(str(fields[name]) for name in _TEXTS))
    except (ValueError, TypeError, KeyError):
        return None


def read_events_record(state_directory: str) -> SupervisorRecord | None:
    """Return the record of the event sender, or None. Raises OSError if that is unknown."""
    return read_record(state_directory, EVENTS_LOCK)


def events_facts(state_directory: str) -> tuple[dict[str, Any], str]:
    """Return whether events are sent and since when, None if unknown, and then a warning."""
    try:
        record = read_events_record(state_directory)
    except OSError as error:
        path = os.path.join(state_directory, EVENTS_LOCK)
        return {"running": None, "since": None}, f"Cannot tell whether events are sent: {path} cannot be read: {error.strerror}"
    return {"running": record is not None, "since": record.since if record else None}, ""
