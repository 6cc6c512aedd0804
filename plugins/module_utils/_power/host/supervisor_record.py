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

from .machine import boot_id, lives, start_of
from .own_files import open_own, seal, unseal

SUPERVISOR_LOCK = "supervisor.lock"
EVENTS_LOCK = "events.lock"
PAUSES = ("wings", "maintenance", "maintenance_unreadable", "journal", "engine", "fault")
_SIZE = 512
#: How often a read may meet a write before the record counts as damaged.
_ATTEMPTS = 5
_TEXTS = ("boot_id", "since", "paused")
UNKNOWN: dict[str, Any] = {"running": None, "since": None, "paused": None}


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


def _decoded(text: bytes) -> SupervisorRecord | None:
    fields = unseal(text)
    try:
        return SupervisorRecord(int(fields["pid"]), int(fields["pid_start"]), *(str(fields[name]) for name in _TEXTS))
    except (ValueError, TypeError, KeyError):
        return None


def supervisor_facts(state_directory: str) -> tuple[dict[str, Any], str]:
    """Return the facts of the supervisor for readers, and a warning if they are unknown."""
    return _facts(state_directory, SUPERVISOR_LOCK, "the supervisor runs")


def events_facts(state_directory: str) -> tuple[dict[str, Any], str]:
    """Return whether events are sent and since when, None if unknown, and then a warning."""
    facts, warning = _facts(state_directory, EVENTS_LOCK, "events are sent")
    return {"running": facts["running"], "since": facts["since"]}, warning


def _facts(state_directory: str, name: str, what: str) -> tuple[dict[str, Any], str]:
    try:
        record = read_record(state_directory, name)
    except OSError as error:
        return UNKNOWN, f"Cannot tell whether {what}: {os.path.join(state_directory, name)} cannot be read: {error.strerror}"
    if record is None:
        return {"running": False, "since": None, "paused": None}, ""
    return {"running": True, "since": record.since, "paused": record.paused or None}, ""
