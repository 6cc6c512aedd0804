# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The HTTP face forgets a server that is gone, and keeps one that it cannot look up."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from ansible_collections.fleet.power.plugins.module_utils._http_shim.acceptance.shared_node import SharedNode
from ansible_collections.fleet.power.plugins.module_utils._http_shim.servers.server_cache import KnownServer, _everything
from ansible_collections.fleet.power.plugins.module_utils._power.actions.node.node import build_sources
from ansible_collections.fleet.power.plugins.module_utils._power.definitions.settings import load_settings
from ansible_collections.fleet.power.plugins.module_utils._power.model.server import Server
from ansible_collections.fleet.power.tests.integration.panel_server import FakePanel, closing, status

from .fake_engine import FakeClock, FakeEngine

UUID = "aaaaaaaa-0000-4000-8000-000000000001"


def definition(*, suspended: bool) -> dict[str, object]:
    return {"settings": {"uuid": UUID, "suspended": suspended, "container": {"image": "game:1"}}}


def node_of(panel: FakePanel, root: Path) -> SharedNode:
    directories = {name: str(root / name) for name in ("lock_directory", "state_directory", "data", "definitions")}
    engine = {"host": "unix:///nonexistent/engine.sock"}
    (root / "config.yml").write_text(json.dumps({**panel.settings, "system": directories, "docker": engine}))
    return SharedNode(load_settings(str(root / "config.yml")), {}, lambda: False)


@pytest.mark.parametrize("panel_answers", [True, False])
@pytest.mark.parametrize("beside", [{}, {"notes.yml": "a: 1"}, {f"{UUID}.json": "{"}])
def test_a_server_that_is_gone_is_known_no_more_whatever_is_wrong_with_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, beside: dict[str, str], panel_answers: bool
) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    gone, clock = "bbbbbbbb-0000-4000-8000-000000000002", FakeClock()
    (tmp_path / "definitions").mkdir()
    for name, text in beside.items():
        (tmp_path / "definitions" / name).write_text(text)
    with closing(FakePanel(definition(suspended=False))) as panel, closing(node_of(panel, tmp_path)) as node:
        if not panel_answers:
            panel.fault(status(500))
        engine = FakeEngine(clock)
        monkeypatch.setattr(node, "fresh_sources", lambda: build_sources(node.settings, engine, clock))
        monkeypatch.setattr(node, "now", lambda: SimpleNamespace(engine=engine))
        found, unlisted = _everything(node, {gone: KnownServer(Server(gone))})
    # What a list that cannot be had lacks is not gone.
    assert (gone in found) is not panel_answers
    assert unlisted == (() if panel_answers else ("source_unreachable",))
