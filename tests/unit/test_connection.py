# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the engine is, which setting counts, and the message when nothing can reach it."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.engine.connection import Connection, connect, load_sdk
from ansible_collections.fleet.power.plugins.module_utils._power.engine.docker_engine import DockerEngine
from ansible_collections.fleet.power.plugins.module_utils._power.model.errors import EngineUnreachable, MissingLibrary, SettingsInvalid
from ansible_collections.fleet.power.plugins.module_utils._power.model.redaction import shown_host
from ansible_collections.fleet.power.tests.unit.lock_support import as_nobody_below
from ansible_collections.fleet.power.tests.unit.tls_support import self_signed

OPTIONS: dict[str, tuple[Any, str, str, Any]] = {
    # field: (given as option, variable of the environment, its text, what that means)
    "host": ("tcp://option:1", "DOCKER_HOST", "tcp://environment:1", "tcp://environment:1"),
    "tls": (False, "DOCKER_TLS", "yes", True),
    "timeout": (7, "DOCKER_TIMEOUT", "9", 9),
    "ca_path": ("/option", "DOCKER_CERT_PATH", "/certs", "/certs/ca.pem"),
}


class TestPrecedence:
    @pytest.mark.parametrize("field", OPTIONS)
    def test_an_option_beats_the_environment_even_where_it_says_no(self, field: str) -> None:
        given, variable, text, _meaning = OPTIONS[field]
        option = "docker_host" if field == "host" else field
        assert getattr(connect({option: given}, "tcp://settings:1", {variable: text}), field) == given


class TestValuesThatAreNone:
    @pytest.mark.parametrize(
        "host",
        ["banana", "npipe:////./pipe/docker_engine", "127.0.0.1:2375", "/var/run/docker.sock", "tcp:", "TCP://h:1"],
    )
    def test_an_address_has_a_scheme_that_is_known(self, host: str) -> None:
        ways: tuple[tuple[str, Any, str | None, dict[str, str]], ...] = (
            ("docker_host", host, "tcp://h:1", {"DOCKER_HOST": "tcp://h:1"}),
            ("DOCKER_HOST", None, "tcp://h:1", {"DOCKER_HOST": host}),
            ("the setting docker.host", None, host, {}),
        )
        for whose, option, setting, variables in ways:
            with pytest.raises(
                SettingsInvalid, match=f"Cannot use {whose}='.*': expected an address that begins with unix://, .* or ssh://"
            ):
                connect({"docker_host": option}, setting, variables)

    @pytest.mark.parametrize("address", ["h:99999", "h:-1", "h:0", "h:http", "[::1", "[::1:2375", "u:hunter22/x@h:1"])
    @pytest.mark.parametrize("scheme", ["tcp", "http", "https", "ssh"])
    def test_an_address_that_python_cannot_take_apart_is_refused_without_what_it_says(self, scheme: str, address: str) -> None:
        with pytest.raises(
            SettingsInvalid, match=r"Cannot use the setting docker\.host='.*': expected a host, and a port from 1"
        ) as caught:
            connect({}, f"{scheme}://{address}", {})
        assert "hunter22" not in str(caught.value)


class TestUserOfAnAddress:
    @pytest.mark.parametrize(
        ("host", "shown"),
        [
            ("tcp://u:pass@h:2375", "tcp://h:2375"),
            ("tcp://u:p@ss/w#rd@h:2375", "tcp://h:2375"),
            ("ssh://root@node", "ssh://node"),
            ("u:pass@h", "h"),
            ("unix:///srv/a@b/docker.sock", "unix:///srv/a@b/docker.sock"),
        ],
    )
    def test_it_is_left_out(self, host: str, shown: str) -> None:
        assert shown_host(host) == shown

    def test_no_sentence_of_the_engine_or_of_a_library_has_it(self) -> None:
        connection = Connection(host="tcp://u:hunter22@h:2375")
        for said in ("cannot use tcp://u:hunter22@h:2375", "bad authority u:hunter22@h", "wrong password hunter22", "some bug"):
            sentence = str(connection.unreachable("Cannot list the containers", RuntimeError(said)))
            assert "hunter22" not in sentence
            assert "u:" not in sentence
            assert "the engine at tcp://h:2375 cannot be reached" in sentence
        assert sentence.endswith(": some bug")


def reason(connection: Connection) -> str:
    with pytest.raises(EngineUnreachable) as caught:
        DockerEngine(connection).inspect("x")
    assert "\n" not in str(caught.value)
    assert connection.host in str(caught.value)
    return str(caught.value)


class TestUnreachable:
    def test_a_socket_one_may_not_use(self, tmp_path: Path) -> None:
        path = tmp_path / "docker.sock"
        with contextlib.closing(socket.socket(socket.AF_UNIX)) as sock:
            sock.bind(str(path))
            sock.listen()
            os.chmod(path, 0o600)
            load_sdk()
            with as_nobody_below(path):
                assert "permission denied on its socket; become root, or join the group" in reason(Connection(host=f"unix://{path}"))

    def test_an_engine_that_is_silent(self, tmp_path: Path) -> None:
        path = tmp_path / "docker.sock"
        with contextlib.closing(socket.socket(socket.AF_UNIX)) as sock:
            sock.bind(str(path))
            sock.listen()
            assert "no answer within 1 s" in reason(Connection(host=f"unix://{path}", timeout=1))


@pytest.mark.parametrize("name", ["ca_path", "client_cert", "client_key"])
def test_a_certificate_that_is_not_there_is_an_error_of_the_settings(tmp_path: Path, name: str) -> None:
    options: dict[str, Any] = {"client_cert": __file__, "client_key": __file__, name: str(tmp_path / "none.pem")}
    with pytest.raises(SettingsInvalid, match=f"^Cannot use {name}='{tmp_path}/none.pem': there is no such file, or it may not be read$"):
        Connection(host="tcp://127.0.0.1:1", tls=True, **options).client(load_sdk(), None)


@pytest.mark.parametrize("module, package", [("docker", "docker"), ("requests", "requests")])
def test_a_missing_library_is_named_with_its_package(monkeypatch: pytest.MonkeyPatch, module: str, package: str) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] in ("docker", "requests")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(
        MissingLibrary,
        match=f"{sys.executable} cannot import {package} .*; install the Debian package python3-{package}, or {package} from PyPI",
    ):
        load_sdk()


VERSION = b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 21\r\n\r\n{"ApiVersion":"1.45"}'


@pytest.fixture(name="tls_engine")
def serve_tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[int, str]]:
    """A server that answers every request with its version, with a certificate for another name than its address."""
    for variable in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        # The library below the SDK believes these more than what it is told.
        monkeypatch.delenv(variable, raising=False)
    certificate, key = self_signed(tmp_path, "engine.test")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    listener = socket.create_server(("127.0.0.1", 0))

    def answer() -> None:
        with contextlib.suppress(OSError):
            while True:
                plain, _address = listener.accept()
                with contextlib.suppress(OSError), context.wrap_socket(plain, server_side=True) as secure:
                    secure.recv(65536)
                    secure.sendall(VERSION)

    thread = threading.Thread(target=answer, daemon=True)
    thread.start()
    yield listener.getsockname()[1], str(certificate)
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join(5)


def version_over_tls(tls_engine: tuple[int, str], hostname: str | None) -> str:
    port, certificate = tls_engine
    connection = Connection(
        host=f"tcp://127.0.0.1:{port}", tls=True, validate_certs=True, ca_path=certificate, tls_hostname=hostname, timeout=10
    )
    with contextlib.closing(connection.client(load_sdk(), None)) as client:
        return str(client.api_version)


@pytest.mark.parametrize("hostname", [None, "somebody.else.test"])
def test_a_certificate_for_another_name_is_refused(tls_engine: tuple[int, str], hostname: str | None) -> None:
    with pytest.raises(EngineUnreachable, match=r"(?i)certificate"):
        version_over_tls(tls_engine, hostname)
