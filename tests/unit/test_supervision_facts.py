# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What readers are told of ended runs and of the supervisor: the truth of this moment, and None for what cannot be read."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.actions.many.server_facts import FactOptions, describe
from ansible_collections.fleet.power.plugins.module_utils._power.host.liveness import boot_id, boot_seconds
from ansible_collections.fleet.power.plugins.module_utils._power.host.supervisor_record import (
    SUPERVISOR_LOCK,
    SupervisorRecord,
    write_record,
)
from ansible_collections.fleet.power.plugins.module_utils._power.journal.journal import Journal
from ansible_collections.fleet.power.plugins.module_utils._power.model.clock import timestamp
from ansible_collections.fleet.power.plugins.module_utils._power.model.report import Described
from ansible_collections.fleet.power.plugins.module_utils._power.model.server import Run, Server
from ansible_collections.fleet.power.plugins.module_utils._power.model.supervision import EndedRun, SeenRun, Verdict
from ansible_collections.fleet.power.tests.unit.fake_node import NO_GROUP, UUID, FakeNode

SINCE = "2026-03-01T11:00:00.000Z"


def look(fake: FakeNode, crashes: int = 0) -> Described:
    settings = fake.node.settings
    journal = Journal(settings.state_directory, settings.lock_directory, NO_GROUP, fake.clock, read_only=True)
    return describe((UUID,), replace(fake.build(), journal=journal), FactOptions(crashes=crashes), remember=lambda uuid, run: None)


def told(fake: FakeNode) -> dict[str, Any]:
    return look(fake).entries[0]["supervision"]  # type: ignore[no-any-return]


@contextmanager
def supervisor(fake: FakeNode, paused: str = "") -> Iterator[None]:
    path = os.path.join(fake.node.settings.state_directory, SUPERVISOR_LOCK)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o660)
    try:
        write_record(descriptor, SupervisorRecord.of_this_process(SINCE, paused))
        yield
    finally:
        os.close(descriptor)


def crashed(fake: FakeNode, **fields: Any) -> EndedRun:
    """The row of the run that is over, written by a supervisor."""
    snapshot = fake.engine.find(UUID)
    run = Run("gone", "2026-03-01T10:00:00Z") if snapshot is None else snapshot.run
    row = EndedRun(
        Server(UUID, "Cobalt"),
        run,
        Verdict.CRASHED,
        ended_at="2026-03-01T11:59:00.5Z",
        exit_code=3,
        at=timestamp(fake.clock.now()),
        due=True,
        boot=boot_id(),
        next_at=boot_seconds() + 60,
    )
    row = replace(row, **fields)
    assert fake.node.journal.ended_runs.write(row)
    return row


@pytest.mark.parametrize("paused", [None, "wings", "maintenance", "journal"])
def test_no_next_try_is_promised_where_nobody_makes_one(fake: FakeNode, paused: str | None) -> None:
    fake.down()
    crashed(fake)
    if paused is None:
        state = told(fake)
    else:
        with supervisor(fake, paused):
            state = told(fake)
    assert (state["state"], state["next_at"]) == ("backoff", None)
    assert (state["running"], state["paused"]) == (paused is not None, paused)


def test_a_crash_loop_and_flapping_are_told(fake: FakeNode) -> None:
    fake.down()
    run = fake.seen().run
    for number in range(11):
        before = replace(run, started_at=f"2026-03-01T10:00:{number:02d}Z") if number < 10 else run
        row = crashed(fake, run=before)
        following = run if number == 9 else replace(run, started_at=f"2026-03-01T10:00:{number + 1:02d}Z")
        written = fake.node.journal.ended_runs.of_run(row.run)
        assert written is not None
        if number < 10:
            fake.node.journal.runs.see(UUID, SeenRun(following, matchers=False, answers=written.number))
    state = told(fake)
    assert (state["state"], state["consecutive_crashes"], state["crashes_today"]) == ("crash_loop", 11, 11)
    fake.engine.calls.clear()
    fake.perform("start")
    assert (told(fake)["state"], told(fake)["verdict"]) == ("flapping", None)


@pytest.mark.parametrize("verdict", ["stopped_externally", "ended", "ended_unobserved", "initially_down"])
def test_what_is_left_down_is_told_with_its_verdict(fake: FakeNode, verdict: str) -> None:
    fake.down()
    crashed(fake, verdict=Verdict(verdict), due=False)
    state = told(fake)
    assert (state["state"], state["verdict"], state["next_at"], state["crashes_today"]) == ("stays_down", verdict, None, 0)


def test_the_last_ended_runs_are_told_newest_first(fake: FakeNode) -> None:
    fake.up()
    fake.perform("stop")
    for number in range(3):
        crashed(fake, run=Run("gone", f"2026-03-01T10:00:0{number}Z"), log=("bang", "***"), seconds=12.5, exit_code=number)
    found = look(fake, crashes=2).entries[0]["crashes"]
    assert [each["exit_code"] for each in found] == [2, 1]
    assert (found[0]["log"], found[0]["seconds"], found[0]["started_at"]) == (["bang", "***"], 12.5, "2026-03-01T10:00:02Z")
    oldest = look(fake, crashes=100).entries[0]["crashes"][-1]
    assert (oldest["verdict"], oldest["origin"], bool(oldest["operation"])) == ("stopped", "alice@web1", True)


def test_what_the_journal_cannot_tell_is_not_told_as_none(fake: FakeNode) -> None:
    fake.down()
    crashed(fake)
    fake.node.journal.close()
    path = os.path.join(fake.node.settings.state_directory, "journal.sqlite")
    with open(path, "r+b") as file:
        file.write(b"no journal" * 200)
    found = look(fake, crashes=3)
    assert (found.entries[0]["supervision"], found.entries[0]["crashes"]) == (None, None)


def test_ended_runs_are_counted_for_good_and_once_each(fake: FakeNode) -> None:
    fake.up()
    journal = fake.node.journal
    assert set((journal.ended_runs.totals() or {}).values()) == {0}
    for number in range(120):
        crashed(fake, run=Run("gone", f"2026-03-01T10:00:{number}Z"), due=False)
    row = crashed(fake, run=Run("gone", "late"), verdict=Verdict.PENDING, due=False)
    totals = journal.ended_runs.totals()
    assert totals is not None and totals[Verdict.CRASHED] == 120, "rows are pruned, counts are not"
    assert Verdict.PENDING not in totals
    for _again in range(2):
        journal.ended_runs.write(replace(row, verdict=Verdict.STOPPED_EXTERNALLY))
    totals = journal.ended_runs.totals()
    assert totals is not None and (totals[Verdict.STOPPED_EXTERNALLY], sum(totals.values())) == (1, 121)
