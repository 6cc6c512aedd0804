# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The supervisor on a full disk, and repeatedly refused starts."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.actions.turn import perform
from ansible_collections.fleet.power.plugins.module_utils._power.journal.outbox import RecordedEvents
from ansible_collections.fleet.power.plugins.module_utils._power.model.result import Result
from ansible_collections.fleet.power.tests.unit.fake_node import UUID
from ansible_collections.fleet.power.tests.unit.lock_support import fill, leave_room, small_disk
from ansible_collections.fleet.power.tests.unit.watched_support import Watched

_SIZE = 1024 * 1024


class FullDisk:
    def __init__(self, watched: Watched, disk: Path) -> None:
        self.watched = watched
        self._disk = disk

    def act(self, action: str, **fields: object) -> Result:
        fake, own = self.watched.fake, self.watched.fake.node
        fake.node = fake.build()
        try:
            return fake.perform(action, **fields)
        finally:
            fake.node.journal.close()
            fake.node = own

    def leave_room(self, kibibytes: int) -> None:
        leave_room(self._disk, kibibytes)

    def make_room(self) -> None:
        (self._disk / "filler").unlink()

    @property
    def should_be_up(self) -> bool:
        intent = self.watched.fake.node.journal.intents.of(UUID)
        return intent is not None and intent.up

    def try_for(self, seconds: float) -> None:
        """Let the supervisor make each start that is due within so many seconds."""
        end = self.watched.seconds + seconds
        while (left := self.watched.starter.seconds_left()) is not None and self.watched.seconds + left <= end:
            self.watched.pass_seconds(max(left, 1.0))
            self.watched.turn()


@pytest.fixture(name="full")
def full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FullDisk]:
    with small_disk(tmp_path / "state", _SIZE) as disk:
        watched = Watched(tmp_path, monkeypatch)
        yield FullDisk(watched, disk)
        watched.fake.close()


@pytest.mark.samples("4-stop", "8-kill")
@pytest.mark.parametrize("action", ["stop", "kill"])
@pytest.mark.parametrize("free", [0, 4, 8, 12, 16, 20, 24])
def test_a_server_stopped_during_a_back_off_stays_down(full: FullDisk, free: int, action: str) -> None:
    full.watched.crash_twice()
    full.leave_room(free)
    assert full.act(action).outcome.value in ("done", "unchanged")
    full.try_for(600)
    assert (full.watched.fake.live, full.watched.starts) == (False, 2)
    full.make_room()
    full.try_for(600)
    assert not full.watched.fake.live
    assert (full.should_be_up, full.watched.row.due) == (False, False)
    assert full.act("start").outcome.value == "done"


@pytest.mark.parametrize("check", [False, True])
@pytest.mark.parametrize("free", [0, 4, 20])
def test_a_start_of_servers_that_should_be_up_skips_a_stopped_server(full: FullDisk, free: int, check: bool) -> None:
    full.watched.crash_twice()
    full.leave_room(free)
    full.act("stop")
    result = full.act("start", should_be_up=frozenset([UUID]), check=check)
    assert (result.outcome.value, result.code, full.watched.fake.live) == ("skipped", "not_selected", False)


def test_a_skipped_start_corrects_the_intent_in_the_journal(full: FullDisk) -> None:
    full.watched.up()
    full.leave_room(0)
    full.act("stop")
    full.make_room()
    full.watched.observer.look(UUID)
    assert full.watched.row.verdict.value == "stopped" and full.should_be_up
    assert full.act("start", should_be_up=frozenset([UUID])).code == "not_selected"
    assert not full.should_be_up


def test_a_server_with_only_the_row_of_its_stop_stays_down_after_a_boot(full: FullDisk) -> None:
    """The lock's record does not survive a boot."""
    full.watched.up()
    full.leave_room(0)
    full.act("stop")
    full.make_room()
    full.watched.observer.look(UUID)
    (full.watched.fake.root / "locks" / f"{UUID}.lock").unlink()
    assert full.should_be_up
    result = full.act("start", should_be_up=frozenset([UUID]))
    assert (result.outcome.value, result.code, full.watched.fake.live) == ("skipped", "not_selected", False)


def test_without_room_for_a_lock_file_a_stop_is_refused_and_a_kill_warns(tmp_path: Path, full: FullDisk) -> None:
    full.watched.up()
    full.leave_room(0)
    fake = full.watched.fake
    with small_disk(tmp_path / "other-locks") as locks:
        fill(locks)
        fake.configure(system={"lock_directory": str(locks)})
        result = full.act("stop")
        assert (result.outcome.value, result.code, fake.live) == ("refused", "lock_unavailable", True)
        result = full.act("kill")
        assert (result.outcome.value, result.code, fake.live) == ("done", "unguarded", False)
        assert any("nothing says that it should be down: the supervisor or a boot" in warning for warning in result.warnings)


def test_a_due_row_is_closed_if_an_earlier_intent_says_down(full: FullDisk) -> None:
    full.watched.up()
    assert full.act("stop").outcome.value == "done"
    full.watched.observer.look(UUID)
    full.watched.fake.engine.start(full.watched.fake.seen().id)
    full.watched.observer.look(UUID)
    full.leave_room(0)
    full.act("stop")
    full.make_room()
    full.watched.fake.engine.start(full.watched.fake.seen().id)
    full.watched.observer.look(UUID)
    assert full.watched.end().due
    full.watched.await_start()
    assert (full.watched.row.due, full.watched.fake.live) == (False, False)


OTHER = "11111111-1111-4111-8111-111111111111"


@pytest.fixture(name="refusing")
def watch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Watched]:
    refusing = Watched(tmp_path, monkeypatch)
    (refusing.fake.file.with_name(f"{OTHER}.json")).write_text("{}")
    RecordedEvents(refusing.fake.node.journal.store).open()
    yield refusing
    refusing.fake.close()


def event_codes(refusing: Watched) -> list[str]:
    """The codes of the supervisor's starts in the outbox."""
    page = RecordedEvents(refusing.fake.node.journal.store).after(0, 1000)
    assert page is not None
    return [event.data["code"] for event in page.events if event.type.value == "action.ended" and event.data["origin"] == "supervisor"]


def recorded(refusing: Watched) -> list[str]:
    rows = refusing.fake.node.journal.operations.of(UUID)
    return [row.code for row in reversed(rows) if row.origin == "supervisor"]


class TestReported:
    def test_repeated_refusals_for_the_same_reason_are_reported_once(self, refusing: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
        announced: list[str] = []
        monkeypatch.setattr(perform, "announce", lambda result, _request: announced.append(result.code))
        refusing.crash()
        for given in ({"suspended": True}, {"environment": 3}, {"suspended": True}):
            refusing.fake.define(**given)
            for _try in range(3):
                refusing.await_start()
        codes = ["suspended", "definition_invalid", "suspended"]
        assert event_codes(refusing) == recorded(refusing) == announced[1:] == codes
        assert refusing.row.tries == 9


class TestGone:
    def test_a_server_without_a_definition_is_not_tried_again(self, refusing: Watched) -> None:
        refusing.crash()
        refusing.fake.file.unlink()
        refusing.await_start()
        row = refusing.row
        assert (row.due, row.code, refusing.starter.seconds_left()) == (False, "server_not_found", None)
        assert event_codes(refusing) == ["server_not_found"]

    @pytest.mark.parametrize("where", ["the directory is missing", "the directory is empty", "the directory is a link that leads nowhere"])
    def test_a_missing_definition_directory_causes_tries_until_it_is_back(self, refusing: Watched, where: str) -> None:
        directory = refusing.fake.file.parent
        aside = directory.with_name("aside")
        refusing.crash()
        os.rename(directory, aside)
        if where == "the directory is empty":
            directory.mkdir()
            (refusing.fake.root / "state" / "definitions" / f"{OTHER}.json").write_text("{}")
        elif where.endswith("nowhere"):
            directory.symlink_to("/nowhere/at/all")
        waits = [refusing.await_start() for _try in range(3)]
        assert (waits, refusing.row.due, len(event_codes(refusing))) == ([0, 10, 20], True, 1)
        directory.unlink() if directory.is_symlink() else directory.exists() and directory.rmdir()
        os.rename(aside, directory)
        refusing.await_start()
        assert refusing.fake.live
