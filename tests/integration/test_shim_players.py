# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Actions that wait for players: over HTTP, and of many servers in one call."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.model.result import Result

from .controller import Controller
from .lab import Lab, wait_until
from .many import assert_all_free, beside, endings, power_each
from .played import GAMES, PATIENT, Played
from .shim import Shim, again, shim_on


class PlayedOverHttp(Played):
    def took(self, shim: Shim, action: str, **fields: Any) -> str:
        """Request an action; return the location of its operation."""
        answer = shim.ask("POST", f"/api/servers/{self.uuid}/power", {"action": action, **fields})
        assert answer.status == 202, (answer.status, answer.body)
        return answer.headers["location"]

    def shown(self, shim: Shim) -> dict[str, Any]:
        answer = shim.ask("GET", f"/api/servers/{self.uuid}")
        assert answer.status == 200, answer.body
        found: dict[str, Any] = answer.json
        return found


@pytest.fixture(name="lab")
def lab_with_a_game(lab: Lab) -> Lab:
    lab.write_settings(games=GAMES)
    return lab


def ended(entry: dict[str, Any]) -> tuple[Any, Any]:
    return entry["outcome"], entry.get("code", "")


def test_the_shim_shows_a_countdown_until_a_kill_ends_it(lab: Lab, shim: Shim) -> None:
    played = PlayedOverHttp(lab)
    restart = played.took(shim, "restart", **PATIENT, on_max_delay="proceed", warn=[3600], wait_seconds=5)
    played.await_countdown("counting")
    wait_until(played.said, "players see the warning")
    under_way = shim.operation(restart)
    assert (under_way["progress"], under_way["outcome"], under_way["countdown"]["phase"]) == ("accepted", None, "counting")
    # A request waits half a second for the game at most; a later one shows the players.
    wait_until(lambda: played.shown(shim)["players"]["online"] == 2, "the players are shown")
    alone = played.shown(shim)
    assert (alone["players"]["max"], alone["countdown"]["action"], alone["countdown"]["operation"]) == (None, "restart", under_way["id"])
    (listed,) = (each for each in shim.ask("GET", "/api/servers").json if each["configuration"]["uuid"] == played.uuid)
    assert (listed["countdown"], "players" in listed) == (alone["countdown"], False)
    assert b'fleet_power_countdowns{phase="counting"} 1.0' in shim.ask("GET", "/metrics").body
    second = shim.operation(played.took(shim, "stop", **PATIENT), wait=10)
    assert ended(second) == ("refused", "countdown_running")
    assert ended(shim.done(played.uuid, "start")) == ("unchanged", ""), "a start does not wait for the countdown"
    assert ended(shim.done(played.uuid, "kill")) == ("done", "")
    assert ended(shim.operation(restart, wait=10)) == ("cancelled", "cancelled_by_kill")
    assert (played.shown(shim)["countdown"], lab.is_up(played.uuid)) == (None, False)


def test_a_countdown_continues_after_a_kill_of_the_process(lab: Lab) -> None:
    played = PlayedOverHttp(lab)
    before = played.run()
    with shim_on(lab) as shim:
        restart = played.took(shim, "restart", warn=[20, 2], warn_message="{action} is near")
        wait_until(played.said, "players see the first warning")
        shim.kill()
    with again(lab) as shim:
        found = shim.operation(restart, wait=30)
    assert ended(found) == ("done", ""), found
    # Each warning came once, and no message cancelled the countdown.
    assert played.said() == ["restart is near"] * 2
    assert played.run() != before
    assert (found["players"]["online"], found["player_wait"]["marks"], found["player_wait"]["announced"]) == (2, [2], True)
    assert found["operation"]["id"] == restart.rpartition("/")[2]
    assert lab.node().countdowns.all_abandoned() == []


def restart(lab: Lab, servers: list[Played], *, max_parallel: int = 0, max_failures: int | None = None, **options: Any) -> list[Result]:
    uuids = [each.uuid for each in servers]
    return power_each(lab, "restart", uuids, max_parallel=max_parallel, max_failures=max_failures, players=options)


def test_servers_without_players_go_first_and_waiting_servers_hold_no_slot(lab: Lab) -> None:
    servers = [Played(lab, online) for online in (2, 2, 0, 0)]
    first, second, *empty = servers
    runs = [each.run() for each in servers]
    with beside(
        lambda: restart(lab, servers, max_parallel=1, players_at_most=0, max_delay=600), lambda: first.play(0), lambda: second.play(0)
    ) as call:
        wait_until(lambda: all(each.run() != run for each, run in zip(empty, runs[2:])), "the servers without players are restarted")
        assert [each.run() for each in servers[:2]] == runs[:2] and all(each.is_waited_for() for each in servers[:2])
        second.play(0)
        wait_until(lambda: second.run() != runs[1], "the server whose players left is restarted")
        assert first.is_waited_for()
        first.play(0)
        results = call.result(20)
    assert endings(results) == [("done", "")] * 4
    assert_all_free(lab, [each.uuid for each in servers])


def test_a_countdown_of_many_servers_restarts_them_at_the_same_moment(lab: Lab) -> None:
    servers = [Played(lab) for _each in range(3)]
    results = restart(lab, servers, warn=[4, 2])
    assert endings(results) == [("done", "")] * 3
    for each, result in zip(servers, results):
        assert [line.rpartition(" in ")[0] for line in each.said()] == ["Server restart"] * 2
        assert result.player_wait is not None and result.player_wait.announced is True and result.player_wait.seconds >= 3.5
    moments = [datetime.fromisoformat(each.run()[:19]) for each in servers]
    assert (max(moments) - min(moments)).total_seconds() <= 5


def test_the_module_returns_the_players_and_the_warnings(lab: Lab, controller: Controller) -> None:
    played = Played(lab)
    message = '{server}\n{action} {time}; "stop" {reason}'
    done = controller.power("restart", played.uuid, warn=[2], warn_message=message, reason="new map").server
    assert (done["outcome"], done["players"]["online"], done["player_wait"]["marks"]) == ("done", 2, [2])
    assert played.said() == ['Cobalt restart 2 seconds; "stop" new map']
