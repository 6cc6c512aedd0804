# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is written is on the disk before it is told: system calls of real processes, as a trace has them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from ansible_collections.fleet.power.tests.unit.journal_support import ALPHA, Node, perform
from ansible_collections.fleet.power.tests.unit.trace_support import Answers, answers_in, files_below, traced

UTILS = "ansible_collections.fleet.power.plugins.module_utils"
ROLES = Path(__file__).resolve().parents[2] / "roles"


def is_output(descriptor: int, _open_on: str, _call: str) -> bool:
    return descriptor == 1


# ----- real processes


def trace_of(tmp_path: Path, script: str, *roots: Path) -> Answers:
    """Run a script of Python that prints its answer, and return what was not on the disk then."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not there")
    output, there = tmp_path / "trace", files_below(*roots)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([*traced(output), sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    answers = answers_in(output.read_text(), roots, there, is_output)
    assert answers.written and answers.not_synced
    return answers


def test_the_record_of_a_rolling_run_is_on_the_disk_before_a_node_is_asked(tmp_path: Path) -> None:
    script = f"""
import os
from {UTILS}._fleet.rollout import run_files as files
path = {str(tmp_path / "runs" / "resume-1.json")!r}
for batch in range(3):
    files.write(path, {{"batch": batch}})
    os.write(1, b"asked")
files.write({str(tmp_path / "runs" / "rollout-1.json")!r}, {{}})
files.point({str(tmp_path / "runs" / "rollout.json")!r}, "rollout-1.json")
os.write(1, b"ended")
"""
    answers = trace_of(tmp_path, script, tmp_path / "runs")
    assert answers.not_synced == [()] * 4


def test_a_definition_that_is_kept_is_on_the_disk_before_it_is_told(tmp_path: Path) -> None:
    state = tmp_path / "state"
    script = f"""
import os
from {UTILS}._power.definitions.definition_files import KeptDefinitions
files = KeptDefinitions({str(state)!r}, "no-such-group")
for number in range(2):
    files.keep_list("https://panel.example.com", ["aaaaaaaa-0000-4000-8000-00000000000%d" % number])
    os.write(1, b"kept")
"""
    assert trace_of(tmp_path, script, state).not_synced == [()] * 2


@pytest.mark.parametrize("others", [0, 1], ids=["alone", "beside another process"])
def test_what_the_journal_tells_is_on_the_disk_alone_and_beside_another_process(node: Node, tmp_path: Path, others: int) -> None:
    for _unused in range(others):
        perform(node.journal())
        assert node.opened[-1].sync() == ""
    script = f"""
import os
from pathlib import Path
from ansible_collections.fleet.power.tests.unit.journal_support import ALPHA, Node, act
journal = Node(Path({str(tmp_path)!r})).journal()
for number in range(3):
    act(journal, str(number), ALPHA)
    assert journal.sync() == ""
    os.write(1, b"synced")
act(journal, "last", ALPHA)
journal.close()
os.write(1, b"closed")
"""
    assert trace_of(tmp_path, script, node.state).not_synced == [()] * 4
    row = node.journal().operations.last(ALPHA.uuid)
    assert row is not None and row.id == "last"


def test_a_maintenance_goes_by_its_memory_once_that_is_on_the_disk() -> None:
    tasks = yaml.safe_load((ROLES / "maintenance" / "tasks" / "remember.yml").read_text())
    written, synced, *others = tasks
    memory = written["ansible.builtin.copy"]["dest"]
    assert synced["ansible.builtin.command"]["argv"] == ["sync", memory, memory.replace(" }}", " | dirname }}")]
    assert [name for each in others for name in each if name.startswith("ansible.")] == ["ansible.builtin.set_fact"]
