# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Players: waits and countdowns before an action, their messages, and the events that end them."""

from __future__ import annotations

import errno
import json
import os
import threading
import zlib
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.actions.players.countdown import call_off_abandoned, call_off_all_abandoned
from ansible_collections.fleet.power.plugins.module_utils._power.actions.turn.perform import perform
from ansible_collections.fleet.power.plugins.module_utils._power.journal.acceptance import Acceptance, accept
from ansible_collections.fleet.power.plugins.module_utils._power.locking.countdown import Countdown, HeldCountdown
from ansible_collections.fleet.power.plugins.module_utils._power.model.clock import timestamp
from ansible_collections.fleet.power.plugins.module_utils._power.model.errors import EngineUnreachable
from ansible_collections.fleet.power.plugins.module_utils._power.model.news import COUNTDOWN, News
from ansible_collections.fleet.power.plugins.module_utils._power.model.players import COUNTING, read_policy
from ansible_collections.fleet.power.plugins.module_utils._power.model.request import PowerAction, Request
from ansible_collections.fleet.power.plugins.module_utils._power.model.result import Result
from ansible_collections.fleet.power.plugins.module_utils._power.model.server import Server
from ansible_collections.fleet.power.tests.unit.fake_engine import NOON
from ansible_collections.fleet.power.tests.unit.fake_node import UUID, FakeGame, FakeNode

WARN = {"warn": [10, 60, 30]}


class Played:
    """A server that is up, with players, and one requested action."""

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
    def announced(self) -> list[str]:
        """The messages to players, each from its time on. A message without a time is empty."""
        return [line.partition(" in ")[2] for line in self.game.heard]

    def assert_called_off(self, rounds: int = 2) -> None:
        """Call off what is abandoned, ``rounds`` times. Assert that the players read it once, and that no record is left."""
        for _each in range(rounds):
            call_off_all_abandoned(self.fake.node)
        assert self.game.heard == ["Server restart called off."] and self.fake.node.countdowns.abandoned(UUID) is None

    def leave_after(self, seconds: float, online: int | None = 0) -> None:
        self.clock.after(seconds, lambda: setattr(self.game, "online", online))


@pytest.fixture
def played(tmp_path: Path) -> Any:
    fake = FakeNode(tmp_path)
    yield Played(fake)
    fake.close()


class TestWarned:
    def test_players_get_each_warning_once_before_the_action(self, played: Played) -> None:
        result = played.ask(**WARN, request={"reason": "update"})
        assert result.outcome.value == "done" and played.is_restarted
        assert played.announced == [
            "1 minute. update",
            "30 seconds. update",
            "10 seconds. update",
        ]
        assert result.player_wait is not None and result.players is not None
        assert result.player_wait.marks == (60, 30, 10) and result.player_wait.announced is True and result.players.online == 3
        assert 60 <= result.player_wait.seconds < 62
        assert played.record is None

    def test_a_refused_action_warns_no_players(self, played: Played) -> None:
        played.fake.define(suspended=True)
        result = played.ask(**WARN)
        assert result.code == "suspended" and not played.game.heard and played.seconds < 1 and played.game.looks == 0


class TestWaiting:
    @pytest.mark.parametrize("online", [3, None])
    def test_an_action_is_refused_at_max_delay(self, played: Played, online: int | None) -> None:
        played.game.online = online
        result = played.ask(players_at_most=0, max_delay=600)
        code, who = ("players_online", "3 play on it") if online else ("players_unknown", "it is unknown how many play on it (")
        assert (result.outcome.value, result.code) == ("refused", code) and 600 <= played.seconds <= 605
        assert "after 600 s" in result.msg and who in result.msg
        assert played.fake.seen().run == played.run and played.record is None and not result.changed

    def test_an_unknown_number_of_players_during_the_countdown_does_not_count_as_few(self, played: Played) -> None:
        played.game.online = 2
        played.leave_after(20, online=None)
        result = played.ask(players_at_most=3, max_delay=600, **WARN)
        assert (result.code, played.is_restarted) == ("players_unknown", False)
        assert len(played.game.heard) == 4 and played.game.heard[-1] == "Server restart called off."

    def test_too_many_new_players_call_the_countdown_off_and_the_wait_continues(self, played: Played) -> None:
        played.leave_after(40, online=9)
        played.leave_after(200, online=0)
        result = played.ask(players_at_most=5, max_delay=600, **WARN)
        assert result.outcome.value == "done" and 200 <= played.seconds <= 207
        assert played.game.heard[2:] == ["Server restart called off."]


class TestEnded:
    def ended(self, played: Played, outcome: str, code: str, *, called_off: bool = True) -> Result:
        result = played.ask(**WARN)
        assert (result.outcome.value, result.code) == (outcome, code), result.msg
        assert (played.game.heard[-1] == "Server restart called off.") is called_off
        assert played.record is None and played.seconds <= 27
        return result

    def test_another_actions_stop_cancels_the_countdown(self, played: Played) -> None:
        played.clock.after(20, lambda: played.fake.perform("stop", origin="bob"))
        played.leave_after(20.5, online=None)
        result = self.ended(played, "cancelled", "superseded", called_off=False)
        assert "by bob" in result.msg and not played.fake.live

    def test_a_kill_cancels_the_countdown(self, played: Played) -> None:
        played.clock.after(20, lambda: played.fake.perform("kill"))
        self.ended(played, "cancelled", "cancelled_by_kill", called_off=False)
        assert not played.fake.live

    def test_a_crash_ends_the_countdown_and_the_restart_continues(self, played: Played) -> None:
        def crash() -> None:
            played.fake.engine.end(UUID)
            played.game.online = None

        played.clock.after(20, crash)
        result = played.ask(**WARN)
        assert result.outcome.value == "done" and played.is_restarted and played.seconds < 30

    def test_a_signal_ends_the_countdown(self, played: Played) -> None:
        played.clock.after(20, lambda: setattr(played.fake, "interrupted", True))
        self.ended(played, "skipped", "interrupted_by_signal")
        assert played.fake.seen().run == played.run

    def test_a_full_disk_ends_the_countdown(self, played: Played, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(*_place: object) -> int:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        played.clock.after(20, lambda: monkeypatch.setattr(os, "pwrite", refuse))
        result = played.ask(**WARN)
        assert (result.outcome.value, result.code, played.fake.seen().run) == ("refused", "lock_unavailable", played.run)
        assert played.announced == ["1 minute.", ""] and "called off" in played.game.heard[1]

    def test_a_server_started_by_another_action_is_not_restarted(self, played: Played) -> None:
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
        "options, heard", [({"players_at_most": 0}, []), ({"players_at_most": 3, "max_delay": 90, "warn": [5]}, [1, 1])]
    )
    def test_new_players_during_the_lock_wait_prevent_the_action(self, played: Played, options: dict[str, Any], heard: list[int]) -> None:
        played.game.online = 0 if not heard else 2
        lock = played.fake.lock("start")
        played.leave_after(20, online=9)
        played.clock.after(60, lock.release)
        result = played.ask(**options, request={"wait_seconds": 300})
        assert (result.code, played.is_restarted, result.changed) == ("players_online", False, False)
        assert "by the time it had the lock" in result.msg and len(played.game.heard) == len(heard)


class TestSameKey:
    """Two requests with one key, as from a resumed rolling run."""

    def begin(self, played: Played) -> tuple[Request, HeldCountdown]:
        first = played.fake.request("restart", players=read_policy("restart", True, WARN), idempotency_key="run-1", reason="run-1: x")
        held = played.fake.node.countdowns.begin(UUID, first, played.run, since=timestamp(NOON), due=timestamp(NOON))
        held.write()
        return first, held

    def test_the_second_request_waits_for_the_first_and_repeats_no_warning(self, played: Played) -> None:
        first, held = self.begin(played)
        assert played.fake.node.countdowns.abandoned(UUID) is None

        def go_on() -> None:
            held.release()
            perform(replace(first, players=None), played.fake.node)

        played.clock.after(40, go_on)
        result = played.ask(**WARN, request={"idempotency_key": "run-1", "reason": "run-1: x"})
        assert result.outcome.value == "unchanged" and "under the same key" in result.msg and not played.game.heard
        assert 40 <= played.seconds < 45

    def test_the_second_request_takes_over_after_the_first_gave_up(self, played: Played) -> None:
        played.clock.after(40, self.begin(played)[1].release)
        result = played.ask(**WARN, request={"idempotency_key": "run-1", "reason": "run-1: x"})
        assert result.outcome.value == "done" and played.announced == [
            "20 seconds. x",
            "10 seconds. x",
        ]


class TestAbandoned:
    """A killed process had warned the players. The next process calls the action off."""

    def test_the_call_off_is_sent_once(self, played: Played) -> None:
        _abandon(played, "another", last_mark=30, left=18)
        server = Server(UUID, "Cobalt")
        for _each in range(2):
            call_off_abandoned(played.fake.node, server)
        played.assert_called_off(rounds=0)

    def test_a_call_off_without_its_game_is_sent_later(self, played: Played, monkeypatch: pytest.MonkeyPatch) -> None:
        def unreachable(*_unused: object) -> None:
            raise EngineUnreachable("no answer")

        _abandon(played, "another", last_mark=30, left=18)
        with monkeypatch.context() as fault:
            fault.setattr(played.fake.games, "of", unreachable)
            call_off_all_abandoned(played.fake.node)
        played.assert_called_off()

    def test_a_call_off_that_the_game_may_have_taken_is_sent_three_times_at_most(
        self, played: Played, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        _abandon(played, "another", last_mark=3000, left=2990)
        monkeypatch.setattr(played.game, "announce", lambda text: played.game.heard.append(text) or "no answer")
        for _each in range(5):
            call_off_all_abandoned(played.fake.node)
        assert played.game.heard == ["Server restart called off."] * 3 and played.fake.node.countdowns.abandoned(UUID) is None

    @pytest.mark.parametrize("away, heard", [(590.0, 1), (610.0, 0)])
    def test_a_missing_game_gets_the_call_off_for_ten_minutes(self, played: Played, away: float, heard: int) -> None:
        _abandon(played, "another", last_mark=3000, left=2990)
        played.fake.games.game = None
        for _each in range(2):
            call_off_all_abandoned(played.fake.node)
        played.clock.sleep(away)
        played.fake.games.game = played.game
        call_off_all_abandoned(played.fake.node)
        assert len(played.game.heard) == heard and played.fake.node.countdowns.abandoned(UUID) is None

    def test_a_call_off_that_the_game_did_not_take_is_sent_again(self, played: Played, monkeypatch: pytest.MonkeyPatch) -> None:
        _abandon(played, "another", last_mark=30, left=18)
        with monkeypatch.context() as fault:
            fault.setattr(played.game, "announce", lambda _text: "refuses the RCON password")
            call_off_all_abandoned(played.fake.node)
        played.assert_called_off()


class TestTakenOver:
    """A killed process had warned the players. The next action takes over its record."""

    def test_the_call_off_is_sent_after_an_action_with_a_silent_game(self, played: Played) -> None:
        _abandon(played, "another", last_mark=3000, left=2990)
        played.game.deaf = "refuses the RCON password"
        assert played.ask(players_at_most=0, max_delay=1).code == "players_online"
        played.game.deaf = ""
        played.assert_called_off()

    def test_the_call_off_is_sent_after_an_action_without_the_game(self, played: Played) -> None:
        _abandon(played, "another", last_mark=3000, left=2990)
        played.fake.games.game = None
        assert played.ask(players_at_most=0, max_delay=60).code == "players_unknown"
        played.fake.games.game = played.game
        played.assert_called_off()

    def test_a_waiting_action_sends_the_call_off_again(self, played: Played) -> None:
        _abandon(played, "another", last_mark=3000, left=2990)
        played.game.deaf = "refuses the RCON password"
        played.clock.after(2, lambda: setattr(played.game, "deaf", ""))
        played.leave_after(60)
        assert played.ask("stop", players_at_most=0, max_delay=600).outcome.value == "done"
        played.assert_called_off(rounds=0)


class TestResumed:
    """Another process continues an accepted action whose process died during the wait for players."""

    @pytest.mark.parametrize("last_mark", [0, 60])
    def test_another_restart_cancels_the_action(self, played: Played, last_mark: int) -> None:
        request = played.fake.request("restart", players=read_policy("restart", True, WARN))
        _abandon(played, request.operation, last_mark=last_mark, left=40)
        played.clock.sleep(1)
        played.fake.perform("restart")
        heard, run = len(played.game.heard), played.fake.seen().run
        result = perform(request, played.fake.node)
        assert (result.outcome.value, result.code, played.fake.seen().run) == ("cancelled", "superseded", run)
        assert len(played.game.heard) == heard

    def test_a_server_stopped_in_between_is_not_started(self, played: Played) -> None:
        request = played.fake.request("restart", players=read_policy("restart", True, WARN))
        _abandon(played, request.operation, last_mark=60, left=40)
        played.clock.sleep(1)
        played.fake.perform("stop")
        result = perform(request, played.fake.node)
        assert (result.outcome.value, result.code, played.fake.seen().live) == ("cancelled", "superseded", False)

    @pytest.mark.parametrize("action", ["restart", "stop"])
    def test_another_action_cancels_it_also_after_it_was_called_off(self, played: Played, action: str) -> None:
        """The shim's process was down for longer than the countdown, and the acceptance has not expired."""
        request, node = played.fake.request("restart", players=read_policy("restart", True, WARN)), played.fake.node
        accepted = Acceptance(request.operation, Server(UUID), PowerAction.RESTART, "", NOON, NOON, 300, NOON)
        accept(node.journal, [accepted])
        _abandon(played, request.operation, last_mark=30, left=-40)
        for _each in range(2):
            call_off_all_abandoned(node)
        assert len(played.game.heard) == 1
        played.clock.sleep(1)
        played.fake.perform(action)
        live = played.fake.seen().live
        result = perform(request, node)
        assert (result.outcome.value, result.code, played.fake.seen().live) == ("cancelled", "superseded", live)
        call_off_all_abandoned(node)
        assert node.countdowns.abandoned(UUID) is None


class TestAllAbandoned:
    @pytest.mark.parametrize("left, heard", [(18.0, 0), (-20.0, 0), (-40.0, 1)])
    def test_an_accepted_countdown_is_called_off_only_when_its_process_is_overdue(self, played: Played, left: float, heard: int) -> None:
        _abandon(played, "accepted", last_mark=30, left=left)
        now, node = NOON, played.fake.node
        accept(node.journal, [Acceptance("accepted", Server(UUID), PowerAction.RESTART, "", now, now, 30, now)])
        call_off_all_abandoned(node)
        assert len(played.game.heard) == heard
        call_off_all_abandoned(node)
        assert len(played.game.heard) == heard


class TestRecord:
    @pytest.mark.parametrize(
        "fields",
        [{"last_mark": "x"}, {"due": 5}, {"pid": "x"}, {"pid": None}, {"online": True}, {"reason": []}, {"action": 7}, {"pid": 1.5}],
    )
    def test_a_record_with_invalid_fields_is_ignored(self, played: Played, fields: dict[str, Any]) -> None:
        _abandon(played, "another", last_mark=30, left=18)
        file = Path(played.fake.node.settings.lock_directory) / f"{UUID}.countdown"
        held = {name: value for name, value in json.loads(file.read_text()).items() if name != "check"}
        body = json.dumps({**held, **fields}, separators=(",", ":")).encode()
        file.write_bytes((body[:-1] + b',"check":"%08x"}' % zlib.crc32(body)).ljust(1024))
        call_off_all_abandoned(played.fake.node)
        assert played.record is None and not played.game.heard
        assert played.ask(**WARN).outcome.value == "done"

    def test_a_concurrent_call_off_does_not_refuse_a_new_countdown(self, played: Played) -> None:
        _abandon(played, "another", last_mark=30, left=18)
        countdowns = played.fake.node.countdowns
        held = countdowns.take_abandoned(UUID)
        assert held is not None
        threading.Timer(0.3, held.release).start()
        mine = countdowns.begin(UUID, played.fake.request("restart"), played.run, since=timestamp(NOON), due=timestamp(NOON))
        assert mine.found is None
        mine.release()

    def test_readers_see_origin_end_and_players_of_a_countdown(self, played: Played) -> None:
        seen: list[Countdown | None] = []
        played.clock.after(20, lambda: seen.append(played.record))
        played.ask(**WARN)
        assert seen[0] is not None and (seen[0].phase, seen[0].online, seen[0].last_mark) == (COUNTING, 3, 60)
        assert seen[0].facts()["due"].startswith("2026-03-01T12:01:0") and seen[0].facts()["origin"] == "alice@web1"

    def test_another_process_continues_the_countdown_of_the_same_action(self, played: Played) -> None:
        request = played.fake.request("restart", players=read_policy("restart", True, WARN))
        _abandon(played, request.operation, last_mark=30, left=18)
        result = perform(request, played.fake.node)
        assert result.outcome.value == "done" and played.announced == ["10 seconds."]
        assert result.player_wait is not None and 17 <= result.player_wait.seconds <= 19

    @pytest.mark.parametrize("seconds", [20.0, 31.0, 60.0])
    def test_an_action_ended_by_a_signal_keeps_its_countdown_record(self, played: Played, seconds: float) -> None:
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


def _abandon(played: Played, operation: str, *, last_mark: int, left: float) -> None:
    """Leave the record of a process that died in the middle of a countdown."""
    countdowns, clock = played.fake.node.countdowns, played.clock
    request = played.fake.request("restart", operation=operation)
    due = timestamp(clock.now() + timedelta(seconds=left))
    held = countdowns.begin(UUID, request, played.run, since=timestamp(clock.now()), due=due)
    held.write(phase=COUNTING, last_mark=last_mark, pid_start=1)
    held.release(keep=True)


def test_the_news_of_a_countdown_names_its_missing_game_profile(played: Played) -> None:
    heard: list[News] = []
    played.fake.games.game = None
    caller = replace(played.fake.node.caller, listener=heard.append)
    perform(played.fake.request("restart", players=read_policy("restart", True, WARN)), replace(played.fake.node, caller=caller))
    assert [news.why for news in heard if news.phase == COUNTDOWN] == ["without warnings: no game profile"]


class TestCheckMode:
    def test_a_dry_run_refuses_an_action_that_would_end_at_max_delay(self, played: Played) -> None:
        played.fake.games.game = None
        result = played.ask(players_at_most=0, max_delay=5, request={"check": True})
        assert (result.outcome.value, result.code, played.seconds) == ("refused", "players_unknown", 0)
        assert "its players cannot be counted (no game profile; set settings.meta.game" in result.msg
        assert result.msg.endswith("): it would be skipped after 5 s")
        # The action proceeds at max_delay.
        assert played.ask(players_at_most=0, max_delay=5, on_max_delay="proceed", request={"check": True}).outcome.value == "done"

    def test_a_dry_run_counts_players_without_a_warning_or_wait(self, played: Played) -> None:
        result = played.ask(**WARN, request={"check": True})
        assert result.outcome.value == "done" and result.players is not None and result.players.online == 3
        assert played.seconds == 0 and not played.game.heard and played.record is None
