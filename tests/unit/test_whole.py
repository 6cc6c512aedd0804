# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs that outlive an upgrade of the files they came from have imported the whole core before they begin anything."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

CORE = Path(__file__).resolve().parents[2] / "plugins" / "module_utils" / "_power"
UTILS = "ansible_collections.fleet.power.plugins.module_utils"
#: Each ends at settings that do not exist.
PROGRAMS = ("events", "http_shim", "restore", "supervisor")
IMPORTED = """
import json, sys
assert main(["--config", "/nowhere/config.yml"]) == 1
print(json.dumps([name for name in sys.modules if "._power" in name]))
"""


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_imports_every_file_of_the_core_before_it_begins(program: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", f"from {UTILS}.{program} import main\n{IMPORTED}"], capture_output=True, text=True, check=True
    )
    names = (path.relative_to(CORE.parent).with_suffix("").as_posix().replace("/", ".") for path in CORE.rglob("*.py"))
    assert {f"{UTILS}.{name.removesuffix('.__init__')}" for name in names} <= set(json.loads(done.stdout))
