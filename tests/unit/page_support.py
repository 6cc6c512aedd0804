# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Made-up records of rolling runs, of any size, and their pages."""

from __future__ import annotations

import random
from datetime import datetime, timedelta, timezone
from typing import Any

from ansible_collections.fleet.power.plugins.module_utils._fleet.page.page import Shown, page
from ansible_collections.fleet.power.plugins.module_utils._fleet.rollout import report
from ansible_collections.fleet.power.plugins.module_utils._fleet.rollout.record import Record, Row
from ansible_collections.fleet.power.plugins.module_utils._power.model.clock import timestamp

BEGAN = datetime(2026, 1, 31, 2, 0, 3, tzinfo=timezone.utc)
NAMES = ("Lobby", "Cobalt Survival", "Dune", "Echo Arena", "Proxy", "Sky Islands", "Umber Creative", "Skyblock", "Bedwars", "Nova")
LOG = (
    "Starting minecraft server version 1.21",
    "Failed to load properties from file: server.properties",
    "**** FAILED TO BIND TO PORT!",
    "The exception was: java.net.BindException: Address already in use",
    "Perhaps a server is already running on that port?",
)
RESUME = ("continue with the same command and ", "-e rollout_resume=/home/alice/.ansible/fleet_power/resume-1b2c3d4e.json")


def after(seconds: float) -> datetime:
    return BEGAN + timedelta(seconds=seconds)


def row(number: int, node: str, batch: int, at: float, chance: random.Random) -> Row:
    """A server that was restarted in a batch. The batch began at ``at`` seconds."""
    phases: list[list[Any]] = []
    moment = chance.choice((0.02, 0.02, 3.0))
    if chance.random() < 0.3:
        phases.append(["countdown", moment])
        moment += 10.0
    for phase, least, most in (("pull", 0.02, 0.6), ("stop", 2.0, 9.0), ("preboot", 0.1, 1.2), ("start", 0.3, 0.5), ("ready", 4.0, 30.0)):
        phases.append([phase, round(moment, 3)])
        moment += chance.uniform(least, most)
    ended, up = dict(phases)["preboot"], dict(phases)["ready"]
    name = NAMES[number % len(NAMES)] + (f" {number}" if number >= len(NAMES) else "")
    made = Row(node, f"{number:08x}-0000-4000-8000-{number:012x}", name, batch, "done", changed=True, state="running")
    made.seconds, made.began_at, made.phases = round(moment, 3), timestamp(after(at + 0.5)), phases
    made.downtime = {"from": timestamp(after(at + 0.5 + ended)), "seconds": round(up - ended, 3), "ready_seconds": round(moment - ended, 3)}
    return made


def fail(made: Row) -> None:
    made.outcome, made.code, made.state = "failed", "start_failed", "offline"
    made.msg = f"Cannot start server {made.server}: its process ended with exit code 1; server_power_info with tail=20 shows its last lines"
    made.log, made.phases, made.seconds = list(LOG), made.phases[:-1], made.phases[-1][1]
    made.downtime = {"from": made.downtime["from"]}


def record(nodes: int = 3, servers: int = 4, *, failed: int = 2, nodes_of_batch: int = 1, for_players: bool = True) -> Record:
    chance = random.Random(7)
    made = Record("1b2c3d4e", "restart", timestamp(BEGAN), {"action": "restart"}, reason="nightly update", budget=3, canaries=1)
    made.by, made.not_before, made.deadline = "alice@ops-1 (play Restart servers)", timestamp(BEGAN), timestamp(after(4 * 3600))
    played = {number for number in range(nodes * servers) if for_players and number % 17 == 11}
    bad, at = set(chance.sample([number for number in range(nodes * servers) if number not in played], failed)), 0.0
    for first in range(0, nodes, nodes_of_batch):
        made.begun += 1
        numbers = range(first * servers, min(first + nodes_of_batch, nodes) * servers)
        rows = [row(number, f"node-{number // servers + 1}", made.begun, at, chance) for number in numbers]
        for each, number in zip(rows, numbers):
            if number in bad:
                fail(each)
            elif number in played:
                each.outcome, each.code, each.phases, each.downtime = "not_done", "players_online", [["players", 0.1]], {}
                each.msg = f"Cannot restart server {each.server}: 3 play on it after 1800 s, and players_at_most is 0"
        made.rows += rows
        ended = at + max(each.seconds or 0 for each in rows) + 1
        made.batch_began_at = timestamp(after(at))
        made.batch_times.append([made.begun, made.batch_began_at, timestamp(after(ended))])
        at = ended
    made.batches = made.begun
    return made


def over(made: Record) -> Shown:
    result = report.result(made, ended_at=made.batch_times[-1][2], seconds=1.0, resume_file="x")
    return Shown(datetime.fromisoformat(made.batch_times[-1][2].replace("Z", "+00:00")), going_on=RESUME, result=result)


def page_of(made: Record) -> str:
    return page(made, over(made))
