# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The records of the supervisor and of the event sender: that one runs on this node, since when, and why it is paused.

A record is in the lock file of its process: JSON of a fixed size with a checksum, from one write. Readers take no lock: it could stop a
process that starts at the same moment.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from ..model.records import asdict, dataclass
from .machine import ProcessRecord, this_process
from .own_files import read_sealed, seal, unseal

SUPERVISOR_LOCK = "supervisor.lock"
EVENTS_LOCK = "events.lock"
NODE_STOPPING = "node_stopping"
#: For a server, not in the record.
FROZEN = "frozen"
PAUSES = ("wings", "wings_unknown", NODE_STOPPING, "maintenance", "maintenance_unreadable", "journal", "engine", "fault", FROZEN)
_SIZE = 512
UNKNOWN: dict[str, Any] = {"running": None, "since": None, "paused": None}


@dataclass(frozen=True)
class SupervisorRecord(ProcessRecord):
    """One life of the supervisor: ``since`` is a timestamp, ``paused`` one of `PAUSES` or empty.

    ``reverts``: it ends the proofs of new versions. Earlier versions of the supervisor do not.
    """

    since: str
    paused: str = ""
    reverts: bool = False

    @classmethod
    def of_this_process(cls, since: str, paused: str = "") -> SupervisorRecord:
        return cls(*this_process(), since, paused, reverts=True)


def write_record(descriptor: int, record: SupervisorRecord) -> None:
    """Write a record into the file; the caller holds its lock. Raises OSError."""
    os.pwrite(descriptor, seal(asdict(record)).ljust(_SIZE), 0)


def read_record(directories: Sequence[str], name: str = SUPERVISOR_LOCK) -> SupervisorRecord | None:
    """Return the record of the running supervisor, or service with lock file ``name``, from the first directory with one; else None.
    Raises OSError."""
    for directory in directories:
        record = read_sealed(os.path.join(directory, name), _SIZE, _decoded, "Not a record of a supervisor")
        if record is not None and record.is_alive:
            return record
    return None


def supervisor_facts(
    directories: Sequence[str], name: str = SUPERVISOR_LOCK, running: str = "the supervisor runs"
) -> tuple[dict[str, Any], str]:
    """Return the facts of the supervisor, or service with lock file ``name``, for readers, and a warning if they are unknown."""
    try:
        record = read_record(directories, name)
    except OSError as error:
        return UNKNOWN, f"Cannot tell whether {running}: {error.filename or name} cannot be read: {error.strerror}"
    if record is None:
        return {"running": False, "since": None, "paused": None}, ""
    return {"running": True, "since": record.since, "paused": record.paused or None}, ""


def _decoded(text: bytes) -> SupervisorRecord | None:
    fields = unseal(text)
    try:
        boot, since, paused = (str(fields[name]) for name in ("boot_id", "since", "paused"))
        return SupervisorRecord(int(fields["pid"]), int(fields["pid_start"]), boot, since, paused, fields.get("reverts") is True)
    except (ValueError, TypeError, KeyError):
        return None


def events_facts(directories: Sequence[str]) -> tuple[dict[str, Any], str]:
    """Return whether events are sent and since when, None if unknown, and then a warning."""
    facts, warning = supervisor_facts(directories, EVENTS_LOCK, "events are sent")
    return {"running": facts["running"], "since": facts["since"]}, warning
