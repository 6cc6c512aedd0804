# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Servers of a real node with players: the game reads their number from a file, and writes the announcements to another."""

from __future__ import annotations

import json
from pathlib import Path

from .lab import Node, bring_up, server, uuid_of
from .rollout import runs_of

#: Reads the number of players from a file, and writes the announcements to another.
GAMES = {
    "profiles": {
        "lab": {
            "query": {"command": ["cat", "players"]},
            "announce": {"command": ["sh", "-c", 'echo "$1" >> said', "sh", "{message}"]},
        }
    },
    "rules": [{"image": "fleet-power/testserver", "game": "lab"}],
}


class Network:
    def __init__(self, node: Node, **online: int) -> None:
        self.node = node
        self.servers = {name: server(name) for name in online}
        bring_up({node: list(self.servers.values())})
        (node.root / "etc/fleet-power/config.yml").write_text(json.dumps({"games": GAMES}))
        for name, number in online.items():
            (self.volume(name) / "players").write_text(f"{number}\n")
        self.before = self.runs()

    def volume(self, name: str) -> Path:
        return self.node.root / "var/lib/fleet-power/volumes" / uuid_of(self.servers[name])

    def runs(self) -> dict[str, str]:
        return runs_of(self.node, list(self.servers.values()))

    def restarted(self) -> list[str]:
        """Return the names of the servers with a new run."""
        return [name for name, run in self.runs().items() if run != self.before[name]]

    def said(self, name: str) -> list[str]:
        said = self.volume(name) / "said"
        return said.read_text().splitlines() if said.exists() else []
