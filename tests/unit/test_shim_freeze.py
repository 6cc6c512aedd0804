# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Freezes through the HTTP shim: bodies, answers, and the refusal of a power request."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import datetime, timedelta, timezone
from pathlib import Path
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
from ansible_collections.fleet.power.plugins.module_utils._power.model.freeze import Freeze
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
        self.node = SharedNode(load_settings(str(root / "config.yml")), lambda: False)

    def close(self) -> None:
        self.node.close()

    def ask(self, method: str, body: object = None, *, server: Server | None = None) -> tuple[int, Any]:
        """Return the status and the value of the answer, None for an empty one. Without a server it is about the node."""

        async def run() -> Reply:
            raw = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
            request: Any = Mock(address="192.0.2.9", settings=self.node.settings)
            request.body = AsyncMock(side_effect=lambda parse: parse(raw))
            routes: Any = PowerRoutes(Mock(node=self.node))
            try:
                if server is None:
                    return await {"PUT": routes._freeze_node, "DELETE": routes._thaw_node}[method](request)
                return await {"PUT": routes._freeze_server, "DELETE": routes._thaw_server}[method](request, KnownServer(server))
            except Refused as refused:
                return refused.reply

        reply = asyncio.run(run())
        return reply.status, json.loads(reply.body) if reply.body else None

    def current(self) -> list[Freeze]:
        return self.node.journal.freezes.current()

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


def test_a_server_is_frozen_until_its_thaw(shim: Shim) -> None:
    assert shim.ask("PUT", final(supervisor=True), server=ONE) == (204, None)
    (only,) = shim.current()
    assert (only.uuid, only.name, only.reason, only.supervisor) == (ONE.uuid, "alpha", "final", True)
    assert only.origin == "192.0.2.9 (token t1)"
    assert shim.ask("DELETE", server=ONE) == shim.ask("DELETE", server=ONE) == shim.ask("DELETE") == (204, None)
    assert shim.current() == []


def test_no_server_of_a_frozen_node_thaws_alone(shim: Shim) -> None:
    assert shim.ask("PUT", final()) == (204, None)
    status, refused = shim.ask("DELETE", server=ONE)
    assert (status, refused["code"]) == (409, "frozen") and "Cannot thaw single servers: the node is frozen" in refused["error"]
    assert shim.ask("DELETE") == (204, None) and shim.current() == []


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (None, "Cannot freeze: the body is empty; until has a date, a time and a zone"),
        ({"reason": "final"}, "Cannot freeze: until is missing; until has a date, a time and a zone"),
        (b"{", "Cannot freeze: the body is not JSON"),
        (b"[]", "Cannot freeze: the body is not a JSON object"),
        (b"[" * 10_000, "Cannot freeze: the body is nested too deeply"),
        (final(until="06:00"), "until has the wrong type; until has a date, a time and a zone: 2026-01-31T06:00:00+01:00"),
        (final(until="2026-01-31T06:00:00"), "until has a date, a time and a zone"),
        (final(until=5), "Cannot freeze: until has the wrong type"),
        (final(until=in_hours(-1)), "that is in the past"),
        (final(until=in_hours(24 * 8)), "that is more than a week ahead"),
        (final(until="9999-12-31T23:59:59-23:59"), "that is more than a week ahead"),
        (final(reason=" "), "Cannot freeze: no reason is given"),
        (final(reason=None), "Cannot freeze: no reason is given"),
        (final(supervisor="yes"), "Cannot freeze: supervisor has the wrong type"),
    ],
)
def test_a_wrong_body_gets_a_sentence_and_changes_nothing(shim: Shim, body: object, why: str) -> None:
    status, refused = shim.ask("PUT", body)
    assert (status, refused["code"]) == (422, "settings_invalid") and why in refused["error"]
    assert not shim.state.exists() or not (shim.state / FREEZE_FILE).exists()


def test_a_journal_that_cannot_be_used_is_reported(shim: Shim) -> None:
    shim.ask("PUT", final())
    shim.node.journal.store.close()
    with closing(sqlite3.connect(shim.state / "journal.sqlite")) as connection:
        connection.execute("PRAGMA user_version = 99")
    for status, refused in (shim.ask("PUT", final()), shim.ask("DELETE", server=ONE)):
        assert (status, refused["code"]) == (500, "freeze_failed")
    assert shim.ask("DELETE") == (204, None)


@pytest.mark.parametrize(("action", "status"), [("start", 409), ("restart", 409), ("stop", 202), ("kill", 202)])
def test_a_start_or_restart_of_a_frozen_server_is_refused_before_its_acceptance(shim: Shim, action: str, status: int) -> None:
    assert shim.power(action)[0] == 202
    shim.ask("PUT", final(), server=ONE)
    found, body = shim.power(action)
    assert found == status
    if status == 409:
        refused = json.loads(body)
        assert refused["code"] == "frozen"
        assert f"Cannot {action} server {ONE.uuid}: it is frozen until " in refused["error"]
        assert "by 192.0.2.9 (token t1): final; wait for the end of the freeze" in refused["error"]
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
        shim.ask("PUT", final(), server=ONE)
        assert numbers() is False
        shim.ask("PUT", final())
        assert numbers() is True
        shim.ask("DELETE")
        (shim.state / FREEZE_FILE).touch()
        assert numbers() is None
