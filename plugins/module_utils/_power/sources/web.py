# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""HTTP requests with a time limit, a size limit for answers, and a token that goes to no other host."""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import ssl
import threading
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from ..host.library_faults import compression_fault, refuse_negative_chunks
from ..host.listener import Vouching
from ..model.cancellation import CheckCancelled, Deadline, no_check
from ..model.clock import SYSTEM_CLOCK
from ..model.errors import MissingLibrary
from ..model.records import dataclass, field
from ..model.redaction import TokenMask, shown_address
from ..model.schema import one_line, parsed_json, values_in
from .web_fault import Untrusted, WebFault, fault_of, too_late

#: Bytes of the body of an answer, and of one read.
_LARGEST = 16 * 1024 * 1024
_CHUNK = 16 * 1024
_LOOK_SECONDS = 0.25
#: How much of an ignored body is read, so that its connection can be kept.
_DRAINED_BYTES = 64 * 1024
_MOST_IDLE = 32
_SENDABLE = re.compile(r"([\x21-\x7e][\x20-\x7e]*)?")
_ADDRESS = re.compile(r"[\x21-\x7e]+")
_SHOWN_CHARACTERS = 500
_DEEPEST = 100
#: A page of 100 servers holds some thousand values each; this many need up to 75 MiB. A masked answer is a second copy.
_MOST_VALUES, _MOST_MASKED = 360_000, 180_000


@dataclass(frozen=True)
class Answer:
    """An answer. ``headers`` have lower case names; ``value`` is the parsed JSON or None; ``text`` is its beginning.

    The token is masked everywhere; see `Web` for the one exception. ``size`` counts the body's bytes, ``values`` what `values_in` counts.
    """

    status: int
    headers: Mapping[str, str] = field(repr=False)
    value: Any = field(repr=False)
    text: str = field(repr=False)
    size: int = 0
    values: int = 0


@dataclass(frozen=True)
class Trust:
    """The hosts that may receive a token.

    TLS is verified against certificates of the system, of the library, and of REQUESTS_CA_BUNDLE or CURL_CA_BUNDLE; with ``ca_path`` only
    against that file or directory; ``verify`` False skips this. ``proxies``: use those of the environment. Without TLS, ``vouching``
    decides which local listeners may have the token; None: all.
    """

    verify: bool = True
    ca_path: str | None = None
    proxies: bool = True
    vouching: Vouching | None = None


@dataclass
class Exchange:
    """One exchange in its own thread: its result, and the sockets to cut at the time limit."""

    over: threading.Event = field(default_factory=threading.Event)
    #: With ``head_counts`` it is there before the exchange is over: the body may still be read.
    answer: Answer | None = None
    error: BaseException | None = None
    abandoned: bool = False
    sockets: list[Any] = field(default_factory=list)

    def uses(self, connection: Any) -> None:
        """Register a socket; an abandoned exchange cuts it at once."""
        self.sockets.append(connection)
        if self.abandoned:
            self.abandon()

    def abandon(self) -> None:
        """Cut the sockets, which ends the thread."""
        self.abandoned = True
        for connection in self.sockets:
            with contextlib.suppress(OSError, ValueError):
                # A close does not wake a reading thread. A shutdown by TLS would send the thread's next bytes in the clear, so this one is
                # below TLS. TLS within TLS has no shutdown, but a ``socket``.
                socket.socket.shutdown(getattr(connection, "socket", connection), socket.SHUT_RDWR)


class Web:
    """An HTTP API below one address. Thread-safe; it keeps connections for later exchanges."""

    def __init__(
        self, base: str, authorization: str, *, headers: Mapping[str, str] | None = None, trust: Trust | None = None, verbatim: bool = False
    ) -> None:
        """``authorization`` is the header's value, empty for none.

        ``verbatim`` leaves the ``value`` of a good answer unmasked: for values that are never shown. Raises `WebFault` for a bad address,
        an address with a user, and headers that cannot be sent.
        """
        self._base = checked_address(base)
        self._headers = {"Accept": "application/json", "Accept-Encoding": "identity", **(headers or {})}
        if authorization:
            self._headers["Authorization"] = authorization
        if not all(_SENDABLE.fullmatch(value) for value in self._headers.values()):
            raise WebFault("its token or a header holds characters that cannot be sent", lasting=True)
        self._mask = TokenMask(authorization)
        self._verbatim = verbatim
        self._trust = trust or Trust()
        self._guard = threading.Lock()
        self._session: Any = None
        #: The running thread's ``exchange``, which collects its sockets.
        self._current = threading.local()

    def ask(
        self,
        method: str,
        path: str,
        *,
        body: object = None,
        params: Mapping[str, object] | None = None,
        seconds: float,
        check_cancelled: CheckCancelled = no_check,
    ) -> Answer:
        """Return the answer to one request, with any status; ``path`` begins with ``/``, and ``body`` is sent as JSON.

        The exchange takes at most ``seconds``; ``check_cancelled`` runs at least every half second and may raise. Raises `WebFault` for an
        incomplete answer or a redirect, `Untrusted`, `MissingLibrary`.
        """
        request: dict[str, Any] = {"method": method, "url": self._base + path, "params": params, "headers": self._headers}
        if body is not None:
            request.update(data=json.dumps(body).encode(), headers={"Content-Type": "application/json", **self._headers})
        return self._exchange(request, seconds, check_cancelled, head_counts=False)

    def send(
        self, path: str, content: bytes, headers: Mapping[str, str], *, seconds: float, check_cancelled: CheckCancelled = no_check
    ) -> Answer:
        """Post these bytes with these headers; return the head of the answer without its body. See `ask`."""
        if not all(_SENDABLE.fullmatch(value) for value in headers.values()):
            raise WebFault("a header holds characters that cannot be sent", lasting=True)
        request = {"method": "POST", "url": self._base + path, "data": content, "headers": {**self._headers, **headers}}
        return self._exchange(request, seconds, check_cancelled, head_counts=True)

    def close(self) -> None:
        """Close idle connections now, and used ones after their exchange. Raises nothing."""
        with self._guard:
            session, self._session = self._session, None
        if session is not None:
            session.close()

    def _exchange(self, request: Mapping[str, Any], seconds: float, check_cancelled: CheckCancelled, *, head_counts: bool) -> Answer:
        """Run it in a thread: the library's timeout bounds only a single read, and no name look-up."""
        requests, exchange, deadline = library(), Exchange(), Deadline.after(SYSTEM_CLOCK, seconds)
        arguments = (requests, exchange, {**request, "timeout": seconds}, head_counts)
        try:
            threading.Thread(target=self._run, args=arguments, name="web", daemon=True).start()
        except RuntimeError as error:
            raise WebFault("no thread can be started to ask it; this machine is at a limit") from error
        try:
            while not exchange.over.wait(min(_LOOK_SECONDS, deadline.left)) and exchange.answer is None:
                check_cancelled()
                if deadline.is_over:
                    raise too_late(seconds)
        finally:
            if not exchange.over.is_set():
                exchange.abandon()
        if exchange.answer is not None:
            return exchange.answer
        failure = exchange.error or too_late(seconds)
        fault = failure if isinstance(failure, WebFault) else fault_of(failure, seconds)
        if fault is None:
            raise failure
        raise type(fault)(self._mask.text(str(fault)), lasting=fault.lasting) from None

    def _run(self, requests: Any, exchange: Exchange, request: Mapping[str, Any], head_counts: bool) -> None:
        self._current.exchange = exchange
        try:
            # Only the environment's proxies: the session would also use its netrc file and certificates.
            proxies = requests.utils.get_environ_proxies(request["url"]) if self._trust.proxies else {}
            options = {"verify": self._trust.verify, "proxies": proxies, "allow_redirects": False, "stream": True}
            with self._opened(requests).request(**request, **options) as response:
                self._refuse_redirect(response)
                if head_counts:
                    exchange.answer = Answer(int(response.status_code), _headers(response, self._mask), None, "")
                    self._body(response, _DRAINED_BYTES)
                else:
                    why = compression_fault(self._mask.text(response.headers.get("Content-Encoding", "")))
                    if why:
                        raise WebFault(why, lasting=response.status_code < 500)
                    exchange.answer = answer_of(response, self._body(response, _LARGEST), self._mask, verbatim=self._verbatim)
        except BaseException as error:
            exchange.error = error
        finally:
            exchange.over.set()

    def _opened(self, requests: Any) -> Any:
        """Return the session, made once: reading the system's certificates takes a while."""
        with self._guard:
            if self._session is None:
                from http.cookiejar import DefaultCookiePolicy

                session = requests.Session()
                session.trust_env = False
                # Even unfollowed, the library reads the whole body of a redirect, and parses its address.
                session.get_redirect_target = lambda _response: None
                session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
                scheme = self._base.partition("://")[0]
                context = _tls_context(requests, self._trust) if scheme == "https" else None
                session.mount(f"{scheme}://", _adapter(requests, context, self._current, self._trust.vouching))
                self._session = session
            return self._session

    def _refuse_redirect(self, response: Any) -> None:
        location = response.headers.get("Location")
        if 300 <= response.status_code < 400 and location is not None:
            try:
                parts = urlsplit(self._mask.text(location))
                where = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}" if parts.netloc else "a path of its own"
            except ValueError:
                where = "no address"
            raise WebFault(f"it redirects to another address ({shown_address(where)}), which is not followed")

    def _body(self, response: Any, largest: int) -> bytes:
        body, raw = bytearray(), response.raw
        # Without this, urllib3 before version 2 accepts half an answer.
        raw.enforce_content_length = True
        refuse_negative_chunks(raw._fp)
        # The library's `stream` reads a chunk size without a limit.
        while chunk := raw.read(_CHUNK, decode_content=False):
            body += chunk
            if len(body) > largest:
                # The library would read to the end, which may never come.
                self._current.exchange.abandon()
                raise WebFault(f"its answer is larger than {largest} bytes", lasting=True)
        # Another exchange may use the connection now.
        self._current.exchange.sockets.clear()
        return bytes(body)


def answer_of(response: Any, body: bytes, mask: TokenMask, *, verbatim: bool) -> Answer:
    """Return the answer in a response of the library, with its body. Raises `WebFault` if it holds too many values."""
    status, values = int(response.status_code), values_in(body)
    is_plain = verbatim and 200 <= status < 300
    most = _MOST_VALUES if is_plain else _MOST_MASKED
    if values > most:
        # A server error may pass.
        raise WebFault(f"its answer holds more than {most} values", lasting=status < 500)
    value = parsed_json(body, _DEEPEST)
    beginning = mask.text(body[: _SHOWN_CHARACTERS * 4].decode("utf-8", "replace"), is_cut=True)[:_SHOWN_CHARACTERS]
    given = value if is_plain else mask.value(value)
    return Answer(status, _headers(response, mask), given, one_line(beginning), len(body), values)


def _headers(response: Any, mask: TokenMask) -> dict[str, str]:
    return {str(name).lower(): mask.text(str(value)) for name, value in response.headers.items()}


def checked_address(base: str) -> str:
    """Return an address in the form that `Web` uses. Raises `WebFault`, which does not show it, for a bad one."""
    trimmed = base.rstrip("/")
    good = False
    with contextlib.suppress(ValueError):
        parts = urlsplit(trimmed)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0 and _ADDRESS.fullmatch(trimmed) is not None
    if not good or parts.query or parts.fragment or "?" in trimmed or "#" in trimmed:
        raise WebFault("that is not an address; expected http://HOST or https://HOST, perhaps with a port and a path", lasting=True)
    if "@" in parts.netloc:
        raise WebFault("its address holds a user or password, which does not belong there", lasting=True)
    return f"{parts.scheme}://{trimmed.partition('://')[2]}"


def library() -> Any:
    """Return the HTTP library. Raises `MissingLibrary`."""
    try:
        import requests
        import requests.adapters
    except ImportError as error:
        raise MissingLibrary.of("ask over HTTP", "requests", "python3-requests", error) from error
    return requests


def _tls_context(requests: Any, trust: Trust) -> ssl.SSLContext:
    import urllib3.exceptions
    from urllib3 import __version__ as version  # type: ignore[attr-defined]

    def place(path: str) -> dict[str, Any]:
        return {"capath" if os.path.isdir(path) else "cafile": path}

    try:
        context = ssl.create_default_context(**(place(trust.ca_path) if trust.ca_path is not None else {}))
        if trust.ca_path is None:
            context.load_verify_locations(requests.certs.where())
            bundle = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE")
            if bundle:
                context.load_verify_locations(**place(bundle))
    except OSError as error:
        where = "the certificates to verify it by" if trust.ca_path is None else trust.ca_path
        raise WebFault(f"{where} cannot be read: {error.strerror or 'no certificates in it'}", lasting=True) from error
    # Python 3.13 is stricter than other clients: certificates of many private authorities lack required fields.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    # urllib3 before version 2 compares names itself, and gives TLS none.
    context.check_hostname = trust.verify and int(version.partition(".")[0]) >= 2
    if not trust.verify:
        urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
        context.verify_mode = ssl.CERT_NONE
    # The library sets this for each connection, and so frees a value that another thread may be sending.
    context.set_alpn_protocols(["http/1.1"])
    context.set_alpn_protocols = lambda _protocols: None  # type: ignore[assignment, method-assign]
    return context


def _watched(kind: Any, current: threading.local, vouching: Vouching | None) -> Any:
    """Return a connection class that registers its sockets, and raises `Untrusted` as ``vouching`` says."""

    def connect(self: Any) -> None:
        # A proxy gets the token anyway.
        asked = None if getattr(self, "proxy", None) else vouching
        before = asked.before(self.port) if asked else frozenset()
        kind.connect(self)
        current.exchange.uses(self.sock)
        why = asked.fault(before, self.sock) if asked else ""
        if why:
            raise Untrusted(why, lasting=True)

    def request(self: Any, *args: Any, **kwargs: Any) -> Any:
        if getattr(self, "sock", None) is not None:
            # The socket may be from an earlier exchange.
            current.exchange.uses(self.sock)
        return kind.request(self, *args, **kwargs)

    return type(kind.__name__, (kind,), {"connect": connect, "request": request})


def _adapter(requests: Any, context: ssl.SSLContext | None, current: threading.local, vouching: Vouching | None) -> Any:
    """Return the transport of a session, with our TLS context and `_watched` connections."""
    import urllib3.poolmanager

    vouched = {"http": vouching, "https": None}
    usual: Mapping[str, Any] = urllib3.poolmanager.pool_classes_by_scheme
    pools = {
        scheme: type(pool.__name__, (pool,), {"ConnectionCls": _watched(pool.ConnectionCls, current, vouched[scheme])})
        for scheme, pool in usual.items()
    }
    base: Any = requests.adapters.HTTPAdapter

    class Adapter(base):  # type: ignore[misc]
        def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
            super().init_poolmanager(*args, **kwargs, ssl_context=context)
            self.poolmanager.pool_classes_by_scheme = pools

        def proxy_manager_for(self, proxy: Any, **kwargs: Any) -> Any:
            manager = super().proxy_manager_for(proxy, **kwargs, ssl_context=context)
            manager.pool_classes_by_scheme = pools
            return manager

        def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:
            # The context has the certificates; the library would read its own again for each connection.
            if verify is not True:
                super().cert_verify(conn, url, verify, cert)

    return Adapter(pool_maxsize=_MOST_IDLE)
