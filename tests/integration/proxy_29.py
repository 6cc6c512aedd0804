# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A proxy that answers as Docker 29 does, before an older engine: ``proxy_29.py ENGINE SOCKET RELEASE``.

It refuses what Docker 29 refuses, and changes answers by the table in `engine_29`. It cannot show what needs another engine: image ids and
the prune of containerd's store, time namespaces, the limit of open files, nftables, and what an address of a network card does.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent))
    from engine_29 import RELEASES, Release, accepted, at_least, changed, refusal
else:
    from .engine_29 import RELEASES, Release, accepted, at_least, changed, refusal

_VERSIONED = re.compile(r"/v([0-9][0-9.]*)(/.*)")
_CHUNK = 65536
_LOOK_SECONDS = 0.05
#: Their heads, or parts of their bodies, come before the end.
_AT_ONCE = re.compile(r"/images/create|/containers/[^/]+/wait")
#: Streams of objects that the table changes.
_STREAMS = re.compile(r"/events|/containers/[^/]+/stats")


@dataclass
class Head:
    """The first line and the fields of a request or an answer."""

    first: str
    fields: list[tuple[str, str]]

    def get(self, name: str) -> str:
        return next((value for key, value in self.fields if key.lower() == name), "")

    def put(self, name: str, value: str) -> None:
        self.fields = [field for field in self.fields if field[0].lower() != name.lower()] + [(name, value)]

    def without(self, name: str) -> None:
        self.fields = [field for field in self.fields if field[0].lower() != name]

    def text(self) -> bytes:
        return "".join(f"{line}\r\n" for line in (self.first, *(f"{key}: {value}" for key, value in self.fields), "")).encode("latin-1")


async def head_of(reader: asyncio.StreamReader) -> Head | None:
    """Read a head; None at the end of the connection."""
    try:
        first, *lines = (await reader.readuntil(b"\r\n\r\n"))[:-4].decode("latin-1").split("\r\n")
    except (asyncio.IncompleteReadError, OSError):
        return None
    return Head(first, [(key, value.strip()) for key, _colon, value in (line.partition(":") for line in lines)])


async def chunks_of(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    while size := int((await reader.readline()).split(b";")[0], 16):
        yield (await reader.readexactly(size + 2))[:-2]
    await reader.readline()


async def body_of(reader: asyncio.StreamReader, head: Head) -> bytes:
    if head.get("transfer-encoding") == "chunked":
        return b"".join([chunk async for chunk in chunks_of(reader)])
    return await reader.readexactly(int(head.get("content-length") or 0))


async def splice(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Copy bytes one way. The end of one direction leaves the other open."""
    with contextlib.suppress(OSError):
        while piece := await reader.read(_CHUNK):
            writer.write(piece)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()


class Proxy:
    def __init__(self, engine: str, release: Release) -> None:
        self._engine, self._release, self._highest = engine, release, ""

    async def find_highest(self) -> None:
        """Ask the engine for its newest API."""
        reader, writer = await asyncio.open_unix_connection(self._engine)
        writer.write(b"GET /_ping HTTP/1.1\r\nHost: docker\r\n\r\n")
        head = await head_of(reader)
        assert head is not None
        self._highest = head.get("api-version")
        writer.close()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve the requests of one client, one after the other."""
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while (head := await head_of(reader)) is not None and await self._answered(head, reader, writer):
                pass
        writer.close()

    async def _answered(self, head: Head, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer a request; return False if the connection ends with it."""
        method, target, _protocol = head.first.split(" ")
        body = await body_of(reader, head)
        found = _VERSIONED.fullmatch(target)
        api, target = found.groups() if found else (self._release.newest, target)
        path = target.partition("?")[0]
        why = self._version_fault(api)
        if not why and (method, path) == ("POST", "/containers/create"):
            asked = json.loads(body)
            why, body = refusal(asked), json.dumps(accepted(asked, api)).encode()
        if why:
            await self._send(writer, Head("HTTP/1.1 400 Bad Request", [("Content-Type", "application/json")]), json.dumps({"message": why}))
            return True
        head.first = f"{method} /v{min(api, self._highest, key=lambda text: [int(part) for part in text.split('.')])}{target} HTTP/1.1"
        if body or head.get("content-length"):
            head.without("transfer-encoding")
            head.put("Content-Length", str(len(body)))
        engine = await asyncio.open_unix_connection(self._engine)
        try:
            engine[1].write(head.text() + body)
            passing = asyncio.ensure_future(self._pass_answer(method, path, api, (reader, writer), engine))
            while not passing.done():
                await asyncio.wait([passing], timeout=_LOOK_SECONDS)
                # The engine must see that the client is gone.
                if reader.at_eof() and not head.get("upgrade"):
                    passing.cancel()
            return not passing.cancelled() and passing.result()
        finally:
            engine[1].close()

    def _version_fault(self, api: str) -> str:
        if not at_least(api, self._release.oldest):
            oldest = f"Minimum supported API version is {self._release.oldest}"
            return f"client version {api} is too old. {oldest}, please upgrade your client to a newer version"
        if not at_least(self._release.newest, api):
            return f"client version {api} is too new. Maximum supported API version is {self._release.newest}"
        return ""

    async def _pass_answer(
        self,
        method: str,
        path: str,
        api: str,
        client: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        engine: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> bool:
        answer = await head_of(engine[0])
        if answer is None:
            return False
        status = int(answer.first.split(" ")[1])
        self._signed(answer)
        if status == HTTPStatus.SWITCHING_PROTOCOLS:
            client[1].write(answer.text())
            await asyncio.gather(splice(client[0], engine[1]), splice(engine[0], client[1]))
            return False
        if method == "HEAD" or status in (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED):
            client[1].write(answer.text())
            await client[1].drain()
            return True
        if _STREAMS.fullmatch(path) and answer.get("transfer-encoding") == "chunked":
            await self._pass_objects(path, api, answer, client[1], engine[0])
        elif answer.get("content-type").startswith("application/json") and not _AT_ONCE.fullmatch(path):
            content = json.loads(await body_of(engine[0], answer) or b"null")
            self._tell_versions(path, content)
            told = content if status >= HTTPStatus.BAD_REQUEST else changed(path, api, content)
            await self._send(client[1], answer, json.dumps(told))
        else:
            await self._pass_bytes(answer, client[1], engine[0])
        return True

    async def _pass_objects(self, path: str, api: str, answer: Head, writer: asyncio.StreamWriter, reader: asyncio.StreamReader) -> None:
        """Change each object of a stream, and pass it on at once."""
        if path == "/events":
            answer.put("Content-Type", self._release.events(api))
        writer.write(answer.text())
        left = b""
        async for chunk in chunks_of(reader):
            *lines, left = (left + chunk).split(b"\n")
            for line in lines:
                text = json.dumps(changed(path, api, json.loads(line))).encode() + b"\n"
                writer.write(f"{len(text):x}\r\n".encode() + text + b"\r\n")
            await writer.drain()
        writer.write(b"0\r\n\r\n")
        await writer.drain()

    async def _pass_bytes(self, answer: Head, writer: asyncio.StreamWriter, reader: asyncio.StreamReader) -> None:
        writer.write(answer.text())
        if answer.get("transfer-encoding") == "chunked":
            async for chunk in chunks_of(reader):
                writer.write(f"{len(chunk):x}\r\n".encode() + chunk + b"\r\n")
                await writer.drain()
            writer.write(b"0\r\n\r\n")
        elif answer.get("content-length"):
            writer.write(await body_of(reader, answer))
        else:
            await splice(reader, writer)
        await writer.drain()

    async def _send(self, writer: asyncio.StreamWriter, answer: Head, text: str) -> None:
        self._signed(answer)
        answer.without("transfer-encoding")
        answer.put("Content-Length", str(len(text.encode())))
        writer.write(answer.text() + text.encode())
        await writer.drain()

    def _signed(self, answer: Head) -> None:
        answer.put("Api-Version", self._release.newest)
        answer.put("Server", f"Docker/{self._release.name} (linux)")

    def _tell_versions(self, path: str, content: Any) -> None:
        if path == "/version":
            versions = {"ApiVersion": self._release.newest, "MinAPIVersion": self._release.oldest, "Version": self._release.name}
            content.update(versions)
            engine = content["Components"][0]
            engine["Version"] = self._release.name
            engine["Details"].update({name: versions[name] for name in ("ApiVersion", "MinAPIVersion")})


async def main(engine: str, socket: str, release: str) -> None:
    proxy = Proxy(engine.partition("unix://")[2], RELEASES[release])
    await proxy.find_highest()
    with contextlib.suppress(FileNotFoundError):
        os.unlink(socket)
    server = await asyncio.start_unix_server(proxy.serve, socket, limit=2**26)
    print("ready", flush=True)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
