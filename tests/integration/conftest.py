# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fixtures of the tests on a real engine."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from .controller import Controller
from .engine_proxy import EngineProxy
from .lab import Lab, lab_on
from .shim import Shim, shim_on

#: ansible-test runs these: `make targets`.
collect_ignore = ["targets"]


@pytest.fixture(scope="session")
def docker_host() -> str:
    """The engine to test on; ``make integration`` finds or starts one."""
    host = os.environ.get("DOCKER_HOST")
    if not host:
        pytest.fail("DOCKER_HOST is not set; run these tests by: make integration")
    return host


@pytest.fixture
def lab(tmp_path: Path, docker_host: str) -> Iterator[Lab]:
    yield from lab_on(tmp_path, docker_host)


@pytest.fixture
def controller(lab: Lab, tmp_path: Path) -> Controller:
    return Controller(lab, tmp_path / "controller")


@pytest.fixture
def shim(lab: Lab) -> Iterator[Shim]:
    with shim_on(lab) as running:
        yield running


@pytest.fixture
def proxy(lab: Lab, tmp_path: Path, docker_host: str) -> Iterator[EngineProxy]:
    """An engine with faults; only actions by ``lab.at(proxy.host)`` see them."""
    proxy = EngineProxy(docker_host, tmp_path / "engine.sock")
    try:
        yield proxy
    finally:
        proxy.close()
