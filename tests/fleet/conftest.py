# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fixtures of the tests on a lab of real nodes. What `lab` has as functions is here as fixtures, too."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from . import lab
from .lab import Lease, Node


@pytest.fixture(autouse=True)
def _scratch(tmp_path: Path) -> Iterator[None]:
    """Where a test's inventories and runs are; what it left running ends with it."""
    yield from lab.scratch(tmp_path)


@pytest.fixture
def lease() -> Iterator[Lease]:
    """``lease(count) -> list[Node]``: free nodes, as good as new; they are given back after the test."""
    yield from lab.leases()


@pytest.fixture
def node(lease: Lease) -> Node:
    """One leased node."""
    return lease(1)[0]


@pytest.fixture
def server() -> Callable[..., dict[str, Any]]:
    """`lab.server`."""
    return lab.server


@pytest.fixture
def inventory() -> Callable[..., Path]:
    """`lab.inventory`."""
    return lab.inventory


@pytest.fixture
def playbook() -> Callable[..., lab.Ran]:
    """`lab.playbook`."""
    return lab.playbook


@pytest.fixture
def playbook_begun() -> Callable[..., lab.Going]:
    """`lab.playbook_begun`."""
    return lab.playbook_begun


@pytest.fixture
def adhoc() -> Callable[..., dict[str, dict[str, Any]]]:
    """`lab.adhoc`."""
    return lab.adhoc
