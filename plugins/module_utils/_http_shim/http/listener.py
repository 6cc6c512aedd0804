# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The sockets of the HTTP shim: TLS, who may connect, and the limits of each connection."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import ssl
import weakref
from collections.abc import Awaitable, Callable, Iterator
from typing import TYPE_CHECKING

from ..._power.definitions.settings import Settings
from ..._power.model.errors import MissingLibrary, SettingsInvalid

if TYPE_CHECKING:
    from aiohttp import web

#: Limits for pipelined input: bytes, more than the largest head and body, and requests. Older aiohttp versions read and keep all of it.
_MOST_BYTES, _MOST_REQUESTS = 256 * 1024, 256
#: Limits for unread input of a websocket, larger than the normal read-ahead: bytes and messages.
_MOST_WEBSOCKET_BYTES, _MOST_MESSAGES = 512 * 1024, 256
#: A websocket gets pieces of this size: older aiohttp versions turn all data into messages before they can be counted.
_PIECE_BYTES = 4096
_KEEPALIVE_SECONDS = 75.0
#: So many seconds the rest of a refused body is read and dropped, so that the client can read the response.
_LINGERING_SECONDS = 1.0
_BACKLOG = 1024
_ENDING_SECONDS = 2.0
_DUE_SECONDS = 0.5
#: Seconds between two garbage collections while all places seem in use.
_COLLECT_SECONDS = 1.0


def load_certificate(context: ssl.SSLContext, settings: Settings) -> None:
    """Use the current certificate files for new connections. Raises `SettingsInvalid`. If key and certificate do not match, as in the
    middle of a replacement, a context in use would lose its certificate. So each new connection gets the newest context, through the SNI
    callback, which also runs without a name."""
    newest = tls_context(settings)
    context.sni_callback = lambda connection, _name, _first: setattr(connection, "context", newest)


def tls_context(settings: Settings) -> ssl.SSLContext:
    """Return the TLS context with the certificate of the settings. Raises `SettingsInvalid`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        # A key with a password is unusable; the empty one prevents a prompt.
        context.load_cert_chain(settings.api_ssl_cert, settings.api_ssl_key, password="")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "not a certificate and its key"
        raise SettingsInvalid(
            f"Cannot serve HTTPS with api.ssl.cert {settings.api_ssl_cert} and api.ssl.key {settings.api_ssl_key}: {reason}"
        ) from error
    return context


class BoundedConnection(asyncio.Protocol):
    """One connection. ``make`` makes the protocol that serves it; ``lost`` is called at its end."""

    def __init__(self, make: Callable[[], asyncio.Protocol], lost: Callable[[BoundedConnection], None], patience: float) -> None:
        """``patience``: seconds for the first request to arrive, and for the client to read a response."""
        self._make = make
        self._lost = lost
        self._patience = patience
        self._loop = asyncio.get_running_loop()
        self._protocol: asyncio.Protocol | None = None
        self._transport: asyncio.Transport | None = None
        self._request: web.BaseRequest | None = None
        #: The number of unread messages of the websocket that this connection has become.
        self._unread: Callable[[], int] | None = None
        self._bytes = 0
        #: When to hang up, and if the reason is that our side has closed.
        self._due: float | None = None
        self._closing = False

    def request_read(self, request: web.BaseRequest) -> None:
        """Record that the turn of a request has come."""
        if self._request is None:
            self._due = None
        self._request, self._bytes = request, 0

    def begin_websocket(self, unread: Callable[[], int]) -> None:
        """From now on, hang up on a client that sends too much between two messages. ``unread`` returns the number of unread messages."""
        self._unread, self._bytes = unread, 0

    def message_read(self) -> None:
        """Reset the count: the input so far was valid."""
        self._bytes = 0

    def hang_up_if_due(self) -> None:
        """Hang up if it is time. Call this regularly."""
        transport, now = self._transport, self._loop.time()
        if transport is None:
            return
        if transport.is_closing() and not self._closing:
            # Unsent bytes keep a closed connection open.
            self._closing, self._due = True, now + self._patience
        if self._due is not None and now >= self._due:
            transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to serve it; with TLS, after the handshake."""
        if not isinstance(transport, asyncio.Transport):
            raise TypeError(f"a stream is expected, not {type(transport).__name__}")
        self._transport, self._due = transport, self._loop.time() + self._patience
        self._protocol = self._make()
        self._protocol.connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """End it. A GET of a lost client is cancelled; all other requests, also of websockets, are finished."""
        request = self._request
        looks = None if request is None or request.method != "GET" or self._unread is not None else request.task
        self._transport = self._request = None
        self._lost(self)
        if self._protocol is not None:
            self._protocol.connection_lost(exc)
        if looks is not None:
            looks.cancel()

    def data_received(self, data: bytes) -> None:
        """Pass on what a client sends. Hang up on too many unread bytes, requests, or messages of a websocket."""
        protocol, transport = self._protocol, self._transport
        if protocol is None or transport is None:
            return
        if self._unread is not None:
            for start in range(0, len(data), _PIECE_BYTES):
                piece = data[start : start + _PIECE_BYTES]
                self._bytes += len(piece)
                if self._bytes > _MOST_WEBSOCKET_BYTES or self._unread() > _MOST_MESSAGES:
                    transport.abort()
                    return
                protocol.data_received(piece)
            return
        protocol.data_received(data)
        request = self._request
        if request is not None and not request.content.is_eof():
            # The library holds back a body until it is read.
            return
        self._bytes += len(data)
        if self._bytes > _MOST_BYTES or len(getattr(protocol, "_messages", ())) > _MOST_REQUESTS:
            transport.abort()

    def eof_received(self) -> bool | None:
        return None if self._protocol is None else self._protocol.eof_received()

    def pause_writing(self) -> None:
        """Give a slow reader some seconds to catch up."""
        self._due = self._loop.time() + self._patience
        if self._protocol is not None:
            self._protocol.pause_writing()

    def resume_writing(self) -> None:
        if not self._closing:
            self._due = None
        if self._protocol is not None:
            self._protocol.resume_writing()


class Listener:
    """One listening address. ``respond`` returns the response to a request."""

    def __init__(
        self, respond: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]], settings: Settings, tls: ssl.SSLContext | None
    ) -> None:
        """Raises `MissingLibrary`."""
        try:
            from aiohttp import web
        except ImportError as error:
            raise MissingLibrary.of("serve HTTP", "aiohttp", "python3-aiohttp", error) from error
        self._settings = settings
        self._tls = tls
        self._sockets: asyncio.Server | None = None
        #: Weak, because a failed handshake reports no end.
        self._connections: weakref.WeakSet[BoundedConnection] = weakref.WeakSet()
        self._collected_at = float("-inf")
        self._due_timer: asyncio.TimerHandle | None = None

        def respond_in_turn(request: web.BaseRequest) -> Awaitable[web.StreamResponse]:
            connection = None if request.transport is None else request.transport.get_protocol()
            if isinstance(connection, BoundedConnection):
                connection.request_read(request)
            return respond(request)

        # A client's errors are not ours: the library would write tracebacks of them.
        quiet = logging.getLogger(f"{__name__}.library")
        quiet.disabled = True
        # The library's lower level: routes, their order, and every header of a response are ours.
        self._server = web.Server(
            respond_in_turn,
            access_log=None,
            logger=quiet,
            keepalive_timeout=_KEEPALIVE_SECONDS,
            lingering_time=_LINGERING_SECONDS,
            auto_decompress=False,
        )

    @property
    def address(self) -> str:
        host, port = self._settings.api_host, self._settings.api_port
        if self._sockets is not None:
            port = self._sockets.sockets[0].getsockname()[1]
        return f"{'http' if self._tls is None else 'https'}://{f'[{host}]' if ':' in host else host}:{port}"

    @property
    def connections(self) -> int:
        """Return the number of connections, unfinished handshakes included."""
        return len(self._connections)

    async def bind(self) -> None:
        """Take the address, without listening yet. Raises `SettingsInvalid`."""
        settings = self._settings
        # The library refuses this option without TLS.
        handshake = None if self._tls is None else float(settings.api_request_timeout)
        with self._address_errors():
            self._sockets = await asyncio.get_running_loop().create_server(
                self._accept,
                settings.api_host,
                settings.api_port,
                ssl=self._tls,
                ssl_handshake_timeout=handshake,
                backlog=_BACKLOG,
                start_serving=False,
            )

    async def open(self) -> None:
        """Listen on the address of `bind`. Raises `SettingsInvalid`."""
        if self._sockets is not None:
            with self._address_errors():
                await self._sockets.start_serving()
        self._hang_up_on_due()

    @contextlib.contextmanager
    def _address_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            host, port = self._settings.api_host, self._settings.api_port
            raise SettingsInvalid(f"Cannot listen on {host} port {port} (api.host, api.port): {error.strerror or error}") from error

    def stop(self) -> None:
        if self._sockets is not None:
            self._sockets.close()

    async def close(self) -> None:
        """Close all connections; unfinished responses get a moment."""
        self.stop()
        await self._server.shutdown(_ENDING_SECONDS)
        if self._due_timer is not None:
            self._due_timer.cancel()

    def _accept(self) -> BoundedConnection:
        if self._is_full():
            # The event loop drops the connection at once. A protocol would see it only after the handshake.
            raise ConnectionRefusedError
        connection = BoundedConnection(self._server, self._connections.discard, float(self._settings.api_request_timeout))
        self._connections.add(connection)
        return connection

    def _is_full(self) -> bool:
        most, now = self._settings.api_max_connections, asyncio.get_running_loop().time()
        if self.connections >= most and now - self._collected_at >= _COLLECT_SECONDS:
            # Failed handshakes leave reference cycles.
            gc.collect()
            self._collected_at = now
        return self.connections >= most

    def _hang_up_on_due(self) -> None:
        for connection in tuple(self._connections):
            connection.hang_up_if_due()
        self._due_timer = asyncio.get_running_loop().call_later(_DUE_SECONDS, self._hang_up_on_due)
