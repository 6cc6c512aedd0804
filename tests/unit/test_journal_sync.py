# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The journal syncs before it reports: callers within a moment share one sync, and a failed sync is reported."""

from __future__ import annotations

import errno
import os
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.journal import schema, store
from ansible_collections.fleet.power.plugins.module_utils._power.journal.journal import Intent, Journal
from ansible_collections.fleet.power.plugins.module_utils._power.journal.operations import not_durable
from ansible_collections.fleet.power.plugins.module_utils._power.journal.store import GroupSync
from ansible_collections.fleet.power.plugins.module_utils._power.model.cancellation import Deadline
from ansible_collections.fleet.power.plugins.module_utils._power.model.clock import SYSTEM_CLOCK, timestamp
from ansible_collections.fleet.power.plugins.module_utils._power.model.result import Outcome
from ansible_collections.fleet.power.tests.unit.journal_support import (
    ALPHA,
    BETA,
    NOON,
    FixedClock,
    Node,
    killed_after,
    perform,
    result,
)
from ansible_collections.fleet.power.tests.unit.lock_support import fill, small_disk
from ansible_collections.fleet.power.tests.unit.thread_support import block_until, in_threads

#: SQLite's number for `PRAGMA synchronous = EXTRA`.
EXTRA = 3


class Disk:
    """A sync that a test can delay or fail."""

    def __init__(self) -> None:
        self.begun = 0
        self.ended = 0
        self.may_end = threading.Event()
        self.may_end.set()
        self.error: BaseException | None = None
        self.raised: list[BaseException] = []
        self.group = GroupSync(self._sync)

    def _sync(self) -> None:
        self.begun += 1
        assert self.begun == self.ended + 1, "one at a time"
        self.may_end.wait(20)
        self.ended += 1
        if self.error is not None:
            raise self.error

    def ask(self, count: int) -> list[threading.Thread]:
        """Start so many threads that sync; ``raised`` collects their errors."""

        def ask() -> None:
            try:
                self.group()
            except BaseException as error:
                self.raised.append(error)

        threads = [threading.Thread(target=ask) for _unused in range(count)]
        for thread in threads:
            thread.start()
        return threads

    @property
    def waiting(self) -> int:
        return len(self.group._turn._waiters)  # type: ignore[attr-defined]


@pytest.fixture(name="disk")
def disk_of_the_test() -> Disk:
    return Disk()


@pytest.fixture(name="synced")
def syncs_of_logs(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """The files that our code synced, without SQLite's syncs: path and size."""
    synced: list[tuple[str, int]] = []
    real = os.fdatasync

    def fdatasync(descriptor: int) -> None:
        real(descriptor)
        synced.append((os.readlink(f"/proc/self/fd/{descriptor}"), os.fstat(descriptor).st_size))

    monkeypatch.setattr(os, "fdatasync", fdatasync)
    return synced


def log_of(node: Node) -> Path:
    return node.file.with_name("journal.sqlite-wal")


def test_the_first_caller_syncs_at_once(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "_APART_SECONDS", 3600.0)
    disk.group()
    assert disk.ended == 1


def test_callers_during_a_sync_share_the_next_sync(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "_APART_SECONDS", 0.0)
    disk.may_end.clear()
    first = disk.ask(1)
    block_until(lambda: disk.begun == 1)
    others = disk.ask(20)
    block_until(lambda: disk.waiting == 20)
    assert disk.ended == 0
    disk.may_end.set()
    for thread in (*first, *others):
        thread.join(20)
    assert (disk.ended, disk.raised) == (2, [])


def test_callers_within_a_moment_share_one_sync(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "_APART_SECONDS", 3600.0)
    disk.group()
    threads = disk.ask(20)
    block_until(lambda: disk.waiting == 20)
    with disk.group._turn:
        # The moment is over.
        disk.group._moment = Deadline(SYSTEM_CLOCK, 0.0)
        disk.group._turn.notify_all()
    for thread in threads:
        thread.join(20)
    assert disk.ended == 2


def test_a_call_returns_only_after_a_sync_that_began_later(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "_APART_SECONDS", 0.0)
    early: list[tuple[int, int]] = []

    def ask(_number: int) -> None:
        for _unused in range(200):
            begun = disk.begun
            disk.group()
            # The running sync may have begun before this call.
            if disk.ended <= begun:
                early.append((begun, disk.ended))

    in_threads(8, ask)
    assert early == [] and disk.ended >= 200


@pytest.mark.parametrize("error", [OSError(errno.EIO, "I/O error"), KeyboardInterrupt()])
def test_a_failed_sync_raises_in_each_call_that_shares_it_and_in_no_later_call(
    disk: Disk, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    monkeypatch.setattr(store, "_APART_SECONDS", 0.0)
    disk.may_end.clear()
    first = disk.ask(1)
    block_until(lambda: disk.begun == 1)
    others = disk.ask(5)
    block_until(lambda: disk.waiting == 5)
    disk.error = error
    disk.may_end.set()
    for thread in (*first, *others):
        thread.join(20)
    assert disk.raised == [error] * 6
    disk.error = None
    disk.group()
    assert disk.ended == 3


def test_a_written_row_is_synced_once(node: Node, synced: list[tuple[str, int]]) -> None:
    journal = node.journal()
    perform(journal)
    assert journal.operations.last(ALPHA.uuid) is not None
    assert synced == []
    assert journal.sync() == ""
    assert synced == [(str(log_of(node)), log_of(node).stat().st_size)]
    assert journal.operations.last(ALPHA.uuid) is not None
    assert journal.sync() == "" and len(synced) == 1


@pytest.mark.parametrize("read_only", [False, True])
def test_a_reader_syncs_the_rows_of_another_process(node: Node, synced: list[tuple[str, int]], read_only: bool) -> None:
    writer, reader = node.journal(), node.journal(read_only=read_only)
    for number in (1, 2):
        perform(writer, f"op-{number}")
        assert reader.operations.last(ALPHA.uuid) is not None
        assert reader.sync() == "" and len(synced) == number
        assert reader.sync() == "" and len(synced) == number
    # A second read without news needs no sync, but a read-only reader cannot know that.
    reader.operations.last(ALPHA.uuid)
    reader.sync()
    assert len(synced) == (3 if read_only else 2)


def test_a_missing_journal_causes_no_sync(node: Node, synced: list[tuple[str, int]]) -> None:
    for read_only in (False, True):
        journal = node.journal(read_only=read_only)
        assert journal.operations.last(ALPHA.uuid) is None
        assert journal.sync() == "" and journal.warnings == []
    assert synced == [] and not node.state.exists()


def test_a_close_syncs_the_log_unless_sqlite_removes_it_at_the_last_close(node: Node, synced: list[tuple[str, int]]) -> None:
    first, last = node.journal(), node.journal()
    perform(first)
    perform(last, "op-2")
    first.close()
    assert [path for path, _size in synced] == [str(log_of(node))]
    last.close()
    assert len(synced) == 1 and not log_of(node).exists()


def test_a_log_that_replaced_another_is_synced(node: Node, synced: list[tuple[str, int]]) -> None:
    journal = node.journal()
    perform(journal)
    journal.sync()
    journal.close()
    other = node.journal()
    perform(other, "op-2")
    assert journal.operations.last(ALPHA.uuid) is not None
    assert journal.sync() == "" and synced[-1] == (str(log_of(node)), log_of(node).stat().st_size)
    assert len(synced) == 2


def test_a_journal_that_replaced_a_damaged_file_is_synced(node: Node, synced: list[tuple[str, int]]) -> None:
    perform(node.journal())
    node.opened[0].close()
    node.file.write_bytes(b"no database at all" * 1000)
    journal = node.journal()
    perform(journal, "op-2")
    assert len(node.set_aside()) == 1
    assert journal.sync() == "" and synced == [(str(log_of(node)), log_of(node).stat().st_size)]


def test_a_reader_syncs_the_rows_of_a_killed_process(node: Node, synced: list[tuple[str, int]]) -> None:
    killed_after(lambda: perform(node.journal()))
    reader = node.journal(read_only=True)
    assert reader.operations.last(ALPHA.uuid) is not None
    assert reader.sync() == "" and [path for path, _size in synced] == [str(log_of(node))]


def test_without_a_log_each_write_is_synced(node: Node, synced: list[tuple[str, int]]) -> None:
    node.state.mkdir()
    with closing(sqlite3.connect(node.file)) as connection:
        for statement in schema.TABLES:
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {schema.SCHEMA}")
    journal = node.journal()
    for up in (True, False):
        journal.intents.set(ALPHA, Intent(up, "o", "", timestamp(NOON)))
        connection = journal.store._file()._connection
        assert connection is not None and connection.execute("PRAGMA synchronous").fetchone()[0] == EXTRA
    assert not log_of(node).exists() and journal.sync() == "" and synced == []


def test_a_failed_sync_is_reported_once_and_the_outcome_stays(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "_APART_SECONDS", 0.0)
    journal = node.journal()
    perform(journal)
    os.rename(log_of(node), node.state / "moved")
    log_of(node).symlink_to("moved")
    faults = {journal.sync(), journal.sync()}
    perform(journal, "op-2")
    faults.add(journal.sync())
    assert len(faults) == 1 and list(faults) == journal.warnings
    assert str(node.state) in journal.warnings[0] and "symbolic" in journal.warnings[0]
    row = journal.operations.last(ALPHA.uuid)
    assert row is not None and row.outcome == "done"
    os.replace(node.state / "moved", log_of(node))
    assert journal.sync() == ""


def test_an_unsynced_result_gets_the_code_not_durable_unless_it_has_a_code() -> None:
    done, refused = not_durable(result()), not_durable(result(outcome=Outcome.REFUSED, code="suspended", msg="it is suspended"))
    assert (done.outcome, done.code) == (Outcome.DONE, "not_durable") and "power cut" in done.msg
    assert (refused.outcome, refused.code, refused.msg) == (Outcome.REFUSED, "suspended", "it is suspended")
    unchanged = not_durable(result(outcome=Outcome.UNCHANGED, msg="it is offline already"))
    assert unchanged.msg.startswith("it is offline already; ")


def test_a_full_disk_syncs_the_written_rows_and_reports_the_others_once(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 1024 * 1024) as disk:
        journal = Journal(str(disk / "state"), str(tmp_path / "locks"), "no-such-group", FixedClock())
        perform(journal)
        fill(disk)
        for number in range(200):
            perform(journal, f"op-{number}", BETA)
        assert len(journal.warnings) == 1 and "not recorded" in journal.warnings[0]
        assert journal.sync() == "" and len(journal.warnings) == 1
        journal.close()
