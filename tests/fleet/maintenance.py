# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Maintenance of nodes on the lab: running servers, work, and the maintenance record."""

from __future__ import annotations

import contextlib
import json
import time
from pathlib import Path
from typing import Any

from .lab import Node, adhoc, uuid_of

RECORD = "var/lib/fleet-power/maintenance.json"
#: Tasks leave a mark here. The next lease of the node removes it.
MARK = "var/lib/fleet-power/work"
#: The longest time until a run of Ansible reaches some point on a loaded machine.
FAR_SECONDS = 300.0


def run_with(node: Node, running: list[dict[str, Any]], offline: list[dict[str, Any]]) -> None:
    node.define(*running, *offline)
    names = ",".join(uuid_of(each) for each in running)
    result = adhoc([node], "fleet.power.server_power", f"server={names} action=start wait_for=running")[node.name]
    assert result["summary"] == {"done": len(running)}


def starts(node: Node, *definitions: dict[str, Any]) -> list[int]:
    names = ",".join(uuid_of(each) for each in definitions)
    shown = adhoc([node], "fleet.power.server_power_info", f"server={names} operations=100")[node.name]
    found = {each["server"]: [(row["action"], row["outcome"]) for row in each["operations"]] for each in shown["servers"]}
    return [found[uuid_of(each)].count(("start", "done")) for each in definitions]


def times(node: Node, definition: dict[str, Any]) -> tuple[str, str]:
    found = node.container(uuid_of(definition))
    assert found is not None
    return found["State"]["FinishedAt"], found["State"]["StartedAt"]


def text_of(node: Node, path: str) -> str:
    with contextlib.suppress(OSError, AssertionError):
        return node.read(path)
    return ""


def boot_of(node: Node) -> str:
    return node.ssh("cat /proc/sys/kernel/random/boot_id", check=False).strip()


def work(directory: Path, command: str) -> str:
    """Write a task file that runs a command on the node while its servers are down."""
    path = directory / f"work-{time.monotonic_ns()}.yml"
    path.write_text(json.dumps([{"name": "Work", "ansible.builtin.shell": command}]))
    return str(path)


def write_record(node: Node, **fields: Any) -> str:
    """Write a maintenance record, valid or not; return its text."""
    known = {"schema": 1, "phase": "start", "boot_id": "b", "begun_at": "2026-01-31T03:00:00Z", "begun_by": "alice@web1", "servers": []}
    text = json.dumps({**known, **fields})
    node.write(f"/{RECORD}", text)
    return text
