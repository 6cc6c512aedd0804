# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The wires below `web`: TLS, sockets that can be cut from outside, and what went wrong, in words.

Imported only where the library `requests` is known to be there.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import socket
import ssl
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from ..host.causes import chain
from ..host.listener import Vouching

_PROTOCOLS = ("http/1.1",)


class WebFault(Exception):
    """No usable answer. The text is the reason in words, fit for the end of a sentence; ``lasting``: asking again soon will not help."""

    def __init__(self, reason: str, *, lasting: bool = False) -> None:
        super().__init__(reason)
        self.lasting = lasting


class Untrusted(WebFault):
    """The other side may not have the token; nothing was sent."""


@dataclass(frozen=True)
class Trust:
    """Whom a token may reach.

    TLS is verified against the system's certificates, the library's and those that REQUESTS_CA_BUNDLE or CURL_CA_BUNDLE names, or those
    in the file or directory ``ca_path`` alone, unless ``verify`` is False. Without ``proxies`` those of the environment are not used.
    Without TLS, ``vouching`` is asked whether who listens may have the token; None: whoever listens may.
    """

    verify: bool = True
    ca_path: str | None = None
    proxies: bool = True
    vouching: Vouching | None = None


@dataclass
class Exchange:
    """One exchange in its thread: what came of it, and the sockets to cut when nobody waits for it any more.

    ``head_counts``: its ``answer`` is there with the head, before it is over, and stays whatever comes after it.
    """

    head_counts: bool = False
    over: threading.Event = field(default_factory=threading.Event)
    answer: Any = None
    error: BaseException | None = None
    abandoned: bool = False
    sockets: list[Any] = field(default_factory=list)

    def connected(self, connection: Any) -> None:
        """Take note of a socket; one that connects when it is too late is cut at once."""
        self.sockets.append(connection)
        if self.abandoned:
            self.abandon()

    def abandon(self) -> None:
        """Cut what its thread still waits for."""
        self.abandoned = True
        for connection in self.sockets:
            with contextlib.suppress(OSError, ValueError):
                # A close would neither wake the thread that reads nor return before it. Below TLS, whose own way out would have what its
                # thread sends at this moment go out in the clear, and which within another TLS has none.
                socket.socket.shutdown(getattr(connection, "socket", connection), socket.SHUT_RDWR)


def no_cookies() -> Any:
    """A policy for cookies: none is kept."""
    from http.cookiejar import DefaultCookiePolicy

    return DefaultCookiePolicy(allowed_domains=[])


def tls_context(requests: Any, trust: Trust) -> ssl.SSLContext:
    """Return what a certificate is held against; see `Trust`. Raises `WebFault`."""
    ca_path = trust.ca_path
    try:
        if ca_path is None:
            context = ssl.create_default_context()
            context.load_verify_locations(requests.certs.where())
            bundle = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE")
            if bundle:
                context.load_verify_locations(**_place(bundle))
        else:
            context = ssl.create_default_context(**_place(ca_path))
    except OSError as error:
        where = "the certificates to verify it by" if ca_path is None else ca_path
        raise WebFault(f"{where} cannot be read: {error.strerror or 'no certificates in it'}", lasting=True) from error
    # Python 3.13 is stricter than other clients: certificates of many private authorities lack what it wants.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    from urllib3 import __version__ as version  # type: ignore[attr-defined]

    # Before version 2 it compares names itself, addresses among them, and gives TLS none to compare with.
    context.check_hostname = trust.verify and int(version.partition(".")[0]) >= 2
    if not trust.verify:
        _quiet()
        context.verify_mode = ssl.CERT_NONE
    # All connections share it, and the library sets this for each: TLS frees what was there, which another one may just be sending.
    context.set_alpn_protocols(_PROTOCOLS)
    context.set_alpn_protocols = _as_it_is  # type: ignore[assignment, method-assign]
    return context


def _as_it_is(_protocols: Iterable[str]) -> None:
    """It is set already."""


def _place(path: str) -> dict[str, Any]:
    return {"capath" if os.path.isdir(path) else "cafile": path}


def _quiet() -> None:
    """No line on standard error for each exchange that is not verified: whoever set it so knows."""
    import urllib3
    import urllib3.exceptions

    urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)


def adapter(requests: Any, context: ssl.SSLContext | None, current: threading.local, vouching: Vouching | None) -> Any:
    """The transport: with our TLS context, through a proxy as well, and with sockets that can be cut from outside.

    ``current.exchange`` is the `Exchange` of the thread that opens or uses a socket; ``vouching`` says who may be spoken to in the clear.
    """
    pools = _pools(current, vouching)
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
            # The context has all that is needed; the library would read its own certificates again for each connection.
            if verify is not True:
                super().cert_verify(conn, url, verify, cert)

    return Adapter()


def _pools(current: threading.local, vouching: Vouching | None) -> dict[str, Any]:
    """Connection pools whose connections tell their sockets to the exchange they serve. Raises `Untrusted` when they connect."""
    import urllib3.connection
    import urllib3.connectionpool

    def noted(kind: Any, vouching: Vouching | None = None) -> Any:
        def connect(self: Any) -> None:
            # A proxy is told whatever it is given to carry.
            asked = None if getattr(self, "proxy", None) else vouching
            before = asked.before(self.port) if asked else frozenset()
            kind.connect(self)
            current.exchange.connected(self.sock)
            why = asked.fault(before, self.sock) if asked else ""
            if why:
                raise Untrusted(why, lasting=True)

        def request(self: Any, *args: Any, **kwargs: Any) -> Any:
            if getattr(self, "sock", None) is not None:
                # One that was kept from the exchange before.
                current.exchange.connected(self.sock)
            return kind.request(self, *args, **kwargs)

        return type(kind.__name__, (kind,), {"connect": connect, "request": request, "response_class": BoundedResponse})

    def pool(kind: Any, connection: Any) -> Any:
        return type(kind.__name__, (kind,), {"ConnectionCls": connection})

    return {
        "http": pool(urllib3.connectionpool.HTTPConnectionPool, noted(urllib3.connection.HTTPConnection, vouching)),
        "https": pool(urllib3.connectionpool.HTTPSConnectionPool, noted(urllib3.connection.HTTPSConnection)),
    }


class BoundedResponse(http.client.HTTPResponse):
    """An answer of which no read returns more than was asked for."""

    def _read_next_chunk_size(self) -> int:
        size: int = super()._read_next_chunk_size()  # type: ignore[misc]
        if size < 0:
            # Python would read all that comes.
            raise ValueError("the size of a chunk is negative")
        return size


def start(thread: threading.Thread) -> None:
    """Start a thread. Raises `WebFault` where there are no more to be had."""
    try:
        thread.start()
    except RuntimeError as error:
        raise WebFault("no thread can be started to ask it; this machine is at a limit") from error


def too_late(seconds: float) -> WebFault:
    """The fault of an exchange that took too long."""
    return WebFault(f"no answer within {seconds:.3g} s")


def fault(requests: Any, error: BaseException, seconds: float) -> WebFault | None:
    """Say in our words what kept an answer from coming, since the libraries' may quote a proxy's password. None: a fault of ours."""
    import urllib3.exceptions

    if not isinstance(error, (requests.exceptions.RequestException, urllib3.exceptions.HTTPError, OSError, UnicodeError)):
        return None
    links = chain(error)

    def found(*kinds: Any) -> Any:
        return next((link for link in links if isinstance(link, kinds)), None)

    if found(ssl.SSLCertVerificationError):
        # That of urllib3 before version 2 has no message: it compares names itself.
        why = getattr(found(ssl.SSLCertVerificationError), "verify_message", "it is for another host")
        return WebFault(f"its certificate cannot be verified: {why}", lasting=True)
    if any(type(link).__name__ == "CertificateError" for link in links):
        return WebFault("its certificate cannot be verified: it is for another host", lasting=True)
    if found(requests.exceptions.ProxyError):
        return WebFault("the proxy that the environment names gives no way to it")
    if found(TimeoutError, socket.timeout, requests.exceptions.Timeout):
        return too_late(seconds)
    if found(ssl.SSLError, requests.exceptions.SSLError):
        return WebFault("it does not speak TLS as expected", lasting=True)
    if found(socket.gaierror):
        return WebFault(f"its name cannot be looked up ({found(socket.gaierror).strerror})")
    return _plain_fault(error, links)


def _plain_fault(error: BaseException, links: list[BaseException]) -> WebFault:
    systems = [link for link in links if isinstance(link, OSError) and link.errno is not None and link.strerror]
    if any(isinstance(link, ConnectionRefusedError) for link in links):
        return WebFault("connection refused")
    if systems and not isinstance(systems[0], ConnectionError):
        return WebFault(str(systems[0].strerror).lower())
    if any("Connection" in type(link).__name__ or "Protocol" in type(link).__name__ for link in links):
        return WebFault("the connection was cut before the answer was whole")
    return WebFault(f"an exchange with it is not possible ({type(error).__name__})", lasting=True)
