# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who only reads the journal leaves no trace of it."""

from __future__ import annotations

import fcntl
import os
import stat
import threading
from pathlib import Path

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.journal.intents import Intent
from ansible_collections.fleet.power.plugins.module_utils._power.model.clock import timestamp
from ansible_collections.fleet.power.plugins.module_utils._power.model.server import Run
from ansible_collections.fleet.power.plugins.module_utils._power.model.supervision import SeenRun
from ansible_collections.fleet.power.tests.unit.journal_support import (
    ALPHA,
    NOON,
    Node,
    killed_after,
    perform,
)


def test_read_only_creates_nothing_where_there_is_no_journal(node: Node) -> None:
    journal = node.journal(read_only=True)
    perform(journal)
    journal.intents.set(ALPHA, Intent(True, "o", "", timestamp(NOON)))
    journal.runs.see(ALPHA.uuid, SeenRun(Run("c", "t"), matchers=False))
    assert journal.operations.last(ALPHA.uuid) is None and journal.intents.of(ALPHA.uuid) is None and journal.runs.of(ALPHA.uuid) is None
    journal.close()
    assert node.listing() == {} and journal.warnings == []


def test_looking_into_a_journal_that_is_not_there_does_not_make_one(node: Node) -> None:
    journal = node.journal()
    assert journal.operations.last(ALPHA.uuid) is None
    assert node.listing() == {} and journal.warnings == []


def test_read_only_reads_a_closed_journal_and_leaves_it_as_it_was(node: Node) -> None:
    writer = node.journal()
    perform(writer)
    writer.close()
    before = node.listing(), node.file.read_bytes()
    reader = node.journal(read_only=True)
    perform(reader, "not written")
    assert [row.id for row in reader.operations.of(ALPHA.uuid)] == ["op-1"]
    assert (node.listing(), node.file.read_bytes()) == before and reader.warnings == []


def test_read_only_sees_at_once_what_a_living_writer_writes(node: Node) -> None:
    writer, reader = node.journal(), node.journal(read_only=True)
    for number in range(3):
        perform(writer, f"op-{number}")
        before = set(node.listing())
        row = reader.operations.last(ALPHA.uuid)
        assert row is not None and row.id == f"op-{number}"
        assert set(node.listing()) == before
    writer.close()
    assert sorted(os.listdir(node.state)) == ["journal.lock", "journal.sqlite"]


def test_read_only_sees_what_a_killed_writer_wrote_and_leaves_its_files_alone(node: Node) -> None:
    killed_after(lambda: perform(node.journal()))
    before = set(node.listing())
    assert str(node.file) + "-wal" in before
    reader = node.journal(read_only=True)
    row = reader.operations.last(ALPHA.uuid)
    assert row is not None and row.outcome == "done"
    assert set(node.listing()) == before and reader.warnings == []


def test_a_writer_closes_only_when_no_reader_is_looking_for_its_log_but_waits_for_no_frozen_one(node: Node) -> None:
    writer = node.journal()
    perform(writer)
    with open(node.state / "journal.lock", "rb") as reader:
        fcntl.flock(reader, fcntl.LOCK_SH)
        closing_writer = threading.Thread(target=writer.close)
        closing_writer.start()
        closing_writer.join(0.1)
        assert closing_writer.is_alive() and Path(f"{node.file}-wal").exists()
        closing_writer.join(20)
        assert not closing_writer.is_alive()


def test_read_only_waits_while_a_writer_makes_replaces_or_closes_the_file(node: Node) -> None:
    perform(node.journal())
    reader, found = node.journal(read_only=True), []
    reading = threading.Thread(target=lambda: found.append(reader.operations.last(ALPHA.uuid)))
    with open(node.state / "journal.lock", "rb") as writer:
        fcntl.flock(writer, fcntl.LOCK_EX)
        reading.start()
        reading.join(0.1)
        assert reading.is_alive() and found == []
    reading.join(20)
    assert len(found) == 1 and found[0] is not None


def test_read_only_creates_no_index_for_a_log_that_has_none(node: Node) -> None:
    killed_after(lambda: perform(node.journal()))
    os.unlink(str(node.file) + "-shm")
    before = set(node.listing())
    node.journal(read_only=True).operations.last(ALPHA.uuid)
    assert set(node.listing()) == before


def test_read_only_warns_of_a_damaged_journal_and_leaves_it(node: Node) -> None:
    node.state.mkdir()
    node.file.write_bytes(os.urandom(5000))
    before = node.listing()
    reader = node.journal(read_only=True)
    assert reader.operations.last(ALPHA.uuid) is None and reader.runs.of(ALPHA.uuid) is None
    assert len(reader.warnings) == 1 and node.listing() == before


@pytest.mark.usefixtures("strict_umask")
def test_the_files_are_open_to_the_group_whatever_the_umask(node: Node) -> None:
    perform(node.journal())
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in node.state.iterdir()}
    assert modes == dict.fromkeys(("journal.lock", "journal.sqlite", "journal.sqlite-wal", "journal.sqlite-shm"), 0o660)
