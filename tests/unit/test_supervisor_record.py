# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a supervisor runs is told from its record alone, without a lock, and what cannot be told is not taken for "none"."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.host.supervisor_record import (
    PAUSES,
    SUPERVISOR_LOCK,
    UNKNOWN,
    SupervisorRecord,
    read_record,
    supervisor_facts,
    write_record,
)

SINCE = "2026-01-31T12:00:00.000Z"


@contextmanager
def opened(directory: Path) -> Iterator[int]:
    """The file of the lock, made if it is missing."""
    descriptor = os.open(directory / SUPERVISOR_LOCK, os.O_RDWR | os.O_CREAT, 0o660)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@pytest.mark.parametrize("paused", ["", *PAUSES])
def test_a_living_supervisor_is_told_with_what_keeps_it(tmp_path: Path, paused: str) -> None:
    with opened(tmp_path) as descriptor:
        write_record(descriptor, SupervisorRecord.of_this_process(SINCE, "maintenance_unreadable"))
        write_record(descriptor, SupervisorRecord.of_this_process(SINCE, paused))
    assert supervisor_facts(str(tmp_path)) == ({"running": True, "since": SINCE, "paused": paused or None}, "")


@pytest.mark.parametrize("text", [b"?", b"{}", b'{"pid":1,"check":"00000000"}', b"[" * 400])
def test_what_is_no_record_is_not_taken_for_no_supervisor(tmp_path: Path, text: bytes) -> None:
    (tmp_path / SUPERVISOR_LOCK).write_bytes(text)
    told, warning = supervisor_facts(str(tmp_path))
    assert told == UNKNOWN
    assert warning == f"Cannot tell whether the supervisor runs: {tmp_path / SUPERVISOR_LOCK} cannot be read: Not a record of a supervisor"


def test_no_reader_meets_half_a_record(tmp_path: Path) -> None:
    over = threading.Event()
    with opened(tmp_path) as descriptor:
        records = [SupervisorRecord.of_this_process(SINCE, paused) for paused in ("", "maintenance_unreadable")]
        write_record(descriptor, records[0])

        def write() -> None:
            while not over.is_set():
                for record in records:
                    write_record(descriptor, record)

        writer = threading.Thread(target=write)
        writer.start()
        try:
            for _look in range(500):
                assert read_record(str(tmp_path)) in records
        finally:
            over.set()
            writer.join()
