# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A journal on a bad disk: damaged, unusable or read-only."""

from __future__ import annotations

import fcntl
import os
import resource
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.journal import journal as journal_module
from ansible_collections.fleet.power.plugins.module_utils._power.journal import schema
from ansible_collections.fleet.power.plugins.module_utils._power.journal.journal import Intent, Journal
from ansible_collections.fleet.power.plugins.module_utils._power.model.clock import timestamp
from ansible_collections.fleet.power.plugins.module_utils._power.model.server import Run
from ansible_collections.fleet.power.plugins.module_utils._power.model.supervision import SeenRun
from ansible_collections.fleet.power.tests.unit.journal_support import (
    ALPHA,
    NOON,
    FixedClock,
    Node,
    begin,
    in_processes,
    killed_after,
    perform,
    result,
)


def use_all_methods(journal: Journal) -> None:
    """Call every method: an unusable journal returns the values of an empty journal."""
    perform(journal)
    journal.intents.set(ALPHA, Intent(True, "o", "", timestamp(NOON)))
    journal.runs.see(ALPHA.uuid, SeenRun(Run("c", "t"), matchers=True))
    journal.runs.record_match(ALPHA.uuid, Run("c", "t"))
    assert journal.intents.of(ALPHA.uuid) is None and journal.runs.of(ALPHA.uuid) is None
    assert journal.operations.last(ALPHA.uuid) is None and journal.operations.of(ALPHA.uuid) == []
    assert journal.operations.last_acts([ALPHA.uuid]) == {}
    assert journal.intents.of_each([ALPHA.uuid]) == {} == journal.runs.of_each([ALPHA.uuid])
    journal.close()


def numbered(node: Node, number: int) -> bytes:
    perform(node.journal())
    with closing(sqlite3.connect(node.file)) as connection:
        connection.execute(f"PRAGMA user_version = {number}")
    for journal in node.opened:
        journal.close()
    return node.file.read_bytes()


@pytest.mark.parametrize(("number", "why"), [(schema.SCHEMA + 1, "update fleet.power"), (-1, "move the file away")])
def test_an_unknown_schema_causes_one_warning_and_no_change(node: Node, number: int, why: str) -> None:
    before = numbered(node, number)
    for read_only in (False, True):
        journal = node.journal(read_only=read_only)
        use_all_methods(journal)
        assert len(journal.warnings) == 1 and f"its schema {number} is " in journal.warnings[0] and why in journal.warnings[0]
    assert node.file.read_bytes() == before and node.set_aside() == []


def test_an_earlier_schema_is_migrated_in_one_transaction(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    numbered(node, schema.SCHEMA)

    def widen(connection: sqlite3.Connection) -> None:
        connection.execute("ALTER TABLE intents ADD COLUMN more TEXT")

    def fail(connection: sqlite3.Connection) -> None:
        widen(connection)
        raise sqlite3.OperationalError("no room")

    for step, migrated in ((fail, False), (widen, True)):
        monkeypatch.setattr(schema, "SCHEMA", 2)
        monkeypatch.setattr(schema, "MIGRATIONS", {1: step})
        looking = node.journal(read_only=True)
        assert looking.operations.last(ALPHA.uuid) is None and "migrates it" in looking.warnings[0]
        journal = node.journal()
        perform(journal, "later")
        assert ([row.id for row in journal.operations.of(ALPHA.uuid)] == ["later", "op-1"]) is migrated is (journal.warnings == [])
        journal.close()
        with closing(sqlite3.connect(node.file)) as connection:
            assert connection.execute("PRAGMA user_version").fetchone() == (2 if migrated else 1,)
            assert ("more" in str(connection.execute("PRAGMA table_info(intents)").fetchall())) is migrated
    assert [row.id for row in node.journal(read_only=True).operations.of(ALPHA.uuid)] == ["later", "op-1"]


def test_a_directory_that_cannot_be_created_causes_one_warning(tmp_path: Path) -> None:
    journal = Journal("/proc/fleet-power", str(tmp_path / "locks"), "no-such-group", FixedClock())
    use_all_methods(journal)
    assert len(journal.warnings) == 1


def test_a_python_without_sqlite_causes_one_warning(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(sys.modules[journal_module.__package__], "journal_file", raising=False)
    monkeypatch.setitem(sys.modules, f"{journal_module.__package__}.journal_file", None)
    journal = node.journal()
    use_all_methods(journal)
    assert len(journal.warnings) == 1 and "SQLite" in journal.warnings[0]


def test_a_process_without_a_mark_causes_a_warning_and_is_recorded(node: Node) -> None:
    node.locks.write_text("a file")
    journal = node.journal()
    perform(journal)
    row = journal.operations.last(ALPHA.uuid)
    assert row is not None and row.outcome == "done"
    assert len(journal.warnings) == 1 and "mark" in journal.warnings[0]


def test_a_file_size_limit_of_zero_causes_one_warning(node: Node) -> None:
    def work(number: int, barrier: Any) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
        journal = node.journal()
        use_all_methods(journal)
        assert len(journal.warnings) == 1

    in_processes(1, work)


SMALL_DISK = """
import sys
from pathlib import Path
from ansible_collections.fleet.power.tests.unit.journal_support import ALPHA, NOON, Node, begin, perform, result
import os, subprocess
root = Path(sys.argv[1])
mount = lambda options: subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(root)], check=True)
mount("size=512k")
node = Node(root)
journal = node.journal()
perform(journal, "first")
if sys.argv[2] == "full":
    with open(root / "ballast", "wb", 0) as ballast:
        try:
            while ballast.write(bytes(4096)):
                pass
        except OSError:
            pass
else:
    journal.close()
    mount("remount,ro")
for number in range(50):
    begin(journal, f"more-{number}")
    journal.operations.end(result(f"more-{number}", msg="x" * 2000))
other = node.journal()
perform(other, "another")
rows = journal.operations.of(ALPHA.uuid, limit=1000)
assert rows[-1].id == "first", rows
assert len([w for w in journal.warnings if "journal" in w]) == 1, journal.warnings
assert len([w for w in other.warnings if "journal" in w]) == 1, other.warnings
if sys.argv[2] == "full":
    os.unlink(root / "ballast")
    perform(journal, "room again")
    assert journal.operations.of(ALPHA.uuid)[0].id == "room again"
journal.close()
other.close()
"""


def run_with_own_mounts(code: str, *arguments: str) -> None:
    """Run Python code in a process whose mounts no other process sees."""
    if subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("needs the right to mount")
    script = [sys.executable, "-c", code, *arguments]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    ran = subprocess.run(["unshare", "-m", *script], capture_output=True, text=True, env=environment, timeout=60, check=False)
    assert ran.returncode == 0, ran.stderr


@pytest.mark.parametrize("kind", ["full", "read-only"])
def test_an_unwritable_disk_causes_one_warning_and_history_stays_readable(tmp_path: Path, kind: str) -> None:
    run_with_own_mounts(SMALL_DISK, str(tmp_path), kind)


FULL_DISK = """
import os, subprocess, sys
from pathlib import Path
from ansible_collections.fleet.power.tests.unit.journal_support import ALPHA, Node, perform
root = Path(sys.argv[1])
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(root)], check=True)
node = Node(root)
journal = node.journal()
perform(journal, "first")
journal.close()
with open(root / "ballast", "wb", 0) as ballast:
    try:
        while ballast.write(bytes(4096)):
            pass
    except OSError:
        pass
for read_only in (False, True):
    # The first look leaves an empty log.
    for _look in range(2):
        journal = node.journal(read_only=read_only)
        assert [row.id for row in journal.operations.of(ALPHA.uuid)] == ["first"], journal.warnings
        assert journal.warnings == []
        journal.close()
"""


def test_a_journal_without_a_log_is_read_on_a_full_disk(tmp_path: Path) -> None:
    run_with_own_mounts(FULL_DISK, str(tmp_path))


def filled(node: Node) -> int:
    journal = node.journal()
    for number in range(60):
        begin(journal, f"old-{number}")
        journal.operations.end(result(f"old-{number}", msg="x" * 1000))
    journal.close()
    return node.file.stat().st_size


def overwrite(node: Node) -> None:
    node.file.write_bytes(os.urandom(filled(node)))


def cut(size: int) -> Callable[[Node], None]:
    def damage(node: Node) -> None:
        whole = filled(node)
        os.truncate(node.file, size if size > 0 else whole + size)

    return damage


def scribble(node: Node) -> None:
    whole = filled(node)
    with open(node.file, "r+b") as target:
        target.seek(4096)
        target.write(os.urandom(whole - 4096))


def make_directory(node: Node) -> None:
    (node.file / "below").mkdir(parents=True)


def make_pipe(node: Node) -> None:
    node.state.mkdir()
    os.mkfifo(node.file)


DAMAGE = {
    "random bytes": overwrite,
    "a few bytes left": cut(50),
    "one page left": cut(4096),
    "cut within a page": cut(9000),
    "last page lost": cut(-4096),
    "random pages": scribble,
    "a directory": make_directory,
    "a pipe": make_pipe,
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_many_processes_rename_a_damaged_journal_once_and_begin_a_new_one(node: Node, damage: Callable[[Node], None]) -> None:
    damage(node)
    collected = node.state / "collected"

    def work(number: int, barrier: Any) -> None:
        journal = node.journal()
        barrier.wait(30)
        perform(journal, f"new-{number}")
        # Only pruning may find damage in older pages.
        journal.operations.of(ALPHA.uuid, limit=1000)
        perform(journal, f"newer-{number}")
        journal.close()
        with open(collected, "a", encoding="utf-8") as target:
            target.writelines(f"{warning}\n" for warning in journal.warnings)

    in_processes(3, work)
    assert len(node.set_aside()) == 1
    warnings = collected.read_text(encoding="utf-8").splitlines()
    assert len(warnings) == 1 and node.set_aside()[0].name in warnings[0]
    journal = node.journal()
    found = {row.id for row in journal.operations.of(ALPHA.uuid, limit=1000)}
    assert {f"newer-{number}" for number in range(3)} <= found
    assert journal.warnings == []


def test_an_empty_file_becomes_a_journal(node: Node) -> None:
    node.state.mkdir()
    node.file.touch()
    in_processes(3, lambda number, barrier: (barrier.wait(30), perform(node.journal(), f"new-{number}"), None)[-1])
    assert node.count() == 3 and node.set_aside() == []


def test_a_damaged_journal_is_renamed_with_its_log_and_writers_use_the_new_one(node: Node) -> None:
    whole = filled(node)
    neighbour = node.journal()
    perform(neighbour, "neighbour's old")

    # Work in another process: a close of the file drops SQLite's locks on it in the same process.
    def work(number: int, barrier: Any) -> None:
        with open(node.file, "r+b") as target:
            target.write(os.urandom(whole))
        journal = Node(node.state.parent).journal()
        perform(journal, "new")
        journal.close()

    in_processes(1, work)
    (aside,) = node.set_aside()
    assert Path(f"{aside}-wal").stat().st_size > 0
    perform(neighbour, "neighbour's new")
    neighbour.close()
    assert [row.id for row in node.journal().operations.of(ALPHA.uuid)] == ["neighbour's new", "new"]
    assert neighbour.warnings == []


def test_a_new_journal_ignores_a_stale_log(node: Node) -> None:
    killed_after(lambda: perform(node.journal(), "stale"))
    node.file.unlink()
    journal = node.journal()
    perform(journal, "new")
    assert [row.id for row in journal.operations.of(ALPHA.uuid)] == ["new"]
    assert journal.warnings == []


def test_an_open_journal_writes_to_the_file_that_replaced_its_own(node: Node) -> None:
    journal, neighbour = node.journal(), node.journal()
    perform(journal, "lost")
    os.rename(node.file, node.state / "moved")
    perform(neighbour, "neighbour's")
    perform(journal, "new")
    assert [row.id for row in journal.operations.of(ALPHA.uuid)] == ["new", "neighbour's"]
    journal.close()
    neighbour.close()
    assert node.count() == 2 and journal.warnings == neighbour.warnings == []


def test_an_open_journal_creates_a_removed_state_directory_again(node: Node) -> None:
    journal = node.journal()
    perform(journal, "lost")
    for path in node.state.iterdir():
        path.unlink()
    node.state.rmdir()
    assert journal.operations.last(ALPHA.uuid) is None
    perform(journal, "new")
    assert [row.id for row in journal.operations.of(ALPHA.uuid)] == ["new"] and journal.warnings == []


def test_a_symbolic_link_in_place_of_the_journal_is_not_followed(node: Node, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_bytes(b"")
    node.state.mkdir()
    node.file.symlink_to(target)
    journal = node.journal()
    perform(journal)
    assert target.read_bytes() == b"" and node.file.is_symlink()
    assert len(journal.warnings) == 1


def test_a_read_only_journal_creates_no_file(node: Node) -> None:
    journal = node.journal(read_only=True)
    perform(journal)
    journal.intents.set(ALPHA, Intent(True, "o", "", timestamp(NOON)))
    journal.runs.see(ALPHA.uuid, SeenRun(Run("c", "t"), matchers=False))
    assert journal.operations.last(ALPHA.uuid) is None and journal.intents.of(ALPHA.uuid) is None and journal.runs.of(ALPHA.uuid) is None
    journal.close()
    assert node.listing() == {} and journal.warnings == []


def test_a_read_of_a_missing_journal_creates_no_file(node: Node) -> None:
    journal = node.journal()
    assert journal.operations.last(ALPHA.uuid) is None
    assert node.listing() == {} and journal.warnings == []


def test_a_read_only_journal_reads_a_closed_file_without_change(node: Node) -> None:
    writer = node.journal()
    perform(writer)
    writer.close()
    before = node.listing(), node.file.read_bytes()
    reader = node.journal(read_only=True)
    perform(reader, "not written")
    assert [row.id for row in reader.operations.of(ALPHA.uuid)] == ["op-1"]
    assert (node.listing(), node.file.read_bytes()) == before and reader.warnings == []


def test_a_read_only_journal_sees_new_rows_of_a_living_writer_at_once(node: Node) -> None:
    writer, reader = node.journal(), node.journal(read_only=True)
    for number in range(3):
        perform(writer, f"op-{number}")
        before = set(node.listing())
        row = reader.operations.last(ALPHA.uuid)
        assert row is not None and row.id == f"op-{number}"
        assert set(node.listing()) == before
    writer.close()
    assert sorted(os.listdir(node.state)) == ["journal.lock", "journal.sqlite"]


def test_a_read_only_journal_sees_rows_of_a_killed_writer_and_changes_no_file(node: Node) -> None:
    killed_after(lambda: perform(node.journal()))
    before = set(node.listing())
    assert str(node.file) + "-wal" in before
    reader = node.journal(read_only=True)
    row = reader.operations.last(ALPHA.uuid)
    assert row is not None and row.outcome == "done"
    assert set(node.listing()) == before and reader.warnings == []


def test_a_close_waits_for_readers_but_not_for_a_frozen_reader(node: Node) -> None:
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


def test_a_read_only_journal_waits_while_a_writer_locks_the_file(node: Node) -> None:
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


def test_a_read_only_journal_creates_no_index_for_a_log(node: Node) -> None:
    killed_after(lambda: perform(node.journal()))
    os.unlink(str(node.file) + "-shm")
    before = set(node.listing())
    node.journal(read_only=True).operations.last(ALPHA.uuid)
    assert set(node.listing()) == before


def test_a_read_only_journal_warns_of_damage_and_changes_no_file(node: Node) -> None:
    node.state.mkdir()
    node.file.write_bytes(os.urandom(5000))
    before = node.listing()
    reader = node.journal(read_only=True)
    assert reader.operations.last(ALPHA.uuid) is None and reader.runs.of(ALPHA.uuid) is None
    assert len(reader.warnings) == 1 and node.listing() == before


@pytest.mark.usefixtures("strict_umask")
def test_the_group_can_write_the_files_under_any_umask(node: Node) -> None:
    perform(node.journal())
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in node.state.iterdir()}
    assert modes == dict.fromkeys(("journal.lock", "journal.sqlite", "journal.sqlite-wal", "journal.sqlite-shm"), 0o660)
