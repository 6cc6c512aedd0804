# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A table that a play prints is as wide as the terminal that it is printed on, whatever process prints it."""

from __future__ import annotations

import fcntl
import importlib
import json
import os
import pty
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest
from ansible_collections.fleet.power.plugins.module_utils._fleet.table import width_of

pytest.importorskip("ansible.plugins.action")
terminal = importlib.import_module("ansible_collections.fleet.power.plugins.plugin_utils._output")

OPERATION = {"action": "restart", "outcome": "done", "ended_at": "2026-01-31T12:00:01.500Z", "reason": "rollout 4f2a9c01: nightly update"}
SERVER = {"server": "566bf9d7-c55a-45f8-91a6-e55e9b9b1325", "short_id": "566bf9d7", "state": "running"}
SEEN = {"servers": [{**SERVER, "name": f"Survival {name}", "last_operation": OPERATION} for name in ("生存 of the fittest", "long " * 40)]}


def table_in(output: str) -> list[str]:
    """The lines of the table that a run printed."""
    lines = output.replace("\r\n", "\n").split("\n")
    first = next(number for number, line in enumerate(lines) if line.startswith("NODE"))
    return lines[first : lines.index("", first)]


@pytest.fixture
def command(tmp_path: Path) -> list[str]:
    """A play that shows two servers of a node that is not there."""
    tasks = [
        {"name": "Remember what was seen", "ansible.builtin.set_fact": {"seen": SEEN}},
        {"name": "Show", "fleet.power.status_table": {"seen": "seen"}, "run_once": True},
    ]
    play = {"name": "Look", "hosts": "all", "gather_facts": False, "connection": "local", "tasks": tasks}
    (tmp_path / "play.yml").write_text(json.dumps([play]))
    return [str(Path(sys.executable).with_name("ansible-playbook")), "-i", "node-1,", str(tmp_path / "play.yml")]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_") and name != "COLUMNS"}
    return {**kept, "ANSIBLE_HOME": str(tmp_path), "ANSIBLE_NOCOLOR": "1", "LANG": "C.UTF-8"}


# Sixty: fewer than Ansible believes in.
@pytest.mark.parametrize("columns", [60, pytest.param(80, marks=pytest.mark.long), pytest.param(200, marks=pytest.mark.long)])
def test_on_a_terminal_no_line_of_the_table_is_wider(command: list[str], environment: dict[str, str], columns: int) -> None:
    own, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    with subprocess.Popen(command, env=environment, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True) as child:
        os.close(theirs)
        output = b""
        try:
            while read := os.read(own, 65536):
                output += read
        except OSError:
            # All who had the other end have closed it.
            pass
        os.close(own)
    assert child.returncode == 0, output.decode()
    widths = [width_of(line) for line in table_in(output.decode())]
    assert len(widths) == 3 and columns - 3 <= max(widths) <= columns
