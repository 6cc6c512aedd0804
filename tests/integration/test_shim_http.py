# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The HTTP shim byte by byte, against tables of answers of Wings, on a node without an engine."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest

from .lab import Lab, wait_until
from .shim import NO_ENGINE, TOKEN, Answer, Shim, shim_on

UUID_PATTERN = r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
JSON = "application/json; charset=utf-8"
NO_HEADS = b'{"error":"The required authorization heads were not present in the request."}'
NOT_AUTHORIZED = b'{"error":"You are not authorized to access this endpoint."}'
NO_SERVER = b'{"error":"The requested resource does not exist on this instance."}'
#: The shim appends its own actions to this list of Wings.
NO_ACTION = rb'{"error":"The power action provided was not valid, should be one of \"stop\", \"start\", \"restart\", \"kill\"'
SUSPENDED = b'{"error":"Cannot start or restart a server that is suspended."}'


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    return Lab(tmp_path_factory.mktemp("node"), NO_ENGINE, None)


@pytest.fixture(scope="module")
def server(node: Lab) -> str:
    return node.server(name="Cobalt")


@pytest.fixture(scope="module")
def suspended(node: Lab) -> str:
    return node.server(name="Umber", suspended=True)


@pytest.fixture(scope="module")
def shim(node: Lab, server: str, suspended: str) -> Iterator[Shim]:
    del server, suspended
    with shim_on(node, allowed_origins=["https://admin.example.com", "https://other.example.com"]) as shim:
        yield shim


def request(method: str, path: str, *headers: str, body: bytes = b"", token: str | None = f"Bearer {TOKEN}") -> bytes:
    """Return the bytes of a request that asks to close the connection."""
    lines = [*headers, *([] if token is None else [f"Authorization: {token}"]), f"Content-Length: {len(body)}", "Connection: close"]
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: node", *lines, "", ""]).encode("latin-1") + body


def parse(raw: bytes) -> Answer:
    head, _blank, body = raw.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    pairs = [line.partition(": ")[::2] for line in lines]
    assert len(pairs) == len({name.lower() for name, _value in pairs}), "a header is duplicated"
    return Answer(int(first.split(" ")[1]), {name.lower(): value for name, value in pairs}, body)


def send(shim: Shim, *arguments: str, **options: object) -> Answer:
    return parse(shim.raw(request(*arguments, **options)))  # type: ignore[arg-type]


def post(shim: Shim, server: str, body: bytes, *headers: str) -> Answer:
    return send(shim, "POST", f"/api/servers/{server}/power", *headers, body=body)


def test_every_answer_has_a_unique_request_id_and_the_cors_headers(shim: Shim, server: str) -> None:
    answers = [
        send(shim, "GET", "/nothing"),
        send(shim, "GET", "/nothing", token=None),
        send(shim, "GET", f"/api/servers/{server}/operations"),
        post(shim, server, b""),
        send(shim, "OPTIONS", "/nothing", token=None),
    ]
    for answer in answers:
        assert re.fullmatch(UUID_PATTERN, answer.headers["x-request-id"])
        assert answer.headers["access-control-allow-credentials"] == "true"
        assert answer.headers["access-control-allow-methods"] == "GET, POST, PATCH, PUT, DELETE, OPTIONS"
        assert answer.headers["access-control-allow-headers"] == (
            "Accept, Accept-Encoding, Authorization, Cache-Control, Content-Type, Content-Length, Origin, X-Real-IP, X-CSRF-Token"
        )
        assert answer.headers["access-control-max-age"] == "7200"
        assert "access-control-request-private-network" not in answer.headers
        assert "server" not in answer.headers
    assert len({answer.headers["x-request-id"] for answer in answers}) == len(answers)


def test_an_unknown_path_or_method_is_404_in_text_with_a_right_token(shim: Shim, server: str) -> None:
    for method, path in (
        ("GET", "/nothing"),
        ("GET", f"/api/servers/{server}/power"),
        ("DELETE", "/api/servers"),
        ("HEAD", "/api/servers"),
    ):
        answer = send(shim, method, path)
        assert (answer.status, answer.headers["content-type"]) == (404, "text/plain")
        assert answer.body == (b"" if method == "HEAD" else b"404 page not found")
        assert send(shim, method, path, token=None).status == 401


@pytest.mark.parametrize("token", [None, "", TOKEN, f"bearer {TOKEN}", f"Basic {TOKEN}", f"Bearer\t{TOKEN}", "Bearer"])
def test_a_request_without_a_bearer_token_is_401(shim: Shim, server: str, token: str | None) -> None:
    for path in ("/api/servers", f"/api/servers/{server}", "/api/servers/unknown", "/nothing"):
        answer = send(shim, "GET", path, token=token)
        assert (answer.status, answer.body) == (401, NO_HEADS)
        assert (answer.headers["www-authenticate"], answer.headers["content-type"]) == ("Bearer", JSON)


@pytest.mark.parametrize("token", ["wrong", f"{TOKEN}x", TOKEN[:-1], f" {TOKEN}", f"a1b2.{TOKEN}", "\xff\xfe", "Bearer"])
def test_a_wrong_token_is_403_for_known_and_unknown_servers(shim: Shim, server: str, token: str) -> None:
    for path in (f"/api/servers/{server}", "/api/servers/unknown", "/nothing"):
        answer = send(shim, "GET", path, token=f"Bearer {token}")
        assert (answer.status, answer.body, answer.headers["content-type"]) == (403, NOT_AUTHORIZED, JSON)
        assert "www-authenticate" not in answer.headers


def test_only_the_exact_uuid_names_a_server(shim: Shim, server: str) -> None:
    for name in (
        server.upper(),
        server[:8],
        "Cobalt",
        f"{server}%20",
        f"%7B{server}%7D",
        "all",
        "..",
        "%2e%2e",
        server.replace("-", ""),
    ):
        answer = send(shim, "POST", f"/api/servers/{name}/power", body=b'{"action":"start"}')
        assert (name, answer.status, answer.body, answer.headers["content-type"]) == (name, 404, NO_SERVER, JSON)


INVALID = [
    b"{",
    b"[]",
    b"nul",
    b"\xef\xbb\xbf{}",
    b'{"action":1,"action":"stop"}',
    b'{"a":' + b"[" * 5000,
    b'{"action":"stop","wait_seconds":1.5}',
    b'{"action":"stop","wait_seconds":9223372036854775808}',
]


@pytest.mark.parametrize("body", INVALID, ids=lambda body: body[:40].decode("latin-1"))
def test_an_unreadable_body_is_400_with_only_the_request_id(shim: Shim, server: str, body: bytes) -> None:
    answer = post(shim, server, body)
    error = {"error": "An unexpected error was encountered while processing this request", "request_id": answer.headers["x-request-id"]}
    assert (answer.status, json.loads(answer.body)) == (400, error)
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"


NO_ACTIONS = [
    b"{}",
    b'{"action":"START"}',
    b'{"action":"sta\xffrt"}',
    b"{} trailing",
]


@pytest.mark.parametrize("body", NO_ACTIONS, ids=lambda body: body.decode("latin-1"))
def test_an_unknown_action_is_422(shim: Shim, server: str, body: bytes) -> None:
    answer = post(shim, server, body)
    assert (answer.status, answer.body[: len(NO_ACTION)], answer.headers["content-type"]) == (422, NO_ACTION, JSON)


ACCEPTED = [
    b'{"ACTION":"stop","x":[1,{"y":1.5e300}]}',
    b'{"action":"stop"}garbage',
    b'{"action":"stop","action":null}',
    b'{"action":"stop","wait_seconds":-1}',
    b'{"action":"stop","wait_\xc5\xbfecond\xc5\xbf":1}',
]


@pytest.mark.parametrize("body", ACCEPTED, ids=lambda body: body.decode("latin-1"))
def test_a_202_has_only_the_location_of_the_operation(shim: Shim, node: Lab, body: bytes) -> None:
    server = node.server()
    answer = post(shim, server, body)
    assert (answer.status, answer.body, answer.headers["content-length"]) == (202, b"", "0")
    assert "content-type" not in answer.headers
    operation = answer.headers["x-operation-id"]
    assert re.fullmatch(UUID_PATTERN, operation)
    assert answer.headers["location"] == f"/api/servers/{server}/operations/{operation}"
    found = send(shim, "GET", f"{answer.headers['location']}?wait=10").body
    ended = json.loads(found)
    # There is no engine: the operation still ends.
    assert (ended["id"], ended["server"], ended["action"]) == (operation, server, "stop")
    assert (ended["outcome"], ended["code"]) == ("failed", "engine_unreachable")


def test_the_shim_checks_the_body_then_the_action_then_the_suspension(shim: Shim, suspended: str) -> None:
    answers = [post(shim, suspended, body) for body in (b"{", b'{"action":"reboot"}', b'{"action":"start"}')]
    unreadable = {"error": "An unexpected error was encountered while processing this request"}
    assert json.loads(answers[0].body) == {**unreadable, "request_id": answers[0].headers["x-request-id"]}
    assert [answer.status for answer in answers[1:]] == [422, 400]
    assert answers[1].body.startswith(NO_ACTION) and answers[2].body == SUSPENDED
    assert answers[0].status == 400


def test_an_unknown_operation_or_one_of_another_server_is_404(shim: Shim, node: Lab) -> None:
    mine, other = node.server(), node.server()
    location = shim.took(mine, "stop")
    shim.operation(location, wait=10)
    for path in (location.replace(mine, other), f"/api/servers/{mine}/operations/unknown", f"/api/servers/{mine}/operations/%2e%2e"):
        answer = shim.ask("GET", path)
        assert (answer.status, answer.body) == (404, NO_SERVER)


@pytest.mark.parametrize(
    "sent",
    [
        b"GARBAGE\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"POST /api/servers HTTP/1.1\r\nHost: a\r\nContent-Length: -5\r\n\r\n",
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nX: " + b"a" * 100_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"X: a\r\n" * 5_000 + b"\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n X: folded\r\n\r\n",
        b"GET /\xff\xfe HTTP/1.1\r\nHost: a\r\n\r\n",
    ],
    ids=lambda sent: sent[:50].decode("latin-1"),
)
def test_broken_framing_is_refused_and_the_next_request_is_answered(shim: Shim, server: str, sent: bytes) -> None:
    received = shim.raw(sent, seconds=0.5)
    assert not received or 400 <= int(received.split(b" ", 2)[1]) < 500
    assert post(shim, server, b"{}").status == 422


def test_a_chunked_body_that_grows_too_large_is_refused(shim: Shim, server: str) -> None:
    head = request("POST", f"/api/servers/{server}/power").replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
    chunk = b"4000\r\n" + b" " * 0x4000 + b"\r\n"
    assert parse(shim.raw(head + chunk * 5, seconds=3.0)).status == 413


def test_a_compressed_body_is_not_unpacked(shim: Shim, server: str) -> None:
    import gzip

    packed = gzip.compress(b'{"action":"stop"}')
    assert post(shim, server, packed, "Content-Encoding: gzip").status == 400


def test_the_log_has_a_line_with_the_request_id_for_each_request(shim: Shim, node: Lab) -> None:
    server = node.server()
    bodies = (b"{}", b'{"action":"stop","wait_seconds":"x"}', b'{"action":"stop"}')
    wrong, mistyped, taken = [post(shim, server, body) for body in bodies]
    ids = [answer.headers["x-request-id"] for answer in (wrong, mistyped, taken)]

    def lines() -> list[dict[str, object]]:
        return [entry for entry in shim.events("request") if entry["request"] in ids]

    wait_until(lambda: len(lines()) == 3, "all requests are in the log")
    common = {"event": "request", "level": "info", "remote": "127.0.0.1", "method": "POST", "path": f"/api/servers/{server}/power"}
    assert [{**entry, "time": ""} for entry in lines()] == [
        {**common, "time": "", "request": ids[0], "status": 422},
        {**common, "time": "", "request": ids[1], "status": 400, "note": "wait_seconds has the wrong type"},
        {**common, "time": "", "request": ids[2], "status": 202, "note": taken.headers["x-operation-id"]},
    ]


def test_the_log_contains_no_token(shim: Shim, node: Lab, server: str) -> None:
    send(shim, "GET", "/nothing", token=f"Bearer {TOKEN}x")
    last = post(shim, server, b"{}").headers["x-request-id"]
    wait_until(lambda: any(entry["request"] == last for entry in shim.events("request")), "the last request is in the log")
    assert TOKEN not in (node.root / "shim.log").read_text()
