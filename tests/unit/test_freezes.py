# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Freezes: their ends by each clock, their file beside the journal, faults, and the actions that they refuse."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.actions.many.server_facts import FactOptions, describe
from ansible_collections.fleet.power.plugins.module_utils._power.host import machine, pauses
from ansible_collections.fleet.power.plugins.module_utils._power.host.pauses import FREEZE_FILE
from ansible_collections.fleet.power.plugins.module_utils._power.journal import freezes as module
from ansible_collections.fleet.power.plugins.module_utils._power.journal.freezes import FreezeFacts, Freezes, freeze, thaw
from ansible_collections.fleet.power.plugins.module_utils._power.journal.journal import Journal
from ansible_collections.fleet.power.plugins.module_utils._power.model.clock import SYSTEM_CLOCK, timestamp
from ansible_collections.fleet.power.plugins.module_utils._power.model.errors import FreezeFailed, Frozen, SettingsInvalid
from ansible_collections.fleet.power.plugins.module_utils._power.model.freeze import (
    LONGEST_SECONDS,
    Freeze,
    FreezeUnknown,
    Moment,
    freeze_of,
)
from ansible_collections.fleet.power.plugins.module_utils._power.model.server import Server
from ansible_collections.fleet.power.tests.unit.fake_node import UUID, FakeNode
from ansible_collections.fleet.power.tests.unit.journal_support import ALPHA, BETA, FORK, NOON, in_processes, killed_after
from ansible_collections.fleet.power.tests.unit.lock_support import fill, leave_room, small_disk
from ansible_collections.fleet.power.tests.unit.test_players import Played
from ansible_collections.fleet.power.tests.unit.watched_support import Watched

HOUR = 3600
_DISK = 1024 * 1024


class Clocks:
    """The wall clock, the boot and its seconds, which a test sets."""

    def __init__(self) -> None:
        self.wall, self.boot, self.seconds = NOON, "boot 1", 1000.0

    def now(self) -> datetime:
        return self.wall

    def monotonic(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        self.wall, self.seconds = self.wall + timedelta(seconds=seconds), self.seconds + seconds

    def reboot(self, *, down: float = 60.0) -> None:
        self.wall, self.boot, self.seconds = self.wall + timedelta(seconds=down), self.boot + "'", 5.0


class FrozenNode:
    """A journal with freezes, as new processes open it."""

    def __init__(self, state: Path, clocks: Clocks) -> None:
        self.state, self.clocks = state, clocks
        self.file = state / FREEZE_FILE
        self.opened: list[Journal] = []

    @property
    def freezes(self) -> Freezes:
        self.opened.append(Journal(str(self.state), str(self.state / "locks"), "no-such-group", self.clocks))
        return self.opened[-1].freezes

    def freeze(self, *servers: Server, hours: float = 1, supervisor: bool = False) -> list[Freeze]:
        until = self.clocks.wall + timedelta(hours=hours)
        return freeze(self.freezes, servers, until=until, reason="final", origin="alice@ops", supervisor=supervisor)

    def thaw(self, *servers: Server) -> list[str]:
        return [each.uuid for each in thaw(self.freezes, servers or None, origin="bob@ops")]

    def is_frozen(self, server: Server = ALPHA, *, supervisor: bool = False) -> bool:
        return bool(self.freezes.refusal(server.uuid, supervisor=supervisor))

    def why(self, server: Server = ALPHA) -> str:
        return self.freezes.refusal(server.uuid)

    def execute(self, statement: str) -> None:
        with closing(sqlite3.connect(self.state / "journal.sqlite")) as connection:
            connection.execute(statement)
            connection.commit()

    def rows(self) -> int:
        with closing(sqlite3.connect(self.state / "journal.sqlite")) as connection:
            return int(connection.execute("SELECT count(*) FROM freezes").fetchone()[0])

    def lose_the_journal(self) -> None:
        self.close()
        for path in self.state.glob("journal.sqlite*"):
            path.unlink()

    def close(self) -> None:
        for journal in self.opened:
            journal.close()
        self.opened.clear()


@pytest.fixture
def clocks(monkeypatch: pytest.MonkeyPatch) -> Clocks:
    clocks = Clocks()
    monkeypatch.setattr(machine, "boot_id", lambda: clocks.boot)
    monkeypatch.setattr(machine, "boot_seconds", lambda: clocks.seconds)
    return clocks


@pytest.fixture(name="frozen")
def frozen_node(tmp_path: Path, clocks: Clocks) -> Iterator[FrozenNode]:
    node = FrozenNode(tmp_path / "state", clocks)
    yield node
    node.close()


def a_freeze(**fields: Any) -> Freeze:
    usual: dict[str, Any] = {"uuid": "", "name": "", "until": timestamp(NOON + timedelta(hours=1)), "at": timestamp(NOON)}
    return Freeze(**{**usual, "origin": "a", "reason": "r", "supervisor": False, "boot": "b", "ends_at": 4600.0, **fields})


class TestEnd:
    @pytest.mark.parametrize("hours", [-200, -1, 1, 200])
    def test_in_one_boot_a_change_of_the_clock_does_not_move_the_end(self, hours: int) -> None:
        moment = Moment(NOON + timedelta(hours=hours), "b", 1000.0)
        assert a_freeze().seconds_left(moment) == HOUR
        assert a_freeze().end(moment) == timestamp((moment.now + timedelta(hours=1)).replace(microsecond=0))

    @pytest.mark.parametrize("seconds", [-0.4, -0.001, 0.0, 0.001, 0.4])
    def test_a_slight_drift_of_the_clocks_does_not_change_the_shown_end(self, seconds: float) -> None:
        moment = Moment(NOON.replace(minute=30, microsecond=0) + timedelta(seconds=seconds), "b", 1000.0 + HOUR / 2)
        assert a_freeze().end(moment) == timestamp(NOON.replace(hour=13, microsecond=0))

    @pytest.mark.parametrize("boot", ["c", ""])
    def test_after_a_boot_the_clock_decides(self, boot: str) -> None:
        assert a_freeze().seconds_left(Moment(NOON + timedelta(minutes=59), boot, 5.0)) == 60
        assert a_freeze().seconds_left(Moment(NOON + timedelta(minutes=61), boot, 5.0)) == -60

    @pytest.mark.parametrize("until", ["", "x", "2026-03-01T13:00:00", "9" * 50])
    def test_a_damaged_end_is_over_only_when_somebody_ends_it(self, until: str) -> None:
        assert a_freeze(until=until).seconds_left(Moment(NOON + timedelta(days=400), "c", 5.0)) == LONGEST_SECONDS

    def test_the_node_comes_before_a_server_and_only_some_freezes_hold_back_the_supervisor(self) -> None:
        node, server = a_freeze(), a_freeze(uuid=ALPHA.uuid, supervisor=True)
        assert freeze_of([server, node], ALPHA.uuid) is node is freeze_of([server, node], BETA.uuid)
        assert freeze_of([server, node], ALPHA.uuid, supervisor=True) is server
        assert freeze_of([server], BETA.uuid) is None is freeze_of([node], ALPHA.uuid, supervisor=True)


class TestFreeze:
    def test_a_refusal_names_the_person_the_reason_and_the_end(self, frozen: FrozenNode) -> None:
        frozen.freeze(ALPHA)
        assert frozen.why() == (
            "it is frozen until 2026-03-01T13:00:00.000Z by alice@ops: final; wait for the end of the freeze, or end it on the "
            f"node with fleet-power thaw {ALPHA.uuid}"
        )
        assert not frozen.is_frozen(BETA)
        frozen.freeze()
        assert frozen.why(BETA).startswith("the node is frozen until ") and frozen.why(BETA).endswith("fleet-power thaw")

    def test_a_second_freeze_replaces_the_first_also_with_an_earlier_end(self, frozen: FrozenNode) -> None:
        frozen.freeze(ALPHA, hours=5)
        frozen.freeze(ALPHA, hours=1)
        frozen.clocks.sleep(HOUR - 1)
        assert frozen.is_frozen() and frozen.rows() == 1
        frozen.clocks.sleep(1)
        assert not frozen.is_frozen()

    @pytest.mark.parametrize("hours", [0, -1, 7 * 24 + 0.001, 24 * 365 * 7000])
    def test_an_end_in_the_past_or_after_a_week_is_refused(self, frozen: FrozenNode, hours: float) -> None:
        with pytest.raises(SettingsInvalid, match=r"Cannot freeze until .*: that is (in the past|more than a week ahead)"):
            frozen.freeze(hours=hours)
        assert not frozen.state.exists()

    def test_the_last_moment_of_any_zone_is_refused(self, frozen: FrozenNode) -> None:
        last = datetime.max.replace(tzinfo=timezone(timedelta(hours=-23)))
        with pytest.raises(SettingsInvalid, match="more than a week"):
            freeze(frozen.freezes, (), until=last, reason="x", origin="a")

    @pytest.mark.parametrize("reason", ["", "  ", "\n\t"])
    def test_a_freeze_without_a_reason_is_refused(self, frozen: FrozenNode, reason: str) -> None:
        with pytest.raises(SettingsInvalid, match="no reason"):
            freeze(frozen.freezes, (), until=NOON + timedelta(hours=1), reason=reason, origin="a")

    def test_hostile_text_becomes_one_short_line(self, frozen: FrozenNode) -> None:
        evil = "\x1b[2J\u202e\udcff\n" + "x" * 100_000
        freeze(frozen.freezes, [Server(ALPHA.uuid, evil)], until=NOON + timedelta(hours=1), reason=evil, origin=evil)
        why = frozen.why()
        assert why.isprintable() and len(why) < 3000
        assert frozen.thaw() == [ALPHA.uuid]

    def test_a_journal_of_an_earlier_version_gets_the_table_with_the_first_freeze(self, frozen: FrozenNode) -> None:
        frozen.freeze()
        frozen.thaw()
        frozen.close()
        frozen.execute("DROP TABLE freezes")
        assert frozen.thaw(ALPHA) == [] and not frozen.is_frozen()
        frozen.freeze(BETA)
        assert (frozen.is_frozen(BETA), frozen.is_frozen(ALPHA)) == (True, False)


class TestClocks:
    @pytest.mark.parametrize("days", [-30, -1, 1, 30])
    def test_a_changed_clock_does_not_move_the_end(self, frozen: FrozenNode, days: int) -> None:
        frozen.freeze(ALPHA)
        frozen.clocks.wall += timedelta(days=days)
        frozen.clocks.sleep(HOUR - 1)
        assert frozen.is_frozen()
        frozen.clocks.sleep(1)
        assert not frozen.is_frozen()
        frozen.freezes.end_over()
        assert not frozen.file.exists() and frozen.rows() == 0

    def test_a_freeze_lasts_through_a_reboot_until_its_time(self, frozen: FrozenNode) -> None:
        frozen.freeze(ALPHA)
        frozen.close()
        frozen.clocks.reboot(down=HOUR / 2)
        assert frozen.is_frozen()
        frozen.clocks.sleep(HOUR / 2)
        assert not frozen.is_frozen()

    def test_a_later_freeze_does_not_end_that_of_an_earlier_boot(self, frozen: FrozenNode) -> None:
        frozen.freeze(ALPHA, hours=2)
        frozen.clocks.reboot()
        frozen.freeze(BETA, hours=1)
        # The clock decides for ALPHA, and it was wrong.
        frozen.clocks.wall -= timedelta(hours=10)
        frozen.clocks.sleep(3 * HOUR)
        assert (frozen.is_frozen(ALPHA), frozen.is_frozen(BETA)) == (True, False)

    def test_many_changes_in_any_order_match_the_rules(self, frozen: FrozenNode) -> None:
        """A model of the rules: each freeze ends by its boot's clock, or after another boot by the wall clock."""
        dice, ends = random.Random(7), {}
        for _step in range(300):
            server = dice.choice((ALPHA, BETA))
            match_ = dice.randrange(5)
            if match_ == 0:
                hours = dice.choice((0.5, 1, 3))
                frozen.freeze(server, hours=hours)
                end = frozen.clocks.wall + timedelta(hours=hours)
                ends[server] = (frozen.clocks.boot, frozen.clocks.seconds + hours * HOUR, end)
            elif match_ == 1:
                frozen.thaw(server)
                ends.pop(server, None)
            elif match_ == 2:
                frozen.clocks.wall += timedelta(hours=dice.choice((-2, -1, 1, 2)))
            elif match_ == 3:
                frozen.close()
                frozen.clocks.reboot()
            else:
                frozen.clocks.sleep(dice.choice((60, HOUR)))
            # An end that the clock passed is over, whatever the clock says later.
            ends = {each: end for each, end in ends.items() if _is_before(frozen.clocks, end)}
            assert {each for each in (ALPHA, BETA) if frozen.is_frozen(each)} == set(ends)


def _is_before(clocks: Clocks, end: tuple[str, float, datetime]) -> bool:
    boot, seconds, until = end
    return clocks.seconds < seconds if boot == clocks.boot else clocks.wall < until


class TestFaults:
    def test_a_lost_journal_refuses_until_a_thaw_also_the_supervisor(self, frozen: FrozenNode) -> None:
        frozen.freeze(ALPHA)
        frozen.lose_the_journal()
        assert frozen.why(BETA) == "there may be a freeze, but the journal has lost it; end it on the node with fleet-power thaw"
        with pytest.raises(FreezeUnknown):
            frozen.freezes.current()
        with pytest.raises(FreezeFailed, match="the journal has lost it; end all with fleet-power thaw"):
            frozen.thaw(ALPHA)
        frozen.clocks.sleep(HOUR)
        frozen.freezes.end_over()
        assert frozen.is_frozen(BETA) and frozen.is_frozen(BETA, supervisor=True)
        assert FreezeFacts.read(frozen.freezes).holds_back(BETA.uuid)
        assert frozen.thaw() == [] and not frozen.is_frozen() and not frozen.file.exists()

    def test_a_look_for_a_freeze_ends_those_that_are_over(self, frozen: FrozenNode) -> None:
        frozen.freeze(ALPHA)
        frozen.clocks.sleep(HOUR)
        assert frozen.file.exists() and not frozen.is_frozen()
        assert not frozen.file.exists() and frozen.rows() == 0

    def test_an_unreadable_journal_refuses_and_a_thaw_of_all_works(self, frozen: FrozenNode) -> None:
        frozen.freeze(ALPHA)
        frozen.execute("PRAGMA user_version = 99")
        assert "the journal cannot be read: its schema 99" in frozen.why()
        with pytest.raises(FreezeFailed):
            frozen.freeze(BETA)
        assert frozen.thaw() == [] and not frozen.is_frozen()
        frozen.close()
        frozen.execute("PRAGMA user_version = 1")
        # The row is left, and must not come back with the next freeze.
        assert frozen.rows() == 1 and not frozen.is_frozen()
        frozen.freeze(BETA)
        assert (frozen.is_frozen(ALPHA), frozen.is_frozen(BETA)) == (False, True)

    @pytest.mark.parametrize("make", [lambda path: path.mkdir(), os.mkfifo, lambda path: path.symlink_to("/dev/zero")])
    def test_anything_in_place_of_the_file_stands_for_it(self, frozen: FrozenNode, make: Callable[[Path], object]) -> None:
        frozen.freeze(ALPHA)
        frozen.file.unlink()
        make(frozen.file)
        assert (frozen.is_frozen(ALPHA), frozen.is_frozen(BETA)) == (True, False)

    def test_a_state_directory_without_access_may_have_a_freeze(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def denied(_path: str) -> None:
            raise PermissionError

        monkeypatch.setattr(pauses.os, "lstat", denied)
        assert pauses.may_be_frozen("/state")

    def test_without_a_freeze_a_check_does_not_open_the_journal(self, frozen: FrozenNode) -> None:
        assert frozen.freezes.refusal(ALPHA.uuid) == ""
        assert frozen.opened[-1].store._opened is None


class TestDisk:
    def test_a_full_disk_refuses_a_freeze_and_allows_a_thaw(self, tmp_path: Path, clocks: Clocks) -> None:
        with small_disk(tmp_path / "disk", _DISK) as disk, closing(FrozenNode(disk, clocks)) as node:
            node.freeze(ALPHA)
            fill(disk)
            with pytest.raises(FreezeFailed, match=r"Cannot freeze: the journal cannot be written: .*(full|No space)"):
                node.freeze(BETA)
            assert (node.is_frozen(ALPHA), node.is_frozen(BETA)) == (True, False)
            node.thaw()
            assert not node.is_frozen(ALPHA)

    def test_a_freeze_that_failed_freezes_no_other_server(self, frozen: FrozenNode, monkeypatch: pytest.MonkeyPatch) -> None:
        frozen.freeze(ALPHA)
        frozen.thaw()
        real = module._make_file

        def written(*given: Any, **options: Any) -> None:
            real(*given, **options)
            _refuse()

        monkeypatch.setattr(module, "_make_file", written)
        with pytest.raises(FreezeFailed):
            frozen.freeze(ALPHA)
        assert not frozen.is_frozen(ALPHA) and not frozen.is_frozen(BETA)

    def test_a_nearly_full_disk_never_ends_a_freeze(self, tmp_path: Path, clocks: Clocks) -> None:
        for kibibytes in range(0, 64, 4):
            with small_disk(tmp_path / f"disk{kibibytes}", _DISK) as disk, closing(FrozenNode(disk, clocks)) as node:
                node.freeze(ALPHA, hours=3)
                node.freeze(BETA, hours=1)
                leave_room(disk, kibibytes)
                for _time in range(9):
                    # Each may fail. The earlier end of BETA must not become that of ALPHA.
                    for change in (lambda: node.freeze(BETA, hours=1), lambda: node.thaw(BETA)):
                        try:
                            change()
                        except FreezeFailed:
                            continue
                clocks.sleep(2 * HOUR)
                assert node.is_frozen(ALPHA), kibibytes
                clocks.sleep(2 * HOUR)
                assert not node.is_frozen(ALPHA), kibibytes

    def test_a_failed_second_freeze_leaves_the_first(self, frozen: FrozenNode, monkeypatch: pytest.MonkeyPatch) -> None:
        frozen.freeze(ALPHA, hours=3)
        real = module._make_file
        monkeypatch.setattr(module, "_make_file", lambda *given, **options: (real(*given, **options), _refuse()))
        with pytest.raises(FreezeFailed):
            frozen.freeze(ALPHA, hours=1)
        frozen.clocks.sleep(2 * HOUR)
        assert frozen.is_frozen()
        frozen.clocks.sleep(HOUR)
        assert not frozen.is_frozen()

    def test_a_failed_thaw_of_the_last_server_is_a_thaw(self, frozen: FrozenNode, monkeypatch: pytest.MonkeyPatch) -> None:
        frozen.freeze(ALPHA)
        monkeypatch.setattr(module, "sync_directory", _refuse)
        assert frozen.thaw(ALPHA) == [ALPHA.uuid]
        assert not frozen.is_frozen(ALPHA)


def _refuse(*_given: object) -> None:
    raise OSError(28, "No space left on device")


class TestPowerCut:
    def test_a_freeze_is_on_the_disk_with_its_file_first(self, frozen: FrozenNode, monkeypatch: pytest.MonkeyPatch) -> None:
        freezes, order = frozen.freezes, []
        real = module._make_file
        monkeypatch.setattr(module, "_make_file", lambda *given, **options: (order.append(frozen.rows()), real(*given, **options)))
        freeze(freezes, [ALPHA], until=NOON + timedelta(hours=1), reason="final", origin="a")
        connection = frozen.opened[-1].store._file()._connection
        assert connection is not None and connection.execute("PRAGMA synchronous").fetchone()[0] == 2
        # The rows were not yet committed.
        assert order == [0] and frozen.rows() == 1

    @pytest.mark.parametrize("when", ["sync_directory", "_make_file"])
    def test_a_cut_in_a_change_leaves_a_known_freeze_or_an_unknown_one(self, frozen: FrozenNode, when: str) -> None:
        """The process dies in the middle of a transaction, as in a power cut."""

        def die() -> None:
            real: Any = getattr(module, when)

            def last(*given: Any, **options: Any) -> None:
                real(*given, **options)
                notify()

            setattr(module, when, last)
            frozen.thaw(ALPHA) if when == "sync_directory" else frozen.freeze(BETA)

        frozen.freeze(ALPHA)
        frozen.close()
        pid = os.fork()
        if pid == 0:

            def notify() -> None:
                os._exit(0)

            die()
            os._exit(1)
        assert os.waitpid(pid, 0)[1] == 0
        if when == "sync_directory":
            # The last freeze was to end, and it has.
            assert not frozen.is_frozen(ALPHA)
            frozen.freeze(BETA)
            assert (frozen.is_frozen(ALPHA), frozen.is_frozen(BETA)) == (False, True)
        else:
            assert (frozen.is_frozen(ALPHA), frozen.is_frozen(BETA)) == (True, False)

    def test_a_freeze_that_is_killed_as_it_syncs_leaves_no_other_file(self, frozen: FrozenNode) -> None:
        frozen.freeze(ALPHA)
        frozen.thaw()
        frozen.close()
        pid = os.fork()
        if pid == 0:
            os.fsync = lambda _descriptor: os.kill(os.getpid(), signal.SIGKILL)
            frozen.freeze(ALPHA)
            os._exit(1)
        assert os.waitpid(pid, 0)[1] == signal.SIGKILL
        assert [name for name in os.listdir(frozen.state) if "frozen" in name] == [FREEZE_FILE]
        assert frozen.is_frozen(ALPHA) and frozen.thaw() == []
        assert not frozen.file.exists()

    def test_a_killed_process_leaves_its_freeze(self, frozen: FrozenNode) -> None:
        killed_after(lambda: frozen.freeze(ALPHA) and None)
        assert frozen.is_frozen(ALPHA)


class TestRaces:
    def test_freezes_and_thaws_of_many_processes_leave_the_file_and_the_rows_in_agreement(self, tmp_path: Path) -> None:
        def work(number: int, barrier: Any) -> None:
            dice, server = random.Random(number), Server(f"aaaaaaaa-0000-4000-8000-{number:012}", f"s{number}")
            barrier.wait()
            with closing(Journal(str(tmp_path), str(tmp_path), "no-such-group", SYSTEM_CLOCK)) as journal:
                for _time in range(15):
                    until = SYSTEM_CLOCK.now() + timedelta(hours=dice.choice((1, 2)))
                    freeze(journal.freezes, [server], until=until, reason="race", origin="a")
                    assert journal.freezes.refusal(server.uuid), "a freeze that was written is in force"
                    assert [each.uuid for each in thaw(journal.freezes, [server], origin="a")] == [server.uuid]
                    assert not journal.freezes.refusal(server.uuid)
                    journal.freezes.end_over()
                if number % 2:
                    freeze(journal.freezes, [server], until=until, reason="race", origin="a")

        in_processes(4, work)
        with closing(Journal(str(tmp_path), str(tmp_path), "no-such-group", SYSTEM_CLOCK)) as journal:
            assert [each.name for each in journal.freezes.current()] == ["s1", "s3"]
            assert len(thaw(journal.freezes, None, origin="a")) == 2
        assert not (tmp_path / FREEZE_FILE).exists()

    def test_a_freeze_under_way_refuses_no_other_server(self, frozen: FrozenNode, monkeypatch: pytest.MonkeyPatch) -> None:
        real, written = module._make_file, frozen.state / "written"

        def slowly(*given: Any, **options: Any) -> None:
            real(*given, **options)
            written.touch()
            time.sleep(0.7)

        monkeypatch.setattr(module, "_make_file", slowly)
        freezing = FORK.Process(target=frozen.freeze, args=(ALPHA,))
        freezing.start()
        while not written.exists():
            time.sleep(0.01)
        assert frozen.rows() == 0
        assert (frozen.is_frozen(BETA), frozen.is_frozen(ALPHA)) == (False, True)
        freezing.join()


class TestThaw:
    def test_a_thaw_ends_one_server_or_all(self, frozen: FrozenNode) -> None:
        frozen.freeze(ALPHA, BETA)
        assert frozen.thaw(ALPHA) == [ALPHA.uuid]
        assert (frozen.is_frozen(ALPHA), frozen.is_frozen(BETA)) == (False, True)
        assert frozen.thaw(ALPHA) == []
        frozen.freeze(ALPHA)
        assert frozen.thaw() == [ALPHA.uuid, BETA.uuid]
        assert frozen.thaw() == [] and not frozen.file.exists()

    def test_a_server_of_a_frozen_node_cannot_be_thawed_alone(self, frozen: FrozenNode) -> None:
        frozen.freeze()
        with pytest.raises(Frozen, match=r"Cannot thaw single servers: the node is frozen until .*; end all with fleet-power thaw"):
            frozen.thaw(ALPHA)
        assert frozen.is_frozen(ALPHA)


def ended(fake: FakeNode, action: str, **fields: Any) -> tuple[str, str, bool]:
    result = fake.perform(action, **fields)
    return result.outcome.value, result.code, result.changed


def freeze_now(fake: FakeNode, *, supervisor: bool = False, node: bool = False, hours: float = 1) -> None:
    with closing(fake.build().journal) as journal:
        until = fake.clock.now() + timedelta(hours=hours)
        servers = [] if node else [Server(UUID, "Cobalt")]
        freeze(journal.freezes, servers, until=until, reason="final", origin="bob@ops", supervisor=supervisor)


REFUSED = ("refused", "frozen", False)


class TestActions:
    @pytest.mark.parametrize("node", [False, True])
    @pytest.mark.parametrize("action", ["start", "restart", "limit"])
    def test_a_start_restart_or_change_of_limits_is_refused(self, fake: FakeNode, action: str, node: bool) -> None:
        run = (fake.down() if action == "start" else fake.up()).run
        fake.define(build={"memory_limit": 128})
        freeze_now(fake, node=node)
        for check in (True, False):
            result = fake.perform(action, check=check)
            assert (result.outcome.value, result.code, result.changed) == REFUSED
            assert f"Cannot {action} server {UUID}: {'the node' if node else 'it'} is frozen until " in result.msg
            assert "by bob@ops: final; wait" in result.msg
        assert (fake.seen().run, fake.engine.calls) == (run, [])

    def test_a_frozen_server_can_be_stopped_and_killed(self, fake: FakeNode) -> None:
        fake.up()
        freeze_now(fake, node=True)
        assert ended(fake, "start") == ("unchanged", "", False)
        assert ended(fake, "stop") == ("done", "", True)
        assert ended(fake, "kill") == ("unchanged", "", False)
        assert ended(fake, "start") == REFUSED

    def test_a_freeze_during_the_wait_for_the_lock_refuses_with_nothing_changed(self, fake: FakeNode) -> None:
        run, lock = fake.up().run, fake.lock()
        fake.clock.after(1, lambda: freeze_now(fake))
        fake.clock.after(2, lock.release)
        assert ended(fake, "restart", wait_seconds=30) == REFUSED
        assert (fake.seen().run, fake.live) == (run, True)
        assert ended(fake, "stop")[0] == "done"

    def test_a_freeze_of_limits_during_the_wait_for_the_lock_refuses(self, fake: FakeNode) -> None:
        fake.up()
        fake.define(build={"memory_limit": 128})
        lock = fake.lock()
        fake.clock.after(1, lambda: freeze_now(fake))
        fake.clock.after(2, lock.release)
        assert ended(fake, "limit", wait_seconds=30) == REFUSED

    def test_an_action_that_has_begun_to_stop_finishes(self, fake: FakeNode) -> None:
        run = fake.up().run
        fake.engine.stop_seconds = 5.0
        fake.clock.after(2, lambda: freeze_now(fake))
        assert ended(fake, "restart") == ("done", "", True)
        assert fake.live and fake.seen().run != run

    def test_a_freeze_during_the_wait_for_players_refuses_before_the_next_warning(self, tmp_path: Path) -> None:
        fake = FakeNode(tmp_path)
        played = Played(fake)
        fake.clock.after(90, lambda: freeze_now(fake))
        result = played.ask(warn=[300, 60])
        assert (result.outcome.value, result.code, result.changed) == REFUSED and not played.is_restarted
        assert played.seconds < 100
        assert [line.startswith("Server restart") for line in played.game.heard] == [True, True] and "called off" in played.game.heard[-1]
        fake.close()

    def test_a_freeze_does_not_end_a_waiting_stop(self, tmp_path: Path) -> None:
        fake = FakeNode(tmp_path)
        played = Played(fake)
        freeze_now(fake)
        assert played.ask("stop", warn=[10]).outcome.value == "done"
        fake.close()

    def test_a_restore_passes_and_a_maintenance_starts_the_servers_that_it_has_stopped(self, fake: FakeNode) -> None:
        fake.down()
        freeze_now(fake, supervisor=True)
        record = Path(fake.node.settings.state_directory) / "maintenance.json"
        for phase, servers, refused in (
            ("stop", [UUID], True),
            ("start", ["other"], True),
            ("start", UUID, True),
            ("start", [UUID], False),
        ):
            record.write_text(json.dumps({"phase": phase, "servers": servers}))
            assert (ended(fake, "start", check=True) == REFUSED) is refused
        assert ended(fake, "restart", check=True) == REFUSED
        record.unlink()
        assert ended(fake, "start") == REFUSED
        assert ended(fake, "start", ignores_freeze=True) == ("done", "", True)

    def test_an_unknown_freeze_refuses_and_a_thaw_ends_that(self, fake: FakeNode) -> None:
        fake.down()
        state = Path(fake.node.settings.state_directory)
        (state / FREEZE_FILE).touch()
        assert ended(fake, "start") == REFUSED and ended(fake, "stop") == ("unchanged", "", False)
        thaw(fake.node.journal.freezes, None, origin="a")
        assert ended(fake, "start") == ("done", "", True)


class TestFacts:
    def entry(self, fake: FakeNode) -> tuple[Any, Any, Any]:
        found = describe((), fake.build(), FactOptions(), remember=lambda *_given: None)
        return found.freeze, found.entries[0]["freeze"], found

    def test_the_facts_show_the_freeze_of_the_node_and_of_a_server(self, fake: FakeNode) -> None:
        fake.up()
        assert self.entry(fake)[:2] == (None, None)
        freeze_now(fake)
        node, server, _found = self.entry(fake)
        assert node is None
        assert server.pop("until").startswith("2026-") and server.pop("at").startswith("2026-")
        assert server == {"is_frozen": True, "origin": "bob@ops", "reason": "final", "supervisor": False, "node": False}
        freeze_now(fake, node=True)
        node, server, _found = self.entry(fake)
        assert node == server and node["node"] is True

    def test_an_unreadable_server_still_shows_its_freeze(self, fake: FakeNode) -> None:
        fake.up()
        freeze_now(fake)
        fake.engine.refuse("inspect", status=500)
        assert self.entry(fake)[2].entries[0]["code"] == "engine_error"
        fake.engine.refuse("inspect", status=500)
        assert self.entry(fake)[1]["is_frozen"] is True

    def test_an_unknown_freeze_has_facts_without_values(self, fake: FakeNode) -> None:
        fake.up()
        (Path(fake.node.settings.state_directory) / FREEZE_FILE).touch()
        node, server, found = self.entry(fake)
        assert node == server == dict.fromkeys(("is_frozen", "until", "at", "origin", "reason", "supervisor", "node"))
        assert any(
            "Cannot tell whether servers are frozen: there may be a freeze, but the journal has lost it" in each for each in found.warnings
        )


class TestSupervisor:
    @pytest.fixture
    def watched(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Watched]:
        watched = Watched(tmp_path, monkeypatch)
        monkeypatch.setattr(machine, "boot_id", lambda: watched.boot)
        monkeypatch.setattr(machine, "boot_seconds", lambda: watched.seconds)
        yield watched
        watched.fake.close()

    def test_a_crashed_server_starts_in_spite_of_a_freeze(self, watched: Watched) -> None:
        watched.up()
        freeze_now(watched.fake, node=True)
        watched.end()
        assert watched.await_start() == 0 and watched.fake.live

    def test_a_freeze_with_the_supervisor_puts_the_start_off_until_its_end(self, watched: Watched) -> None:
        watched.up()
        freeze_now(watched.fake, supervisor=True)
        watched.end()
        before = len(watched.fake.node.journal.operations.of(UUID))
        for _try in range(5):
            watched.pass_seconds(5)
            assert not watched.turn()
        supervision = TestFacts().entry(watched.fake)[2].entries[0]["supervision"]
        assert supervision["next_at"] is None
        # No try is recorded, and none grows the wait.
        assert len(watched.fake.node.journal.operations.of(UUID)) == before and watched.row.tries == 0
        watched.pass_seconds(HOUR)
        assert watched.turn()

    def test_a_boot_starts_a_frozen_server(self, watched: Watched) -> None:
        watched.up()
        freeze_now(watched.fake, supervisor=True)
        watched.end()
        watched.boot, watched.seconds = "b2", 10.0
        watched.begin_anew()
        assert watched.turn()


def test_only_the_time_of_a_freeze_ends_it_in_real_time(tmp_path: Path) -> None:
    with closing(Journal(str(tmp_path), str(tmp_path), "no-such-group", SYSTEM_CLOCK)) as journal:
        journal.events.open()
        freeze(journal.freezes, [ALPHA], until=SYSTEM_CLOCK.now() + timedelta(seconds=0.3), reason="short", origin="a")
        assert journal.freezes.refusal(ALPHA.uuid)
        time.sleep(0.4)
        assert not journal.freezes.refusal(ALPHA.uuid)
        journal.freezes.end_over()
        page = journal.events.after(0, 9)
    assert page is not None
    assert [(each.type.value, each.data["servers"]) for each in page.events] == [
        ("node.frozen", [ALPHA.uuid]),
        ("node.thawed", [ALPHA.uuid]),
    ]
    assert page.events[1].data["origin"] is None
