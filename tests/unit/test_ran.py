# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The record of the tests that ran, which the table of supported versions reads."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

#: Only the matrix of machines and engines uses the record.
pytestmark = pytest.mark.long

_SAMPLE = """
import pytest

@pytest.fixture
def broken_at_its_end():
    yield
    assert False

def test_good(): pass
def test_bad(): assert False
def test_skipped(): pytest.skip("no reason")
def test_bad_end(broken_at_its_end): pass
def test_interrupted(): raise KeyboardInterrupt
"""


def run(directory: Path, *arguments: str, sample: str = _SAMPLE) -> Path:
    record = directory / "records/ran.json"
    shutil.copy(Path(__file__).parents[1] / "conftest.py", directory)
    (directory / "test_sample.py").write_text(sample)
    command = [sys.executable, "-m", "pytest", "-q", *arguments, "test_sample.py"]
    environment = {**os.environ, "FLEET_POWER_RAN": str(record)}
    subprocess.run(command, cwd=directory, env=environment, stdout=subprocess.DEVNULL, check=False, timeout=60)
    return record


def test_the_record_names_each_test_once_with_its_worst_outcome(tmp_path: Path) -> None:
    record = json.loads(run(tmp_path, "-n", "2", "-k", "not interrupted").read_text())
    names = {outcome: [test.partition("::")[2] for test in tests] for outcome, tests in record.items()}
    assert names == {"passed": ["test_good"], "skipped": ["test_skipped"], "failed": ["test_bad", "test_bad_end"]}


def test_a_repetition_of_failed_tests_replaces_their_outcomes(tmp_path: Path) -> None:
    run(tmp_path, "-k", "not interrupted")
    record = json.loads(
        run(
            tmp_path, "-k", "not interrupted", "--last-failed", sample=_SAMPLE.replace("test_bad(): assert False", "test_bad(): pass")
        ).read_text()
    )
    assert {outcome: [test.partition("::")[2] for test in tests] for outcome, tests in record.items()} == {
        "passed": ["test_bad", "test_good"],
        "skipped": ["test_skipped"],
        "failed": ["test_bad_end"],
    }


def test_an_interrupted_run_leaves_no_record(tmp_path: Path) -> None:
    record = tmp_path / "records/ran.json"
    record.parent.mkdir()
    record.write_text("of an earlier run")
    run(tmp_path)
    assert not record.exists()
