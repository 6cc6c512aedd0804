# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The version of the API that requests have: the engine's, but none newer than was tested."""

from __future__ import annotations

import asyncio
import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from unittest.mock import Mock

import pytest
from ansible_collections.fleet.power.plugins.module_utils._http_shim.routes.about import Metrics
from ansible_collections.fleet.power.plugins.module_utils._http_shim.servers.census import NodeNumbers, ServerNumbers
from ansible_collections.fleet.power.plugins.module_utils._http_shim.service import Service
from ansible_collections.fleet.power.plugins.module_utils._power.engine.connection import Connection, connect
from ansible_collections.fleet.power.plugins.module_utils._power.engine.docker_engine import DockerEngine
from ansible_collections.fleet.power.plugins.module_utils._power.engine.engine_version import NEWEST_TESTED, EngineVersion, numbers
from ansible_collections.fleet.power.plugins.module_utils._power.model.errors import EngineError, EngineUnreachable, SettingsInvalid
from ansible_collections.fleet.power.plugins.module_utils._supervisor import service
from ansible_collections.fleet.power.plugins.module_utils._supervisor.engine_link import EngineLink
from ansible_collections.fleet.power.plugins.module_utils._supervisor.service import Supervisor


class VersionedEngine:
    """An engine that knows the versions from ``oldest`` to ``newest``, and no container."""

    def __init__(self) -> None:
        self.release, self.oldest, self.newest = "28.5.2", "1.24", "1.51"
        #: Whether its answers tell the version in a header, and in ``/version``.
        self.has_headers = True
        self.asked: list[str] = []
        engine = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                engine.asked.append(self.path.partition("?")[0])
                version = re.match(r"/v([0-9.]+)/", self.path)
                status, body = 404, {"message": "no such container"}
                if version and not numbers(engine.oldest) <= numbers(version[1]) <= numbers(engine.newest):
                    status, body = 400, {"message": f"client version {version[1]} is not supported"}
                elif self.path.endswith("/version"):
                    status, body = 200, {"ApiVersion": engine.newest, "MinAPIVersion": engine.oldest}
                elif self.path.endswith("/_ping"):
                    status = 200
                text = json.dumps(body).encode()
                self.send_response(status)
                if engine.has_headers:
                    self.send_header("Api-Version", engine.newest)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def version_string(self) -> str:
                return f"Docker/{engine.release} (linux)"

            def log_message(self, *_unused: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.connection = Connection(host=f"tcp://127.0.0.1:{self.server.server_port}", timeout=5)


@pytest.fixture(name="engine")
def serve_versions() -> Iterator[VersionedEngine]:
    engine = VersionedEngine()
    thread = threading.Thread(target=engine.server.serve_forever, daemon=True)
    thread.start()
    yield engine
    engine.server.shutdown()
    engine.server.server_close()
    thread.join(5)


def newer(than: str, by: int = 1) -> str:
    major, minor = numbers(than)
    return f"{major}.{minor + by}"


@pytest.mark.parametrize("has_headers", [True, False])
@pytest.mark.parametrize(
    "oldest, newest, spoken",
    [
        ("1.12", "1.41", "1.41"),
        ("1.24", NEWEST_TESTED, NEWEST_TESTED),
        ("1.44", newer(NEWEST_TESTED), NEWEST_TESTED),
        ("1.40", newer(NEWEST_TESTED, 6), NEWEST_TESTED),
    ],
)
def test_requests_have_the_engines_version_but_none_newer_than_was_tested(
    engine: VersionedEngine, oldest: str, newest: str, spoken: str, has_headers: bool
) -> None:
    engine.oldest, engine.newest, engine.has_headers = oldest, newest, has_headers
    docker = DockerEngine(engine.connection)
    assert docker.inspect("x") is None
    assert engine.asked[-1] == f"/v{spoken}/containers/x/json" and docker.warnings == ()
    if has_headers:
        assert len(engine.asked) == 2
    assert docker.version() == EngineVersion("28.5.2", newest, spoken)


def test_an_engine_without_the_newest_tested_version_gets_its_oldest_one_and_one_warning(engine: VersionedEngine) -> None:
    engine.release, engine.oldest, engine.newest = "40.1.0", newer(NEWEST_TESTED), newer(NEWEST_TESTED, 9)
    docker = DockerEngine(engine.connection)
    assert docker.inspect("x") is None and docker.inspect("y") is None
    assert engine.asked[-1] == f"/v{engine.oldest}/containers/y/json"
    sentence = f"Docker 40.1.0 is asked by API {engine.oldest}, but {NEWEST_TESTED} is the newest that was tested; use it with care"
    assert docker.warnings == (sentence,)


@pytest.mark.parametrize("has_headers", [True, False])
def test_an_engine_before_20_10_is_refused(engine: VersionedEngine, has_headers: bool) -> None:
    engine.oldest, engine.newest, engine.has_headers = "1.12", "1.40", has_headers
    with pytest.raises(EngineError) as caught:
        DockerEngine(engine.connection).inspect("x")
    why = "it speaks API 1.40, and Docker 20.10 (API 1.41) is the oldest supported; upgrade the engine"
    assert str(caught.value) == f"Cannot use the engine at {engine.connection.host}: {why}"
    assert caught.value.facts == {"no_effect": True}
    assert not any(path.endswith("/json") for path in engine.asked)


def test_an_answer_with_an_unreadable_version_is_no_engines(engine: VersionedEngine) -> None:
    engine.newest, engine.has_headers = "1.", False
    with pytest.raises((EngineError, EngineUnreachable)):
        DockerEngine(engine.connection).inspect("x")


def test_a_version_that_is_asked_for_stays_but_none_before_20_10() -> None:
    assert connect({"api_version": "1.44"}, None, {}).api_version == "1.44"
    assert connect({"api_version": "auto"}, None, {}).api_version is None
    sentence = "^Cannot use DOCKER_API_VERSION='1.40': 1.41, that of Docker 20.10, is the oldest supported$"
    with pytest.raises(SettingsInvalid, match=sentence):
        connect({}, None, {"DOCKER_API_VERSION": "1.40"})


def test_an_older_engine_at_the_same_address_is_asked_by_its_own_version(engine: VersionedEngine) -> None:
    docker = DockerEngine(engine.connection)
    assert docker.inspect("x") is None
    engine.release, engine.newest = "20.10.24", "1.41"
    docker.version()
    assert docker.inspect("x") is None
    assert engine.asked[-1] == "/v1.41/containers/x/json"


@pytest.mark.parametrize(
    "release, mended",
    [
        ("23.0.0", "23.0.7"),
        ("23.0.6", "23.0.7"),
        ("23.0.7", ""),
        ("23.0.10", ""),
        ("24.0.0", "24.0.3"),
        ("24.0.2", "24.0.3"),
        ("24.0.3", ""),
        ("20.10.24", ""),
        ("28.5.2", ""),
        ("", ""),
    ],
)
def test_an_engine_that_kills_after_a_hang_up_is_named_with_the_mended_release(engine: VersionedEngine, release: str, mended: str) -> None:
    engine.release = release
    docker = DockerEngine(engine.connection)
    assert docker.inspect("x") is None
    sentence = f"Docker {release} sends SIGKILL at once if the client of a docker stop hangs up; upgrade it to {mended} or newer"
    assert docker.warnings == ((sentence,) if mended else ())


def test_the_services_log_the_warnings_of_the_engines_version(monkeypatch: pytest.MonkeyPatch) -> None:
    engine, said = Mock(), []
    engine.version.return_value = EngineVersion("23.0.1", "1.42", "1.42")
    supervisor: Any = Supervisor.__new__(Supervisor)
    supervisor._node, supervisor._followed, supervisor._starter = Mock(), "", Mock()
    supervisor._node.now().engine = engine
    supervisor._node.now().journal.supervisor.value.return_value = None
    monkeypatch.setattr(service, "link_to", lambda *_unused: EngineLink("boot/"))
    monkeypatch.setattr(service, "say", said.append)
    monkeypatch.setattr(service, "EventReader", Mock())
    monkeypatch.setattr(service, "EngineWatch", Mock(side_effect=InterruptedError))
    supervisor._reports = supervisor._restarter = supervisor._prover = supervisor._lock = Mock()
    with pytest.raises(InterruptedError):
        supervisor._connect()
    (warning,) = engine.version().warnings()
    assert said == [f"supervisor: {warning}"]

    shim: Any = Service.__new__(Service)
    shim._node, shim._log = Mock(), Mock()
    shim._node.for_reading().engine = engine
    asyncio.run(shim._warn_of_engine())
    shim._log.warn.assert_called_once_with("engine", reason=warning)


def test_the_metrics_tell_the_version_that_is_spoken() -> None:
    pytest.importorskip("prometheus_client")
    text = Metrics(dict).text(ServerNumbers(engine=EngineVersion("29.0.1", "1.52", "1.51")), NodeNumbers())
    assert text is not None
    assert 'fleet_power_engine_info{api="1.51",newest_api="1.52",version="29.0.1"} 1.0' in text.decode().splitlines()
