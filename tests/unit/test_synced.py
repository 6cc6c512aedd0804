# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is written is on the disk before it is told: system calls of real processes, as a trace has them; and what reads such a trace."""

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
ROOT = Path("/srv/state")
ANSWER = '7 write(1<pipe:[1]>, "{\\"changed\\": true}", 17) = 17'
OPEN = f'7 openat(AT_FDCWD</>, "{ROOT}/f", O_WRONLY|O_CREAT|O_EXCL, 0600) = 3<{ROOT}/f>'
WRITE = f'7 pwrite64(3<{ROOT}/f>, "x", 1, 0) = 1'
SYNC = f"7 fdatasync(3<{ROOT}/f>) = 0"
SYNC_OF_DIRECTORY = f"7 fsync(4<{ROOT}>) = 0"
RENAME = f'7 rename("{ROOT}/f", "{ROOT}/g") = 0'


def is_output(descriptor: int, _open_on: str, _call: str) -> bool:
    return descriptor == 1


def read(*lines: str, there: tuple[str, ...] = (str(ROOT),)) -> Answers:
    return answers_in("\n".join(lines), [ROOT], there, is_output)


@pytest.mark.parametrize(
    ("lines", "lacking"),
    [
        ([OPEN, WRITE, SYNC, SYNC_OF_DIRECTORY, ANSWER], ()),
        ([OPEN, WRITE, SYNC_OF_DIRECTORY, ANSWER], ("f",)),
        ([OPEN, WRITE, SYNC, ANSWER], ("",)),
        ([OPEN, SYNC_OF_DIRECTORY, SYNC, WRITE, ANSWER], ("f",)),
        ([OPEN, WRITE, SYNC_OF_DIRECTORY, ANSWER, SYNC], ("f",)),
        # The new name is what lacks a sync, then what has it.
        ([OPEN, WRITE, SYNC, SYNC_OF_DIRECTORY, RENAME, ANSWER], ("",)),
        ([OPEN, WRITE, RENAME, SYNC_OF_DIRECTORY, ANSWER], ("g",)),
        ([OPEN, WRITE, SYNC, RENAME, SYNC_OF_DIRECTORY, ANSWER], ()),
        # A sync that failed, that began before the write, or of another file.
        ([OPEN, SYNC_OF_DIRECTORY, WRITE, f"7 fdatasync(3<{ROOT}/f>) = -1 EIO (Input/output error)", ANSWER], ("f",)),
        ([OPEN, SYNC_OF_DIRECTORY, f"8 fsync(3<{ROOT}/f> <unfinished ...>", WRITE, "8 <... fsync resumed>) = 0", ANSWER], ("f",)),
        ([OPEN, SYNC_OF_DIRECTORY, WRITE, f"8 fsync(3<{ROOT}/f> <unfinished ...>", "8 <... fsync resumed>) = 0", ANSWER], ()),
        ([OPEN, SYNC_OF_DIRECTORY, WRITE, f"8 fsync(3<{ROOT}/f> <unfinished ...>", ANSWER, "8 <... fsync resumed>) = 0"], ("f",)),
        ([OPEN, SYNC_OF_DIRECTORY, WRITE, "7 fsync(3</srv/other>) = 0", ANSWER], ("f",)),
        # What was removed again, what nobody misses, and what lies elsewhere.
        ([OPEN, WRITE, f'7 unlink("{ROOT}/f") = 0', SYNC_OF_DIRECTORY, ANSWER], ()),
        ([f'7 write(3<{ROOT}/x.lock>, "x", 1) = 1', '7 write(5</srv/stateless>, "x", 1) = 1', ANSWER], ()),
    ],
)
def test_a_trace_that_lacks_a_sync_is_told_apart(lines: list[str], lacking: tuple[str, ...]) -> None:
    expected = tuple(str(ROOT / name) if name else str(ROOT) for name in lacking)
    assert read(*lines).not_synced == [expected]


def test_a_file_that_was_there_needs_no_sync_of_its_directory_and_a_directory_that_was_made_does() -> None:
    again = OPEN.replace("|O_EXCL", "")
    assert read(again, WRITE, SYNC, ANSWER, there=(str(ROOT), f"{ROOT}/f")).not_synced == [()]
    made = f'7 mkdirat(5<{ROOT}>, "sub", 0700) = 0'
    assert read(made, ANSWER).not_synced == [(str(ROOT),)]
    root = f'7 mkdir("{ROOT}", 0700) = 0'
    assert read(root, ANSWER, there=()).not_synced == [("/srv",)]


def test_a_trace_without_an_answer_proves_nothing_and_says_so() -> None:
    assert read(OPEN, WRITE) == Answers({f"{ROOT}/f"}, [])


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
from {UTILS}._fleet.rollout import files
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
