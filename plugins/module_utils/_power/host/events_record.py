# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The record of what sends events: that it runs on this node, and since when; as the supervisor has one."""

from __future__ import annotations

import os
from typing import Any

from .supervisor_record import SupervisorRecord, read_record

#: Below the state directory.
EVENTS_LOCK = "events.lock"


def read_events_record(state_directory: str) -> SupervisorRecord | None:
    """Return the record of the process that sends events; None if none does. Raises OSError where that cannot be told."""
    return read_record(state_directory, EVENTS_LOCK)


def events_facts(state_directory: str) -> tuple[dict[str, Any], str]:
    """Return whether events are sent and since when, None where that cannot be told, and a warning then."""
    try:
        record = read_events_record(state_directory)
    except OSError as error:
        path = os.path.join(state_directory, EVENTS_LOCK)
        return {"running": None, "since": None}, f"Cannot tell whether events are sent: {path} cannot be read: {error.strerror}"
    return {"running": record is not None, "since": record.since if record else None}, ""
