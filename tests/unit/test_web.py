# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""HTTP exchanges with bounds on time and size, and a token that reaches no other host."""

from __future__ import annotations

import concurrent.futures
import json
import socket
import ssl
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.model.errors import CancelledByKill, MissingLibrary
from ansible_collections.fleet.power.plugins.module_utils._power.model.redaction import shown_address
from ansible_collections.fleet.power.plugins.module_utils._power.sources import web as web_module
from ansible_collections.fleet.power.plugins.module_utils._power.sources.web import Answer, Exchange, Trust, Web
from ansible_collections.fleet.power.plugins.module_utils._power.sources.web_fault import WebFault
from ansible_collections.fleet.power.tests.integration.panel_server import (
    Behaviour,
    Recorder,
    dripping,
    dripping_headers,
    endless,
    redirect,
    self_signed,
    silent,
    text,
    truncated,
    value,
)
from ansible_collections.fleet.power.tests.unit.thread_support import few_threads, in_threads

pytestmark = pytest.mark.usefixtures("no_proxies")

BEARER = "Bearer one.two"

SECRET = "Secret0123456789"


@pytest.fixture
def server() -> Iterator[Recorder]:
    with closing(Recorder()) as server:
        yield server


def ask(server: Recorder, *, seconds: float = 20.0, **options: Any) -> Answer:
    return Web(server.url, BEARER, **options).ask("GET", "/x", seconds=seconds)


def fault_of(server: Recorder, behaviour: Behaviour, *, seconds: float = 20.0) -> WebFault:
    server.fault(behaviour)
    with pytest.raises(WebFault) as caught:
        ask(server, seconds=seconds)
    return caught.value


def no_threads_left() -> bool:
    deadline = time.monotonic() + 20
    while any(thread.name == "web" for thread in threading.enumerate()):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def test_an_answer_has_status_headers_and_json_value(server: Recorder) -> None:
    server.fault(lambda answer: answer.json(418, {"a": [1]}, X_Some="Thing"))
    answer = ask(server)
    assert (answer.status, answer.headers["x-some"], answer.value, answer.text) == (418, "Thing", {"a": [1]}, '{"a": [1]}')


def test_a_request_arrives_with_its_headers_parameters_and_body(server: Recorder) -> None:
    web = Web(f"{server.url}/base/", BEARER, headers={"User-Agent": "me", "Accept": "text/x"})
    web.ask("POST", "/x", body={"a": 1}, params={"page": 2}, seconds=5)
    asked = server.asked[0]
    assert (asked.method, asked.path, json.loads(asked.body)) == ("POST", "/base/x?page=2", {"a": 1})
    assert {name: asked.headers[name] for name in ("authorization", "user-agent", "accept", "content-type")} == {
        "authorization": BEARER,
        "user-agent": "me",
        "accept": "text/x",
        "content-type": "application/json",
    }


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b'{"a": ', b"\xff\xfe\xff", b"[" * 150_000, b"1" * 5_000_000, b'{"a": -' + b"1" * 5_000_000 + b"}"],
    ids=["empty", "html", "truncated", "no text", "deep", "huge number", "huge negative number"],
)
def test_an_answer_without_json_has_no_value(server: Recorder, body: bytes) -> None:
    server.fault(text(body))
    began = time.monotonic()
    assert ask(server).value is None
    assert time.monotonic() - began < 3


def test_the_text_of_an_answer_is_short_and_printable(server: Recorder) -> None:
    server.fault(text(b"\x1b[31mred\n\x00" + b"x" * 10_000))
    shown = ask(server).text
    assert shown.isprintable() and shown.startswith("[31mred") and len(shown) <= 500


@pytest.mark.parametrize("depth", [101, 500, 5000])
def test_deeply_nested_json_never_reaches_the_parser(server: Recorder, depth: int, monkeypatch: pytest.MonkeyPatch) -> None:
    server.fault(text(b'[{"a": ' * (depth // 2) + b"[1]" + b"}]" * (depth // 2)))
    monkeypatch.setattr(json, "loads", lambda *_unused, **_unused_too: pytest.fail("parsed"))
    assert ask(server).value is None


def test_json_of_a_hundred_levels_is_read(server: Recorder) -> None:
    server.fault(text(b"[" * 100 + b'"[[[["' + b"]" * 100))
    assert ask(server).value is not None


@pytest.mark.parametrize("authorization", [f"Bearer {SECRET}", f"Bearer name.{SECRET}", SECRET])
@pytest.mark.parametrize("number", [200, 500])
def test_a_repeated_token_is_masked_everywhere(server: Recorder, authorization: str, number: int) -> None:
    sent = {SECRET: [SECRET, {"a": f"x{SECRET.lower()}x"}], "n": 5}
    server.fault(lambda answer: answer.json(number, sent, X_Some=SECRET))
    answer = Web(server.url, authorization).ask("GET", "/x", seconds=5)
    shown = json.dumps([answer.value, dict(answer.headers), answer.text]).lower()
    assert SECRET.lower() not in shown
    assert answer.value == {"***": ["***", {"a": "x***x"}], "n": 5}


def test_a_good_answer_is_not_masked_on_request(server: Recorder) -> None:
    web = Web(server.url, f"Bearer {SECRET}", verbatim=True)
    for number, expected in ((200, SECRET), (500, "***")):
        server.well()
        server.fault(value([SECRET], number))
        answer = web.ask("GET", "/x", seconds=5)
        assert answer.value == [expected] and SECRET not in answer.text


@pytest.mark.parametrize("before", range(1985, 2001))
def test_a_text_cut_within_the_token_shows_no_part_of_the_token(server: Recorder, before: int) -> None:
    # A mask is shorter than the token, so the shown text reaches further.
    content = (SECRET * 200)[: before // 16 * 16] + "-" * (before % 16) + SECRET * 2
    server.fault(text(content.encode(), 500))
    shown = Web(server.url, f"Bearer {SECRET}").ask("GET", "/x", seconds=5).text
    assert "Secr" not in shown


def test_a_redirect_to_a_host_with_the_token_in_its_name_does_not_show_the_token(server: Recorder) -> None:
    server.fault(redirect(f"https://{'x' * 180}.{SECRET}.evil.test/"))
    with pytest.raises(WebFault) as caught:
        Web(server.url, f"Bearer {SECRET}").ask("GET", "/x", seconds=5)
    assert "Secret" not in str(caught.value)


def test_the_repr_of_an_answer_shows_no_content(server: Recorder) -> None:
    server.fault(value({"SECRET": "hunter22"}))
    assert "hunter22" not in repr(ask(server))


@pytest.fixture
def connections(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    made: list[object] = []
    connect = socket.socket.connect

    def counted(self: socket.socket, address: Any) -> None:
        made.append(address)
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", counted)
    return made


def test_a_connection_is_used_again_for_the_next_exchange(server: Recorder, connections: list[object]) -> None:
    web = Web(server.url, BEARER)
    for _unused in range(5):
        web.ask("GET", "/x", seconds=5)
    assert len(connections) == 1
    web.close()


def test_the_number_of_idle_connections_is_bounded(server: Recorder, connections: list[object], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web_module, "_MOST_IDLE", 2)
    web, together = Web(server.url, BEARER), threading.Barrier(5)

    def meet(answer: Any) -> None:
        together.wait(10)
        answer.json(200, {})

    server.fault(meet)
    for made in (5, 5 + 5 - 2):
        in_threads(5, lambda _number: web.ask("GET", "/x", seconds=10))
        assert len(connections) == made
    web.close()


def test_each_of_many_simultaneous_threads_gets_its_own_answer(server: Recorder) -> None:
    class Echo(Recorder):
        def answer(self, asked: Any, answering: Any) -> None:
            answering.json(200, asked.path)

    with closing(Echo()) as echo:
        web, paths = Web(echo.url, BEARER), [f"/{number}" for number in range(100)]
        with concurrent.futures.ThreadPoolExecutor(20) as threads:
            assert [answer.value for answer in threads.map(lambda path: web.ask("GET", path, seconds=10), paths)] == paths
        assert len(echo.asked) == len(paths)


@pytest.mark.parametrize("behaviour", [silent, dripping, dripping_headers], ids=["silent", "dripping body", "dripping headers"])
def test_a_slow_answer_ends_at_the_timeout_and_leaves_no_thread(server: Recorder, behaviour: Behaviour) -> None:
    began = time.monotonic()
    assert str(fault_of(server, behaviour, seconds=0.6)) == "no answer within 0.6 s"
    assert 0.5 < time.monotonic() - began < 10
    assert no_threads_left()


def test_a_host_that_accepts_but_does_not_speak_tls_ends_at_the_timeout(server: Recorder) -> None:
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen()
        began = time.monotonic()
        with pytest.raises(WebFault, match=r"no answer within 0\.5 s"):
            Web(f"https://127.0.0.1:{deaf.getsockname()[1]}", BEARER).ask("GET", "/x", seconds=0.5)
        assert time.monotonic() - began < 10


def test_an_endless_body_ends_at_the_size_limit(server: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web_module, "_LARGEST", 300_000)
    fault = fault_of(server, endless)
    assert str(fault) == "its answer is larger than 300000 bytes" and fault.lasting
    assert no_threads_left()


def test_a_cancellation_check_ends_the_wait_at_once(server: Recorder) -> None:
    server.fault(silent)
    checks: list[float] = []

    def look() -> None:
        checks.append(time.monotonic())
        if len(checks) == 3:
            raise CancelledByKill("killed")

    began = time.monotonic()
    with pytest.raises(CancelledByKill):
        Web(server.url, BEARER).ask("GET", "/x", seconds=30, check_cancelled=look)
    times = [began, *checks]
    assert max(later - earlier for earlier, later in zip(times, times[1:])) < 2
    assert no_threads_left()


def test_a_late_exchange_does_not_cut_the_next_exchange_on_its_connection(
    server: Recorder, connections: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    parsing, ended, answer_of = threading.Event(), threading.Event(), web_module.answer_of

    def slowly(*args: Any, **options: Any) -> Answer:
        if not parsing.is_set():
            parsing.set()
            ended.wait(20)
        return answer_of(*args, **options)

    def after_the_first(answering: Any) -> None:
        if parsing.is_set():
            ended.wait(20)
        answering.json(200, {})

    monkeypatch.setattr(web_module, "answer_of", slowly)
    server.fault(after_the_first)
    web = Web(server.url, BEARER)
    with concurrent.futures.ThreadPoolExecutor(2) as threads:
        first = threads.submit(web.ask, "GET", "/x", seconds=0.6)
        assert parsing.wait(10)
        second = threads.submit(web.ask, "GET", "/x", seconds=20)
        try:
            with pytest.raises(WebFault, match="no answer within"):
                first.result()
        finally:
            ended.set()
        assert (second.result().status, len(connections)) == (200, 1)


def test_without_a_free_thread_a_request_fails(server: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        few_threads(patch)
        with pytest.raises(WebFault, match="no thread can be started") as caught:
            ask(server)
    # Other threads end, so a retry can succeed.
    assert not caught.value.lasting
    assert ask(server).status == 200


def test_a_closed_port_is_a_refused_connection(server: Recorder) -> None:
    server.close()
    assert str(fault_of(server, silent)) == "connection refused"


@pytest.mark.parametrize("behaviour", [truncated, lambda answer: answer.cut()], ids=["truncated", "none"])
def test_an_incomplete_answer_is_a_fault(server: Recorder, behaviour: Behaviour) -> None:
    fault = fault_of(server, behaviour)
    assert str(fault) == "the connection was cut before the answer was whole" and not fault.lasting


def test_an_unknown_host_name_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_unused: Any, **_also_unused: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(WebFault, match=r"its name cannot be looked up \(Name or service not known\)"):
        Web("http://panel.test", BEARER).ask("GET", "/x", seconds=5)


def test_a_hanging_name_lookup_ends_at_the_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    woken = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_unused, **_also_unused: woken.wait(20) and [])
    try:
        began = time.monotonic()
        with pytest.raises(WebFault, match=r"no answer within 0\.4 s"):
            Web("http://panel.test", BEARER).ask("GET", "/x", seconds=0.4)
        assert time.monotonic() - began < 10
    finally:
        woken.set()


def test_without_the_library_the_error_names_the_package(server: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "requests", None)
    with pytest.raises(MissingLibrary, match="python3-requests") as caught:
        ask(server)
    assert caught.value.facts["library"] == "requests"


@pytest.mark.parametrize(
    "base",
    [
        "",
        "panel.test",
        "ftp://panel.test",
        "http://",
        "http://pa nel.test",
        "http://panel.test\n",
        "http://[::1",
        "http://a:99999",
        "http://a/?x=1",
    ],
)
def test_an_invalid_address_is_refused_with_the_reason(base: str) -> None:
    with pytest.raises(WebFault, match="that is not an address"):
        Web(base, BEARER)


def test_a_password_in_an_address_is_refused_and_not_shown() -> None:
    base = "https://alice:hunt#er?2@panel.test/base"
    with pytest.raises(WebFault) as caught:
        Web("https://alice:hunter22@panel.test", BEARER)
    assert "hunter" not in str(caught.value)
    assert shown_address(base) == "https://panel.test/base"


@pytest.mark.parametrize("authorization", ["Bearer a\r\nX-Evil: 1", "Bearer \u20ac", "Bearer a\x00", " Bearer a"])
def test_a_token_that_cannot_be_sent_is_refused_and_not_shown(authorization: str) -> None:
    with pytest.raises(WebFault, match="characters that cannot be sent") as caught:
        Web("http://panel.test", authorization)
    assert "Evil" not in str(caught.value)


@pytest.mark.parametrize("number", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(server: Recorder, number: int) -> None:
    with closing(Recorder()) as other:
        fault = fault_of(server, redirect(f"http://user:pass@127.0.0.1:{other.port}/x?secret=1", number))
        assert str(fault) == f"it redirects to another address (http://127.0.0.1:{other.port}), which is not followed"
        assert other.asked == []


def test_a_netrc_file_does_not_replace_the_token(server: Recorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login alice password hunter22\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    ask(server)
    assert server.asked[0].headers["authorization"] == BEARER


def test_cookies_are_not_kept(server: Recorder) -> None:
    web = Web(server.url, BEARER)
    server.fault(lambda answer: answer.json(200, {}, Set_Cookie="session=1"), times=1)
    for _unused in range(2):
        web.ask("GET", "/x", seconds=5)
    assert "cookie" not in server.asked[1].headers


def test_the_proxy_of_the_environment_is_used_without_showing_its_password(server: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", f"http://alice:hunter22@127.0.0.1:{server.port}")
    web = Web("http://panel.test", BEARER)
    assert web.ask("GET", "/x", seconds=5).status == 200
    assert server.asked[0].path == "http://panel.test/x"
    server.close()
    with pytest.raises(WebFault) as caught:
        Web("http://panel.test", BEARER).ask("GET", "/x", seconds=5)
    assert str(caught.value) == "the proxy that the environment names gives no way to it"


def test_a_web_without_proxies_asks_the_host_directly(server: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(Recorder()) as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.url)
        assert ask(server, trust=Trust(proxies=False)).status == 200
        assert ([asked.path for asked in server.asked], proxy.asked) == (["/x"], [])


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return self_signed(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def secure(certificate: Path) -> Iterator[Recorder]:
    with closing(Recorder(certificate=certificate)) as server:
        yield server


def test_a_self_signed_certificate_is_refused_before_the_token_is_sent(secure: Recorder) -> None:
    with pytest.raises(WebFault, match=r"its certificate cannot be verified: self.signed certificate") as caught:
        ask(secure)
    assert caught.value.lasting and secure.asked == []


def test_a_configured_authority_is_trusted(secure: Recorder, certificate: Path) -> None:
    web = Web(secure.url, BEARER, trust=Trust(ca_path=str(certificate)))
    assert [web.ask("GET", "/x", seconds=5).status for _unused in range(2)] == [200, 200]


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"])
def test_an_authority_of_the_environment_is_trusted(
    secure: Recorder, certificate: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, str(certificate))
    assert ask(secure).status == 200


def test_only_the_configured_authority_is_trusted_despite_the_environment(
    secure: Recorder, certificate: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"):
        monkeypatch.setenv(name, str(certificate))
    with pytest.raises(WebFault, match="its certificate cannot be verified"):
        ask(secure, trust=Trust(ca_path=str(self_signed(tmp_path))))
    assert secure.asked == []


def test_a_valid_certificate_of_another_host_is_refused(tmp_path: Path) -> None:
    wrong = self_signed(tmp_path, "DNS:other.test")
    with closing(Recorder(certificate=wrong)) as server, pytest.raises(WebFault, match="its certificate cannot be verified"):
        ask(server, trust=Trust(ca_path=str(wrong)))


def test_verification_can_be_disabled_without_a_library_warning(secure: Recorder, recwarn: pytest.WarningsRecorder) -> None:
    assert ask(secure, trust=Trust(verify=False)).status == 200
    assert [warning for warning in recwarn if "Insecure" in warning.category.__name__] == []


def test_the_error_names_an_unreadable_certificate_file(secure: Recorder, tmp_path: Path) -> None:
    for path in (tmp_path / "none.pem", tmp_path / "empty.pem"):
        (tmp_path / "empty.pem").write_text("")
        with pytest.raises(WebFault, match=f"{path} cannot be read"):
            ask(secure, trust=Trust(ca_path=str(path)))


def test_a_host_without_tls_is_reported(server: Recorder) -> None:
    with pytest.raises(WebFault, match="it does not speak TLS as expected"):
        Web(server.url.replace("http://", "https://"), BEARER).ask("GET", "/x", seconds=5)


def test_later_connections_do_not_change_the_shared_tls_context(
    secure: Recorder, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed: list[object] = []
    change = ssl.SSLContext.set_alpn_protocols

    def note(context: ssl.SSLContext, protocols: list[str]) -> None:
        changed.append(protocols)
        change(context, protocols)

    monkeypatch.setattr(ssl.SSLContext, "set_alpn_protocols", note)
    # Each exchange has a connection of its own. Without this header in the answer, the client may use one again that the server is closing.
    secure.fault(lambda answer: answer.json(200, {}, Connection="close"))
    web = Web(secure.url, BEARER, trust=Trust(ca_path=str(certificate)))
    statuses = [web.ask("GET", "/x", seconds=5).status for _number in range(3)]
    assert (statuses, changed) == ([200] * 3, [["http/1.1"]])


@pytest.mark.parametrize("moment", ["handshake", "request"])
def test_a_tls_connection_that_the_server_cuts_is_no_lasting_fault(certificate: Path, moment: str) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with socket.create_server(("127.0.0.1", 0)) as listener, concurrent.futures.ThreadPoolExecutor(1) as threads:

        def cut() -> None:
            accepted = listener.accept()[0]
            with accepted if moment == "handshake" else context.wrap_socket(accepted, server_side=True) as connection:
                connection.recv(10_000)

        cutting = threads.submit(cut)
        web = Web(f"https://127.0.0.1:{listener.getsockname()[1]}", BEARER, trust=Trust(ca_path=str(certificate)))
        with pytest.raises(WebFault, match="the connection was cut before the answer was whole") as caught:
            web.ask("GET", "/x", seconds=5)
        cutting.result()
    assert not caught.value.lasting


def test_data_sent_after_an_abandoned_exchange_stays_encrypted(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = socket.socketpair()
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context(cafile=str(certificate))
    server.load_cert_chain(certificate)
    client.check_hostname = False
    with concurrent.futures.ThreadPoolExecutor(1) as threads:
        accepted = threads.submit(server.wrap_socket, theirs, server_side=True)
        secured = client.wrap_socket(ours)
    exchange = Exchange()
    exchange.uses(secured)
    # The system may shut the socket down a moment later.
    monkeypatch.setattr(socket.socket, "shutdown", lambda _socket, _how: None)
    with closing(accepted.result()) as other, closing(secured):
        exchange.abandon()
        secured.sendall(BEARER.encode())
        assert other.recv(100) == BEARER.encode()


def test_an_abandoned_exchange_closes_the_socket_below_tls_to_a_proxy(server: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    class Wrapped:
        """Like the library's wrapper for TLS inside a TLS connection to a proxy."""

        def __init__(self, sock: socket.socket) -> None:
            self.socket = sock

    ours, theirs = socket.socketpair()
    exchange = Exchange()
    exchange.uses(Wrapped(ours))
    exchange.abandon()
    with closing(ours), closing(theirs):
        assert theirs.recv(1) == b""
