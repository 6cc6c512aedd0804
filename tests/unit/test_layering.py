# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The layers of the packages in module_utils, compared with the imports."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

PLUGINS = Path(__file__).resolve().parents[2] / "plugins"
MODULE_UTILS = PLUGINS / "module_utils"
UTILS = "ansible_collections.fleet.power.plugins.module_utils"

#: From the foundation to the entry points. A package imports from packages of earlier rows, never from its own row.
LAYERS: tuple[tuple[str, ...], ...] = (
    ("_archive", "_core", "_job_wait", "_own_session", "_power/model"),
    ("_power/events", "_power/host", "_power/volume"),
    ("_core_install", "_job"),
    ("_followed_session",),
    ("_power/definitions", "_power/journal", "_power/locking"),
    ("_power/container", "_power/sources"),
    ("_power/engine", "_power/receivers"),
    ("_power/games",),
    ("_power/config_files", "_power/actions/node"),
    ("_power/actions/boot", "_power/actions/players"),
    ("_power/actions/many", "_power/actions/turn"),
    ("_power/endpoint",),
    ("_power",),
    ("_fleet", "_service"),
    ("_fleet/inventory", "_fleet/rollout"),
    ("_fleet/page",),
    ("_http_shim/http",),
    ("_http_shim/acceptance",),
    ("_http_shim/servers",),
    ("_http_shim/routes",),
    ("_http_shim/websocket",),
    ("_http_shim",),
    ("_command", "_events", "_supervisor"),
    ("_options", "command", "events", "node_stop", "restore", "supervisor", "http_shim"),
)

#: The packages that may import third-party libraries, always inside a function.
THIRD_PARTY = {
    "_power/engine": {"docker", "requests", "urllib3"},
    "_power/definitions": {"yaml"},
    "_power/config_files": {"yaml"},
    "_power/sources": {"requests", "urllib3"},
    "_fleet/page": {"jinja2", "markupsafe"},
    "_http_shim/http": {"aiohttp"},
    "_http_shim/routes": {"aiohttp", "prometheus_client"},
    "_http_shim/websocket": {"aiohttp", "jwt"},
}
#: The parts of the core that the controller's side may import, besides the model: they read, and change no server.
READING = {
    *("_power/container", "_power/definitions", "_power/engine", "_power/endpoint/client"),
    *("_power/endpoint/answers", "_power/sources/web", "_power/sources/web_fault", "_power/options"),
    *("_power/events", "_power/receivers"),
}

#: A file that calls itself pure never imports these modules: they read a clock, a disk or a network.
IMPURE = {
    *("asyncio", "fcntl", "io", "os", "pathlib", "select", "shutil", "socket", "sqlite3", "subprocess", "syslog", "tempfile"),
    *("threading", "time"),
}


@dataclass(frozen=True)
class Import:
    """One import statement: its names, and whether it is inside a function or serves only a type checker."""

    names: str
    level: int
    lazy: bool

    @property
    def package(self) -> str:
        return self.names.split(".")[0]


@cache
def files() -> tuple[Path, ...]:
    return tuple(sorted(path for path in MODULE_UTILS.rglob("*.py") if path.stat().st_size))


def name_of(path: Path) -> str:
    return path.relative_to(MODULE_UTILS).with_suffix("").as_posix()


def package_of(name: str) -> str:
    """The package of a file, both as paths from module_utils. A file without a package is its own package."""
    return name.rpartition("/")[0] or name


@cache
def imports(path: Path) -> tuple[Import, ...]:
    return tuple(_imports(path))


def _imports(path: Path) -> Iterator[Import]:
    tree = ast.parse(path.read_text())
    lazily = {inner for node in ast.walk(tree) if _defers(node) for inner in ast.walk(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, 0, node in lazily)
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                yield Import(".".join(filter(None, (node.module, alias.name))), node.level, node in lazily)


def _defers(node: ast.AST) -> bool:
    checking = isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
    return checking or isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))


@cache
def ours(path: Path, *, lazy: bool = True) -> set[str]:
    """The files of module_utils that a file imports, by path from there. ``lazy`` includes deferred imports."""
    found = set()
    for each in imports(path):
        if each.lazy and not lazy:
            continue
        if each.level:
            found.add(_file(path.parents[each.level - 1].joinpath(*each.names.split("."))))
        elif each.names.startswith(f"{UTILS}."):
            found.add(_file(MODULE_UTILS.joinpath(*each.names[len(UTILS) + 1 :].split("."))))
    return found


def _file(named: Path) -> str:
    """The file that contains the imported name: the module itself or its package."""
    for candidate in (named, named.parent):
        if candidate.with_suffix(".py").exists():
            return name_of(candidate)
        if (candidate / "__init__.py").exists():
            return name_of(candidate / "__init__")
    raise AssertionError(f"no file provides {named}")


def test_every_package_has_a_layer_and_every_layer_is_a_package() -> None:
    named = [package for row in LAYERS for package in row]
    assert sorted(named) == sorted({package_of(name_of(path)) for path in files()} - {"_power/actions"})


def _offenders(offends: Callable[[Path], Any]) -> dict[str, Any]:
    """The findings of ``offends`` by file, without files that have none."""
    return {name_of(path): found for path in files() if (found := offends(path))}


def test_a_file_imports_from_its_own_package_and_earlier_layers_only() -> None:
    def too_late(path: Path) -> set[str]:
        own = package_of(name_of(path))
        row = next((number for number, row in enumerate(LAYERS) if own in row), 0)
        earlier = {package for row in LAYERS[:row] for package in row}
        return {package_of(name) for name in ours(path)} - earlier - {own}

    assert _offenders(too_late) == {}


def test_imports_have_no_cycles() -> None:
    left = {name_of(path): ours(path) - {name_of(path)} for path in files()}
    while ready := {name for name, needs in left.items() if not needs & set(left)}:
        left = {name: needs for name, needs in left.items() if name not in ready}
    # The table of parsers imports them lazily, and they import what all parsers need.
    assert {package_of(name) for name in left} <= {"_power/config_files"}


def test_only_the_entry_points_are_public() -> None:
    names = {name_of(path).partition("/")[0] for path in files()}
    assert {name for name in names if not name.startswith("_")} == {"command", "events", "http_shim", "node_stop", "restore", "supervisor"}
    assert [path.name for path in (MODULE_UTILS.parent / "plugin_utils").glob("[!_]*.py")] == []


def test_only_options_knows_the_framework() -> None:
    def knows_it(path: Path) -> bool:
        # Comments for the pylint of ansible-test may name the framework.
        words = re.sub("# pylint: .*", "", path.read_text()).replace(UTILS, "").replace("ansible_collections.fleet.power", "")
        speaks_of_it = not name_of(path).startswith("_fleet") and re.search("ansible", words, re.IGNORECASE)
        return bool(speaks_of_it) or any(each.package == "ansible" for each in imports(path))

    # The one variable that helps on an old Python is Ansible's.
    assert set(_offenders(knows_it)) == {"_archive", "_options"}


@pytest.mark.skipif(sys.version_info < (3, 10), reason="Python 3.9 cannot list its own modules")
def test_third_party_libraries_are_imported_lazily_in_their_packages() -> None:
    def misplaced(path: Path) -> list[Import]:
        allowed = THIRD_PARTY.get(package_of(name_of(path)), set())
        known = {*sys.stdlib_module_names, "ansible_collections"}
        outside = [each for each in imports(path) if not each.level and each.package not in known]
        return [each for each in outside if each.package not in allowed or not each.lazy]

    assert set(_offenders(misplaced)) == {"_options"}


def test_a_pure_file_reads_no_clock_no_disk_and_no_network() -> None:
    def calls_itself_pure(path: Path) -> bool:
        return bool(re.search(r"; pure\b", ast.get_docstring(ast.parse(path.read_text())) or ""))

    def impure(path: Path) -> set[str]:
        return {each.names for each in imports(path) if not each.level and each.package in IMPURE}

    assert any(calls_itself_pure(path) for path in files())
    assert _offenders(lambda path: calls_itself_pure(path) and impure(path)) == {}


def _ends(path: Path) -> set[str]:
    names = {node.attr for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Attribute)}
    return names & {"exit_json", "fail_json"}


def test_only_options_ends_a_module() -> None:
    ending = [path.relative_to(PLUGINS).as_posix() for path in sorted(PLUGINS.rglob("*.py")) if _ends(path)]
    # These modules are standalone: they need no part of an action.
    assert ending == ["module_utils/_options.py", "modules/core_call.py", "modules/server_power_job.py"]


def test_the_fleet_imports_only_reading_parts_of_the_core() -> None:
    readable = {"_power/model", "_power/host", *READING}

    def acting(path: Path) -> set[str]:
        return {name for name in ours(path) if name.startswith("_power/") and not {name, package_of(name)} & readable}

    assert _offenders(lambda path: name_of(path).startswith("_fleet/") and acting(path)) == {}


def test_modules_and_plugins_import_only_their_own_side() -> None:
    for path in sorted(PLUGINS.rglob("*.py")):
        if path.is_relative_to(MODULE_UTILS):
            continue
        sides = ("_archive", "_options") if path.parent.name == "modules" else ("_fleet/", "_power/model/")
        allowed = ("_core", "_job", *sides)
        assert all(name.startswith(allowed) for name in ours(path)), path


def test_a_call_imports_no_code_of_freezes_and_of_the_command() -> None:
    reached, waiting = set[str](), ["_options"]
    while waiting:
        name = waiting.pop()
        path = MODULE_UTILS / f"{name}.py"
        if name not in reached and path.exists():
            reached.add(name)
            waiting += ours(path, lazy=False)
    assert len(reached) > 50
    assert {name for name in reached if "freeze" in name or "command" in name} == set()
