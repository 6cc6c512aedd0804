# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rolling runs on the lab: running servers, the run's output, and the journals of the nodes."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .lab import Node, phase_of, uuid_of
from .ran import Ran

Definition = dict[str, Any]
#: Without Ansible, which takes a second each time.
_READ_JOURNAL = """
import json, sqlite3, sys
journal = sqlite3.connect("/var/lib/fleet-power/journal.sqlite")
journal.row_factory = sqlite3.Row
rows = journal.execute("SELECT * FROM operations WHERE uuid = ? AND action = ? ORDER BY number", sys.argv[1:])
print(json.dumps([dict(row) for row in rows]))
"""


def break_start(node: Node, *definitions: Definition) -> None:
    """Let the next restarts be refused: their image does not exist."""
    for definition in definitions:
        definition["settings"]["container"]["image"] = "~fleet-power/nowhere:latest"
    node.define(*definitions)


def runs_of(node: Node, definitions: Sequence[Definition]) -> dict[str, str]:
    return {each["settings"]["meta"]["name"]: node.started_at(uuid_of(each)) for each in definitions}


def operations(node: Node, definition: Definition, action: str = "restart") -> list[dict[str, Any]]:
    """Return a server's operations of this action from the journal, the oldest first."""
    found: list[dict[str, Any]] = json.loads(node.ssh(shlex.join(["python3", "-c", _READ_JOURNAL, uuid_of(definition), action])))
    return found


def result_of(home: Path) -> dict[str, Any]:
    read: dict[str, Any] = json.loads((home / ".ansible/fleet_power/rollout.json").read_text())
    return read


def resume_files(home: Path) -> list[Path]:
    return sorted((home / ".ansible/fleet_power").glob("resume-*.json"))


def outcomes(result: dict[str, Any]) -> dict[str, str]:
    """Return the outcome and code of each server, by its name, or by its node without a name."""
    return {
        each.get("name") or each.get("server") or each["node"]: f"{each['outcome']} {each.get('code', '')}".strip()
        for each in result["servers"]
    }


def table_of(ran: Ran) -> list[str]:
    """Return the lines of the table at the end of a run, with its headings."""
    lines = ran.stdout.splitlines()
    begin = next(number for number, line in enumerate(lines) if line.split()[:3] == ["node", "server", "name"])
    return lines[begin : lines.index("", begin)]


def is_stopping(node: Node, definition: Definition) -> bool:
    """Tell whether a server's action is in its stop."""
    return phase_of(node, definition) == "stop"


def is_unlocked(node: Node, definition: Definition) -> bool:
    """Tell whether no action holds a server's lock, as the node sees it."""
    return not node.read(f"run/fleet-power/{uuid_of(definition)}.lock").strip()
