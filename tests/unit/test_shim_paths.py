# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests to the HTTP shim and what it shows: routes, bodies, servers, players and disks."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import AsyncMock, Mock

import pytest
import yaml
from ansible_collections.fleet.power.plugins.module_utils._http_shim.acceptance.shared_node import SharedNode
from ansible_collections.fleet.power.plugins.module_utils._http_shim.http import replies
from ansible_collections.fleet.power.plugins.module_utils._http_shim.http.bodies import BodyEmpty, BodyInvalid, PowerBody, read_power_body
from ansible_collections.fleet.power.plugins.module_utils._http_shim.http.replies import (
    PathMatch,
    PathTable,
    Refused,
    client_address,
    cors_headers,
    refusal,
)
from ansible_collections.fleet.power.plugins.module_utils._http_shim.routes import servers
from ansible_collections.fleet.power.plugins.module_utils._http_shim.routes.power import PowerRoutes
from ansible_collections.fleet.power.plugins.module_utils._http_shim.routes.servers import PlayerCounts
from ansible_collections.fleet.power.plugins.module_utils._http_shim.servers.disks import Disks
from ansible_collections.fleet.power.plugins.module_utils._http_shim.servers.server_cache import KnownServer, ServerCache, _everything
from ansible_collections.fleet.power.plugins.module_utils._http_shim.servers.wings_view import VERSION, server_entry
from ansible_collections.fleet.power.plugins.module_utils._http_shim.service import ROUTES
from ansible_collections.fleet.power.plugins.module_utils._power.actions.node.node import build_sources
from ansible_collections.fleet.power.plugins.module_utils._power.definitions.definition import parse_definition
from ansible_collections.fleet.power.plugins.module_utils._power.definitions.settings import Settings, load_settings, parse_settings
from ansible_collections.fleet.power.plugins.module_utils._power.engine.engine_answers import use_of
from ansible_collections.fleet.power.plugins.module_utils._power.model.players import PlayerCount
from ansible_collections.fleet.power.plugins.module_utils._power.model.request import OnFailedStart, PowerAction, Readiness
from ansible_collections.fleet.power.plugins.module_utils._power.model.server import PowerState, Server
from ansible_collections.fleet.power.tests.integration.panel_server import FakePanel, status
from ansible_collections.fleet.power.tests.unit.fake_node import OTHER, FakeGame
from ansible_collections.fleet.power.tests.unit.thread_support import block_until, few_threads
from hypothesis import given
from hypothesis import strategies as st

from .fake_engine import FakeClock, FakeEngine

UUID = "566bf9d7-c55a-45f8-91a6-e55e9b9b1325"
PATHS = PathTable((route.name, route.method, route.path) for route in ROUTES)


def settings(**values: object) -> Settings:
    return replace(parse_settings({}, where="a test"), **values)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "method, target, route",
    [
        ("GET", "/api/servers", PathMatch("servers")),
        ("POST", f"/api/servers/{UUID}/power", PathMatch("power", {"server": UUID})),
        ("GET", "/api/servers/a%2Db", PathMatch("server", {"server": "a-b"})),
        ("GET", "/api/servers/a%2Fws", PathMatch("websocket", {"server": "a"})),
        ("GET", f"/api/servers/{UUID}/power", None),
        ("GET", "/api/./servers", None),
    ],
)
def test_a_request_takes_the_route_of_its_method_and_path(method: str, target: str, route: PathMatch | None) -> None:
    assert PATHS.find(method, target) == route


def test_an_empty_token_is_refused() -> None:
    assert refusal("Bearer ", "") is replies.WRONG_TOKEN
    assert refusal("Bearer x", "x") is None
    assert refusal("Bearer x ", "x") is replies.WRONG_TOKEN


def test_cors_headers_name_the_panel_and_a_star_allows_all_origins() -> None:
    panel = settings(remote="https://panel.example.com")
    assert dict(cors_headers(None, panel))["Access-Control-Allow-Origin"] == "https://panel.example.com"
    assert dict(cors_headers("https://evil.example.com", panel))["Access-Control-Allow-Origin"] == "https://panel.example.com"
    slash = replace(panel, remote="https://panel.example.com/")
    assert cors_headers("https://panel.example.com", slash) == cors_headers("https://panel.example.com", panel)
    anybody = replace(panel, allowed_origins=("*",), allow_cors_private_network=True)
    headers = dict(cors_headers("https://evil.example.com", anybody))
    assert (headers["Access-Control-Allow-Origin"], headers["Access-Control-Request-Private-Network"]) == ("*", "true")


@pytest.mark.parametrize(
    "peer, forwarded, address",
    [
        ("192.0.2.1", ["198.51.100.7"], "192.0.2.1"),
        ("10.0.0.1", ["198.51.100.7"], "198.51.100.7"),
        ("10.0.0.1", ["203.0.113.5, 198.51.100.7, 10.0.0.2"], "198.51.100.7"),
        ("::ffff:10.0.0.1", ["198.51.100.7, ::ffff:10.0.0.2"], "198.51.100.7"),
        ("10.0.0.1", ["nonsense"], "10.0.0.1"),
    ],
)
def test_only_trusted_proxies_name_the_client_address(peer: str, forwarded: list[str], address: str) -> None:
    assert client_address(peer, forwarded, ("10.0.0.0/8",)) == address


@pytest.mark.parametrize(
    "given_wait, used",
    [("null", 30), ("0", 0), ("-0", 0), ("300", 300), ("301", 30), ("-1", 30), (str(2**63 - 1), 30)],
)
def test_a_wait_out_of_range_counts_as_thirty_seconds(given_wait: str, used: int) -> None:
    assert read_power_body(f'{{"action":"stop","wait_seconds":{given_wait}}}'.encode()) == PowerBody(PowerAction.STOP, used)


def test_a_body_says_what_happens_after_a_failed_start() -> None:
    found = read_power_body(b'{"action": "restart", "on_failed_start": "revert", "settle": 5}')
    assert found.ready == Readiness(on_failed_start=OnFailedStart.REVERT, settle=5)
    assert read_power_body(b'{"action": "stop", "on_failed_start": "revert", "settle": 5}').ready == Readiness()


@pytest.mark.parametrize("name, value, expected", [("on_failed_start", "undo", "leave or revert"), ("settle", 3601, "from 0 to 3600")])
def test_a_wrong_option_of_a_body_is_refused_by_name(name: str, value: object, expected: str) -> None:
    with pytest.raises(Refused) as error:
        read_power_body(json.dumps({"action": "restart", name: value}).encode())
    refused = json.loads(error.value.reply.body)["error"]
    assert name in refused and refused.endswith(expected)


@given(st.binary(max_size=200))
def test_any_body_is_read_or_refused(body: bytes) -> None:
    with contextlib.suppress(BodyEmpty, BodyInvalid):
        read_power_body(body)


VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=5)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
    max_leaves=8,
)


@given(
    action=VALUES, wait=VALUES, rest=st.dictionaries(st.sampled_from(["x", "y"]), VALUES), tail=st.sampled_from([b"", b" ", b"}", b"\x00"])
)
def test_a_field_of_the_wrong_type_refuses_the_whole_body(action: object, wait: object, rest: dict[str, object], tail: bytes) -> None:
    body = json.dumps({"action": action, "wait_seconds": wait, **rest}).encode() + tail
    action_is_text = action is None or isinstance(action, str)
    wait_is_whole = wait is None or (isinstance(wait, int) and not isinstance(wait, bool) and -(2**63) <= wait < 2**63)
    if not (action_is_text and wait_is_whole):
        with pytest.raises(BodyInvalid, match=f"{'wait_seconds' if action_is_text else 'action'} has the wrong type"):
            read_power_body(body)
        return
    found = read_power_body(body)
    assert found.action == (PowerAction(action) if action in [each.value for each in PowerAction] else None)
    assert found.wait_seconds == (wait if isinstance(wait, int) and 0 <= wait <= 300 else 30)


def test_deep_nesting_is_refused() -> None:
    for opening in (b"[", b'{"a":'):
        with pytest.raises(BodyInvalid):
            read_power_body(b'{"a":' + opening * 20_000)


FIXTURES = Path(__file__).parent / "fixtures" / "definitions"


def stats(**fields: object) -> dict[str, object]:
    return {
        "read": "2026-03-01T12:00:00.5Z",
        "cpu_stats": {"cpu_usage": {"total_usage": 2_500_000_000}},
        "memory_stats": {"usage": 1000, "limit": 5000, "stats": {"inactive_file": 100}},
        "networks": {"eth0": {"rx_bytes": 1, "tx_bytes": 2}, "eth1": {"rx_bytes": 10, "tx_bytes": 20}},
        **fields,
    }


def test_a_container_that_does_not_run_uses_nothing() -> None:
    assert use_of(stats(memory_stats={})) is None
    assert use_of(stats(read="0001-01-01T00:00:00Z")) is None
    assert use_of({}) is None


def test_start_commands_show_secrets_only_if_the_environment_is_shown() -> None:
    raw = json.loads((FIXTURES / "paper.json").read_text())
    raw["settings"].update(invocation="./serve --token=hunter2-token \\\nswordfish\n{{PORT}}", environment={"RCON": "swordfish"})
    definition = parse_definition(raw, where="paper.json")
    shown = [
        server_entry(definition.server, PowerState.OFFLINE.value, definition, {}, settings, suspended=False)
        for settings in (parse_settings({"api": {"show_environment": show}}, where="a test") for show in (False, True))
    ]
    assert shown[0]["configuration"]["invocation"] == "./serve --token=******** \\\n********\n{{PORT}}"
    assert shown[1]["configuration"]["invocation"] == definition.invocation


def test_the_version_equals_the_version_of_the_collection() -> None:
    galaxy = yaml.safe_load((Path(__file__).resolve().parents[2] / "galaxy.yml").read_text())
    assert galaxy["version"] == VERSION


CACHED = "aaaaaaaa-0000-4000-8000-000000000001"


def definition(*, suspended: object) -> dict[str, object]:
    return {"settings": {"uuid": CACHED, "suspended": suspended, "container": {"image": "game:1"}}}


def node_of(panel: FakePanel, root: Path) -> SharedNode:
    directories = {name: str(root / name) for name in ("lock_directory", "state_directory", "data", "definitions")}
    engine = {"host": "unix:///nonexistent/engine.sock"}
    (root / "config.yml").write_text(json.dumps({**panel.settings, "system": directories, "docker": engine}))
    return SharedNode(load_settings(str(root / "config.yml")), lambda: False)


@pytest.mark.parametrize("panel_answers", [True, False])
@pytest.mark.parametrize("beside", [{}, {"notes.yml": "a: 1"}, {f"{CACHED}.json": "{"}])
def test_a_removed_server_is_forgotten_although_other_definitions_are_broken(
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
    # An unreadable list does not prove that a server is gone.
    assert (gone in found) is not panel_answers
    assert unlisted == (() if panel_answers else ("source_unreachable",))


@pytest.mark.parametrize("suspended, status_code", [(True, 400), (False, 202), ("perhaps", 202), (None, 202)])
def test_only_the_current_definition_refuses_a_start_as_suspended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suspended: object, status_code: int
) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")

    async def run(node: Any) -> None:
        backend: Any = Mock(node=node, actions=Mock(accept=AsyncMock(return_value="operation")), known=ServerCache(node, Mock()))
        request: Any = Mock(body=AsyncMock(return_value=PowerBody(PowerAction.START)), address="", settings=node.settings)
        assert (await PowerRoutes(backend)._power(request, KnownServer(Server(CACHED), suspended=True))).status == status_code

    with closing(FakePanel(definition(suspended=suspended))) as panel, closing(node_of(panel, tmp_path)) as node:
        if suspended is None:
            panel.fault(status(500))
        asyncio.run(run(node))


HELD = 10_000


@pytest.fixture(name="data")
def data_directories(tmp_path: Path) -> Iterator[Any]:
    for number in range(3):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "file").write_bytes(b"a" * HELD)
    yield SimpleNamespace(data=str(tmp_path), disk_check_timeout=600, disk_check_entries=10_000_000)


def test_the_disk_use_of_many_directories_does_not_delay_the_answer(data: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    go, threads = threading.Event(), set()

    def walk(_disks: Disks, _uuid: str, _settings: object, _bounds: object) -> tuple[int, bool]:
        threads.add(threading.get_ident())
        go.wait(20.0)
        return 5, False

    monkeypatch.setattr(Disks, "_walk", walk)
    disks, uuids = Disks(), [str(number) for number in range(40)]
    began = time.monotonic()
    assert set(disks.of_each(uuids, data).values()) == {0}
    assert time.monotonic() - began < 10.0
    go.set()
    block_until(lambda: set(disks.of_each(uuids, data).values()) == {5})
    assert len(threads) == 1


def test_the_next_request_starts_a_walk_that_had_no_thread(data: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    disks = Disks()
    with monkeypatch.context() as patch:
        few_threads(patch)
        assert disks.of("0", data) == 0
    used = HELD + os.stat(f"{data.data}/0").st_size
    block_until(lambda: disks.of("0", data) == used)


class Hanging(FakeGame):
    def __init__(self) -> None:
        super().__init__()
        self.let_go = threading.Event()

    def players(self) -> PlayerCount:
        found = super().players()
        self.let_go.wait(20.0)
        return found


def test_many_requests_within_seconds_query_the_game_once(monkeypatch: pytest.MonkeyPatch) -> None:
    counts, game = PlayerCounts(), FakeGame()
    game.online = 3
    with ThreadPoolExecutor(16) as pool:
        found = set(pool.map(lambda _unused: counts.of(UUID, game), range(200)))
    assert (found, game.looks) == ({PlayerCount(3, 20)}, 1)
    counts.of(OTHER, game)
    assert game.looks == 2
    monkeypatch.setattr(servers, "_FRESH_SECONDS", 0.0)
    game.online = 4
    assert (counts.of(UUID, game), game.looks) == (PlayerCount(4, 20), 3)


def test_a_silent_game_blocks_a_single_thread_and_no_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "_PLAYERS_SECONDS", 0.05)
    monkeypatch.setattr(servers, "_FRESH_SECONDS", 0.0)
    counts, game = PlayerCounts(), Hanging()
    began = time.monotonic()
    found = {counts.of(UUID, game) for _unused in range(5)}
    assert time.monotonic() - began < 10.0
    assert (found, game.looks) == ({PlayerCount(why="the game has not answered yet")}, 1)
    monkeypatch.setattr(servers, "_FRESH_SECONDS", 60.0)
    game.let_go.set()
    monkeypatch.setattr(servers, "_PLAYERS_SECONDS", 20.0)
    assert (counts.of(UUID, game), game.looks) == (PlayerCount(0, 20), 1)
