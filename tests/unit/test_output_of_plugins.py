# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where plugins tell what happens."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys

import pytest

pytest.importorskip("ansible.plugins")
is_read_by_people = importlib.import_module("ansible_collections.fleet.power.plugins.plugin_utils._output").is_read_by_people


@pytest.mark.parametrize("callback", ["default", "minimal", "debug", "tree"])
def test_people_read_what_these_print(callback: str) -> None:
    assert is_read_by_people(callback)


@pytest.mark.parametrize("callback", ["json", "ansible.posix.json", "ansible.posix.jsonl", "null", "", None])
def test_of_any_other_standard_output_is_left_alone(callback: object) -> None:
    assert not is_read_by_people(callback)


SPEAKER = """
import sys, time
from ansible_collections.fleet.power.plugins.plugin_utils import _output as spoken
for number in range(3):
    sys.stdout.write(f"line {number}\\n")
    time.sleep(0.3)
sys.stderr.write("to the end\\n")
"""


def spoken_in(environment: dict[str, str]) -> subprocess.Popen[str]:
    surroundings = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **environment}
    return subprocess.Popen([sys.executable, "-c", SPEAKER], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=surroundings)


@pytest.mark.parametrize("environment", [{}, {"PYTHONUNBUFFERED": "1"}])
def test_a_pipe_gets_each_line_at_once_and_may_be_closed(environment: dict[str, str]) -> None:
    speaking = spoken_in(environment)
    assert speaking.stdout is not None and speaking.stderr is not None
    assert speaking.stdout.readline() == "line 0\n"
    assert speaking.poll() is None, "it has not waited for its end"
    speaking.stdout.close()
    assert (speaking.wait(20), speaking.stderr.read()) == (0, "to the end\n")
    speaking.stderr.close()
