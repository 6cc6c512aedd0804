# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the engine is, by whose word, and what is said when it cannot be reached."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.fleet.power.plugins.module_utils.power.connection import Connection, connect, load_sdk
from ansible_collections.fleet.power.plugins.module_utils.power.engine import DockerEngine
from ansible_collections.fleet.power.plugins.module_utils.power.errors import EngineUnreachable, MissingLibrary, SettingsInvalid
from ansible_collections.fleet.power.tests.unit.lock_support import as_nobody_below

OPTIONS: dict[str, tuple[Any, str, str, Any]] = {
    # field: (given as option, variable of the environment, its text, what that means)
    "host": ("tcp://option", "DOCKER_HOST", "tcp://environment", "tcp://environment"),
    "tls": (False, "DOCKER_TLS", "yes", True),
    "validate_certs": (False, "DOCKER_TLS_VERIFY", "1", True),
    "tls_hostname": ("option", "DOCKER_TLS_HOSTNAME", "environment", "environment"),
    "api_version": ("1.41", "DOCKER_API_VERSION", "1.44", "1.44"),
    "timeout": (7, "DOCKER_TIMEOUT", "9", 9),
    "ca_path": ("/option", "DOCKER_CERT_PATH", "/certs", "/certs/ca.pem"),
    "client_cert": ("/option", "DOCKER_CERT_PATH", "/certs", "/certs/cert.pem"),
    "client_key": ("/option", "DOCKER_CERT_PATH", "/certs", "/certs/key.pem"),
}


class TestPrecedence:
    @pytest.mark.parametrize("field", OPTIONS)
    def test_an_option_beats_the_environment_even_where_it_says_no(self, field: str) -> None:
        given, variable, text, _meaning = OPTIONS[field]
        option = "docker_host" if field == "host" else field
        assert getattr(connect({option: given}, "tcp://settings", {variable: text}), field) == given

    @pytest.mark.parametrize("field", OPTIONS)
    def test_the_environment_beats_settings_and_defaults(self, field: str) -> None:
        _given, variable, text, meaning = OPTIONS[field]
        option = "docker_host" if field == "host" else field
        assert getattr(connect({option: None}, "tcp://settings", {variable: text}), field) == meaning

    @pytest.mark.parametrize("field", OPTIONS)
    def test_an_empty_variable_is_none(self, field: str) -> None:
        variable = OPTIONS[field][1]
        assert connect({}, None, {variable: ""}) == Connection()

    def test_the_settings_beat_the_default(self) -> None:
        assert connect({}, "tcp://settings", {}).host == "tcp://settings"
        assert connect({}, None, {}) == Connection(host="unix:///var/run/docker.sock", timeout=60)

    def test_version_auto_is_asked_of_the_engine(self) -> None:
        assert connect({"api_version": "auto"}, None, {}).api_version is None

    def test_a_time_limit_that_is_no_number_is_an_error_of_the_settings(self) -> None:
        with pytest.raises(SettingsInvalid, match="DOCKER_TIMEOUT='soon': expected a whole number"):
            connect({}, None, {"DOCKER_TIMEOUT": "soon"})


def reason(connection: Connection) -> str:
    with pytest.raises(EngineUnreachable) as caught:
        DockerEngine(connection).inspect("x")
    assert "\n" not in str(caught.value)
    assert connection.host in str(caught.value)
    return str(caught.value)


class TestUnreachable:
    def test_a_socket_that_is_missing(self, tmp_path: Path) -> None:
        assert "its socket does not exist" in reason(Connection(host=f"unix://{tmp_path}/docker.sock"))

    def test_a_socket_that_nobody_serves(self, tmp_path: Path) -> None:
        path = tmp_path / "docker.sock"
        with contextlib.closing(socket.socket(socket.AF_UNIX)) as sock:
            sock.bind(str(path))
        assert "connection refused; is the engine running" in reason(Connection(host=f"unix://{path}"))

    def test_a_port_that_nobody_serves(self) -> None:
        with contextlib.closing(socket.socket()) as sock:
            sock.bind(("127.0.0.1", 0))
            port = sock.getsockname()[1]
        assert "connection refused; is the engine running" in reason(Connection(host=f"tcp://127.0.0.1:{port}"))

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

    def test_an_address_that_makes_no_sense(self) -> None:
        assert "cannot be reached" in reason(Connection(host="gopher://engine"))

    def test_an_errors_own_cause_is_found_through_loops(self) -> None:
        outer, inner = RuntimeError("outer"), RuntimeError("inner", PermissionError(13, "denied"))
        outer.__cause__, inner.__cause__ = inner, outer
        assert "permission denied" in str(Connection().unreachable("Cannot x", outer))


@pytest.mark.parametrize("module, package", [("docker", "docker"), ("requests", "requests")])
def test_a_missing_library_is_named_with_its_package(monkeypatch: pytest.MonkeyPatch, module: str, package: str) -> None:
    import sys

    for name in [name for name in sys.modules if name.split(".")[0] in ("docker", "requests")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingLibrary, match=f"install the Debian package python3-{package}, or {package} from PyPI"):
        load_sdk()


VERSION = b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 21\r\n\r\n{"ApiVersion":"1.45"}'


@pytest.fixture(name="tls_engine")
def serve_tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[int, str]]:
    """A server that answers every request with its version, with a certificate for another name than its address."""
    for variable in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        # The library below the SDK believes these more than what it is told.
        monkeypatch.delenv(variable, raising=False)
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    if shutil.which("openssl") is None:
        pytest.skip("no openssl here")
    name = ("-subj", "/CN=engine.test", "-addext", "subjectAltName=DNS:engine.test")
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        *name,
        "-keyout",
        str(key),
        "-out",
        str(certificate),
    ]
    subprocess.run(command, capture_output=True, check=True)
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


def test_the_certificate_may_be_checked_against_another_name(tls_engine: tuple[int, str]) -> None:
    assert version_over_tls(tls_engine, "engine.test") == "1.45"


@pytest.mark.parametrize("hostname", [None, "somebody.else.test"])
def test_a_certificate_for_another_name_is_refused(tls_engine: tuple[int, str], hostname: str | None) -> None:
    with pytest.raises(EngineUnreachable, match=r"(?i)certificate"):
        version_over_tls(tls_engine, hostname)
