# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""HTTP exchanges with a time limit, a bound on each answer, and a token that reaches no other host."""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import ssl
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from ..host.library_faults import certificate_fault, chain, refuse_negative_chunks
from ..host.listener import Vouching
from ..model.cancellation import CheckCancelled, Deadline, no_check
from ..model.clock import SYSTEM_CLOCK
from ..model.errors import MissingLibrary
from ..model.redaction import TokenMask, shown_address
from .web_answers import Answer, Untrusted, WebFault, answer_of, head_of, refuse_compressed

_LARGEST = 16 * 1024 * 1024
_CHUNK = 16 * 1024
_LOOK_SECONDS = 0.25
#: Of an answer whose head alone counts, this much is read, so that its connection can be kept.
_DRAINED_BYTES, _DRAINED_SECONDS = 64 * 1024, 0.5
#: Connections that are kept for later; more may be in use at a time.
_MOST_IDLE = 32
_SENDABLE = re.compile(r"([\x21-\x7e][\x20-\x7e]*)?")
_ADDRESS = re.compile(r"[\x21-\x7e]+")


@dataclass(frozen=True)
class Trust:
    """The hosts that a token may reach.

    TLS is verified against the system's certificates, the library's and those that REQUESTS_CA_BUNDLE or CURL_CA_BUNDLE names, or those
    in the file or directory ``ca_path`` alone, unless ``verify`` is False. Without ``proxies`` those of the environment are not used.
    Without TLS, ``vouching`` says which listeners of this machine may have the token; None: all.
    """

    verify: bool = True
    ca_path: str | None = None
    proxies: bool = True
    vouching: Vouching | None = None


@dataclass
class Exchange:
    """One exchange in a thread of its own: its result, and the sockets to cut when its time is over."""

    #: There is an answer or an error. The body of an answer may still be read where its head counts, until it is over.
    answered: threading.Event = field(default_factory=threading.Event)
    over: threading.Event = field(default_factory=threading.Event)
    answer: Answer | None = None
    error: BaseException | None = None
    abandoned: bool = False
    sockets: list[Any] = field(default_factory=list)

    def uses(self, connection: Any) -> None:
        """Remember a socket; an abandoned exchange cuts it at once."""
        self.sockets.append(connection)
        if self.abandoned:
            self.abandon()

    def abandon(self) -> None:
        """Cut the sockets, which ends the thread."""
        self.abandoned = True
        for connection in self.sockets:
            with contextlib.suppress(OSError, ValueError):
                # A close does not wake a thread that reads. A shutdown by TLS would send the thread's next bytes in the clear, so this is
                # the one below TLS. TLS within TLS has no shutdown, but a ``socket``.
                socket.socket.shutdown(getattr(connection, "socket", connection), socket.SHUT_RDWR)


class Web:
    """An HTTP API below one address. Safe between threads; connections are kept for later exchanges."""

    def __init__(
        self,
        base: str,
        authorization: str,
        *,
        headers: Mapping[str, str] | None = None,
        trust: Trust | None = None,
        verbatim: bool = False,
        largest: int = _LARGEST,
    ) -> None:
        """``authorization`` is the header's value, empty for none; ``largest`` bounds the body of an answer, in bytes.

        ``verbatim`` does not mask the ``value`` of a good answer: for values that are used and never shown.
        Raises `WebFault` for an address that is none or holds a user, and for headers that cannot be sent.
        """
        self._base = checked_address(base)
        self._headers = {"Accept": "application/json", "Accept-Encoding": "identity", **(headers or {})}
        if authorization:
            self._headers["Authorization"] = authorization
        if not all(_SENDABLE.fullmatch(value) for value in self._headers.values()):
            raise WebFault("its token or a header holds characters that cannot be sent", lasting=True)
        self._mask = TokenMask(authorization)
        self._verbatim = verbatim
        self._largest = largest
        self._trust = trust or Trust()
        self._guard = threading.Lock()
        self._session: Any = None
        #: The ``exchange`` of the thread that runs, for the sockets it uses.
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
        """Return the answer to one request, whatever its status; ``path`` begins with ``/``, and a ``body`` not None is sent as JSON.

        The whole exchange takes at most ``seconds``; ``check_cancelled`` is called at least every half second and may raise. A redirect
        is never followed. Raises `WebFault` where there is no whole answer or it is a redirect, `Untrusted`, `MissingLibrary`.
        """
        request: dict[str, Any] = {"method": method, "url": self._base + path, "params": params, "headers": self._headers}
        if body is not None:
            request.update(data=json.dumps(body).encode(), headers={"Content-Type": "application/json", **self._headers})
        return self._exchange(request, seconds, check_cancelled, head_counts=False)

    def send(
        self, path: str, content: bytes, headers: Mapping[str, str], *, seconds: float, check_cancelled: CheckCancelled = no_check
    ) -> Answer:
        """Post these bytes with these headers, and return the head of the answer, whatever its body; else as `ask`."""
        if not all(_SENDABLE.fullmatch(value) for value in headers.values()):
            raise WebFault("a header holds characters that cannot be sent", lasting=True)
        request = {"method": "POST", "url": self._base + path, "data": content, "headers": {**self._headers, **headers}}
        return self._exchange(request, seconds, check_cancelled, head_counts=True)

    def close(self) -> None:
        """Close the connections that are kept, and those in use when they are done. Raises nothing."""
        with self._guard:
            session, self._session = self._session, None
        if session is not None:
            session.close()

    def _exchange(self, request: Mapping[str, Any], seconds: float, check_cancelled: CheckCancelled, *, head_counts: bool) -> Answer:
        """Run it in a thread: the library's time limit bounds a single read only, and no name look-up."""
        requests, exchange, deadline = library(), Exchange(), Deadline.after(SYSTEM_CLOCK, seconds)
        try:
            threading.Thread(
                target=self._run, args=(requests, exchange, {**request, "timeout": seconds}, head_counts), name="web", daemon=True
            ).start()
        except RuntimeError as error:
            raise WebFault("no thread can be started to ask it; this machine is at a limit") from error
        try:
            while not exchange.answered.wait(min(_LOOK_SECONDS, deadline.left)):
                check_cancelled()
                if deadline.is_over:
                    raise _too_late(seconds)
            exchange.over.wait(min(_DRAINED_SECONDS, deadline.left))
        finally:
            if not exchange.over.is_set():
                exchange.abandon()
        if exchange.answer is not None:
            return exchange.answer
        failure = exchange.error or _too_late(seconds)
        fault = failure if isinstance(failure, WebFault) else _fault(requests, failure, seconds)
        if fault is None:
            raise failure
        raise type(fault)(self._mask.text(str(fault)), lasting=fault.lasting) from None

    def _run(self, requests: Any, exchange: Exchange, request: Mapping[str, Any], head_counts: bool) -> None:
        self._current.exchange = exchange
        try:
            # The environment's proxies alone: the session would also use its netrc file and its certificates.
            proxies = requests.utils.get_environ_proxies(request["url"]) if self._trust.proxies else {}
            options = {"verify": self._trust.verify, "proxies": proxies, "allow_redirects": False, "stream": True}
            with self._opened(requests).request(**request, **options) as response:
                self._refuse_redirect(response)
                if head_counts:
                    exchange.answer = head_of(response, self._mask)
                    exchange.answered.set()
                    self._body(response, _DRAINED_BYTES)
                else:
                    refuse_compressed(response, self._mask)
                    exchange.answer = answer_of(response, self._body(response, self._largest), self._mask, verbatim=self._verbatim)
        except BaseException as error:
            exchange.error = error
        finally:
            exchange.answered.set()
            exchange.over.set()

    def _opened(self, requests: Any) -> Any:
        """Return the session; made once, since reading the system's certificates takes a while."""
        with self._guard:
            if self._session is None:
                from http.cookiejar import DefaultCookiePolicy

                session = requests.Session()
                session.trust_env = False
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
        """Read the body as it comes, uncompressed. Raises `WebFault` where it is too large."""
        body, raw = bytearray(), response.raw
        # Else urllib3 before version 2 takes half an answer for a whole one.
        raw.enforce_content_length = True
        refuse_negative_chunks(raw._fp)
        # Not by the library's `stream`, which reads the size of a chunk without a limit.
        while chunk := raw.read(_CHUNK, decode_content=False):
            body += chunk
            if len(body) > largest:
                # The library would read to the end, and there may be none.
                self._current.exchange.abandon()
                raise WebFault(f"its answer is larger than {largest} bytes", lasting=True)
        # Another exchange may have the connection now.
        self._current.exchange.sockets.clear()
        return bytes(body)


def checked_address(base: str) -> str:
    """Return an address as `Web` uses it. Raises `WebFault`, which does not show it, for one that it refuses."""
    trimmed = base.rstrip("/")
    try:
        parts = urlsplit(trimmed)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0 and _ADDRESS.fullmatch(trimmed) is not None
    except ValueError:
        good = False
    if not good or parts.query or parts.fragment or "?" in trimmed or "#" in trimmed:
        raise WebFault("that is no address; expected http://HOST or https://HOST, perhaps with a port and a path", lasting=True)
    if "@" in parts.netloc:
        raise WebFault("its address holds a user or password, which does not belong there", lasting=True)
    return f"{parts.scheme}://{trimmed.partition('://')[2]}"


def library() -> Any:
    """Return the library that speaks HTTP. Raises `MissingLibrary`."""
    try:
        import requests
        import requests.adapters
    except ImportError as error:
        raise MissingLibrary.of("ask over HTTP", "requests", "python3-requests", error) from error
    return requests


def _tls_context(requests: Any, trust: Trust) -> ssl.SSLContext:
    """Return the TLS context for `Trust`. Raises `WebFault`."""
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
    # Python 3.13 is stricter than other clients: certificates of many private authorities lack what it wants.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    # urllib3 before version 2 compares names itself, and gives TLS none.
    context.check_hostname = trust.verify and int(version.partition(".")[0]) >= 2
    if not trust.verify:
        urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
        context.verify_mode = ssl.CERT_NONE
    # The library sets this for each connection, which frees the value that another thread may just be sending.
    context.set_alpn_protocols(["http/1.1"])
    context.set_alpn_protocols = lambda _protocols: None  # type: ignore[assignment, method-assign]
    return context


def _adapter(requests: Any, context: ssl.SSLContext | None, current: threading.local, vouching: Vouching | None) -> Any:
    """The transport of a session, also through a proxy: with our TLS context, and connections that tell ``current.exchange`` their sockets.

    Its connections raise `Untrusted` as ``vouching`` says.
    """
    import urllib3.connection
    import urllib3.connectionpool

    def noted(kind: Any, vouching: Vouching | None) -> Any:
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
                # From an earlier exchange.
                current.exchange.uses(self.sock)
            return kind.request(self, *args, **kwargs)

        return type(kind.__name__, (kind,), {"connect": connect, "request": request})

    def pool(kind: Any, connection: Any) -> Any:
        return type(kind.__name__, (kind,), {"ConnectionCls": connection})

    pools = {
        "http": pool(urllib3.connectionpool.HTTPConnectionPool, noted(urllib3.connection.HTTPConnection, vouching)),
        "https": pool(urllib3.connectionpool.HTTPSConnectionPool, noted(urllib3.connection.HTTPSConnection, None)),
    }
    tls = {} if context is None else {"ssl_context": context}
    base: Any = requests.adapters.HTTPAdapter

    class Adapter(base):  # type: ignore[misc]
        def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
            super().init_poolmanager(*args, **kwargs, **tls)
            self.poolmanager.pool_classes_by_scheme = pools

        def proxy_manager_for(self, proxy: Any, **kwargs: Any) -> Any:
            manager = super().proxy_manager_for(proxy, **kwargs, **tls)
            manager.pool_classes_by_scheme = pools
            return manager

        def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:
            # The context has the certificates; the library would read its own again for each connection.
            if verify is not True:
                super().cert_verify(conn, url, verify, cert)

    return Adapter(pool_maxsize=_MOST_IDLE)


def _too_late(seconds: float) -> WebFault:
    return WebFault(f"no answer within {seconds:.3g} s")


def _fault(requests: Any, error: BaseException, seconds: float) -> WebFault | None:
    """The fault in our words, since the libraries' may quote a proxy's password; None for an error that is no fault of the exchange."""
    import urllib3.exceptions

    if not isinstance(error, (requests.exceptions.RequestException, urllib3.exceptions.HTTPError, OSError, UnicodeError)):
        return None
    links = chain(error)

    def found(*kinds: Any) -> Any:
        return next((link for link in links if isinstance(link, kinds)), None)

    why = certificate_fault(links)
    if why:
        return WebFault(f"its certificate cannot be verified: {why}", lasting=True)
    if found(requests.exceptions.ProxyError):
        return WebFault("the proxy that the environment names gives no way to it")
    if found(TimeoutError, socket.timeout, requests.exceptions.Timeout):
        return _too_late(seconds)
    if found(ssl.SSLError, requests.exceptions.SSLError):
        return WebFault("it does not speak TLS as expected", lasting=True)
    if found(socket.gaierror):
        return WebFault(f"its name cannot be looked up ({found(socket.gaierror).strerror})")
    if found(ConnectionRefusedError):
        return WebFault("connection refused")
    systems = [link for link in links if isinstance(link, OSError) and link.errno is not None and link.strerror]
    if systems and not isinstance(systems[0], ConnectionError):
        return WebFault(str(systems[0].strerror).lower())
    if any("Connection" in type(link).__name__ or "Protocol" in type(link).__name__ for link in links):
        return WebFault("the connection was cut before the answer was whole")
    return WebFault(f"an exchange with it is not possible ({type(error).__name__})", lasting=True)
