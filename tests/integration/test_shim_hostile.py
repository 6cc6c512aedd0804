# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The HTTP shim against hostile bytes: it does not fail, hang, or do a forbidden action."""

from __future__ import annotations

import contextlib
import re
import socket
import zlib
from collections.abc import Iterator, Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from .lab import Lab
from .shim import NO_ENGINE, TOKEN, Shim, shim_on

#: Longest time in seconds for any answer, on a loaded machine.
PATIENCE = 10.0
PANEL = "https://panel.test"
RIGHT, WRONG = f"Authorization: Bearer {TOKEN}".encode(), b"Authorization: Bearer wrong"


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    return Lab(tmp_path_factory.mktemp("node"), NO_ENGINE, None)


@pytest.fixture(scope="module")
def server(node: Lab) -> str:
    return node.server()


@pytest.fixture(scope="module")
def shim(node: Lab, server: str) -> Iterator[Shim]:
    del server
    with shim_on(node, allowed_origins=[PANEL]) as shim:
        yield shim


def answers(shim: Shim, sent: bytes, silence: float = 2.0) -> list[int]:
    """Return all statuses until the shim hangs up. After ``silence`` seconds we close our side, and the shim must hang up."""
    received = b""
    with socket.create_connection(shim.address) as connection, contextlib.suppress(ConnectionError):
        connection.sendall(sent)
        connection.settimeout(silence)
        with contextlib.suppress(socket.timeout):
            while chunk := connection.recv(65536):
                received += chunk
        connection.settimeout(PATIENCE)
        connection.shutdown(socket.SHUT_WR)
        while chunk := connection.recv(65536):
            received += chunk
    return [int(status) for status in re.findall(rb"HTTP/1\.[01] (\d{3}) ", received)]


def head(target: bytes, *headers: bytes, method: bytes = b"POST", version: bytes = b"HTTP/1.1") -> bytes:
    return b"\r\n".join([b" ".join([method, target, version]), b"Host: node", *headers, b"", b""])


def operations(shim: Shim, server: str) -> int:
    return len(shim.ask("GET", f"/api/servers/{server}/operations").json)


def power(server: str) -> bytes:
    return f"/api/servers/{server}/power".encode()


def assert_harmless(shim: Shim, server: str, sent: bytes) -> list[int]:
    """Assert that the answers are no 5xx, and that the shim answers the next client."""
    found = answers(shim, sent)
    assert all(status < 500 for status in found), (sent[:500], found)
    assert shim.ask("POST", f"/api/servers/{server}/power", b"{}", seconds=PATIENCE).status == 422
    return found


def test_the_shim_never_decompresses_a_frame_of_a_console(shim: Shim, server: str) -> None:
    opening = head(
        f"/api/servers/{server}/ws".encode(),
        *(b"Connection: Upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Version: 13", b"Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg=="),
        b"Sec-WebSocket-Extensions: permessage-deflate",
        f"Origin: {PANEL}".encode(),
        method=b"GET",
    )
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    bomb = packer.compress(bytes(60 * 2**20)) + packer.flush(zlib.Z_SYNC_FLUSH)
    # A final compressed text frame with a mask of zeros.
    frame = b"\xc1" + bytes([0x80 | 126]) + len(bomb).to_bytes(2, "big") + bytes(4) + bomb
    assert len(bomb) < 2**16
    with socket.create_connection(shim.address) as connection, contextlib.suppress(ConnectionError):
        connection.settimeout(PATIENCE)
        connection.sendall(opening)
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += connection.recv(65536)
        assert answer.startswith(b"HTTP/1.1 101 ") and b"permessage" not in answer
        before = shim.peak_mib()
        connection.sendall(frame)
        while connection.recv(65536):
            pass
    assert shim.peak_mib() - before < 30


@pytest.mark.parametrize(
    "headers, status",
    [((RIGHT, WRONG), 422), ((WRONG, RIGHT), 403), ((b"Authorization: Basic x", RIGHT), 401), ((b"Authorization:", RIGHT), 401)],
    ids=["right first", "wrong first", "another scheme first", "an empty header first"],
)
def test_the_first_of_two_tokens_counts_as_in_wings(shim: Shim, server: str, headers: Sequence[bytes], status: int) -> None:
    assert assert_harmless(shim, server, head(power(server), *headers, b"Content-Length: 2", b"Connection: close") + b"{}") == [status]


STOP = b'{"action":"stop"}'
SMUGGLED = b"POST %s HTTP/1.1\r\nHost: node\r\n%s\r\nContent-Length: 17\r\n\r\n" + STOP


@pytest.mark.parametrize(
    "framing",
    [
        (b"Content-Length: 2", b"Content-Length: 3"),
        (b"Content-Length: 2", b"Content-Length: 2"),
        (b"Content-Length: 2, 2",),
        (b"Content-Length: 2", b"Transfer-Encoding: chunked"),
        (b"Transfer-Encoding: chunked", b"Content-Length: 2"),
        (b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity"),
        (b"Transfer-Encoding: identity, chunked, identity",),
        (b"Transfer-Encoding : chunked",),
        (b"Content-Length : 2",),
        (b"Content-Length: +2",),
        (b"Content-Length: 0x2",),
        (b"Content-Length: 2\x00",),
        (b"Content-Length: \xb2",),
        (b"Content-Length: 99999999999999999999999999",),
    ],
    ids=lambda framing: b" and ".join(framing).decode("latin-1"),
)
def test_a_body_with_an_ambiguous_end_is_refused_and_later_bytes_are_not_read(shim: Shim, server: str, framing: Sequence[bytes]) -> None:
    before = operations(shim, server)
    sent = head(power(server), RIGHT, *framing) + b"{}" + SMUGGLED % (power(server), RIGHT)
    assert assert_harmless(shim, server, sent) == [400]
    assert operations(shim, server) == before


def test_a_body_of_a_gigabyte_is_refused_before_it_arrives(shim: Shim, server: str) -> None:
    before = operations(shim, server)
    sent = head(power(server), RIGHT, b"Content-Length: 1073741824") + SMUGGLED % (power(server), RIGHT)
    assert assert_harmless(shim, server, sent) == [413]
    assert operations(shim, server) == before


def test_pipelined_requests_are_answered_in_order(shim: Shim, server: str) -> None:
    one = head(power(server), RIGHT, b"Content-Length: 2") + b"{}"
    other = head(b"/nothing", RIGHT, method=b"GET")
    last = head(b"/healthz", b"Connection: close", method=b"GET")
    assert assert_harmless(shim, server, one + other + one + last) == [422, 404, 422, 200]


@pytest.mark.parametrize(
    "target",
    [
        "/api/servers/%s/../%s/power",
        "/api/servers/%s/%%2e%%2e/%s/power",
        "//api/servers/%s/power%.0s",
        "/api/servers/%s/power;a=b%.0s",
        "/api/servers/%s%%00/power%.0s",
        "/api/servers/%s%%0d%%0aX:%%20y/power%.0s",
        "\\api\\servers\\%s\\power%.0s",
    ],
)
def test_a_path_that_is_not_exactly_a_route_reaches_no_server(shim: Shim, server: str, target: str) -> None:
    before = operations(shim, server)
    sent = head((target % (server, server)).encode(), RIGHT, b"Content-Length: 17", b"Connection: close") + STOP
    (status,) = assert_harmless(shim, server, sent)
    assert status in (400, 404)
    assert operations(shim, server) == before


@pytest.mark.parametrize(
    "line",
    [
        b"POST %s HTTP/1.1 HTTP/1.1",
        b"POST %s HTTP/1.1\r",
        b"POST\x00 %s HTTP/1.1",
        b"post %s HTTP/1.1",
        b"CONNECT node:80 HTTP/1.1\r\nX: %s",
        b"POST http://[::1%s HTTP/1.1",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n%s",
    ],
    ids=lambda line: line.decode("latin-1"),
)
def test_an_invalid_request_line_reaches_no_server(shim: Shim, server: str, line: bytes) -> None:
    before = operations(shim, server)
    sent = b"\r\n".join([line % power(server), b"Host: node", RIGHT, b"Content-Length: 17", b"Connection: close", b"", STOP])
    assert set(assert_harmless(shim, server, sent)) <= {400, 404}
    assert operations(shim, server) == before


LINES = st.sampled_from(
    [
        *(
            RIGHT,
            WRONG,
            b"Content-Length: 2",
            b"Content-Length: 0",
            b"Content-Length: 70000",
            b"Content-Length: x",
            b"Transfer-Encoding: chunked",
        ),
        *(
            b"Transfer-Encoding: gzip, chunked",
            b"Connection: close",
            b"Connection: keep-alive",
            b"Connection: upgrade",
            b"Upgrade: websocket",
        ),
        *(
            b"Upgrade: h2c",
            b"HTTP2-Settings: AAMAAABkAAQAAP__",
            b"Expect: 100-continue",
            b"Expect: x",
            b"Content-Encoding: gzip",
            b"Host: other",
        ),
        *(
            b"X-Forwarded-For: 1.2.3.4, x",
            b"Origin: \xff\xfe",
            b"Cookie: " + b"a" * 8000,
            b"X: " + b"a" * 9000,
            b"NoColon",
            b": empty",
            b" folded",
        ),
        *(b"Authorization: Bearer \xc3\xa4\xff", b"X\x00Y: z", b"X: y\rZ: a", b"X: y\nZ: a", b"Range: bytes=0-", b"Content-Type: \x80"),
        *(b"Sec-WebSocket-Key: x", b"Sec-WebSocket-Version: 13", b"Trailer: X", b"TE: trailers", b"Accept-Encoding: " + b"gzip," * 500),
    ]
)
BODIES = st.one_of(
    st.binary(max_size=64),
    st.sampled_from(
        [b"{}", STOP, b"0\r\n\r\n", b"2\r\n{}\r\n0\r\n\r\n", b"ffffffffffffffff\r\n", b"-1\r\n", b"2;x=\xff\r\n{}\r\n0\r\nX: y\r\n\r\n"]
    ),
)
METHODS = st.sampled_from([b"GET", b"POST", b"HEAD", b"OPTIONS", b"PUT", b"DELETE", b"TRACE", b"CONNECT", b"PATCH", b"X" * 100])
ROUTES = (
    b"/power",
    b"/ws",
    b"/logs?size=\xff",
    b"/operations/x?wait=0",
    b"/commands",
    b"/sync",
    b"/ws/deny",
    b"",
    b"/",
    b"/%ff",
    b"?" + b"a" * 9000,
)


@settings(max_examples=300, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
@given(METHODS, st.sampled_from(ROUTES), st.lists(LINES, max_size=6), BODIES, st.sampled_from([b"HTTP/1.1", b"HTTP/1.0"]))
def test_any_request_gets_an_answer_or_a_closed_connection(
    shim: Shim, server: str, method: bytes, route: bytes, headers: list[bytes], body: bytes, version: bytes
) -> None:
    found = answers(shim, head(f"/api/servers/{server}".encode() + route, *headers, method=method, version=version) + body, 0.02)
    # There is no engine: Wings answers 500 in this case.
    assert all(status < 500 or (status == 500 and RIGHT in headers) for status in found)


@settings(max_examples=150, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_a_good_request_with_changed_bytes_does_no_harm(shim: Shim, server: str, data: st.DataObject) -> None:
    sent = bytearray(head(power(server), RIGHT, b"Content-Length: 2", b"Connection: close") + b"{}")
    for at in data.draw(st.lists(st.integers(0, len(sent) - 1), min_size=1, max_size=4)):
        sent[at] = data.draw(st.integers(0, 255))
    # Without an engine, the shim cannot look up another UUID and answers 500.
    assert all(status <= 500 for status in answers(shim, bytes(sent), 0.02))


def test_the_shim_works_after_all_hostile_requests(shim: Shim, server: str) -> None:
    assert shim.ask("GET", "/healthz").json == {"status": "ok"}
    assert shim.power(server, "stop").status == 202
    assert [entry for entry in shim.entries() if entry["event"] == "fault"] == []
