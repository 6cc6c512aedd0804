# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may bring anybody's data directory in line: root, and a service that was given what it takes of root's rights."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
ASK = "from ansible_collections.fleet.power.plugins.module_utils._power.actions.boot.prepare import _acts_as_root; print(_acts_as_root())"


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("setpriv") is None, reason="only root can become somebody with some of its rights")
@pytest.mark.parametrize(
    ("rights", "acts_as_root"),
    [("+chown,+dac_override,+fowner", "True"), ("+dac_override,+fowner", "False"), ("+chown,+dac_override", "False")],
)
def test_a_service_acts_as_root_with_all_three_rights_and_not_with_fewer(rights: str, acts_as_root: str) -> None:
    somebody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", f"--inh-caps={rights}", f"--ambient-caps={rights}"]
    told = subprocess.run(
        [*somebody, sys.executable, "-c", ASK],
        env={"PYTHONPATH": str(CHECKOUT / ".build"), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout.strip() == acts_as_root


def test_root_acts_as_root() -> None:
    told = subprocess.run(
        [sys.executable, "-c", ASK], env={"PYTHONPATH": str(CHECKOUT / ".build")}, capture_output=True, text=True, check=True
    )
    assert told.stdout.strip() == str(os.geteuid() == 0)
