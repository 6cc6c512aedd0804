# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The address of the engine, and the node's token: only a trusted listener gets it."""

from __future__ import annotations

import contextlib
import errno
import grp
import os
import pwd
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import urllib3.util.connection
from ansible_collections.fleet.power.plugins.module_utils._power.actions.node.limiter import Slot
from ansible_collections.fleet.power.plugins.module_utils._power.definitions.settings import parse_settings
from ansible_collections.fleet.power.plugins.module_utils._power.endpoint.call import at_endpoint
from ansible_collections.fleet.power.plugins.module_utils._power.engine.connection import Connection, connect, load_sdk
from ansible_collections.fleet.power.plugins.module_utils._power.engine.docker_engine import DockerEngine
from ansible_collections.fleet.power.plugins.module_utils._power.host.listener import (
    ListeningSocket,
    Vouching,
    is_trusted,
    listeners,
    taking,
)
from ansible_collections.fleet.power.plugins.module_utils._power.model.caller import SILENT
from ansible_collections.fleet.power.plugins.module_utils._power.model.errors import (
    EndpointUntrusted,
    EngineUnreachable,
    MissingLibrary,
    SettingsInvalid,
)
from ansible_collections.fleet.power.plugins.module_utils._power.model.redaction import shown_host
from ansible_collections.fleet.power.plugins.module_utils._power.model.request import Request
from ansible_collections.fleet.power.plugins.module_utils._power.sources.web import Trust, Web
from ansible_collections.fleet.power.plugins.module_utils._power.sources.web_fault import WebFault
from ansible_collections.fleet.power.tests.integration.panel_server import Recorder
from ansible_collections.fleet.power.tests.unit.endpoint_support import UUID, request
from ansible_collections.fleet.power.tests.unit.game_support import stream_game
from ansible_collections.fleet.power.tests.unit.lock_support import as_nobody_below
from ansible_collections.fleet.power.tests.unit.tls_support import self_signed

OPTIONS: dict[str, tuple[Any, str, str, Any]] = {
    # field: (option, variable of the environment, its text, its value)
    "host": ("tcp://option:1", "DOCKER_HOST", "tcp://environment:1", "tcp://environment:1"),
    "tls": (False, "DOCKER_TLS", "yes", True),
    "timeout": (7, "DOCKER_TIMEOUT", "9", 9),
    "ca_path": ("/option", "DOCKER_CERT_PATH", "/certs", "/certs/ca.pem"),
}


class TestPrecedence:
    @pytest.mark.parametrize("field", OPTIONS)
    def test_an_option_beats_the_environment_even_with_the_value_false(self, field: str) -> None:
        given, variable, text, _meaning = OPTIONS[field]
        option = "docker_host" if field == "host" else field
        assert getattr(connect({option: given}, "tcp://settings:1", {variable: text}), field) == given


class TestInvalidAddresses:
    @pytest.mark.parametrize(
        "host",
        ["banana", "npipe:////./pipe/docker_engine", "127.0.0.1:2375", "/var/run/docker.sock", "tcp:", "TCP://h:1"],
    )
    def test_an_address_without_a_known_scheme_is_refused(self, host: str) -> None:
        ways: tuple[tuple[str, Any, str | None, dict[str, str]], ...] = (
            ("docker_host", host, "tcp://h:1", {"DOCKER_HOST": "tcp://h:1"}),
            ("DOCKER_HOST", None, "tcp://h:1", {"DOCKER_HOST": host}),
            ("the setting docker.host", None, host, {}),
        )
        for source, option, setting, variables in ways:
            with pytest.raises(
                SettingsInvalid, match=f"Cannot use {source}='.*': expected an address that begins with unix://, .* or ssh://"
            ):
                connect({"docker_host": option}, setting, variables)

    @pytest.mark.parametrize("address", ["h:99999", "h:-1", "h:0", "h:http", "[::1", "[::1:2375", "u:hunter22/x@h:1"])
    @pytest.mark.parametrize("scheme", ["tcp", "http", "https", "ssh"])
    def test_an_unreadable_address_is_refused_without_showing_its_password(self, scheme: str, address: str) -> None:
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
    def test_a_shown_address_has_no_user(self, host: str, shown: str) -> None:
        assert shown_host(host) == shown

    def test_no_message_about_an_unreachable_engine_shows_the_user(self) -> None:
        connection = Connection(host="tcp://u:hunter22@h:2375")
        for said in ("cannot use tcp://u:hunter22@h:2375", "bad authority u:hunter22@h", "wrong password hunter22", "some bug"):
            sentence = str(connection.unreachable("Cannot list the containers", RuntimeError(said)))
            assert "hunter22" not in sentence
            assert "u:" not in sentence
            assert "the engine at tcp://h:2375 cannot be reached" in sentence
        assert sentence.endswith(": some bug")


def reason(connection: Connection, *, unsent: bool = True) -> str:
    with pytest.raises(EngineUnreachable) as caught:
        DockerEngine(connection).inspect("x")
    assert caught.value.facts == {"no_effect": unsent}
    assert "\n" not in str(caught.value)
    assert connection.host in str(caught.value)
    return str(caught.value)


class TestUnreachable:
    def test_a_socket_without_permission_names_the_group_to_join(self, tmp_path: Path) -> None:
        path = tmp_path / "docker.sock"
        with contextlib.closing(socket.socket(socket.AF_UNIX)) as sock:
            sock.bind(str(path))
            sock.listen()
            os.chmod(path, 0o600)
            load_sdk()
            with as_nobody_below(path):
                found = reason(Connection(host=f"unix://{path}"))
                assert "permission denied on its socket; become root, or join the group" in found

    def test_a_refused_connection_sends_no_request(self, tmp_path: Path) -> None:
        path = tmp_path / "docker.sock"
        with contextlib.closing(socket.socket(socket.AF_UNIX)) as sock:
            sock.bind(str(path))
        assert "connection refused" in reason(Connection(host=f"unix://{path}"))
        path.unlink()
        assert "its socket does not exist" in reason(Connection(host=f"unix://{path}"))

    def test_a_silent_engine_is_unreachable_after_the_timeout(self, tmp_path: Path) -> None:
        path = tmp_path / "docker.sock"
        with contextlib.closing(socket.socket(socket.AF_UNIX)) as sock:
            sock.bind(str(path))
            sock.listen()
            silent = Connection(host=f"unix://{path}", timeout=1)
            # Without a version, the silent request is not the call's own.
            assert "no answer within 1 s" in reason(silent)
            assert "no answer within 1 s" in reason(replace(silent, api_version="1.45"), unsent=False)


class TestUnsent:
    """The first request of a call needs a connection."""

    def test_a_full_queue_of_a_unix_socket(self, tmp_path: Path) -> None:
        path = str(tmp_path / "docker.sock")
        with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as first:
            listener.bind(path)
            listener.listen(0)
            first.connect(path)
            reason(Connection(host=f"unix://{path}", api_version="1.45"))

    @pytest.mark.parametrize(
        "error",
        [TimeoutError("timed out"), socket.gaierror(-2, "unknown"), OSError(errno.ENETUNREACH, "unreachable")],
        ids=["timeout", "name", "network"],
    )
    def test_a_failed_connection_to_a_tcp_port(self, monkeypatch: pytest.MonkeyPatch, error: OSError) -> None:
        def fail(*_unused: object, **_options: object) -> None:
            raise error

        monkeypatch.setattr(urllib3.util.connection, "create_connection", fail)
        reason(Connection(host="tcp://engine.test:2375", api_version="1.45"))

    def test_too_many_open_files(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(*_unused: object) -> None:
            raise OSError(errno.EMFILE, "too many open files")

        monkeypatch.setattr(socket, "socket", fail)
        reason(Connection(host="unix:///run/engine.sock", api_version="1.45"))

    def test_a_failed_tls_handshake(self) -> None:
        def answer(link: socket.socket) -> None:
            link.recv(65536)
            link.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        with stream_game(answer) as (host, port):
            found = reason(Connection(host=f"tcp://{host}:{port}", tls=True, api_version="1.45"))
        assert "does not speak TLS" in found

    def test_a_lost_answer_is_no_proof_even_after_a_failed_connection(self) -> None:
        try:
            DockerEngine(Connection(host="unix:///nowhere", api_version="1.45")).inspect("x")
        except EngineUnreachable:
            with stream_game(lambda link: link.recv(65536)) as (host, port):
                reason(Connection(host=f"tcp://{host}:{port}", api_version="1.45"), unsent=False)


@pytest.mark.parametrize("name", ["ca_path", "client_cert", "client_key"])
def test_a_missing_certificate_file_is_an_error_of_the_settings(tmp_path: Path, name: str) -> None:
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
    """A server that answers with its version. Its certificate names another host."""
    for variable in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        # The library below the SDK prefers these variables to its options.
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


TOKEN = "the-token-of-the-node-alone"
#: A user id without other processes on this machine.
STRANGER = 64322
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")

#: Listens, prints its port, and then the data of each connection. Ends when its input ends.
_LISTENING = """
import os, socket, sys, threading
os.setgroups([])
os.setgid(int(sys.argv[3]))
os.setuid(int(sys.argv[3]))
both = ":" in sys.argv[1]
server = socket.create_server(
    (sys.argv[1], int(sys.argv[2])), family=socket.AF_INET6 if both else socket.AF_INET, dualstack_ipv6=both
)
print(server.getsockname()[1], flush=True)
def serve():
    while True:
        connection, _address = server.accept()
        print("accepted", flush=True)
        with connection:
            print("received", connection.recv(65536), flush=True)
            connection.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\nConnection: close\\r\\n\\r\\n[]")
threading.Thread(target=serve, daemon=True).start()
sys.stdin.read()
"""


class Stranger:
    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        assert process.stdout is not None
        self.port = int(process.stdout.readline())

    def said(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def close(self) -> str:
        """End the process. Returns the rest of its output."""
        return self._process.communicate(timeout=20)[0]


@contextmanager
def stranger(address: str = "127.0.0.1", port: int = 0) -> Iterator[Stranger]:
    command = [sys.executable, "-I", "-c", _LISTENING, address, str(port), str(STRANGER)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield Stranger(process)
    finally:
        with suppress(ValueError):
            process.communicate(timeout=20)


def call(url: str, **options: Any) -> Any:
    return at_endpoint(url, options, parse_settings({"token": TOKEN, "endpoint": {"url": url}}, where="the settings"), SILENT)


def asked(**fields: Any) -> Request:
    return request("stop", **fields)


@as_root
@pytest.mark.parametrize(
    "address, host", [("127.0.0.1", "127.0.0.1"), ("127.0.0.1", "localhost"), ("0.0.0.0", "127.0.0.1"), ("::", "127.0.0.1")]
)
def test_a_listener_of_another_user_does_not_get_the_nodes_token(address: str, host: str) -> None:
    with stranger(address) as other:
        here = call(f"http://{host}:{other.port}")
        (target,) = here.targets([UUID], asked())
        result = here.act(target, Slot())
        assert (result.outcome.value, result.code, result.changed) == ("refused", "endpoint_untrusted", False)
        assert f"user {STRANGER} listens there" in result.msg and TOKEN not in result.msg
        with pytest.raises(EndpointUntrusted):
            here.targets(["all"], asked())
        here.close()
        assert TOKEN not in other.close()


@as_root
def test_a_host_name_of_this_machine_needs_a_trusted_listener_too(monkeypatch: pytest.MonkeyPatch) -> None:
    real = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", lambda _host, *more, **options: real("127.0.0.1", *more, **options))
    monkeypatch.setenv("no_proxy", "*")
    with stranger() as other:
        with pytest.raises(EndpointUntrusted):
            call(f"http://node1.example.test:{other.port}").targets(["all"], asked())
        assert TOKEN not in other.close()


@as_root
def test_the_token_of_a_task_goes_to_any_listener() -> None:
    with stranger() as other:
        assert call(f"http://127.0.0.1:{other.port}", api_token="given-by-the-task").targets(["all"], asked()) == []
        received = other.close()
        assert "given-by-the-task" in received and TOKEN not in received


@as_root
def test_a_listener_that_was_replaced_does_not_get_the_token() -> None:
    vouching = Vouching(lambda uid: uid == 0)
    with stranger() as other:
        port = other.port
        before = vouching.before(port)
        with socket.create_connection(("127.0.0.1", port)) as connection:
            # Without this wait, the end of the process resets the connection.
            assert other.said() == "accepted"
            received = other.close()
            with socket.create_server(("127.0.0.1", port)):
                assert vouching.fault(before, connection) == "who listens there has just changed"
        assert received in ("received b''\n", "")


def reset_connection() -> socket.socket:
    """A connection that the other end closed without accepting it."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return socket.create_connection(server.getsockname())


def test_a_cut_connection_is_a_temporary_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(Recorder()) as wings:
        wings.fault(lambda answering: answering.json(200, []))
        monkeypatch.setattr(urllib3.util.connection, "create_connection", lambda *_unused, **_unused_too: reset_connection())
        with pytest.raises(WebFault, match="the connection was cut before the answer was whole") as caught:
            Web(wings.url, f"Bearer {TOKEN}", trust=Trust(vouching=Vouching(lambda _uid: True))).ask("GET", "/", seconds=20)
        assert not caught.value.lasting and wings.asked == []


def test_a_connection_without_a_known_listener_gets_no_token() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as connection:
        vouching = Vouching(lambda _uid: True)
        before = vouching.before(server.getsockname()[1])
        assert vouching.fault(before, connection) == ""
        with server.accept()[0]:
            server.close()
            assert "listener there is unknown" in vouching.fault(before, connection)


def test_listeners_on_ipv4_ipv6_and_both_are_found() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        port = server.getsockname()[1]
        (found,) = listeners(port)
        assert (str(found.address), found.uid, found.inode) == ("127.0.0.1", os.geteuid(), os.fstat(server.fileno()).st_ino)
    with closing(socket.create_server(("::1", 0), family=socket.AF_INET6)) as server:
        assert [str(each.address) for each in listeners(server.getsockname()[1])] == ["::1"]
    with closing(socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True)) as server:
        assert [str(each.address) for each in listeners(server.getsockname()[1])] == ["::"]


@pytest.mark.parametrize(
    "host, listening, taken",
    [
        ("127.0.0.1", ["127.0.0.1", "0.0.0.0", "::"], ["127.0.0.1"]),
        ("127.0.0.1", ["127.0.0.2", "0.0.0.0", "::"], ["0.0.0.0"]),
        ("127.0.0.1", ["::1", "::"], ["::"]),
        ("::ffff:127.0.0.1", ["127.0.0.1"], ["127.0.0.1"]),
        ("::1", ["127.0.0.1", "0.0.0.0"], []),
        ("fe80::1%lo", ["fe80::1", "::"], ["fe80::1"]),
    ],
)
def test_the_most_specific_listener_takes_a_connection(host: str, listening: list[str], taken: list[str]) -> None:
    import ipaddress

    found = [ListeningSocket(ipaddress.ip_address(each), 0, number) for number, each in enumerate(listening)]
    assert [str(each.address) for each in taking(found, host)] == taken


def test_root_our_own_user_and_members_of_the_group_are_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    assert is_trusted(0, "no-such-group") and is_trusted(os.geteuid(), "no-such-group")
    daemon = pwd.getpwnam("daemon")
    assert not is_trusted(daemon.pw_uid, "no-such-group")
    assert is_trusted(daemon.pw_uid, grp.getgrgid(daemon.pw_gid).gr_name)
    assert not is_trusted(pwd.getpwnam("bin").pw_uid, grp.getgrgid(daemon.pw_gid).gr_name)
    assert not is_trusted(STRANGER, "daemon")
