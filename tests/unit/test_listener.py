# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The node's token is told to nobody who merely listens: real sockets of other users, before and after a connection."""

from __future__ import annotations

import grp
import os
import pwd
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from typing import Any

import pytest
import urllib3.util.connection
from ansible_collections.fleet.power.plugins.module_utils._power.actions.node.limiter import Slot
from ansible_collections.fleet.power.plugins.module_utils._power.definitions.settings import parse_settings
from ansible_collections.fleet.power.plugins.module_utils._power.endpoint.call import at_endpoint
from ansible_collections.fleet.power.plugins.module_utils._power.host.listener import (
    ListeningSocket,
    Vouching,
    is_trusted,
    listeners,
    taking,
)
from ansible_collections.fleet.power.plugins.module_utils._power.model.caller import SILENT
from ansible_collections.fleet.power.plugins.module_utils._power.model.errors import EndpointUntrusted
from ansible_collections.fleet.power.plugins.module_utils._power.model.request import Request
from ansible_collections.fleet.power.plugins.module_utils._power.sources.web import Trust, Web
from ansible_collections.fleet.power.plugins.module_utils._power.sources.web_answers import WebFault
from ansible_collections.fleet.power.tests.integration.panel_server import Recorder
from ansible_collections.fleet.power.tests.integration.panel_server import closing as closed
from ansible_collections.fleet.power.tests.unit.endpoint_support import UUID, request

TOKEN = "the-token-of-the-node-alone"
#: A user that nothing else on this machine acts as.
STRANGER = 64322
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")

#: Listens, says on which port, and then what it is told by each who connects; ends with its input.
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
            print("told", connection.recv(65536), flush=True)
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
        """End it; everything it was told."""
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
def test_a_stranger_who_listens_is_not_told_the_nodes_token(address: str, host: str) -> None:
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
def test_a_name_that_leads_back_to_this_machine_is_no_way_around(monkeypatch: pytest.MonkeyPatch) -> None:
    real = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", lambda _host, *more, **options: real("127.0.0.1", *more, **options))
    monkeypatch.setenv("no_proxy", "*")
    with stranger() as other:
        with pytest.raises(EndpointUntrusted):
            call(f"http://node1.example.test:{other.port}").targets(["all"], asked())
        assert TOKEN not in other.close()


@as_root
def test_a_token_that_a_task_gives_goes_where_the_task_says() -> None:
    with stranger() as other:
        assert call(f"http://127.0.0.1:{other.port}", api_token="given-by-the-task").targets(["all"], asked()) == []
        told = other.close()
        assert "given-by-the-task" in told and TOKEN not in told


@as_root
def test_a_stranger_who_took_the_connection_before_is_not_told() -> None:
    vouching = Vouching(lambda uid: uid == 0)
    with stranger() as other:
        port = other.port
        before = vouching.before(port)
        with socket.create_connection(("127.0.0.1", port)) as connection:
            # Else the end of the process resets the connection, which then leads nowhere.
            assert other.said() == "accepted"
            told = other.close()
            with socket.create_server(("127.0.0.1", port)):
                assert vouching.fault(before, connection) == "who listens there has just changed"
        assert told in ("told b''\n", "")


def reset_connection() -> socket.socket:
    """A connection whose other end has hung up before it took it."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return socket.create_connection(server.getsockname())


def test_an_endpoint_that_cuts_each_connection_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    with closed(Recorder()) as wings:
        wings.fault(lambda answering: answering.json(200, []))
        monkeypatch.setattr(urllib3.util.connection, "create_connection", lambda *_unused, **_unused_too: reset_connection())
        with pytest.raises(WebFault, match="the connection was cut before the answer was whole") as caught:
            Web(wings.url, f"Bearer {TOKEN}", trust=Trust(vouching=Vouching(lambda _uid: True))).ask("GET", "/", seconds=20)
        assert not caught.value.lasting and wings.asked == []


def test_where_nobody_is_seen_to_listen_nobody_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as connection:
        vouching = Vouching(lambda _uid: True)
        before = vouching.before(server.getsockname()[1])
        assert vouching.fault(before, connection) == ""
        with server.accept()[0]:
            server.close()
            assert "cannot be told" in vouching.fault(before, connection)


def test_every_way_to_listen_is_seen() -> None:
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
def test_the_most_particular_listener_takes_a_connection(host: str, listening: list[str], taken: list[str]) -> None:
    import ipaddress

    found = [ListeningSocket(ipaddress.ip_address(each), 0, number) for number, each in enumerate(listening)]
    assert [str(each.address) for each in taking(found, host)] == taken


def test_root_we_and_members_of_the_group_are_as_good_as_we(monkeypatch: pytest.MonkeyPatch) -> None:
    assert is_trusted(0, "no-such-group") and is_trusted(os.geteuid(), "no-such-group")
    daemon = pwd.getpwnam("daemon")
    assert not is_trusted(daemon.pw_uid, "no-such-group")
    assert is_trusted(daemon.pw_uid, grp.getgrgid(daemon.pw_gid).gr_name)
    assert not is_trusted(pwd.getpwnam("bin").pw_uid, grp.getgrgid(daemon.pw_gid).gr_name)
    assert not is_trusted(STRANGER, "daemon")
