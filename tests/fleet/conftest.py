# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fixtures of the tests on a lab of real nodes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from . import lab, scratch
from .cores import bring_core
from .lab import Lease, Node

#: These files run first, the longest in front, so that no worker runs one of them alone at the end.
LONGEST = (
    "test_supervised",
    "test_node",
    "test_shim",
    "test_readme",
    "test_deploy",
    "test_rollout_faults",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests of those files first."""
    rank = {name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.path.stem, len(rank)))


@pytest.fixture(scope="session")
def _collections(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copy the collection when the first test begins."""
    return scratch.snapshot(tmp_path_factory.mktemp("collections"))


@pytest.fixture(autouse=True)
def _scratch(tmp_path: Path, _collections: Path) -> Iterator[None]:
    """Give a test a directory for its inventories and runs. Its processes end with it."""
    yield from scratch.scratch(tmp_path, _collections)


@pytest.fixture
def lease() -> Iterator[Lease]:
    """``lease(count) -> list[Node]`` returns free nodes in a new state, with the core unless ``bare``. The test's end returns them."""
    with contextlib.contextmanager(lab.leases)() as take:

        def with_core(count: int, *, bare: bool = False, renewed: bool = False) -> list[Node]:
            nodes = take(count, bare=bare, renewed=renewed)
            for node in () if bare else nodes:
                bring_core(node)
            return nodes

        yield with_core


@pytest.fixture
def node(lease: Lease) -> Node:
    return lease(1)[0]
