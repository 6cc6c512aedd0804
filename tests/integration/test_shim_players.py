# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Actions with regard to players over HTTP: they hold up nobody, and go on whatever becomes of the process that accepted them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from .lab import Lab, wait_until
from .played import GAMES, PATIENT, Played
from .shim import Shim, again, shim_on


class PlayedOverHttp(Played):
    """The same, asked for and shown over HTTP."""

    def took(self, shim: Shim, action: str, **fields: Any) -> str:
        """Ask for an action; where its operation can be read."""
        answer = shim.ask("POST", f"/api/servers/{self.uuid}/power", {"action": action, **fields})
        assert answer.status == 202, (answer.status, answer.body)
        return answer.headers["location"]

    def shown(self, shim: Shim) -> dict[str, Any]:
        """The server as it is shown alone."""
        answer = shim.ask("GET", f"/api/servers/{self.uuid}")
        assert answer.status == 200, answer.body
        found: dict[str, Any] = answer.json
        return found


@pytest.fixture(name="lab")
def lab_with_a_game(lab: Lab) -> Lab:
    lab.write_settings(games=GAMES)
    return lab


@pytest.fixture(name="shim")
def running_shim(lab: Lab) -> Iterator[Shim]:
    with shim_on(lab) as shim:
        yield shim


def ended(entry: dict[str, Any]) -> tuple[Any, Any]:
    return entry["outcome"], entry.get("code", "")


def test_a_countdown_is_shown_and_holds_up_nobody_and_a_kill_ends_it(lab: Lab, shim: Shim) -> None:
    played = PlayedOverHttp(lab)
    restart = played.took(shim, "restart", **PATIENT, on_max_delay="proceed", warn=[3600], wait_seconds=5)
    played.await_countdown("counting")
    wait_until(played.said, "players are told")
    going_on = shim.operation(restart)
    assert (going_on["progress"], going_on["outcome"], going_on["countdown"]["phase"]) == ("accepted", None, "counting")
    # A look waits half a second for the game at most; who looks again is told.
    wait_until(lambda: played.shown(shim)["players"]["online"] == 2, "who plays is shown")
    alone = played.shown(shim)
    assert (alone["players"]["max"], alone["countdown"]["action"], alone["countdown"]["operation"]) == (None, "restart", going_on["id"])
    (listed,) = (each for each in shim.ask("GET", "/api/servers").json if each["configuration"]["uuid"] == played.uuid)
    assert (listed["countdown"], "players" in listed) == (alone["countdown"], False)
    assert b'fleet_power_countdowns{phase="counting"} 1.0' in shim.ask("GET", "/metrics").body
    second = shim.operation(played.took(shim, "stop", **PATIENT), wait=10)
    assert ended(second) == ("refused", "countdown_running")
    assert ended(shim.done(played.uuid, "start")) == ("unchanged", ""), "nobody waits for it"
    assert ended(shim.done(played.uuid, "kill")) == ("done", "")
    assert ended(shim.operation(restart, wait=10)) == ("cancelled", "cancelled_by_kill")
    assert (played.shown(shim)["countdown"], lab.is_up(played.uuid)) == (None, False)


def test_a_countdown_goes_on_where_it_was_after_the_process_was_killed(lab: Lab) -> None:
    played = PlayedOverHttp(lab)
    before = played.run()
    with shim_on(lab) as shim:
        restart = played.took(shim, "restart", warn=[20, 2], warn_message="{action} is near")
        wait_until(played.said, "players are told for the first time")
        shim.kill()
    with again(lab) as shim:
        found = shim.operation(restart, wait=30)
    assert ended(found) == ("done", ""), found
    # Each mark once, and nothing of it was called off.
    assert played.said() == ["restart is near"] * 2
    assert played.run() != before
    assert (found["players"]["online"], found["player_wait"]["marks"], found["player_wait"]["announced"]) == (2, [2], True)
    assert found["operation"]["id"] == restart.rpartition("/")[2]
    assert lab.node().countdowns.all_abandoned() == {}
