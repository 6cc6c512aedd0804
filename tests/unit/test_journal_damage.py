# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A damaged journal is renamed aside, once, and begun anew."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.fleet.power.tests.unit.journal_support import (
    ALPHA,
    Node,
    begin,
    in_processes,
    killed_after,
    perform,
    result,
)


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
def test_a_damaged_journal_is_renamed_aside_once_and_begun_anew_by_many_at_the_same_time(
    node: Node, damage: Callable[[Node], None]
) -> None:
    damage(node)
    told = node.state / "told"

    def work(number: int, barrier: Any) -> None:
        journal = node.journal()
        barrier.wait(30)
        perform(journal, f"new-{number}")
        # What is damaged further back may be found by pruning only.
        journal.operations.of(ALPHA.uuid, limit=1000)
        perform(journal, f"newer-{number}")
        journal.close()
        with open(told, "a", encoding="utf-8") as target:
            target.writelines(f"{warning}\n" for warning in journal.warnings)

    in_processes(3, work)
    assert len(node.set_aside()) == 1
    warnings = told.read_text(encoding="utf-8").splitlines()
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


def test_the_log_of_a_damaged_journal_goes_aside_with_it_and_whoever_had_it_open_goes_on_in_the_new_one(node: Node) -> None:
    whole = filled(node)
    neighbour = node.journal()
    perform(neighbour, "neighbour's old")

    # In a process of its own: to close a file drops the locks that SQLite holds on it in the same process.
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


def test_a_stale_log_beside_a_missing_journal_is_not_taken_for_its_own(node: Node) -> None:
    killed_after(lambda: perform(node.journal(), "stale"))
    node.file.unlink()
    journal = node.journal()
    perform(journal, "new")
    assert [row.id for row in journal.operations.of(ALPHA.uuid)] == ["new"]
    assert journal.warnings == []


def test_a_journal_replaced_under_an_open_one_gets_the_rows(node: Node) -> None:
    journal, neighbour = node.journal(), node.journal()
    perform(journal, "lost")
    os.rename(node.file, node.state / "moved")
    perform(neighbour, "neighbour's")
    perform(journal, "new")
    assert [row.id for row in journal.operations.of(ALPHA.uuid)] == ["new", "neighbour's"]
    journal.close()
    neighbour.close()
    assert node.count() == 2 and journal.warnings == neighbour.warnings == []


def test_the_whole_state_directory_removed_under_an_open_journal_is_made_again(node: Node) -> None:
    journal = node.journal()
    perform(journal, "lost")
    for path in node.state.iterdir():
        path.unlink()
    node.state.rmdir()
    assert journal.operations.last(ALPHA.uuid) is None
    perform(journal, "new")
    assert [row.id for row in journal.operations.of(ALPHA.uuid)] == ["new"] and journal.warnings == []


def test_a_link_in_its_place_is_not_followed(node: Node, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_bytes(b"")
    node.state.mkdir()
    node.file.symlink_to(target)
    journal = node.journal()
    perform(journal)
    assert target.read_bytes() == b"" and node.file.is_symlink()
    assert len(journal.warnings) == 1
