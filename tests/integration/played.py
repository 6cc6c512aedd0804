# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Servers with players: their game reads the number of players from a file, and writes announcements to another."""

from __future__ import annotations

from ansible_collections.fleet.power.plugins.module_utils._power.games.game import Game

from .lab import Lab, wait_until

GAME = {
    "query": {"command": ["cat", "players"]},
    "announce": {"command": ["sh", "-c", 'echo "$1" >> said', "sh", "{message}"]},
}
GAMES = {"profiles": {"lab": GAME}, "rules": [{"image": "fleet-power/testserver", "game": "lab"}]}
#: A wait for players that is longer than each test.
PATIENT = {"players_at_most": 0, "max_delay": 3600}


def game_of(lab: Lab, uuid: str) -> Game:
    node = lab.node()
    snapshot, definition = node.engine.inspect(uuid), node.sources.definition_for_stop(uuid)
    assert snapshot is not None and definition is not None
    game = node.games.of(definition.server, snapshot, definition)
    assert game is not None
    return game


class Played:
    """A server that is up and has players; the lab's settings need `GAMES`."""

    def __init__(self, lab: Lab, online: int = 2) -> None:
        self.lab = lab
        self.uuid = lab.server(name="Cobalt" if not lab.uuids else "")
        lab.power("start", self.uuid, wait_for="running")
        self.play(online)

    def play(self, online: int | str) -> None:
        fresh = self.lab.volume(self.uuid) / "players.fresh"
        fresh.write_text(f"{online}\n")
        fresh.replace(fresh.with_name("players"))

    def said(self) -> list[str]:
        said = self.lab.volume(self.uuid) / "said"
        return said.read_text().splitlines() if said.exists() else []

    def run(self) -> str:
        container = self.lab.container(self.uuid)
        assert container is not None
        return str(container["State"]["StartedAt"])

    def is_waited_for(self, phase: str = "waiting") -> bool:
        found = self.lab.node().countdowns.running(self.uuid)
        return found is not None and found.phase == phase

    def await_countdown(self, phase: str) -> None:
        """Wait until an action waits for the players, or warns them."""
        wait_until(lambda: self.is_waited_for(phase), f"the countdown is {phase}")
