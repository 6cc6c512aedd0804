# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the files of the websockets may know: the core, the face below them, each other in one order, the libraries in few places."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from .test_layering import ARCHITECTURE, MODULE_UTILS, module_utils_imports
from .test_shim_layers import NEEDS_A_LIST_OF_MODULES, assert_libraries_are_lazy_and_among, assert_pure

WEBSOCKET = MODULE_UTILS / "http_shim" / "websocket"
#: From what decides to what serves; a file imports from those before it.
ORDER = (
    *("permissions", "claims", "denials", "frames", "endings", "rates", "sight", "changes", "follower", "sampler"),
    *("intake", "outbox", "member", "room", "rooms", "wishes", "route"),
)
PURE = ("permissions", "claims", "denials", "frames", "endings", "rates", "sight")
#: The files of the face below the websockets that they may know.
FACE = {
    *("access", "actions", "body", "commands", "disks", "face", "known", "line", "log", "operations", "outside"),
    *("power_request", "replies", "request_id", "server_view", "shared_node", "utilization"),
}
#: The files that may know libraries, inside of functions.
LIBRARIES = {"claims": {"jwt"}, "member": {"aiohttp"}, "outbox": {"aiohttp"}, "route": {"aiohttp"}}


def files() -> list[Path]:
    return sorted(path for path in WEBSOCKET.rglob("*.py") if path.stat().st_size)


def test_every_file_has_its_place_and_the_architecture_tells_of_it() -> None:
    names = sorted(path.relative_to(WEBSOCKET).with_suffix("").as_posix() for path in files())
    assert sorted(ORDER) == names
    part = ARCHITECTURE.read_text().partition("\n## Websockets")[2].partition("\n## ")[0]
    assert sorted(re.findall(r"^\| `websocket/(\w+)` \|", part, re.MULTILINE)) == names
    assert sorted(re.findall(r"^\| `websocket/(\w+)` \|.*\(pure\) \|$", part, re.MULTILINE)) == sorted(PURE)


@pytest.mark.parametrize("path", files(), ids=lambda path: path.stem)
def test_a_file_knows_the_core_the_face_and_those_before_it(path: Path) -> None:
    known = module_utils_imports(path)
    before = {f"http_shim/websocket/{name}" for name in ORDER[: ORDER.index(path.stem)]} | {"http_shim/websocket"}
    outside = {each for each in known if not each.startswith("power/")} - before
    assert outside <= {f"http_shim/{name}" for name in FACE} | {"http_shim"}


@NEEDS_A_LIST_OF_MODULES
@pytest.mark.parametrize("path", files(), ids=lambda path: path.stem)
def test_libraries_are_known_in_few_places_and_imported_when_they_are_needed(path: Path) -> None:
    assert_libraries_are_lazy_and_among(path, LIBRARIES.get(path.stem, set()))


@pytest.mark.parametrize("name", PURE)
def test_a_pure_file_reads_no_clock_no_disk_and_no_network(name: str) -> None:
    assert_pure(WEBSOCKET / f"{name}.py")


@pytest.mark.parametrize("path", files(), ids=lambda path: path.stem)
def test_a_file_is_short_and_needs_no_framework(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) < 300
    assert "ansible" not in text
