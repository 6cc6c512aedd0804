# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The sockets: what keeps slow, many and hostile clients from those who mean it."""

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
from .bounded_connection import BoundedConnection

if TYPE_CHECKING:
    from aiohttp import web

_KEEPALIVE_SECONDS = 75.0
#: How long what is left of a refused body is read and thrown away, so that the answer can be read.
_LINGERING_SECONDS = 1.0
_BACKLOG = 1024
#: How long answers under way are given at the end.
_ENDING_SECONDS = 2.0
#: Seconds between two looks for connections that have had their time.
_DUE_SECONDS = 0.5
#: So often it is looked for places that nobody has any more, when there seem to be none.
_COLLECT_SECONDS = 1.0


class Listener:
    """One listening address. ``answer`` makes the answer to a request."""

    def __init__(
        self, answer: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]], settings: Settings, tls: ssl.SSLContext | None
    ) -> None:
        """Raises `MissingLibrary`."""
        try:
            from aiohttp import web
        except ImportError as error:
            raise MissingLibrary.of("serve HTTP", "aiohttp", "python3-aiohttp", error) from error
        self._settings = settings
        self._tls = tls
        self._sockets: asyncio.Server | None = None
        #: Weak: of one whose handshake fails nobody is told.
        self._connections: weakref.WeakSet[BoundedConnection] = weakref.WeakSet()
        self._collected_at = float("-inf")
        self._due_timer: asyncio.TimerHandle | None = None

        def in_its_turn(request: web.BaseRequest) -> Awaitable[web.StreamResponse]:
            connection = None if request.transport is None else request.transport.get_protocol()
            if isinstance(connection, BoundedConnection):
                connection.request_read(request)
            return answer(request)

        # Whatever a client does wrong is its own affair: the library would write a trace of it.
        quiet = logging.getLogger(f"{__name__}.library")
        quiet.disabled = True
        # The library's lower level: routes, their order, and every header of an answer are ours.
        self._server = web.Server(
            in_its_turn,
            access_log=None,
            logger=quiet,
            keepalive_timeout=_KEEPALIVE_SECONDS,
            lingering_time=_LINGERING_SECONDS,
            auto_decompress=False,
        )

    @property
    def address(self) -> str:
        """Return the address that it listens on, as a URL."""
        host, port = self._settings.api_host, self._settings.api_port
        if self._sockets is not None:
            port = self._sockets.sockets[0].getsockname()[1]
        return f"{'http' if self._tls is None else 'https'}://{f'[{host}]' if ':' in host else host}:{port}"

    @property
    def connections(self) -> int:
        """Return how many there are, those included whose handshake is not over."""
        return len(self._connections)

    async def bind(self) -> None:
        """Take the address, without listening yet. Raises `SettingsInvalid`."""
        settings = self._settings
        # The library refuses it without TLS.
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
        """Listen, on the address that it has from `bind`. Raises `SettingsInvalid`."""
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
        """Take no new connections."""
        if self._sockets is not None:
            self._sockets.close()

    async def close(self) -> None:
        """Hang up on everybody, giving answers under way a moment."""
        self.stop()
        await self._server.shutdown(_ENDING_SECONDS)
        if self._due_timer is not None:
            self._due_timer.cancel()

    def _accept(self) -> BoundedConnection:
        if self._is_full():
            # The event loop drops it at once then; a protocol would be told of it only after the handshake.
            raise ConnectionRefusedError
        connection = BoundedConnection(self._server, self._connections.discard, float(self._settings.api_request_timeout))
        self._connections.add(connection)
        return connection

    def _is_full(self) -> bool:
        most, now = self._settings.api_max_connections, asyncio.get_running_loop().time()
        if self.connections >= most and now - self._collected_at >= _COLLECT_SECONDS:
            # What handshakes that failed leave behind refers to itself.
            gc.collect()
            self._collected_at = now
        return self.connections >= most

    def _hang_up_on_due(self) -> None:
        for connection in tuple(self._connections):
            connection.hang_up_if_due()
        self._due_timer = asyncio.get_running_loop().call_later(_DUE_SECONDS, self._hang_up_on_due)
