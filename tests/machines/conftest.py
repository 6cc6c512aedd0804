# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fixtures of the tests on a machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.fleet.power.tests.fleet import scratch

from .machine import Machine, leased


@pytest.fixture(scope="session")
def _collections(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copy the collection when the first test begins."""
    return scratch.snapshot(tmp_path_factory.mktemp("collections"))


@pytest.fixture(autouse=True)
def _scratch(tmp_path: Path, _collections: Path) -> Iterator[None]:
    """Give a test a directory for its inventories and runs. Its processes end with it."""
    yield from scratch.scratch(tmp_path, _collections)


@pytest.fixture
def machine() -> Machine:
    return leased()
