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
#: Each ends where it is to read settings that are not there.
BEGINNINGS = {
    "http_shim": f"from {UTILS}._http_shim.service import serve as begin\narguments = '/nowhere/config.yml'",
    "restore": f"from {UTILS}.restore import main as begin\narguments = ['--config', '/nowhere/config.yml']",
}
IMPORTED = """
import json, sys
try:
    begin(arguments)
except Exception as error:
    assert type(error).__name__ == "SettingsInvalid", error
print(json.dumps([name for name in sys.modules if "._power" in name]))
"""


@pytest.mark.parametrize("program", BEGINNINGS)
def test_a_program_imports_every_file_of_the_core_before_it_begins(program: str) -> None:
    if program == "http_shim":
        pytest.importorskip("aiohttp")
    done = subprocess.run([sys.executable, "-c", BEGINNINGS[program] + IMPORTED], capture_output=True, text=True, check=True)
    names = (path.relative_to(CORE.parent).with_suffix("").as_posix().replace("/", ".") for path in CORE.rglob("*.py"))
    assert {f"{UTILS}.{name.removesuffix('.__init__')}" for name in names} <= set(json.loads(done.stdout))
