# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A module runs from an archive, and a program that outlives an upgrade has imported all it needs."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

MODULE_UTILS = Path(__file__).resolve().parents[2] / "plugins" / "module_utils"

#: Imports a package and a file of it from the archive; prints how often what was compiled, and where each says that it is.
IMPORTING = """
import json, sys
compiled = []
sys.addaudithook(lambda event, arguments: compiled.append(str(arguments[1])) if event == "compile" else None)
sys.path.insert(0, sys.argv[1])
from core._archive import compile_once
compile_once()
import core.package.part
ours = [name for name in compiled if "package" in name]
print(json.dumps([ours, core.package.__file__, core.package.part.__file__, core.package.part.VALUE]))
"""


def test_what_comes_from_an_archive_is_compiled_once(tmp_path: Path) -> None:
    archive = tmp_path / "payload.zip"
    with zipfile.ZipFile(archive, "w") as made:
        made.writestr("core/__init__.py", "")
        made.writestr("core/_archive.py", (MODULE_UTILS / "_archive.py").read_text())
        made.writestr("core/package/__init__.py", "")
        made.writestr("core/package/part.py", "VALUE = 5\n")
    package, part = f"{archive}/core/package/__init__.py", f"{archive}/core/package/part.py"
    command = [sys.executable, "-c", IMPORTING, str(archive)]
    told = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert told == [[package, part], package, part, 5]


def test_what_does_not_come_from_one_is_imported_as_ever() -> None:
    script = "import sys\nfrom ansible_collections.fleet.power.plugins.module_utils._archive import compile_once\n"
    script += "before = list(sys.path_hooks)\ncompile_once()\nassert sys.path_hooks == before\n"
    subprocess.run([sys.executable, "-c", script], check=True)


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
