# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""After a boot all comes back that is meant to be up and began before it, and nobody else."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.journal.journal_rows import JournalUnusable
from ansible_collections.fleet.power.plugins.module_utils._supervisor import after_boot
from ansible_collections.fleet.power.plugins.module_utils._supervisor.after_boot import due_after_boot
from ansible_collections.fleet.power.tests.unit.fake_node import UUID
from ansible_collections.fleet.power.tests.unit.watched_support import Watched


@pytest.fixture(name="watched")
def watch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Watched]:
    watched = Watched(tmp_path, monkeypatch)
    yield watched
    watched.fake.close()


def boot(watched: Watched) -> bool:
    """Boot the machine, and do what is done then; tell if the server is up."""
    watched.boot, watched.seconds = "b2", 20.0
    watched.begin_anew()
    watched.observer.look(UUID)
    watched.starter.remember(due_after_boot(watched.fake.node))
    return watched.turn()


def left(watched: Watched, code: int = 0) -> None:
    """Have it end in a way that is told and left."""
    watched.up()
    assert not watched.end(code).due
    assert not watched.turn()


def test_what_was_left_before_comes_back(watched: Watched) -> None:
    left(watched)
    assert boot(watched)
    assert watched.starts == 2


def test_what_is_not_supervised_comes_back_too(watched: Watched) -> None:
    watched.fake.define(crash_detection_enabled=False)
    left(watched, 3)
    assert boot(watched)


def test_what_was_stopped_here_stays_down(watched: Watched) -> None:
    watched.up()
    assert watched.fake.perform("stop").outcome.value == "done"
    assert not boot(watched)


def test_what_a_kill_ended_before_it_could_write_its_intent_is_meant_to_be_down(watched: Watched) -> None:
    """As a power cut in the middle of a kill leaves it: what the kill has synced is there, its intent and its lock's record are not."""
    watched.up()
    watched.fake.node.generations.raise_for(UUID)
    watched.fake.engine.end(UUID, 137)
    watched.pass_seconds(60)
    assert not boot(watched)
    intent = watched.fake.node.journal.intents.of(UUID)
    assert intent is not None and not intent.up


def test_what_a_person_stopped_at_the_engine_stays_down(watched: Watched) -> None:
    watched.up()
    row = watched.end(143, signalled=True)
    assert (row.verdict.value, row.due) == ("stopped_at_engine", False)
    assert not boot(watched)


def test_a_clock_that_was_lost_with_the_power_keeps_nobody_down(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on machines whose clock begins anew with each boot, until somebody tells them the time."""
    left(watched)
    monkeypatch.setattr(after_boot.time, "time", lambda: 1000.0)
    assert boot(watched)


@pytest.mark.parametrize("ever_run", [True, False])
def test_a_server_without_a_container_comes_back_if_it_is_meant_to_be_up(watched: Watched, ever_run: bool) -> None:
    watched.up()
    watched.fake.engine.end(UUID)
    found = watched.fake.engine.find(UUID)
    assert found is not None
    del watched.fake.engine.containers[found.id]
    if not ever_run:
        watched.fake.node.journal.store.write(lambda connection: connection.execute("DELETE FROM seen_runs"))
    assert boot(watched)
    assert watched.starts == 2
    # Nobody saw how it ended.
    assert watched.fake.node.journal.operations.of(UUID)[0].reason == "the machine has booted"


def test_nothing_is_started_by_a_journal_that_does_not_tell_what_is_meant_to_be_up(watched: Watched) -> None:
    left(watched)
    file = watched.fake.root / "state" / "journal.sqlite"
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("DELETE FROM intents")
        connection.commit()
    assert not boot(watched)
    watched.fake.close()
    file.unlink()
    file.symlink_to("elsewhere")
    with pytest.raises((JournalUnusable, OSError)):
        due_after_boot(watched.fake.build())
