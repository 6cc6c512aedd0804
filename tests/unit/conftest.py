# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fixtures shared by unit tests."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.definitions import definition_text
from ansible_collections.fleet.power.tests.unit import journal_support, scripted_engine
from ansible_collections.fleet.power.tests.unit.fake_node import FakeNode
from hypothesis import HealthCheck, settings

#: The inventory plugin needs Ansible.
collect_ignore_glob = [] if importlib.util.find_spec("ansible") else ["test_inventory*.py"]

# A slow or busy machine makes no test fail.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")


@pytest.fixture(name="node")
def node_fixture(tmp_path: Path) -> Iterator[journal_support.Node]:
    """The directories of a node. Its journals are closed at the end."""
    node = journal_support.Node(tmp_path)
    yield node
    for journal in node.opened:
        journal.close()


@pytest.fixture(name="fake")
def fake_node(tmp_path: Path) -> Iterator[FakeNode]:
    fake = FakeNode(tmp_path)
    yield fake
    fake.close()


@pytest.fixture
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove the proxies and certificates of the test machine. In the HTTP library, they override settings."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture(name="scripted", params=["unix", "tcp", "tls"])
def engine_of_a_script(request: pytest.FixtureRequest, tmp_path: Path, no_proxies: None) -> Iterator[scripted_engine.ScriptedEngine]:
    with scripted_engine.listening(request.param, tmp_path) as engine:
        yield engine


@pytest.fixture
def strict_umask() -> Iterator[None]:
    """The strictest usual umask: modes of files must not depend on it."""
    before = os.umask(0o077)
    yield
    os.umask(before)


@pytest.fixture(params=["libyaml", "pure Python"])
def yaml_reader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """PyYAML with and without libyaml. Distributions have both, and their messages differ."""
    import yaml

    if request.param == "libyaml" and not hasattr(yaml, "CSafeLoader"):
        pytest.skip("PyYAML was built without libyaml")
    if request.param == "pure Python":
        monkeypatch.delattr(yaml, "CSafeLoader", raising=False)
    definition_text._yaml_loader.cache_clear()
    yield
    definition_text._yaml_loader.cache_clear()
