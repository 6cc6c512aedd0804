# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs of the roles: an isolated Python, and capabilities."""

from __future__ import annotations

import errno
import grp
import importlib.util
import json
import os
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from ansible_collections.fleet.power.plugins.module_utils._core import PACKAGE

yaml = pytest.importorskip("yaml")

ROLE_FILES = Path(__file__).resolve().parents[2] / "roles"
#: A flag for Python to run code that is not a file. Python then searches modules in the current directory.
_RUNS = re.compile(r"""(?<![\w-])['"]?(-c|-m)['"]?(?![\w-])""")
_ISOLATED = re.compile(r"""(?<![\w-])['"]?-I['"]?(?![\w-])""")


def texts(value: object) -> Iterator[str]:
    """Every command in a task file: a list of words or a text."""
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
    """The roles' commands that run Python with such a flag, with their files."""
    found = []
    for path in sorted([*ROLE_FILES.glob("*/tasks/*.yml"), *ROLE_FILES.glob("*/handlers/*.yml")]):
        for text in texts(yaml.safe_load(path.read_text())):
            if re.search("python|interpreter|__node_asked|__shim_asked", text) and _RUNS.search(text):
                found.append((str(path.relative_to(ROLE_FILES)), text))
    return found


@pytest.mark.parametrize("file, command", commands())
def test_every_python_command_of_a_role_is_isolated(file: str, command: str) -> None:
    flag, runs = _ISOLATED.search(command), _RUNS.search(command)
    assert flag is not None and runs is not None and flag.start() < runs.start(), f"{file}: {command}"


def test_no_service_runs_in_a_directory_with_foreign_modules() -> None:
    for template in ROLE_FILES.glob("*/templates/*.service.j2"):
        assert "WorkingDirectory" not in template.read_text()


def test_each_service_limits_its_memory() -> None:
    units = sorted(ROLE_FILES.glob("*/templates/*.service.j2"))
    assert len(units) == 5
    for unit in units:
        assert re.findall(r"^MemoryMax=(.*)$", unit.read_text(), re.MULTILINE) == [f"{{{{ {unit.parents[1].name}_memory_max }}}}"]


def test_the_settings_reader_ignores_modules_in_the_current_directory(tmp_path: Path) -> None:
    variables = yaml.safe_load((ROLE_FILES / "shim" / "vars" / "main.yml").read_text())
    for name in ("json", "grp", "fleet_power"):
        (tmp_path / f"{name}.py").write_text("open('was-here', 'w')")
    script = (ROLE_FILES / "shim" / "files" / "read_settings.py").read_text()
    words = [sys.executable, "-I", "-B", "-c", variables["__shim_run_with_core"], core_in(tmp_path), str(tmp_path / "none.yml")]
    ran = subprocess.run(words, input=script, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert ran.returncode == 1 and ran.stderr.startswith("Cannot ") and len(ran.stderr.splitlines()) == 1
    assert not (tmp_path / "was-here").exists()


CHECKOUT = Path(__file__).resolve().parents[2]
FILES = CHECKOUT / "roles" / "node" / "files"
MODULE_UTILS = CHECKOUT / "plugins" / "module_utils"
ONE, TWO = "11111111-0000-4000-8000-000000000001", "22222222-0000-4000-8000-000000000002"


def core_in(directory: Path) -> str:
    """Return a directory of sources as on a node."""
    core = directory / "core"
    core.mkdir()
    (core / PACKAGE).symlink_to(MODULE_UTILS)
    return str(core)


def program(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, FILES / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def asked(directory: Path, files: Mapping[str, str], **more: object) -> dict[str, Any]:
    return {
        "directory": str(directory),
        "files": files,
        "group": grp.getgrgid(os.getegid()).gr_name,
        "purge": False,
        "broken": [],
        "check": False,
        **more,
    }


def write(question: Mapping[str, object]) -> dict[str, list[str]]:
    """Run the program as the role does, with its text on the command line. Returns its answer."""
    words = [sys.executable, "-c", (FILES / "write_definitions.py").read_text()]
    ran = subprocess.run(words, input=json.dumps(question), capture_output=True, text=True, check=True)
    done: dict[str, list[str]] = json.loads(ran.stdout)
    return done


@pytest.fixture
def servers(tmp_path: Path) -> Path:
    directory = tmp_path / "servers"
    directory.mkdir()
    (directory / "README").write_text("not a definition")
    write(asked(directory, {f"{ONE}.json": "{}"}))
    return directory


def names(directory: Path) -> list[str]:
    return sorted(os.listdir(directory))


def test_only_different_definitions_are_written(servers: Path) -> None:
    question = asked(servers, {f"{ONE}.json": '{"a": 1}', f"{TWO}.yml": "settings: {}\n"})
    assert write(question) == {"written": [f"{ONE}.json", f"{TWO}.yml"], "removed": []}
    assert write(question) == {"written": [], "removed": []}
    assert (servers / f"{TWO}.yml").read_text() == "settings: {}\n"
    assert {(servers / f"{uuid}").stat().st_mode & 0o777 for uuid in (f"{ONE}.json", f"{TWO}.yml")} == {0o640}


@pytest.mark.parametrize(
    "name",
    ["../../escaped.json", f"../{ONE}.json", "lobby.json", f"{ONE[:-1]}.json", f"{ONE.replace('1', 'A')}.json", f"{ONE}.json\n", ONE],
)
def test_a_name_that_is_not_a_uuid_is_refused_and_no_file_is_written(servers: Path, name: str) -> None:
    before = names(servers)
    words = [sys.executable, FILES / "write_definitions.py"]
    question = json.dumps(asked(servers, {f"{TWO}.json": "{}", name: "{}"}, purge=True))
    ran = subprocess.run(words, input=question, capture_output=True, text=True, check=False)
    assert ran.returncode == 1
    assert ran.stderr.startswith("Cannot write the definition ") and len(ran.stderr.splitlines()) == 1
    assert (names(servers), names(servers.parent)) == (before, ["servers"])


def test_purging_keeps_files_that_define_no_server(servers: Path) -> None:
    (servers / "notes.json").write_text("{}")
    assert write(asked(servers, {f"{TWO}.json": "{}"}, purge=True))["removed"] == [f"{ONE}.json"]
    assert "notes.json" in names(servers)


def test_a_link_in_place_of_a_definition_is_replaced(servers: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("{}")
    (servers / f"{TWO}.json").symlink_to(outside)
    assert write(asked(servers, {f"{TWO}.json": "[]"}))["written"] == [f"{TWO}.json"]
    assert outside.read_text() == "{}" and not (servers / f"{TWO}.json").is_symlink()


def test_a_definition_appears_completely_or_not_at_all(servers: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = program("write_definitions")

    def no_space(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_space)
    before = names(servers)
    with pytest.raises(OSError, match="No space left"):
        module.write_definitions(str(servers), {f"{ONE}.json": "[1]"}, gid=os.getegid(), purge=True, check=False)
    assert (names(servers), (servers / f"{ONE}.json").read_text()) == (before, "{}")


def test_definitions_are_written_even_if_the_directory_cannot_be_synced(servers: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fsync = os.fsync

    def sync(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", sync)
    module = program("write_definitions")
    done = module.write_definitions(str(servers), {f"{ONE}.json": "[1]"}, gid=os.getegid(), purge=False, check=False)
    assert (done["written"], (servers / f"{ONE}.json").read_text()) == ([f"{ONE}.json"], "[1]")


def test_a_broken_new_definition_keeps_the_old_one(servers: Path) -> None:
    for purge in (False, True):
        assert write(asked(servers, {f"{TWO}.json": "{}"}, broken=[f"{ONE}.yml"], purge=purge))["removed"] == []
    assert names(servers) == sorted(["README", f"{ONE}.json", f"{TWO}.json"])


def test_a_preview_is_written_elsewhere_and_leaves_the_directory_alone(servers: Path, tmp_path: Path) -> None:
    three = ONE.replace("1", "3")
    write(asked(servers, {f"{TWO}.json": "{}", f"{three}.json": "{}"}))
    before = {name: (servers / name).read_bytes() for name in names(servers)}
    question = asked(servers, {f"{ONE}.yml": "a: 1\n"}, broken=[f"{TWO}.json"], purge=True, lay_out=True)
    words = [sys.executable, FILES / "write_definitions.py"]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    ran = subprocess.run(words, input=json.dumps(question), env=environment, capture_output=True, text=True, check=True)
    place = Path(ran.stdout.strip())
    assert (place.parent, place.stat().st_mode & 0o777) == (tmp_path, 0o700)
    assert {path.name: path.read_text() for path in place.iterdir()} == {
        "README": "not a definition",
        f"{ONE}.yml": "a: 1\n",
        f"{TWO}.json": "{}",
    }
    assert {name: (servers / name).read_bytes() for name in names(servers)} == before


RIGHTS_CHECKOUT = Path(__file__).parents[2]
ASK = "from ansible_collections.fleet.power.plugins.module_utils._power.actions.boot.prepare import _acts_as_root; print(_acts_as_root())"


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("setpriv") is None, reason="only root can drop single capabilities")
@pytest.mark.parametrize(
    ("rights", "acts_as_root"),
    [("+chown,+dac_override,+fowner", "True"), ("+dac_override,+fowner", "False"), ("+chown,+dac_override", "False")],
)
def test_a_service_acts_as_root_only_with_all_three_capabilities(rights: str, acts_as_root: str) -> None:
    unprivileged = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", f"--inh-caps={rights}", f"--ambient-caps={rights}"]
    ran = subprocess.run(
        [*unprivileged, sys.executable, "-c", ASK],
        env={"PYTHONPATH": str(RIGHTS_CHECKOUT / ".build"), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout.strip() == acts_as_root


def test_root_acts_as_root() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", ASK], env={"PYTHONPATH": str(RIGHTS_CHECKOUT / ".build")}, capture_output=True, text=True, check=True
    )
    assert ran.stdout.strip() == str(os.geteuid() == 0)


def test_invalid_settings_fail_the_check_before_they_are_written(tmp_path: Path) -> None:
    yaml = pytest.importorskip("yaml")
    role = FILES.parent
    check = yaml.safe_load((role / "vars" / "main.yml").read_text())["__node_try_settings"]
    (task,) = (each for each in yaml.safe_load((role / "tasks" / "settings.yml").read_text())[0]["block"] if "copy" in str(each))
    assert "__node_try_settings" in task["ansible.builtin.copy"]["validate"] and task["no_log"] and task["diff"] is False
    file, core = tmp_path / "config.yml", core_in(tmp_path)
    for text, error in (
        ("token: hunter22\nsystem: {stop_timeout: 30}", ""),
        ("token: hunter22\nsystem: {stop_timeout: soon}", "system.stop_timeout"),
        ("token: hunter22\ndocker: {host: 'tcp://10.0.0.1:99999'}", "docker.host"),
    ):
        file.write_text(text)
        ran = subprocess.run([sys.executable, "-I", "-B", "-c", check, core, file], capture_output=True, text=True, check=False)
        assert (ran.returncode == 0) == (not error)
        assert error in ran.stderr.splitlines()[-1] if error else not ran.stderr
        assert "hunter22" not in ran.stderr
