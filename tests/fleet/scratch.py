# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The running test: its directory, and its copy of the collection."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from .nodes import CHECKOUT

#: The parts of a collection that Ansible needs.
COLLECTION = ("extensions", "galaxy.yml", "meta", "playbooks", "plugins", "roles")


@dataclass
class Test:
    directory: Path
    #: The directory in which Ansible finds this collection.
    collections: Path
    sockets: Path
    #: Each function kills a run of Ansible.
    ends: list[Callable[[], None]] = field(default_factory=list)
    files: int = 0

    def file(self, name: str) -> Path:
        self.files += 1
        return self.directory / f"{self.files}-{name}"


_tests: list[Test] = []


def current() -> Test:
    return _tests[-1]


def collection_in(collections: Path) -> Path:
    """Return the collection's root below a collections directory."""
    return collections / "ansible_collections" / "fleet" / "power"


def snapshot(directory: Path) -> Path:
    """Copy the collection, so that later edits do not change it during a test; return the collections directory."""
    power = collection_in(directory)
    for name in COLLECTION:
        if (CHECKOUT / name).is_dir():
            shutil.copytree(CHECKOUT / name, power / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(CHECKOUT / name, power)
    return directory


def collections() -> Path:
    """Return the collections directory of this test."""
    return current().collections


def collection_root() -> Path:
    return collection_in(collections())


def scratch(directory: Path, collections: Path) -> Iterator[None]:
    """Set the directory and the collection of the test that begins. End its runs after it."""
    # A control socket's address has at most 107 bytes, and the name of a test's own directory is too long.
    test = Test(directory, collections, Path(tempfile.mkdtemp(prefix="fleet-")))
    _tests.append(test)
    try:
        yield
    finally:
        _tests.remove(test)
        for end in test.ends:
            end()
        for socket in test.sockets.iterdir():
            with contextlib.suppress(subprocess.TimeoutExpired):
                subprocess.run(["ssh", "-O", "exit", "-o", f"ControlPath={socket}", "node"], check=False, capture_output=True, timeout=2)
        shutil.rmtree(test.sockets, ignore_errors=True)
