# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever the roles run with a Python of the node finds no modules in the directory it is run in, which is whoever's logs in."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

yaml = pytest.importorskip("yaml")

ROLES = Path(__file__).resolve().parents[2] / "roles"
#: A flag that has Python run what is no file: then modules are looked for where it is run.
_RUNS = re.compile(r"""(?<![\w-])['"]?(-c|-m)['"]?(?![\w-])""")
_ISOLATED = re.compile(r"""(?<![\w-])['"]?-I['"]?(?![\w-])""")


def texts(value: object) -> Iterator[str]:
    """Every command in a task file: a list of words, or a text."""
    if isinstance(value, dict):
        for each in value.values():
            yield from texts(each)
    elif isinstance(value, list) and value and all(isinstance(each, str) for each in value):
        yield " ".join(value)
    elif isinstance(value, list):
        for each in value:
            yield from texts(each)
    elif isinstance(value, str):
        yield value


def commands() -> list[tuple[str, str]]:
    """Those of the roles that run a Python so, with their files."""
    found = []
    for path in sorted([*ROLES.glob("*/tasks/*.yml"), *ROLES.glob("*/handlers/*.yml")]):
        for text in texts(yaml.safe_load(path.read_text())):
            if re.search("python|interpreter|__node_asked|__shim_asked", text) and _RUNS.search(text):
                found.append((str(path.relative_to(ROLES)), text))
    return found


@pytest.mark.parametrize("file, command", commands())
def test_every_python_that_a_role_runs_is_isolated(file: str, command: str) -> None:
    flag, runs = _ISOLATED.search(command), _RUNS.search(command)
    assert flag is not None and runs is not None and flag.start() < runs.start(), f"{file}: {command}"


def test_no_unit_is_run_where_others_may_put_modules() -> None:
    for template in ROLES.glob("*/templates/*.service.j2"):
        assert "WorkingDirectory" not in template.read_text()


def test_each_service_has_a_bound_on_its_memory() -> None:
    units = sorted(ROLES.glob("*/templates/*.service.j2"))
    assert len(units) == 4
    for unit in units:
        assert re.findall(r"^MemoryMax=(.*)$", unit.read_text(), re.MULTILINE) == [f"{{{{ {unit.parents[1].name}_memory_max }}}}"]


def test_settings_of_a_node_are_read_without_what_lies_around(tmp_path: Path) -> None:
    variables = yaml.safe_load((ROLES / "shim" / "vars" / "main.yml").read_text())
    for name in ("json", "grp", "ansible_collections"):
        (tmp_path / f"{name}.py").write_text("open('was-here', 'w')")
    library = str(Path(__file__).resolve().parents[2] / ".build")
    script = (ROLES / "shim" / "files" / "read_settings.py").read_text()
    words = [sys.executable, "-I", "-B", "-c", variables["__shim_run_with_library"], library, str(tmp_path / "none.yml")]
    ran = subprocess.run(words, input=script, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert ran.returncode == 1 and ran.stderr.startswith("Cannot ") and len(ran.stderr.splitlines()) == 1
    assert not (tmp_path / "was-here").exists()
