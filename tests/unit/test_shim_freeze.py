# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Freezes through the HTTP shim: bodies, answers, and the refusal of a power request."""

from __future__ import annotations

import asyncio
import json
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import datetime, timedelta, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import AsyncMock, Mock

import pytest
from ansible_collections.fleet.power.plugins.module_utils._http_shim.acceptance.shared_node import SharedNode
from ansible_collections.fleet.power.plugins.module_utils._http_shim.http.bodies import PowerBody
from ansible_collections.fleet.power.plugins.module_utils._http_shim.http.replies import Refused, Reply
from ansible_collections.fleet.power.plugins.module_utils._http_shim.routes.about import Metrics
from ansible_collections.fleet.power.plugins.module_utils._http_shim.routes.power import PowerRoutes
from ansible_collections.fleet.power.plugins.module_utils._http_shim.servers.census import Census, NodeNumbers, ServerNumbers
from ansible_collections.fleet.power.plugins.module_utils._http_shim.servers.server_cache import KnownServer
from ansible_collections.fleet.power.plugins.module_utils._power.definitions.settings import load_settings
from ansible_collections.fleet.power.plugins.module_utils._power.host.pauses import FREEZE_FILE
from ansible_collections.fleet.power.plugins.module_utils._power.model.request import PowerAction
from ansible_collections.fleet.power.plugins.module_utils._power.model.server import Server

ONE = Server("aaaaaaaa-0000-4000-8000-000000000001", "alpha")


class Shim:
    """The routes of one shim without a socket."""

    def __init__(self, root: Path) -> None:
        directories = {name: str(root / name) for name in ("lock_directory", "state_directory", "data", "definitions")}
        engine = {"host": "unix:///nonexistent/engine.sock"}
        (root / "config.yml").write_text(json.dumps({"system": directories, "docker": engine, "token_id": "t1"}))
        self.state = root / "state_directory"
        self.node = SharedNode(load_settings(str(root / "config.yml")), {}, lambda: False)
        self.find = AsyncMock(side_effect=lambda uuid: KnownServer(ONE) if uuid == ONE.uuid else None)

    def close(self) -> None:
        self.node.close()

    def ask(self, method: str, body: object = None) -> tuple[int, Any]:
        """Return the status and the value of the answer."""

        async def run() -> Reply:
            raw = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
            request: Any = Mock(raw=SimpleNamespace(method=method), address="192.0.2.9", settings=self.node.settings)
            request.body = AsyncMock(side_effect=lambda parse: parse(raw))
            routes = PowerRoutes(Mock(node=self.node, known=Mock(find=self.find)))
            try:
                return await {"GET": routes._in_force, "PUT": routes._freeze, "DELETE": routes._thaw}[method](request)
            except Refused as refused:
                return refused.reply

        reply = asyncio.run(run())
        return reply.status, json.loads(reply.body)

    def power(self, action: str) -> tuple[int, bytes]:
        async def run() -> Reply:
            known = Mock(is_suspended=AsyncMock(return_value=False))
            backend: Any = Mock(node=self.node, actions=Mock(accept=AsyncMock(return_value="operation")), known=known)
            request: Any = Mock(body=AsyncMock(return_value=PowerBody(PowerAction(action))), address="", settings=self.node.settings)
            return await PowerRoutes(backend)._power(request, KnownServer(ONE))

        reply = asyncio.run(run())
        return reply.status, reply.body


@pytest.fixture
def shim(tmp_path: Path) -> Iterator[Shim]:
    with closing(Shim(tmp_path)) as shim:
        yield shim


def in_hours(hours: float) -> str:
    return (datetime.now(timezone(timedelta(hours=3))) + timedelta(hours=hours)).isoformat()


def final(**fields: Any) -> dict[str, Any]:
    return {"until": in_hours(1), "reason": "final", **fields}


def test_a_freeze_is_shown_until_its_end_is_asked_for(shim: Shim) -> None:
    assert shim.ask("GET") == (200, {"freezes": []})
    status, made = shim.ask("PUT", final(servers=[ONE.uuid.upper(), ONE.uuid], supervisor=True))
    (only,) = made["freezes"]
    assert status == 200 and shim.ask("GET")[1]["freezes"][0]["reason"] == "final"
    assert {name: only[name] for name in ("server", "name", "origin", "is_frozen", "supervisor", "node")} == {
        "server": ONE.uuid,
        "name": "alpha",
        "origin": "192.0.2.9 (token t1)",
        "is_frozen": True,
        "supervisor": True,
        "node": False,
    }
    assert [each["server"] for each in shim.ask("DELETE", {"servers": [ONE.uuid]})[1]["freezes"]] == [ONE.uuid]
    assert shim.ask("GET") == shim.ask("DELETE") == shim.ask("DELETE", {}) == (200, {"freezes": []})


def test_a_freeze_of_the_node_has_no_server_and_no_server_thaws_alone(shim: Shim) -> None:
    (only,) = shim.ask("PUT", final())[1]["freezes"]
    assert (only["server"], only["name"], only["node"]) == (None, None, True)
    status, refused = shim.ask("DELETE", {"servers": [ONE.uuid]})
    assert (status, refused["code"]) == (409, "frozen") and "Cannot thaw single servers: the node is frozen" in refused["error"]
    assert len(shim.ask("DELETE")[1]["freezes"]) == 1


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (None, "Cannot freeze until '': expected a date, a time and a zone"),
        (b"{", "Cannot freeze: the body is not JSON"),
        (b"[]", "Cannot freeze: the body is not a JSON object"),
        (b"[" * 10_000, "Cannot freeze: the body is nested too deeply"),
        (final(until="06:00"), "Cannot freeze until '06:00': expected a date, a time and a zone, such as 2026-01-31T06:00:00+01:00"),
        (final(until="2026-01-31T06:00:00"), "expected a date, a time and a zone"),
        (final(until=5), "Cannot freeze: until has the wrong type"),
        (final(until=in_hours(-1)), "that is in the past"),
        (final(until=in_hours(24 * 8)), "that is more than a week ahead"),
        (final(until="9999-12-31T23:59:59-23:59"), "that is more than a week ahead"),
        (final(reason=" "), "Cannot freeze: no reason is given"),
        (final(reason=None), "Cannot freeze: no reason is given"),
        (final(servers=[]), "Cannot freeze servers: servers is empty; leave it out for the whole node"),
        (final(servers=["all"]), "Cannot freeze servers: 'all' is no UUID"),
        (final(servers="all"), "Cannot freeze: servers has the wrong type"),
        (final(supervisor="yes"), "Cannot freeze: supervisor has the wrong type"),
        # A misspelt key would freeze the whole node.
        (final(server=[ONE.uuid]), "Cannot freeze: 'server' is an unknown key; expected until, reason, servers or supervisor"),
    ],
)
def test_a_wrong_body_gets_a_sentence_and_changes_nothing(shim: Shim, body: object, why: str) -> None:
    status, refused = shim.ask("PUT", body)
    assert (status, refused["code"]) == (422, "settings_invalid") and why in refused["error"]
    assert not shim.state.exists() or not (shim.state / FREEZE_FILE).exists()


def test_an_unknown_server_freezes_no_other(shim: Shim) -> None:
    status, refused = shim.ask("PUT", final(servers=[ONE.uuid, "bbbbbbbb-0000-4000-8000-000000000002"]))
    assert (status, refused["code"]) == (404, "server_not_found") and "this node does not have it" in refused["error"]
    assert shim.ask("GET") == (200, {"freezes": []})


def test_a_misspelt_key_thaws_nothing(shim: Shim) -> None:
    shim.ask("PUT", final())
    assert shim.ask("DELETE", {"server": [ONE.uuid]})[0] == shim.ask("DELETE", {"servers": []})[0] == 422
    assert len(shim.ask("GET")[1]["freezes"]) == 1


def test_a_journal_that_cannot_be_used_is_reported(shim: Shim) -> None:
    shim.ask("PUT", final())
    shim.node.journal.store.close()
    for path in shim.state.glob("journal.sqlite*"):
        path.unlink()
    (shim.state / "journal.sqlite").mkdir()
    assert (shim.ask("GET")[0], shim.ask("GET")[1]["code"]) == (500, "frozen")


@pytest.mark.parametrize(("action", "status"), [("start", 409), ("restart", 409), ("stop", 202), ("kill", 202)])
def test_a_start_or_restart_of_a_frozen_server_is_refused_before_its_acceptance(shim: Shim, action: str, status: int) -> None:
    assert shim.power(action)[0] == 202
    shim.ask("PUT", final(servers=[ONE.uuid]))
    found, body = shim.power(action)
    assert found == status
    if status == 409:
        refused = json.loads(body)
        assert refused["code"] == "frozen"
        assert f"Cannot {action} server {ONE.uuid}: it is frozen until " in refused["error"]
        assert "by 192.0.2.9 (token t1): final; wait for its end" in refused["error"]
    shim.ask("DELETE")
    assert shim.power(action)[0] == 202


def test_an_unknown_freeze_refuses_too(shim: Shim) -> None:
    shim.ask("PUT", final())
    shim.ask("DELETE")
    (shim.state / FREEZE_FILE).touch()
    status, body = shim.power("start")
    assert status == 409 and "there may be a freeze, but the journal has lost it" in json.loads(body)["error"]


def test_a_maintenance_starts_its_servers_through_the_shim(shim: Shim) -> None:
    shim.ask("PUT", final())
    (shim.state / "maintenance.json").write_text(json.dumps({"phase": "start", "servers": [ONE.uuid]}))
    assert (shim.power("start")[0], shim.power("restart")[0]) == (202, 409)


def test_without_a_freeze_the_event_loop_looks_once_for_one_file(shim: Shim, monkeypatch: pytest.MonkeyPatch) -> None:
    main, asked = threading.current_thread(), []

    def noted(name: str) -> None:
        real: Callable[..., Any] = getattr(os, name)

        def look(path: Any, *given: Any, **options: Any) -> Any:
            if threading.current_thread() is main and str(path).startswith(str(shim.state)):
                asked.append(os.path.basename(path))
            return real(path, *given, **options)

        monkeypatch.setattr(os, name, look)

    for name in ("open", "stat", "lstat"):
        noted(name)
    assert shim.power("start")[0] == 202 and asked == [FREEZE_FILE]


class TestMetrics:
    def lines(self, servers: ServerNumbers, runs: NodeNumbers) -> list[str]:
        pytest.importorskip("prometheus_client")
        text = Metrics(dict).text(servers, runs)
        assert text is not None
        return [line for line in text.decode().splitlines() if "frozen" in line and not line.startswith("#") and "reason" not in line]

    def test_unknown_numbers_have_no_sample(self) -> None:
        assert self.lines(ServerNumbers(), NodeNumbers()) == []
        known = self.lines(ServerNumbers(frozen=3), NodeNumbers(frozen=True))
        assert known == ["fleet_power_frozen_servers 3.0", "fleet_power_node_frozen 1.0"]

    def test_the_numbers_follow_the_freezes(self, shim: Shim) -> None:
        def numbers() -> bool | None:
            async def run() -> NodeNumbers:
                return (await Census(shim.node, Mock(all_servers=AsyncMock(return_value=[])), Mock()).numbers())[1]

            return asyncio.run(run()).frozen

        assert numbers() is False
        shim.ask("PUT", final(servers=[ONE.uuid]))
        assert numbers() is False
        shim.ask("PUT", final())
        assert numbers() is True
        shim.ask("DELETE")
        (shim.state / FREEZE_FILE).touch()
        assert numbers() is None
