# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One server restarted by a whole ad-hoc command, beside community.docker's restart of an equal container."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ansible_collections.fleet.power.tests.bench.commands import POWER, Commands
from ansible_collections.fleet.power.tests.bench.many import Restarts, equals, servers
from ansible_collections.fleet.power.tests.bench.measure import Row, Spread, in_turn, ratio
from ansible_collections.fleet.power.tests.bench.peer import PEER
from ansible_collections.fleet.power.tests.integration.lab import Lab

_ROUNDS, _ROUNDS_PIPED = 15, 5


def measure(lab: Lab, collections: Path) -> list[Row]:
    """The row of the table, with Ansible's own defaults; what pipelining makes of it is a note."""
    with servers(lab, 1) as uuids, equals(lab, uuids) as (peer,):
        ours, other = _compare(lab, collections, uuids[0], peer, _ROUNDS, pipelining=False)
        ours_piped, other_piped = _compare(lab, collections, uuids[0], peer, _ROUNDS_PIPED, pipelining=True)
    note = f"with pipelining {ours_piped.median / other_piped.median:.2f} times ({ours_piped.text()} beside {other_piped.text()})"
    return [ratio("ad-hoc restart", ours, other, "docker_container", 0.9, [note])]


def _compare(lab: Lab, collections: Path, uuid: str, peer: str, rounds: int, *, pipelining: bool) -> tuple[Spread, Spread]:
    commands = Commands(lab, collections, pipelining=pipelining)

    def restart(container: str, module: str, options: Mapping[str, object]) -> float:
        with Restarts(lab, [container]):
            return commands.ad_hoc(module, options).seconds

    return in_turn(
        lambda: restart(uuid, POWER, commands.own(server=uuid, action="restart")),
        lambda: restart(peer, PEER, {"name": peer, "restart": True}),
        rounds,
    )
