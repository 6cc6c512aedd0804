# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The life of the HTTP shim: slow clients, a silent engine, TLS and the service manager."""

from __future__ import annotations

import contextlib
import re
import select
import signal
import socket
import ssl
import struct
import subprocess
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from .lab import Lab, wait_until
from .shim import NO_ENGINE, TOKEN, Shim, again, configure, shim_on


@pytest.fixture(name="node")
def bare_node(tmp_path: Path) -> Lab:
    return Lab(tmp_path, NO_ENGINE, None)


def connect(shim: Shim, sent: bytes = b"") -> socket.socket:
    connection = socket.create_connection(shim.address, timeout=10.0)
    connection.sendall(sent)
    return connection


def is_hung_up(connection: socket.socket, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        readable, _writable, _broken = select.select([connection], [], [], left)
        if readable:
            try:
                if not connection.recv(65536):
                    return True
            except OSError:
                return True
    return False


def test_the_shim_hangs_up_on_a_client_without_a_complete_request(node: Lab) -> None:
    with shim_on(node, api={"port": 0, "request_timeout": 1}) as shim, contextlib.ExitStack() as stack:
        for sent in (b"", b"GET / HTTP/1.1\r\n", b"GET / HTTP/1.1\r\nHost: a\r\nX: "):
            slow = stack.enter_context(connect(shim, sent))
            assert is_hung_up(slow, 8.0)


@pytest.mark.long
def test_the_shim_hangs_up_on_a_client_that_sends_single_bytes(node: Lab) -> None:
    with shim_on(node, api={"port": 0, "request_timeout": 1}) as shim, connect(shim) as slow:
        began = time.monotonic()
        with pytest.raises(OSError):
            for byte in b"GET /healthz HTTP/1.1\r\nX: " + b"a" * 100:
                slow.sendall(bytes([byte]))
                time.sleep(0.1)
        assert time.monotonic() - began < 8.0


def test_an_incomplete_body_is_408(node: Lab) -> None:
    server = node.server()
    with shim_on(node, api={"port": 0, "request_timeout": 1}) as shim:
        head = f"POST /api/servers/{server}/power HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: 20\r\n\r\n"
        received = shim.raw(head.encode() + b'{"action"', seconds=8.0)
        assert received.startswith(b"HTTP/1.1 408 ")
        assert shim.power(server, "start").status == 202


def test_many_slow_clients_do_not_delay_a_good_client(node: Lab) -> None:
    with shim_on(node) as shim, contextlib.ExitStack() as stack:
        slow = [stack.enter_context(connect(shim, b"GET /api/servers HTTP/1.1\r\nX: ")) for _unused in range(300)]
        for connection in slow:
            connection.sendall(b"a")
        began = time.monotonic()
        assert shim.ask("GET", "/healthz").status == 200
        assert time.monotonic() - began < 5.0


def test_an_action_is_done_even_if_the_client_hangs_up_at_once(node: Lab) -> None:
    body = b'{"action":"stop"}'

    def head(server: str, length: str) -> bytes:
        return f"POST /api/servers/{server}/power HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {TOKEN}\r\n{length}\r\n\r\n".encode()

    with shim_on(node) as shim:
        ways: list[tuple[str, list[bytes]]] = []
        for _round in range(5):
            # These servers are new: the HTTP shim must look them up first.
            whole, parts, chunked, reset = (node.server() for _unused in range(4))
            ways += [
                (whole, [head(whole, "Content-Length: 17") + body]),
                (parts, [head(parts, "Content-Length: 17"), body]),
                (chunked, [head(chunked, "Transfer-Encoding: chunked") + b"11\r\n" + body + b"\r\n0\r\n\r\n"]),
                (reset, [head(reset, "Content-Length: 17") + body]),
            ]
        for number, (_server, pieces) in enumerate(ways):
            with connect(shim) as connection:
                for piece in pieces:
                    connection.sendall(piece)
                if number % 4 == 3:
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        wait_until(lambda: len(shim.events("operation")) == len(ways), "all actions are done")
        assert {entry["server"] for entry in shim.events("operation")} == {server for server, _pieces in ways}


def test_the_shim_accepts_actions_while_the_engine_never_answers(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as silent:
        # The kernel accepts connections, but no process answers them.
        silent.bind(str(tmp_path / "engine.sock"))
        silent.listen(64)
        node = Lab(tmp_path / "node", f"unix://{tmp_path}/engine.sock", None)
        server = node.server()
        began = time.monotonic()
        with shim_on(node) as shim:
            assert shim.power(server, "stop").status == 202
            assert shim.ask("GET", f"/api/servers/{server}/operations").json[0]["outcome"] is None
            assert time.monotonic() - began < 30.0
            shim.kill()


def certificate(directory: Path, name: str) -> tuple[Path, Path]:
    cert, key = directory / f"{name}.crt", directory / f"{name}.key"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={name}"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(cert)]
    subprocess.run(command, check=True, capture_output=True)
    return cert, key


def peer_of(shim: Shim, trusted: Path, **limits: ssl.TLSVersion) -> str:
    """Connect over TLS; return the common name of the shim's certificate."""
    context = ssl.create_default_context(cafile=str(trusted))
    for name, version in limits.items():
        setattr(context, name, version)
    parts = urlsplit(shim.url)
    plain = socket.create_connection((str(parts.hostname), int(parts.port or 0)), timeout=5.0)
    with plain, context.wrap_socket(plain, server_hostname="127.0.0.1") as secured:
        secured.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
        assert secured.recv(65536).startswith(b"HTTP/1.1 200 ")
        subject = dict(pair[0] for pair in secured.getpeercert()["subject"])  # type: ignore[index, union-attr, misc]
    return str(subject["commonName"])


def test_tls_needs_1_2_or_newer_and_reloads_a_new_certificate(node: Lab) -> None:
    first, first_key = certificate(node.root, "first")
    second, second_key = certificate(node.root, "second")
    cert, key = node.root / "used.crt", node.root / "used.key"
    cert.write_bytes(first.read_bytes())
    key.write_bytes(first_key.read_bytes())
    with shim_on(node, api={"port": 0, "ssl": {"enabled": True, "cert": str(cert), "key": str(key)}}) as shim:
        assert shim.url.startswith("https://")
        assert peer_of(shim, first) == "first"
        assert peer_of(shim, first, maximum_version=ssl.TLSVersion.TLSv1_2) == "first"
        with warnings.catch_warnings(), pytest.raises((ssl.SSLError, ValueError)):
            warnings.simplefilter("ignore", DeprecationWarning)
            peer_of(shim, first, minimum_version=ssl.TLSVersion.TLSv1, maximum_version=ssl.TLSVersion.TLSv1_1)
        with connect(shim, b"GET /healthz HTTP/1.1\r\n\r\n") as plain:
            assert is_hung_up(plain, 8.0)
        cert.write_bytes(second.read_bytes())
        key.write_bytes(second_key.read_bytes())
        shim.signal(signal.SIGHUP)
        wait_until(lambda: _peer_or_none(shim, second) == "second", "the new certificate is loaded")
        wait_until(lambda: shim.events("settings_reloaded"), "the settings are reloaded")
        # With half of a pair or a key with a passphrase, the old certificate stays in use; new settings still count.
        cert.write_bytes(first.read_bytes())
        wait_until(lambda: shim.events("certificate_not_reloaded"), "the pair is refused")
        assert peer_of(shim, second) == "second"
        locked = ["openssl", "rsa", "-aes128", "-passout", "pass:a", "-in", str(first_key), "-out", str(key)]
        subprocess.run(locked, check=True, capture_output=True)
        configure(node, token="another", api={"port": 0, "ssl": {"enabled": True, "cert": str(cert), "key": str(key)}})
        shim.signal(signal.SIGHUP)
        wait_until(lambda: len(shim.events("certificate_not_reloaded")) > 1, "the locked key is refused")
        assert peer_of(shim, second) == "second"
        key.write_bytes(first_key.read_bytes())
        wait_until(lambda: _peer_or_none(shim, first) == "first", "the pair is complete")


def _peer_or_none(shim: Shim, trusted: Path) -> str:
    try:
        return peer_of(shim, trusted)
    except OSError:
        return ""


@pytest.fixture(name="manager")
def service_manager(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(10.0)
        yield manager


def test_the_shim_notifies_the_service_manager_of_readiness_life_reloads_and_end(node: Lab, manager: socket.socket) -> None:
    configure(node)
    with again(node, NOTIFY_SOCKET=str(manager.getsockname()), WATCHDOG_USEC="400000") as shim:
        assert manager.recv(4096) == b"READY=1"
        assert [manager.recv(4096) for _unused in range(3)] == [b"WATCHDOG=1"] * 3
        shim.signal(signal.SIGHUP)
        words = [word for word in (manager.recv(4096) for _unused in range(6)) if word != b"WATCHDOG=1"]
        assert re.fullmatch(rb"RELOADING=1\nMONOTONIC_USEC=\d+", words[0])
        assert words[1] == b"READY=1"
        shim.signal(signal.SIGTERM)
        while (word := manager.recv(4096)) == b"WATCHDOG=1":
            pass
        assert word == b"STOPPING=1"
        assert shim.child.wait(10.0) == 0
