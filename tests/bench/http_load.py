# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""HTTP clients in another process, which leave the shared processor to the server, and the library with an empty handler."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import multiprocessing
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

_FORK = multiprocessing.get_context("fork")
_LENGTH = b"content-length:"

Address = tuple[str, int]


@dataclass(frozen=True)
class Load:
    """The results of all connections together: the seconds of each request, and the count of each status."""

    seconds: float
    waits: tuple[float, ...]
    statuses: Counter[int]

    @property
    def rate(self) -> float:
        """Requests a second."""
        return len(self.waits) / self.seconds

    def quantile(self, share: float) -> float:
        """Return the seconds that ``share`` of all requests did not exceed."""
        return sorted(self.waits)[min(len(self.waits) - 1, int(share * len(self.waits)))]


def request(path: str, token: str, body: bytes, method: str = "POST") -> bytes:
    head = f"{method} {path} HTTP/1.1\r\nHost: node\r\nAuthorization: Bearer {token}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def load(address: Address, requests: list[bytes], *, connections: int, number: int) -> Load:
    """Send ``number`` requests, in turn. Each connection sends the next request after the answer to the last one."""
    answer: Load = _in_a_process(lambda: asyncio.run(_load(address, requests, connections, number)))
    return answer


@contextlib.contextmanager
def empty_handler() -> Iterator[Address]:
    """Run the library in another process, with a handler that only answers 202."""
    here, there = _FORK.Pipe()
    server = _FORK.Process(target=lambda: asyncio.run(_serve(there)), daemon=True)
    server.start()
    try:
        yield here.recv()
    finally:
        server.kill()
        server.join()


async def _serve(parent: Connection) -> None:
    from aiohttp import web

    async def handler(_request: web.BaseRequest) -> web.Response:
        return web.Response(status=202)

    server = await asyncio.get_running_loop().create_server(web.Server(handler, access_log=None), "127.0.0.1", 0, backlog=1024)
    parent.send(server.sockets[0].getsockname())
    await asyncio.Event().wait()


def _in_a_process(work: Callable[[], Any]) -> Any:
    here, there = _FORK.Pipe()
    process = _FORK.Process(target=lambda: there.send(work()), daemon=True)
    process.start()
    found = here.recv()
    process.join()
    return found


class _Client(asyncio.Protocol):
    def __init__(self, requests: Iterator[bytes]) -> None:
        self.waits: list[float] = []
        self.statuses: Counter[int] = Counter()
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._requests = requests
        self._received = b""

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._send()

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, blank, body = self._received.partition(b"\r\n\r\n")
        if not blank or len(body) < _length_in(head):
            return
        self.waits.append(time.monotonic() - self._sent_at)
        self.statuses[int(head[9:12])] += 1
        self._received = b""
        self._send()

    def connection_lost(self, _error: Exception | None) -> None:
        self.over.set_result(None)

    def _send(self) -> None:
        request = next(self._requests, None)
        if request is None:
            self._transport.close()
            return
        self._sent_at = time.monotonic()
        self._transport.write(request)


def _length_in(head: bytes) -> int:
    at = head.lower().find(_LENGTH)
    return 0 if at < 0 else int(head[at + len(_LENGTH) :].split(b"\r", 1)[0])


async def _load(address: Address, requests: list[bytes], connections: int, number: int) -> Load:
    loop, began = asyncio.get_running_loop(), time.monotonic()
    turns = itertools.islice(itertools.cycle(requests), number)
    clients = [_Client(turns) for _number in range(connections)]
    for client in clients:
        await loop.create_connection(lambda client=client: client, *address[:2])  # type: ignore[misc]
    await asyncio.gather(*(client.over for client in clients))
    waits = tuple(wait for client in clients for wait in client.waits)
    return Load(time.monotonic() - began, waits, sum((client.statuses for client in clients), Counter()))
