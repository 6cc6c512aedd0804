# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Answers of nodes and whole rolling runs for tests, without a node."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.fleet.power.plugins.module_utils._fleet.rollout.record import Record
from ansible_collections.fleet.power.plugins.module_utils._fleet.rollout.run import begin_batch, count_batch
from ansible_collections.fleet.power.plugins.module_utils._fleet.rollout.start import NewRun, open_run

START = NewRun("1b2c3d4e", "2026-01-31T12:00:00.000Z")
LOST: dict[str, Any] = {"unreachable": True, "msg": "Connection timed out"}


def uuid(number: int) -> str:
    return f"{number:08x}-0000-4000-8000-{number:012x}"


def info(number: int, **more: Any) -> dict[str, Any]:
    entry = {
        "server": uuid(number),
        "name": f"Server {number}",
        "state": "running",
        "suspended": False,
        "lock": None,
        "last_operation": None,
    }
    return {**entry, **more}


def unseen(number: int, **more: Any) -> dict[str, Any]:
    """The entry of server_power_info for a known server whose state cannot be read."""
    why = {"code": "engine_error", "msg": "Cannot inspect the container: the engine answers 500"}
    return {**dict.fromkeys(info(number)), "server": uuid(number), "name": f"Server {number}", **why, **more}


def part(*entries: dict[str, Any]) -> dict[str, Any]:
    return {"servers": list(entries), "complete": False, "msg": "Cannot ask the Panel: HTTP 500"}


def listing(*entries: dict[str, Any]) -> dict[str, Any]:
    return {"servers": list(entries)}


def fleet(nodes: int, servers: int) -> dict[str, dict[str, Any]]:
    """The answers of nodes with ``servers`` servers each, all up."""
    return {f"node-{node}": listing(*(info(100 * node + number) for number in range(servers))) for node in range(1, nodes + 1)}


def ended(servers: Sequence[str], outcome: str = "done", **more: Any) -> dict[str, Any]:
    """A node's answer to a task: all these servers have this outcome."""
    return {"servers": [{"server": server, "outcome": outcome, "changed": outcome == "done", "seconds": 0.5, **more} for server in servers]}


def opened(seen: Mapping[str, Any], old: Record | None = None, *, run: str = START.run, **given: Any) -> Record:
    return open_run({"action": "restart", "servers": ["all"], **given}, seen, NewRun(run, START.began_at), old)


def servers_of(work: Mapping[str, Mapping[str, Any]]) -> dict[str, list[str]]:
    return {node: list(asked["servers"]) for node, asked in work.items()}


def all_done(record: Record, number: int) -> dict[str, list[str]]:
    asked = servers_of(begin_batch(record, number))
    count_batch(record, number, {node: ended(servers) for node, servers in asked.items()})
    return asked
