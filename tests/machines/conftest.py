# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fixtures of the tests on a machine."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.fleet.power.tests.fleet import nodes, scratch
from ansible_collections.fleet.power.tests.fleet.nodes import Lease, Node
from ansible_collections.fleet.power.tests.fleet.supervised import supervised

from .facts import record_facts
from .machine import Machine


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """After the record of the tests that ran."""
    if not hasattr(session.config, "workerinput"):
        record_facts()


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
    """``lease(count) -> list[Node]`` returns free machines in a new state."""
    with contextlib.contextmanager(nodes.leases)("machines", Machine) as take:
        yield take


@pytest.fixture
def node(lease: Lease) -> Node:
    """Return a machine. Tests of nodes take it by this name."""
    return lease(1)[0]


@pytest.fixture
def machine(node: Machine) -> Machine:
    return node


@pytest.fixture
def ready(lease: Lease) -> Machine:
    """Return a machine with a supervisor and without servers. The first test on it runs role node and keeps the disk."""
    (machine,) = lease(1, kept=True)
    assert isinstance(machine, Machine)
    if not machine.has("/etc/systemd/system/fleet-power-supervisor.service"):
        supervised(machine)
        nodes.nodes_command("keep", machine.name)
    return machine
