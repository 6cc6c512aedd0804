# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the files of the HTTP face may know: the core below them, each other in one order, the library in few places."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from .test_layering import IMPURE, MODULE_UTILS, imports, module_utils_imports

SHIM = MODULE_UTILS / "http_shim"
#: From what decides to what serves; a file imports from those before it.
ORDER = (
    *(
        "version",
        "power_request",
        "replies",
        "paths",
        "access",
        "operation_view",
        "server_view",
        "system_view",
        "log",
        "notify",
        "request_id",
        "outside",
        "shim_settings",
    ),
    *(
        "own_generations",
        "keeping_journal",
        "shared_node",
        "commands",
        "line",
        "acceptor",
        "operations",
        "runs",
        "actions",
        "known",
        "disks",
        "utilization",
        "body",
        "face",
        "servers",
    ),
    *("metrics", "openapi", "about", "gate", "listener", "service", "__main__"),
)
PURE = ("power_request", "replies", "paths", "access", "line", "operation_view", "server_view", "system_view", "version", "openapi")
#: The files that may know libraries, inside of functions.
LIBRARIES = {"face": {"aiohttp"}, "body": {"aiohttp"}, "gate": {"aiohttp"}, "listener": {"aiohttp"}, "metrics": {"prometheus_client"}}


NEEDS_A_LIST_OF_MODULES = pytest.mark.skipif(sys.version_info < (3, 10), reason="Python 3.9 cannot list its own modules")


def assert_libraries_are_lazy_and_among(path: Path, known: set[str]) -> None:
    """What a file imports of others' libraries is among these, and only when it is needed."""
    outside = [each for each in imports(path) if not each.level and each.package not in sys.stdlib_module_names]
    assert {each.package for each in outside} <= known
    assert [each for each in outside if not each.lazy] == []


def assert_pure(path: Path) -> None:
    """It imports nothing that reads a clock, a disk or a network."""
    assert {each.names for each in imports(path) if not each.level and each.package in {*IMPURE, "asyncio"}} == set()


def files() -> list[Path]:
    """Those of the face itself; what stands in a folder of its own has tests of its own."""
    return sorted(path for path in SHIM.glob("*.py") if path.stat().st_size)


def test_every_file_has_its_place() -> None:
    assert sorted(ORDER) == sorted(path.relative_to(SHIM).with_suffix("").as_posix() for path in files())


@pytest.mark.parametrize("path", files(), ids=lambda path: path.stem)
def test_a_file_knows_the_core_and_those_before_it(path: Path) -> None:
    known = module_utils_imports(path)
    assert {each.split("/")[0] for each in known} <= {"http_shim", "power"}
    before = ORDER[: ORDER.index(path.stem)]
    ours = {each.removeprefix("http_shim/") for each in known if each.startswith("http_shim/")}
    # The service puts everything together.
    assert {each for each in ours if "/" not in each or path.stem != "service"} <= set(before)


@pytest.mark.parametrize("path", files(), ids=lambda path: path.stem)
def test_it_needs_no_ansible(path: Path) -> None:
    words = re.sub(r"ansible_collections\.fleet\.power", "", path.read_text())
    assert "ansible" not in words


@NEEDS_A_LIST_OF_MODULES
@pytest.mark.parametrize("path", files(), ids=lambda path: path.stem)
def test_libraries_are_known_in_few_places_and_imported_when_they_are_needed(path: Path) -> None:
    assert_libraries_are_lazy_and_among(path, LIBRARIES.get(path.stem, set()))


@pytest.mark.parametrize("name", PURE)
def test_a_pure_file_reads_no_clock_no_disk_and_no_network(name: str) -> None:
    assert_pure(SHIM / f"{name}.py")


@pytest.mark.parametrize("path", files(), ids=lambda path: path.stem)
def test_a_file_is_short(path: Path) -> None:
    assert len(path.read_text().splitlines()) < 300
