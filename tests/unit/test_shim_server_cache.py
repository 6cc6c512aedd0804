# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The HTTP face's knowledge of its servers: of a Panel's as old as ten seconds, the Panel asked no more often, and none that is gone."""

from __future__ import annotations

import asyncio
import io
import json
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from ansible_collections.fleet.power.plugins.module_utils._http_shim.acceptance.shared_node import SharedNode
from ansible_collections.fleet.power.plugins.module_utils._http_shim.process.log import Log
from ansible_collections.fleet.power.plugins.module_utils._http_shim.servers.server_cache import KnownServer, ServerCache, _everything
from ansible_collections.fleet.power.plugins.module_utils._power.actions.node.assemble import build_sources
from ansible_collections.fleet.power.plugins.module_utils._power.definitions.settings import load_settings
from ansible_collections.fleet.power.plugins.module_utils._power.model.server import Server
from ansible_collections.fleet.power.tests.integration.panel_server import LIST, FakePanel, closing, status

from .fake_engine import FakeClock, FakeEngine

UUID = "aaaaaaaa-0000-4000-8000-000000000001"


class Loop(asyncio.SelectorEventLoop):
    """A loop whose clock stands still unless a test moves it."""

    moment = 0.0

    def time(self) -> float:
        return self.moment


def definition(*, suspended: bool) -> dict[str, object]:
    return {"settings": {"uuid": UUID, "suspended": suspended, "container": {"image": "game:1"}}}


def node_of(panel: FakePanel, root: Path) -> SharedNode:
    directories = {name: str(root / name) for name in ("lock_directory", "state_directory", "data", "definitions")}
    engine = {"host": "unix:///nonexistent/engine.sock"}
    (root / "config.yml").write_text(json.dumps({**panel.settings, "system": directories, "docker": engine}))
    return SharedNode(load_settings(str(root / "config.yml")), {}, lambda: False)


async def until(told: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20.0
    while not told():
        assert time.monotonic() < deadline
        # Not asyncio's own: this loop's clock stands still.
        await asyncio.get_running_loop().run_in_executor(None, time.sleep, 0.01)


async def story(node: SharedNode, log: Log, panel: FakePanel, loop: Loop) -> None:
    known = ServerCache(node, log)
    await known.load()
    await until(lambda: known.cached(UUID))
    panel.put(definition(suspended=True))
    for _look in range(5):
        looks = panel.count(LIST)
        for _unused in range(9):
            loop.moment += 1.1
            await known.find(UUID)
            await known.all_servers()
        assert panel.count(LIST) == looks
        loop.moment += 0.1
        await until(lambda: known.cached(UUID) and panel.count(LIST) > looks)  # noqa: B023
    await until(lambda: (server := known.cached(UUID)) is not None and server.suspended)
    assert panel.count(LIST) == 6
    known.close()


def test_the_panel_is_asked_once_in_ten_seconds_and_what_it_says_then_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    log, loop = Log(io.StringIO()), Loop()
    with closing(FakePanel(definition(suspended=False))) as panel, closing(node_of(panel, tmp_path)) as node, closing(loop):
        loop.run_until_complete(story(node, log, panel, loop))
    log.close()


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
