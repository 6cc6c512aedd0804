# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Regard to players of many servers in one call: who waits holds nobody up, and who is told hears it together."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.model.result import Result

from .controller import Controller
from .lab import Lab, wait_until
from .many import assert_all_free, beside, endings, power_each
from .played import GAMES, Played


@pytest.fixture(name="lab")
def lab_with_a_game(lab: Lab) -> Lab:
    lab.write_settings(games=GAMES)
    return lab


def restart(lab: Lab, servers: list[Played], *, max_parallel: int = 0, max_failures: int | None = None, **options: Any) -> list[Result]:
    uuids = [each.uuid for each in servers]
    return power_each(lab, "restart", uuids, max_parallel=max_parallel, max_failures=max_failures, players=options)


def test_who_may_go_at_once_goes_first_and_who_waits_holds_no_slot(lab: Lab) -> None:
    servers = [Played(lab, online) for online in (2, 2, 0, 0)]
    first, second, *empty = servers
    runs = [each.run() for each in servers]
    with beside(
        lambda: restart(lab, servers, max_parallel=1, players_at_most=0, max_delay=600), lambda: first.play(0), lambda: second.play(0)
    ) as call:
        wait_until(lambda: all(each.run() != run for each, run in zip(empty, runs[2:])), "those without players were restarted")
        assert [each.run() for each in servers[:2]] == runs[:2] and all(each.is_waited_for() for each in servers[:2])
        second.play(0)
        wait_until(lambda: second.run() != runs[1], "that whose players left was restarted")
        assert first.is_waited_for()
        first.play(0)
        results = call.result(20)
    assert endings(results) == [("done", "")] * 4
    assert_all_free(lab, [each.uuid for each in servers])


def test_players_are_told_together_and_it_happens_to_all_at_the_same_moment(lab: Lab) -> None:
    servers = [Played(lab) for _each in range(3)]
    results = restart(lab, servers, warn=[4, 2])
    assert endings(results) == [("done", "")] * 3
    for each, result in zip(servers, results):
        assert [line.rpartition(" in ")[0] for line in each.said()] == ["Server restart"] * 2
        assert result.player_wait is not None and result.player_wait.announced is True and result.player_wait.seconds >= 3.5
    moments = [datetime.fromisoformat(each.run()[:19]) for each in servers]
    assert (max(moments) - min(moments)).total_seconds() <= 5


def test_the_module_says_who_played_and_what_was_done_for_their_sake(lab: Lab, controller: Controller) -> None:
    played = Played(lab)
    message = '{server}\n{action} {time}; "stop" {reason}'
    done = controller.power("restart", played.uuid, warn=[2], warn_message=message, reason="new map").server
    assert (done["outcome"], done["players"]["online"], done["player_wait"]["marks"]) == ("done", 2, [2])
    assert played.said() == ['Cobalt restart 2 seconds; "stop" new map']
