# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Regard to players: what an action owes them, decided from options; who waits, who is told, and what ends it."""

from __future__ import annotations

import errno
import json
import os
import threading
import zlib
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.actions.node.limiter import Limiter
from ansible_collections.fleet.power.plugins.module_utils._power.actions.players.call_off import call_off_abandoned, call_off_all_abandoned
from ansible_collections.fleet.power.plugins.module_utils._power.actions.turn.perform import perform
from ansible_collections.fleet.power.plugins.module_utils._power.journal.acceptance import Acceptance, accept
from ansible_collections.fleet.power.plugins.module_utils._power.locking.countdown import Countdown, HeldCountdown
from ansible_collections.fleet.power.plugins.module_utils._power.model.clock import timestamp
from ansible_collections.fleet.power.plugins.module_utils._power.model.errors import CountdownRunning, EngineUnreachable, ImageUnavailable
from ansible_collections.fleet.power.plugins.module_utils._power.model.players import COUNTING, read_policy
from ansible_collections.fleet.power.plugins.module_utils._power.model.request import PowerAction, Request
from ansible_collections.fleet.power.plugins.module_utils._power.model.result import Result
from ansible_collections.fleet.power.plugins.module_utils._power.model.server import Server
from ansible_collections.fleet.power.tests.unit.docs_support import GUIDES, list_tables, literals
from ansible_collections.fleet.power.tests.unit.fake_engine import NOON
from ansible_collections.fleet.power.tests.unit.fake_node import UUID, FakeGame, FakeNode

WARN = {"warn": [10, 60, 30]}


class Played:
    """A server that is up, with players, and one action asked of it."""

    def __init__(self, fake: FakeNode) -> None:
        self.fake = fake
        self.clock = fake.clock
        self.game = FakeGame()
        fake.games.game = self.game
        self.game.online = 3
        self.run = fake.up().run
        self.began = 0.0

    def ask(self, action: str = "restart", request: dict[str, Any] | None = None, **options: Any) -> Result:
        self.began = self.clock.monotonic()
        policy = read_policy(action, True, options)
        return perform(self.fake.request(action, players=policy, **(request or {})), self.fake.node)

    @property
    def seconds(self) -> float:
        return self.clock.monotonic() - self.began

    @property
    def is_restarted(self) -> bool:
        return self.fake.seen().live and self.fake.seen().run != self.run

    @property
    def record(self) -> Countdown | None:
        return self.fake.node.countdowns.running(UUID)

    @property
    def told(self) -> list[str]:
        """What players heard, each from its time on; empty for what named none."""
        return [line.partition(" in ")[2] for line in self.game.heard]

    def leave_after(self, seconds: float, online: int | None = 0) -> None:
        self.clock.after(seconds, lambda: setattr(self.game, "online", online))


@pytest.fixture
def played(tmp_path: Path) -> Any:
    fake = FakeNode(tmp_path)
    yield Played(fake)
    fake.close()


class TestWarned:
    def test_an_image_is_there_before_anybody_is_told(self, played: Played) -> None:
        played.fake.define(container={"image": "game:2"})
        played.fake.engine.fail("pull", ImageUnavailable("no such image"))
        result = played.ask(**WARN)
        assert (result.outcome.value, result.code) == ("refused", "image_unavailable") and not played.game.heard
        told = ("pull", "game:2")
        played.clock.after(30, lambda: played.fake.engine.calls.append(("told", str(len(played.game.heard)))))
        assert played.ask(**WARN).outcome.value == "done"
        assert played.fake.engine.calls.index(told) < played.fake.engine.calls.index(("told", "1"))

    def test_players_are_told_at_each_mark_once_and_then_it_happens(self, played: Played) -> None:
        result = played.ask(**WARN, request={"reason": "update"})
        assert result.outcome.value == "done" and played.is_restarted
        assert played.told == [
            "1 minute. update",
            "30 seconds. update",
            "10 seconds. update",
        ]
        assert result.player_wait is not None and result.players is not None
        assert result.player_wait.marks == (60, 30, 10) and result.player_wait.announced is True and result.players.online == 3
        assert 60 <= result.player_wait.seconds < 62
        assert played.record is None

    def test_receivers_are_told_that_it_has_begun_once_and_of_its_end(self, played: Played) -> None:
        played.fake.node.journal.events.open()
        assert played.ask(**WARN, request={"reason": "update"}).outcome.value == "done"
        page = played.fake.node.journal.events.after(0, 10)
        assert page is not None
        begun, ended = page.events
        assert (begun.type, begun.server, ended.type) == ("countdown.begun", Server(UUID, "Cobalt"), "action.ended")
        assert (begun.data["action"], begun.data["reason"], begun.data["warn"]) == ("restart", "update", [60, 30, 10])
        assert begun.data["players"] == 3
        assert begun.data["operation"] == ended.data["operation"]
        documented = {literals(row[0])[0]: literals(row[2]) for row in list_tables(GUIDES / "events_guide.rst")["Events"]}
        assert {"server", *begun.data} == set(documented["countdown.begun"])

    def test_unknown_is_never_empty(self, played: Played) -> None:
        played.leave_after(2, online=None)
        result = played.ask(**WARN)
        assert result.player_wait is not None and result.player_wait.seconds >= 60 and len(played.game.heard) == 3
        assert result.players is not None and result.players.online is None and result.players.why == "no answer"

    def test_a_game_that_hears_nothing_is_told_of_and_changes_nothing(self, played: Played) -> None:
        played.game.deaf = "its console is closed"
        result = played.ask(**WARN)
        assert result.outcome.value == "done" and result.player_wait is not None and result.player_wait.announced is False
        assert [each for each in result.warnings if "its console is closed" in each] == [
            f"server {UUID}: its players could not be told: its console is closed"
        ]

    def test_a_server_that_is_down_is_started_without_a_wait(self, played: Played) -> None:
        played.fake.engine.end(UUID)
        assert played.ask(**WARN).outcome.value == "done" and played.game.looks == 0


class TestWaiting:
    @pytest.mark.parametrize("online", [3, None])
    def test_at_max_delay_it_is_refused(self, played: Played, online: int | None) -> None:
        played.game.online = online
        result = played.ask(players_at_most=0, max_delay=600)
        code, who = ("players_online", "3 play on it") if online else ("players_unknown", "it is unknown how many play on it (")
        assert (result.outcome.value, result.code) == ("refused", code) and 600 <= played.seconds <= 605
        assert "after 600 s" in result.msg and who in result.msg
        assert played.fake.seen().run == played.run and played.record is None and not result.changed

    def test_a_game_that_falls_silent_in_the_countdown_is_not_taken_for_few_enough(self, played: Played) -> None:
        played.game.online = 2
        played.leave_after(20, online=None)
        result = played.ask(players_at_most=3, max_delay=600, **WARN)
        assert (result.code, played.is_restarted) == ("players_unknown", False)
        assert len(played.game.heard) == 4 and played.game.heard[-1] == "Server restart called off."

    def test_more_who_come_call_it_off_and_it_waits_on(self, played: Played) -> None:
        played.leave_after(40, online=9)
        played.leave_after(200, online=0)
        result = played.ask(players_at_most=5, max_delay=600, **WARN)
        assert result.outcome.value == "done" and 200 <= played.seconds <= 207
        assert played.game.heard[2:] == ["Server restart called off."]


class TestEnded:
    """What ends a wait, and a countdown: each is told of to players who were told, and leaves nothing behind."""

    def ended(self, played: Played, outcome: str, code: str, *, told: bool = True) -> Result:
        result = played.ask(**WARN)
        assert (result.outcome.value, result.code) == (outcome, code), result.msg
        assert (played.game.heard[-1] == "Server restart called off.") is told
        assert played.record is None and played.seconds <= 27
        return result

    def test_a_stop_by_somebody_else(self, played: Played) -> None:
        played.clock.after(20, lambda: played.fake.perform("stop", origin="bob"))
        played.leave_after(20.5, online=None)
        result = self.ended(played, "cancelled", "superseded", told=False)
        assert "by bob" in result.msg and not played.fake.live

    def test_a_kill(self, played: Played) -> None:
        played.clock.after(20, lambda: played.fake.perform("kill"))
        self.ended(played, "cancelled", "cancelled_by_kill", told=False)
        assert not played.fake.live

    def test_a_crash_lets_a_restart_go_on_at_once(self, played: Played) -> None:
        def crash() -> None:
            played.fake.engine.end(UUID)
            played.game.online = None

        played.clock.after(20, crash)
        result = played.ask(**WARN)
        assert result.outcome.value == "done" and played.is_restarted and played.seconds < 30

    def test_a_crashed_server_is_not_refused_for_unknown_players(self, played: Played) -> None:
        played.fake.games.game = None
        played.clock.after(20, lambda: played.fake.engine.end(UUID))
        assert played.ask(players_at_most=0, max_delay=60).outcome.value == "done" and played.is_restarted and played.seconds < 66

    def test_a_signal(self, played: Played) -> None:
        played.clock.after(20, lambda: setattr(played.fake, "interrupted", True))
        self.ended(played, "skipped", "interrupted_by_signal")
        assert played.fake.seen().run == played.run

    def test_a_full_disk(self, played: Played, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(*_place: object) -> int:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        played.clock.after(20, lambda: monkeypatch.setattr(os, "pwrite", refuse))
        result = played.ask(**WARN)
        assert (result.outcome.value, result.code, played.fake.seen().run) == ("refused", "lock_unavailable", played.run)
        assert played.told == ["1 minute.", ""] and "called off" in played.game.heard[1]

    def test_a_second_one_is_refused_and_names_the_first(self, played: Played) -> None:
        others: list[Result] = []
        policy = read_policy("restart", True, WARN)
        played.clock.after(20, lambda: others.append(played.fake.perform("restart", players=policy)))
        assert played.ask(**WARN).outcome.value == "done"
        assert [(each.outcome.value, each.code) for each in others] == [("refused", CountdownRunning.code)]
        assert "a restart by alice@web1 counts down for its players already, and is due at " in others[0].msg
        assert len(played.game.heard) == 3

    def test_a_server_started_before_its_turn_is_left_to_its_players(self, played: Played) -> None:
        played.fake.engine.end(UUID)
        lock = played.fake.lock("start")

        def start() -> None:
            lock.release()
            played.fake.perform("start")

        played.clock.after(3, start)
        result = played.ask(players_at_most=0, request={"wait_seconds": 30})
        assert (result.outcome.value, result.code) == ("cancelled", "superseded") and played.fake.live
        assert result.stop is None

    @pytest.mark.parametrize(
        "options, told", [({"players_at_most": 0}, []), ({"players_at_most": 3, "max_delay": 90, "warn": [5]}, [1, 1])]
    )
    def test_players_who_come_while_it_waits_for_the_lock_keep_it_from_happening(
        self, played: Played, options: dict[str, Any], told: list[int]
    ) -> None:
        played.game.online = 0 if not told else 2
        lock = played.fake.lock("start")
        played.leave_after(20, online=9)
        played.clock.after(60, lock.release)
        result = played.ask(**options, request={"wait_seconds": 300})
        assert (result.code, played.is_restarted, result.changed) == ("players_online", False, False)
        assert "by the time it had the lock" in result.msg and len(played.game.heard) == len(told)


class TestSameKey:
    """The same action, asked for once more under its key, as by a run that is resumed: it waits for the first, and finds it done."""

    def test_it_waits_for_the_first_and_nobody_is_told_twice(self, played: Played) -> None:
        first = played.fake.request("restart", players=read_policy("restart", True, WARN), once="run-1", reason="run-1: x")
        held = played.fake.node.countdowns.begin(UUID, first, played.run, since=timestamp(NOON), due=timestamp(NOON))
        held.write()

        def go_on() -> None:
            held.release()
            perform(replace(first, players=None), played.fake.node)

        played.clock.after(40, go_on)
        result = played.ask(**WARN, request={"once": "run-1", "reason": "run-1: x"})
        assert result.outcome.value == "unchanged" and "under the same key" in result.msg and not played.game.heard
        assert 40 <= played.seconds < 45

    def test_words_too_long_for_the_record_do_not_hide_that_it_is_the_same(self, played: Played) -> None:
        fields = {"once": "выпуск " * 40, "reason": "выпуск " * 40 + ": 東京\ud800" * 40, "origin": "Администратор 🎮" * 20}
        held = with_record(played, played.fake.request("restart", **fields))
        played.clock.after(40, held.release)
        assert played.ask(**WARN, request=fields).outcome.value == "done"

    def test_it_takes_over_where_the_first_gave_up(self, played: Played) -> None:
        first = played.fake.request("restart", players=read_policy("restart", True, WARN), once="run-1", reason="run-1: x")
        held = played.fake.node.countdowns.begin(UUID, first, played.run, since=timestamp(NOON), due=timestamp(NOON))
        held.write()
        played.clock.after(40, held.release)
        result = played.ask(**WARN, request={"once": "run-1", "reason": "run-1: x"})
        assert result.outcome.value == "done" and played.told == [
            "20 seconds. x",
            "10 seconds. x",
        ]


class TestAbandoned:
    """A process that told players and was killed: whoever finds its record tells them that it does not come."""

    def test_players_are_told_once(self, played: Played) -> None:
        _abandon(played, "another", told=30, left=18)
        server = Server(UUID, "Cobalt")
        assert [call_off_abandoned(played.fake.node, server) for _each in range(2)] == [True, False]
        assert played.game.heard == ["Server restart called off."] and played.fake.node.countdowns.abandoned(UUID) is None

    @pytest.mark.parametrize("told, left", [(0, 18), (30, -4000)])
    def test_who_heard_nothing_or_long_ago_is_told_nothing(self, played: Played, told: int, left: float) -> None:
        _abandon(played, "another", told=told, left=left)
        assert call_off_abandoned(played.fake.node, Server(UUID)) and not played.game.heard

    def test_as_long_as_the_engine_cannot_tell_it_stays(self, played: Played) -> None:
        _abandon(played, "another", told=30, left=18)
        played.fake.engine.fail("inspect", EngineUnreachable("gone"))
        assert not call_off_abandoned(played.fake.node, Server(UUID)) and not played.game.heard
        assert played.fake.node.countdowns.abandoned(UUID) is not None


class TestResumed:
    """An action that was accepted, and whose process died while it waited for players; another process goes on with it."""

    def resumed(self, played: Played, action: str = "restart", **abandoned: Any) -> Result:
        request = played.fake.request(action, players=read_policy(action, True, WARN))
        _abandon(played, request.operation, **abandoned)
        played.clock.sleep(1)
        return perform(request, played.fake.node)

    @pytest.mark.parametrize("told", [0, 60])
    def test_another_run_ends_it(self, played: Played, told: int) -> None:
        request = played.fake.request("restart", players=read_policy("restart", True, WARN))
        _abandon(played, request.operation, told=told, left=40)
        played.clock.sleep(1)
        played.fake.perform("restart")
        heard, run = len(played.game.heard), played.fake.seen().run
        result = perform(request, played.fake.node)
        assert (result.outcome.value, result.code, played.fake.seen().run) == ("cancelled", "superseded", run)
        assert len(played.game.heard) == heard

    def test_a_server_that_was_stopped_meanwhile_is_not_started(self, played: Played) -> None:
        request = played.fake.request("restart", players=read_policy("restart", True, WARN))
        _abandon(played, request.operation, told=60, left=40)
        played.clock.sleep(1)
        played.fake.perform("stop")
        result = perform(request, played.fake.node)
        assert (result.outcome.value, result.code, played.fake.seen().live) == ("cancelled", "superseded", False)


class TestAllAbandoned:
    """What a process left that died is called off on all servers, but for what was accepted: another process goes on with that."""

    def test_players_are_told_of_all_that_nobody_goes_on_with(self, played: Played) -> None:
        _abandon(played, "of a module", told=30, left=18)
        for _each in range(2):
            call_off_all_abandoned(played.fake.node)
        assert played.game.heard == ["Server restart called off."]
        assert played.fake.node.countdowns.all_abandoned() == {}

    @pytest.mark.parametrize("left, heard", [(18.0, 0), (-20.0, 0), (-40.0, 1)])
    def test_what_was_accepted_is_left_until_its_process_does_not_come(self, played: Played, left: float, heard: int) -> None:
        _abandon(played, "accepted", told=30, left=left)
        now, node = NOON, played.fake.node
        accept(node.journal, [Acceptance("accepted", Server(UUID), PowerAction.RESTART, "", now, now, 30, now)])
        call_off_all_abandoned(node)
        assert len(played.game.heard) == heard
        assert (node.countdowns.abandoned(UUID) is None) is bool(heard)

    def test_where_the_journal_cannot_tell_it_is_left(self, played: Played, monkeypatch: pytest.MonkeyPatch) -> None:
        _abandon(played, "perhaps accepted", told=30, left=18)
        monkeypatch.setattr(played.fake.node.journal.operations, "waits", lambda _operation: None)
        call_off_all_abandoned(played.fake.node)
        assert not played.game.heard


class TestStaggered:
    """Servers that begin apart: what was seen and said before the wait for the one before is not what counts."""

    def ask(self, played: Played, seconds: float, meanwhile: Callable[[], object] | None = None, **options: Any) -> Result:
        """Ask for a restart of a server that has to wait for so many seconds until it may begin."""
        slot = Limiter(stagger=1).slot()

        def begin_apart(server: str, check_cancelled: Callable[[], None]) -> bool:
            played.clock.sleep(seconds)
            if meanwhile is not None:
                meanwhile()
            return True

        slot.begin_apart = begin_apart  # type: ignore[method-assign]
        played.began = played.clock.monotonic()
        request = played.fake.request("restart", players=read_policy("restart", True, options))
        return perform(request, played.fake.node, slot=slot)

    def test_players_who_come_meanwhile_keep_it_from_happening(self, played: Played) -> None:
        played.game.online = 0
        result = self.ask(played, 600, lambda: setattr(played.game, "online", 2), players_at_most=0)
        assert (result.code, played.is_restarted) == ("players_online", False)

    def test_what_players_are_told_last_is_true(self, played: Played) -> None:
        told_at: list[float] = []
        played.game.announce = lambda _text: told_at.append(played.seconds) or ""  # type: ignore[method-assign]
        assert self.ask(played, 600, **WARN).outcome.value == "done"
        assert told_at[2] >= 600 and played.seconds - told_at[2] == pytest.approx(10, abs=1)


class TestRecord:
    @pytest.mark.parametrize(
        "fields", [{"told": "x"}, {"due": 5}, {"pid": "x"}, {"pid": None}, {"online": True}, {"reason": []}, {"action": 7}, {"pid": 1.5}]
    )
    def test_one_that_holds_what_it_must_not_is_none(self, played: Played, fields: dict[str, Any]) -> None:
        _abandon(played, "another", told=30, left=18)
        file = Path(played.fake.node.settings.lock_directory) / f"{UUID}.countdown"
        held = {name: value for name, value in json.loads(file.read_text()).items() if name != "check"}
        body = json.dumps({**held, **fields}, separators=(",", ":")).encode()
        file.write_bytes((body[:-1] + b',"check":"%08x"}' % zlib.crc32(body)).ljust(1024))
        call_off_all_abandoned(played.fake.node)
        assert played.record is None and not played.game.heard
        assert played.ask(**WARN).outcome.value == "done"

    def test_who_comes_while_what_a_dead_process_left_is_called_off_is_not_refused(self, played: Played) -> None:
        _abandon(played, "another", told=30, left=18)
        countdowns = played.fake.node.countdowns
        held = countdowns.take_abandoned(UUID)
        assert held is not None
        threading.Timer(0.3, held.release).start()
        mine = countdowns.begin(UUID, played.fake.request("restart"), played.run, since=timestamp(NOON), due=timestamp(NOON))
        assert mine.found is None
        mine.release()

    def test_readers_see_who_counts_until_when_and_who_plays(self, played: Played) -> None:
        seen: list[Countdown | None] = []
        played.clock.after(20, lambda: seen.append(played.record))
        played.ask(**WARN)
        assert seen[0] is not None and (seen[0].phase, seen[0].online, seen[0].told) == (COUNTING, 3, 60)
        assert seen[0].facts()["due"].startswith("2026-03-01T12:01:0") and seen[0].facts()["origin"] == "alice@web1"

    def test_the_same_action_in_another_process_goes_on_where_the_first_was(self, played: Played) -> None:
        request = played.fake.request("restart", players=read_policy("restart", True, WARN))
        _abandon(played, request.operation, told=30, left=18)
        result = perform(request, played.fake.node)
        assert result.outcome.value == "done" and played.told == ["10 seconds."]
        assert result.player_wait is not None and 17 <= result.player_wait.seconds <= 19

    def test_what_another_left_is_called_off(self, played: Played) -> None:
        _abandon(played, "another", told=30, left=18)
        played.ask("stop", warn=[5])
        assert played.game.heard[0] == "Server restart called off." and len(played.game.heard) == 2

    def test_what_another_left_long_ago_is_not(self, played: Played) -> None:
        _abandon(played, "another", told=30, left=-4000)
        played.ask(warn=[5])
        assert played.told == ["5 seconds."]

    @pytest.mark.parametrize("seconds", [20.0, 31.0, 60.0])
    def test_one_that_ends_by_a_signal_leaves_it_wherever_it_was(self, played: Played, seconds: float) -> None:
        def over() -> bool:
            return played.clock.monotonic() > began + seconds

        began = played.clock.monotonic()
        caller = replace(played.fake.node.caller, handed_on=over, interrupted=over)
        request = played.fake.request("restart", players=read_policy("restart", True, WARN))
        with played.fake.lock("start"):
            result = perform(request, replace(played.fake.node, caller=caller))
        assert result.code == "interrupted_by_signal"
        assert not any("called off" in line for line in played.game.heard)
        assert played.record is not None and played.record.operation == request.operation


def with_record(played: Played, request: Request) -> HeldCountdown:
    held = played.fake.node.countdowns.begin(UUID, request, played.run, since=timestamp(NOON), due=timestamp(NOON))
    held.write(why="东" * 120)
    return held


def _abandon(played: Played, operation: str, *, told: int, left: float) -> None:
    """Leave the record of a process that has died in the middle of a countdown."""
    countdowns, clock = played.fake.node.countdowns, played.clock
    request = played.fake.request("restart", operation=operation)
    due = timestamp(clock.now() + timedelta(seconds=left))
    held = countdowns.begin(UUID, request, played.run, since=timestamp(clock.now()), due=due)
    held.write(phase=COUNTING, told=told, pid_start=1)
    held.release(keep=True)


class TestCheckMode:
    def test_who_plays_is_told_and_nobody_is_waited_for(self, played: Played) -> None:
        result = played.ask(**WARN, request={"check": True})
        assert result.outcome.value == "done" and result.players is not None and result.players.online == 3
        assert played.seconds == 0 and not played.game.heard and played.record is None

    def test_what_would_not_wait_is_refused(self, played: Played) -> None:
        assert played.ask(players_at_most=2, request={"check": True}).code == "players_online"

    def test_what_would_be_left_since_nobody_can_be_counted_is_refused(self, played: Played) -> None:
        played.fake.games.game = None
        result = played.ask(players_at_most=0, max_delay=5, request={"check": True})
        assert (result.outcome.value, result.code, played.seconds) == ("refused", "players_unknown", 0)
        assert "its players cannot be counted (nothing says what is played there" in result.msg
        assert result.msg.endswith("): it would be left after 5 s")
        # It goes on all the same.
        assert played.ask(players_at_most=0, max_delay=5, on_max_delay="proceed", request={"check": True}).outcome.value == "done"
