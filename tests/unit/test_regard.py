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
from ansible_collections.fleet.power.plugins.module_utils._power.model.news import COUNTDOWN, PLAYERS, News
from ansible_collections.fleet.power.plugins.module_utils._power.model.players import COUNTING, WAITING, read_policy
from ansible_collections.fleet.power.plugins.module_utils._power.model.request import PowerAction, Request
from ansible_collections.fleet.power.plugins.module_utils._power.model.result import Outcome, Result
from ansible_collections.fleet.power.plugins.module_utils._power.model.server import Server
from ansible_collections.fleet.power.tests.unit.docs_support import GUIDES, csv_tables, literals
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
        documented = {literals(row[0])[0]: literals(row[2]) for row in csv_tables(GUIDES / "events_guide.rst")["Events"]}
        assert {"server", *begun.data} == set(documented["countdown.begun"])

    def test_on_an_empty_server_it_happens_at_once_and_nobody_is_told(self, played: Played) -> None:
        played.game.online = 0
        result = played.ask(**WARN)
        assert result.outcome.value == "done" and not played.game.heard
        assert result.player_wait is not None and result.player_wait.seconds < 1 and result.player_wait.announced is None

    def test_players_who_leave_end_the_rest_of_it_within_5_s(self, played: Played) -> None:
        played.leave_after(32)
        result = played.ask(**WARN)
        assert result.outcome.value == "done" and len(played.game.heard) == 2
        assert result.player_wait is not None and 32 <= result.player_wait.seconds <= 37.1

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

    def test_without_a_profile_nobody_is_asked_or_told_and_it_waits_as_long(self, played: Played) -> None:
        played.fake.games.game = None
        result = played.ask(**WARN)
        assert result.outcome.value == "done" and result.player_wait is not None
        assert result.player_wait.seconds >= 60 and result.player_wait.announced is False
        assert len([each for each in result.warnings if "neither asked nor told" in each]) == 1

    def test_what_would_be_refused_warns_nobody(self, played: Played) -> None:
        played.fake.define(suspended=True)
        result = played.ask(**WARN)
        assert result.code == "suspended" and not played.game.heard and played.seconds < 1 and played.game.looks == 0

    def test_what_is_refused_at_the_end_is_called_off_and_players_are_told(self, played: Played) -> None:
        played.clock.after(20, lambda: played.fake.define(suspended=True))
        result = played.ask(**WARN)
        assert result.code == "suspended" and played.game.heard[-1] == "Server restart called off." and len(played.game.heard) == 4
        assert played.record is None and played.fake.seen().run == played.run

    def test_what_fails_after_an_image_was_pulled_is_called_off_too(self, played: Played) -> None:
        played.fake.configure(docker={"pull": "always", "network": {"network_mode": "none"}})
        played.fake.engine.refuse("create", "no space left on device")
        result = played.ask(**WARN)
        assert result.code == "preboot_failed" and result.changed and played.fake.seen().run == played.run
        assert played.game.heard[-1] == "Server restart called off."

    def test_the_message_has_reason_and_server_and_no_key_of_a_deployment(self, played: Played) -> None:
        message = "{server}: {action} in {time}: {reason} {other} {0}"
        played.ask(warn=[5], warn_message=message, request={"reason": "deploy-7: new map", "once": "deploy-7"})
        assert played.game.heard == ["Cobalt: restart in 5 seconds: new map {other} {0}"]

    def test_a_server_that_is_down_is_started_without_a_wait(self, played: Played) -> None:
        played.fake.engine.end(UUID)
        assert played.ask(**WARN).outcome.value == "done" and played.game.looks == 0


class TestWaiting:
    def test_it_waits_until_few_enough_play(self, played: Played) -> None:
        played.leave_after(100, online=1)
        result = played.ask(players_at_most=1, max_delay=600)
        assert result.outcome.value == "done" and 100 <= played.seconds <= 107 and not played.game.heard

    def test_it_looks_every_5_s_at_most(self, played: Played) -> None:
        played.leave_after(100)
        played.ask(players_at_most=0, max_delay=600)
        assert played.game.looks <= 100 / 5 + 3

    @pytest.mark.parametrize("online", [3, None])
    def test_at_max_delay_it_is_refused(self, played: Played, online: int | None) -> None:
        played.game.online = online
        result = played.ask(players_at_most=0, max_delay=600)
        code, who = ("players_online", "3 play on it") if online else ("players_unknown", "it is unknown how many play on it (")
        assert (result.outcome.value, result.code) == ("refused", code) and 600 <= played.seconds <= 605
        assert "after 600 s" in result.msg and who in result.msg
        assert played.fake.seen().run == played.run and played.record is None and not result.changed

    def test_only_empty_ones_are_not_waited_for(self, played: Played) -> None:
        result = played.ask(players_at_most=0)
        assert result.code == "players_online" and played.seconds < 1

    @pytest.mark.parametrize("online", [3, None])
    def test_or_it_goes_on_at_max_delay_after_the_whole_countdown(self, played: Played, online: int | None) -> None:
        played.game.online = online
        result = played.ask("stop", players_at_most=0, max_delay=600, on_max_delay="proceed", **WARN)
        assert result.outcome.value == "done" and len(played.game.heard) == 3
        assert result.player_wait is not None and 600 <= result.player_wait.seconds <= 602

    def test_few_enough_are_still_told(self, played: Played) -> None:
        result = played.ask(players_at_most=5, max_delay=600, **WARN)
        assert result.outcome.value == "done" and len(played.game.heard) == 3 and 60 <= played.seconds < 65

    def test_a_game_that_falls_silent_in_the_countdown_is_not_taken_for_few_enough(self, played: Played) -> None:
        played.game.online = 2
        played.leave_after(20, online=None)
        result = played.ask(players_at_most=3, max_delay=600, **WARN)
        assert (result.code, played.is_restarted) == ("players_unknown", False)
        assert len(played.game.heard) == 4 and played.game.heard[-1] == "Server restart called off."

    def test_a_countdown_as_long_as_the_wait_may_still_begin_a_moment_after_the_request(self, played: Played) -> None:
        asked = replace(
            played.fake.request("restart"), players=read_policy("restart", True, {"players_at_most": 5, "max_delay": 60, **WARN})
        )
        played.clock.sleep(1)
        assert perform(asked, played.fake.node).outcome.value == "done" and len(played.game.heard) == 3

    def test_more_who_come_call_it_off_and_it_waits_on(self, played: Played) -> None:
        played.leave_after(40, online=9)
        played.leave_after(200, online=0)
        result = played.ask(players_at_most=5, max_delay=600, **WARN)
        assert result.outcome.value == "done" and 200 <= played.seconds <= 207
        assert played.game.heard[2:] == ["Server restart called off."]

    def test_whoever_watches_sees_that_it_waits_again_and_until_when(self, played: Played) -> None:
        news: list[tuple[str, str | None]] = []
        seen: list[Countdown | None] = []
        played.leave_after(58, online=9)
        played.clock.after(70, lambda: seen.append(played.record))
        played.leave_after(200, online=0)
        caller = replace(played.fake.node.caller, listener=lambda told: news.append((told.phase, told.deadline)))
        played.fake.node = replace(played.fake.node, caller=caller)
        played.ask(players_at_most=5, max_delay=600, **WARN)
        of_players = [each for each in news if each[0] in (PLAYERS, COUNTDOWN)]
        assert [phase for phase, _deadline in of_players] == [PLAYERS, COUNTDOWN, PLAYERS]
        assert seen[0] is not None and (seen[0].phase, seen[0].due) == (WAITING, of_players[0][1])
        assert seen[0].due[:19] == of_players[2][1][:19] == "2026-03-01T12:10:00"

    def test_whoever_watches_sees_why_nobody_can_be_counted(self, played: Played) -> None:
        news: list[News] = []
        played.fake.games.game = None
        played.fake.node = replace(played.fake.node, caller=replace(played.fake.node.caller, listener=news.append))
        result = played.ask(players_at_most=0, max_delay=600)
        (told,) = (each for each in news if each.phase == PLAYERS)
        assert told.line()["why"] == "nothing says what is played there" and result.players is not None
        assert result.players.why.startswith(told.why) and told.why in result.warnings[0]

    def test_one_who_comes_and_goes_has_players_told_once_a_minute_at_most(self, played: Played) -> None:
        played.game.online = 5
        for each in range(60):
            played.leave_after(10 + 10 * each, online=6 - each % 2)
        result = played.ask(players_at_most=5, max_delay=600, **WARN)
        assert result.code == "players_online" and len(played.game.heard) <= 2 * 600 / 60

    def test_the_end_of_the_time_counts_from_the_request(self, played: Played) -> None:
        asked = replace(played.fake.request("stop"), players=read_policy("stop", True, {"players_at_most": 0, "max_delay": 100}))
        played.clock.sleep(60)
        began = played.clock.monotonic()
        assert perform(asked, played.fake.node).code == "players_online"
        assert 40 <= played.clock.monotonic() - began <= 45


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

    def test_a_stop_by_somebody_else_while_its_image_is_pulled(self, played: Played, monkeypatch: pytest.MonkeyPatch) -> None:
        played.fake.define(container={"image": "game:2"})
        images = played.fake.engine.images
        pull, stops = images.pull, iter(["stop"])

        def pull_long(*arguments: Any) -> None:
            for action in stops:
                played.clock.sleep(1)
                assert played.fake.perform(action).outcome.value == "done"
            pull(*arguments)

        monkeypatch.setattr(images, "pull", pull_long)
        result = played.ask(**WARN)
        assert (result.outcome.value, result.code, played.fake.seen().live) == ("cancelled", "superseded", False)

    def test_a_restart_by_somebody_else(self, played: Played) -> None:
        played.clock.after(20, lambda: played.fake.perform("restart", origin="bob"))
        played.leave_after(20.5, online=None)
        result = self.ended(played, "cancelled", "superseded", told=False)
        assert "by bob" in result.msg and played.fake.live

    def test_a_restart_at_the_engine_is_nobodys_who_acted_before(self, played: Played) -> None:
        def restart() -> None:
            played.fake.engine.end(UUID)
            played.fake.engine.change(UUID, live=True, started_at="2026-03-01T12:00:20.000000001Z")
            played.game.online = None

        played.clock.after(20, restart)
        assert " by " not in self.ended(played, "cancelled", "superseded", told=False).msg

    def test_a_kill(self, played: Played) -> None:
        played.clock.after(20, lambda: played.fake.perform("kill"))
        self.ended(played, "cancelled", "cancelled_by_kill", told=False)
        assert not played.fake.live

    def test_a_kill_ends_the_countdown_of_a_stop(self, played: Played) -> None:
        played.clock.after(20, lambda: played.fake.perform("kill"))
        assert played.ask("stop", **WARN).code == "superseded"

    def test_a_crash_lets_a_restart_go_on_at_once(self, played: Played) -> None:
        def crash() -> None:
            played.fake.engine.end(UUID)
            played.game.online = None

        played.clock.after(20, crash)
        result = played.ask(**WARN)
        assert result.outcome.value == "done" and played.is_restarted and played.seconds < 30

    def test_one_that_crashed_is_not_refused_at_the_end_for_players_that_nobody_can_count(self, played: Played) -> None:
        played.fake.games.game = None
        played.clock.after(20, lambda: played.fake.engine.end(UUID))
        assert played.ask(players_at_most=0, max_delay=60).outcome.value == "done" and played.is_restarted and played.seconds < 66

    def test_a_start_of_the_supervisor_after_a_crash_is_not_undone(self, played: Played) -> None:
        def crash() -> None:
            played.fake.engine.end(UUID)
            played.fake.perform("start", origin="supervisor")
            played.game.online = None

        played.clock.after(20, crash)
        self.ended(played, "cancelled", "superseded", told=False)

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

    def test_the_sentence_on_the_first_is_whole(self, played: Played) -> None:
        others: list[Result] = []
        origin = "root@vm (ad hoc), of a name that is longer than what is shown of a word"
        played.clock.after(20, lambda: others.append(played.fake.perform("restart", players=read_policy("restart", True, WARN))))
        until = timestamp(played.clock.now() + timedelta(seconds=60))
        since = timestamp(played.clock.now())
        played.ask(players_at_most=0, max_delay=60, request={"origin": origin})
        assert others[0].msg == (
            f"Cannot restart server {UUID}: a restart by {origin} waits for its players already, since {since} and until {until} at most; "
            "wait for its end, or act without regard to players, which calls it off"
        )

    def test_a_start_that_finds_it_up_changes_nothing(self, played: Played) -> None:
        (played.fake.root / "state" / "journal.sqlite").unlink()
        played.fake.node = played.fake.build()
        played.clock.after(20, lambda: played.fake.perform("start", origin="bob"))
        played.leave_after(21, online=None)
        assert played.ask(**WARN).outcome.value == "done" and len(played.game.heard) == 3

    def test_a_server_that_was_down_and_is_started_before_its_turn_is_left_to_its_players(self, played: Played) -> None:
        played.fake.engine.end(UUID)
        lock = played.fake.lock("start")

        def start() -> None:
            lock.release()
            played.fake.perform("start")

        played.clock.after(3, start)
        result = played.ask(players_at_most=0, request={"wait_seconds": 30})
        assert (result.outcome.value, result.code) == ("cancelled", "superseded") and played.fake.live
        assert result.stop is None

    def test_a_restart_by_somebody_else_who_has_the_lock_already_is_enough(self, played: Played) -> None:
        played.game.online = 0
        lock = played.fake.lock("restart")

        def restart() -> None:
            lock.release()
            played.fake.perform("restart", origin="bob")

        played.clock.after(3, restart)
        result = played.ask(players_at_most=0, request={"wait_seconds": 30})
        assert (result.outcome.value, result.code) == ("cancelled", "superseded")

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

    def test_a_restart_without_regard_goes_its_way_meanwhile(self, played: Played) -> None:
        others: list[Result] = []
        played.clock.after(20, lambda: others.append(played.fake.perform("restart")))
        assert played.ask(**WARN).code == "superseded"
        assert others[0].outcome.value == "done"


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

    def test_one_whose_key_only_begins_as_its_own_is_another(self, played: Played) -> None:
        first = played.fake.request("restart", once="run-10", reason="run-10: x")
        with_record(played, first)
        assert played.ask(**WARN, request={"once": "run-1", "reason": "run-1: x"}).code == "countdown_running"

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

    def test_nobody_in_another_run_is_told(self, played: Played) -> None:
        _abandon(played, "another", told=30, left=18)
        played.fake.perform("restart")
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

    def test_where_nobody_acted_meanwhile_it_goes_on(self, played: Played) -> None:
        assert self.resumed(played, told=60, left=40).outcome.value == "done"

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

    def test_a_run_that_ended_by_itself_meanwhile_needs_no_regard(self, played: Played) -> None:
        request = played.fake.request("restart", players=read_policy("restart", True, WARN))
        _abandon(played, request.operation, told=60, left=40)
        played.fake.engine.end(played.run.container, 3)
        assert perform(request, played.fake.node).outcome.value == "done"


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

    def test_what_was_accepted_and_has_ended_otherwise_is_not_left(self, played: Played) -> None:
        _abandon(played, "accepted", told=30, left=18)
        now, node = NOON, played.fake.node
        accept(node.journal, [Acceptance("accepted", Server(UUID), PowerAction.RESTART, "", now, now, 30, now)])
        node.journal.operations.end(Result(Server(UUID), PowerAction.RESTART, Outcome.FAILED, "accepted", now, now, code="expired"))
        call_off_all_abandoned(node)
        assert len(played.game.heard) == 1

    def test_where_the_journal_cannot_tell_it_is_left(self, played: Played, monkeypatch: pytest.MonkeyPatch) -> None:
        _abandon(played, "perhaps accepted", told=30, left=18)
        monkeypatch.setattr(played.fake.node.journal.operations, "waits", lambda _operation: None)
        call_off_all_abandoned(played.fake.node)
        assert not played.game.heard

    def test_files_of_others_and_countdowns_under_way_are_none(self, played: Played) -> None:
        countdowns, directory = played.fake.node.countdowns, Path(played.fake.node.settings.lock_directory)
        held = countdowns.begin(UUID, played.fake.request("restart"), played.run, since=timestamp(NOON), due=timestamp(NOON))
        held.write()
        (directory / "x.countdown").write_text("x")
        (directory / f"{UUID.upper()}.countdown").write_text("x")
        assert countdowns.all_abandoned() == {}
        held.release()


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

    def test_words_that_take_many_bytes_leave_room_for_the_rest(self, played: Played) -> None:
        countdowns, wide = played.fake.node.countdowns, "\U0001f600" * 120
        request = replace(played.fake.request("restart"), origin=wide, reason=wide)
        held = countdowns.begin(UUID, request, played.run, since=timestamp(NOON), due=timestamp(NOON))
        held.write(phase=COUNTING, told=30, why=wide)
        found = countdowns.running(UUID)
        held.release()
        assert found is not None and (found.phase, found.told, found.run, found.origin) == (COUNTING, 30, played.run, "")

    def test_the_same_action_in_another_process_goes_on_where_the_first_was(self, played: Played) -> None:
        request = played.fake.request("restart", players=read_policy("restart", True, WARN))
        _abandon(played, request.operation, told=30, left=18)
        result = perform(request, played.fake.node)
        assert result.outcome.value == "done" and played.told == ["10 seconds."]
        assert result.player_wait is not None and 17 <= result.player_wait.seconds <= 19

    def test_it_leaves_to_a_third_one_what_players_were_told(self, played: Played) -> None:
        request = played.fake.request("restart", players=read_policy("restart", True, WARN))
        _abandon(played, request.operation, told=30, left=28)
        seen: list[Countdown | None] = []
        played.clock.after(6, lambda: seen.append(played.record))
        perform(request, played.fake.node)
        assert seen[0] is not None and (seen[0].phase, seen[0].told) == (COUNTING, 30)

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

    def test_a_process_that_is_handed_on_leaves_the_record_and_tells_nobody(self, played: Played) -> None:
        caller = replace(played.fake.node.caller, handed_on=lambda: played.clock.monotonic() > played.began + 20)
        request = played.fake.request("restart", players=read_policy("restart", True, WARN))
        played.began = played.clock.monotonic()
        perform(request, replace(played.fake.node, caller=caller))
        assert len(played.game.heard) == 1 and played.record is not None and played.record.told == 60


def with_record(played: Played, request: Request) -> HeldCountdown:
    """Have somebody else wait for its players."""
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

    @pytest.mark.parametrize("online, words", [(None, "its players cannot be counted ("), (3, "3 play on it")])
    def test_what_may_change_while_it_waits_is_a_warning(self, played: Played, online: int | None, words: str) -> None:
        played.game.online = online
        result = played.ask(players_at_most=0, max_delay=5, request={"check": True})
        (warning,) = result.warnings
        assert result.outcome.value == "done" and words in warning
        assert warning.endswith(": it would be left after 5 s if nothing changes until then")
        assert not played.ask(players_at_most=3, max_delay=60, on_max_delay="proceed", **WARN, request={"check": True}).warnings
