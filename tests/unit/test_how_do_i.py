# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The guide "How do I": short answers, a line of cron that is silent unless something failed, and figures that can be reckoned."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from ansible_collections.fleet.power.plugins.module_utils._fleet.rollout.progress import longest_batch
from ansible_collections.fleet.power.tests.unit.docs_support import GUIDES, examples

PAGE = GUIDES / "how_do_i_guide.rst"
TEXT = PAGE.read_text()


def test_an_answer_has_fifteen_lines_at_most() -> None:
    answers = re.split(r"^.+\?\n-+\n", TEXT, flags=re.MULTILINE)[1:]
    assert len(answers) == 8
    assert max(len([line for line in each.splitlines() if line.strip()]) for each in answers) <= 15


@pytest.mark.parametrize("code, printed", [(0, ""), (2, "it failed\n")])
def test_the_line_of_cron_prints_only_what_failed(tmp_path: Path, code: int, printed: str) -> None:
    (example,) = (each for each in examples(PAGE) if "MAILTO" in each.text)
    line = example.text.splitlines()[-1]
    match = re.fullmatch(r"30 3 \* \* \* deploy (.+)", line)
    assert match and "%" not in line
    stub = tmp_path / "ansible-playbook"
    stub.write_text(f'#!/bin/sh\necho "$@" >{tmp_path}/given\necho it failed >&2\nexit {code}\n')
    stub.chmod(0o755)
    ran = subprocess.run(
        ["/bin/sh", "-c", match[1]], env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, capture_output=True, text=True, check=False
    )
    assert (ran.stdout + ran.stderr, ran.returncode) == (printed, 0)
    assert (tmp_path / "given").read_text().split()[0] == "fleet.power.rolling_restart"


def test_the_longest_batch_is_what_a_run_reckons_with() -> None:
    assert longest_batch("restart", {"wait_for": "running"}, None).seconds(1) == 930
    assert "A batch takes at most 930 s" in TEXT
