# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A journal that cannot be used is warned of once, and never stands in the way of a power action."""

from __future__ import annotations

import os
import resource
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.journal import journal as journal_module
from ansible_collections.fleet.power.plugins.module_utils._power.journal import schema
from ansible_collections.fleet.power.plugins.module_utils._power.journal.intents import Intent
from ansible_collections.fleet.power.plugins.module_utils._power.journal.journal import Journal
from ansible_collections.fleet.power.plugins.module_utils._power.model.clock import timestamp
from ansible_collections.fleet.power.plugins.module_utils._power.model.server import Run
from ansible_collections.fleet.power.plugins.module_utils._power.model.supervision import SeenRun
from ansible_collections.fleet.power.tests.unit.journal_support import (
    ALPHA,
    NOON,
    FixedClock,
    Node,
    in_processes,
    perform,
)


def everything(journal: Journal) -> None:
    """Every method of a journal that cannot be used returns what an empty one would."""
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
    """A closed journal with another schema number."""
    perform(node.journal())
    with closing(sqlite3.connect(node.file)) as connection:
        connection.execute(f"PRAGMA user_version = {number}")
    for journal in node.opened:
        journal.close()
    return node.file.read_bytes()


@pytest.mark.parametrize(("number", "why"), [(schema.SCHEMA + 1, "update fleet.power"), (-1, "move the file away")])
def test_another_schema_is_warned_of_and_left_alone(node: Node, number: int, why: str) -> None:
    before = numbered(node, number)
    for read_only in (False, True):
        journal = node.journal(read_only=read_only)
        everything(journal)
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


def test_a_directory_that_cannot_be_made_is_warned_of_once(tmp_path: Path) -> None:
    journal = Journal("/proc/fleet-power", str(tmp_path / "locks"), "no-such-group", FixedClock())
    everything(journal)
    assert len(journal.warnings) == 1


def test_a_python_without_sqlite_is_warned_of_once(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(sys.modules[journal_module.__package__], "journal_file", raising=False)
    monkeypatch.setitem(sys.modules, f"{journal_module.__package__}.journal_file", None)
    journal = node.journal()
    everything(journal)
    assert len(journal.warnings) == 1 and "SQLite" in journal.warnings[0]


def test_a_process_that_cannot_be_marked_is_warned_of_and_recorded_all_the_same(node: Node) -> None:
    node.locks.write_text("a file")
    journal = node.journal()
    perform(journal)
    row = journal.operations.last(ALPHA.uuid)
    assert row is not None and row.outcome == "done"
    assert len(journal.warnings) == 1 and "mark" in journal.warnings[0]


def test_a_disk_that_takes_nothing_more_is_warned_of_once(node: Node) -> None:
    def work(number: int, barrier: Any) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
        journal = node.journal()
        everything(journal)
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


@pytest.mark.parametrize("kind", ["full", "read-only"])
def test_history_is_read_and_one_warning_given_on_a_disk_that_is(tmp_path: Path, kind: str) -> None:
    if subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("needs the right to mount")
    script = [sys.executable, "-c", SMALL_DISK, str(tmp_path), kind]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    ran = subprocess.run(["unshare", "-m", *script], capture_output=True, text=True, env=environment, timeout=60, check=False)
    assert ran.returncode == 0, ran.stderr
