# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bodies of requests, bounded in size and time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from . import replies
from .power_request import BodyEmpty, BodyInvalid
from .replies import Reply

if TYPE_CHECKING:
    from aiohttp import StreamReader, web

_T = TypeVar("_T")

#: More than any request of ours needs.
LARGEST_BODY = 64 * 1024


async def parsed_body(request: web.BaseRequest, seconds: float, request_id: str, parse: Callable[[bytes], _T]) -> _T | Reply:
    """Return the body as ``parse`` reads it, or the answer to one that cannot be read; it may raise `BodyEmpty` and `BodyInvalid`."""
    body = await read_body(request, seconds)
    if isinstance(body, Reply):
        return body
    try:
        return parse(body)
    except BodyEmpty:
        return replies.EMPTY_BODY
    except BodyInvalid:
        return replies.invalid_body(request_id)


async def read_body(request: web.BaseRequest, seconds: float) -> bytes | Reply:
    """Read the body; return it, or the answer to one that is too large or too slow, or whose sender is gone."""
    declared = request.content_length
    if declared is not None and declared > LARGEST_BODY:
        return replies.TOO_LARGE
    if not request.can_read_body:
        return b""
    if request.content.is_eof():
        return _arrived(request.content)
    if request.headers.get("Expect", "").lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        # That was no part of the answer.
        request.writer.output_size = 0
    try:
        return await asyncio.wait_for(_read(request), seconds)
    except asyncio.TimeoutError:
        return replies.TOO_SLOW


def _arrived(content: StreamReader) -> bytes | Reply:
    """Return a body that is here whole, also where its sender is gone by now: what was asked for is done."""
    if isinstance(content.exception(), OSError):
        content.set_exception(None)  # type: ignore[arg-type]
    found = content.read_nowait()
    return replies.TOO_LARGE if len(found) > LARGEST_BODY else found


async def _read(request: web.BaseRequest) -> bytes | Reply:
    gathered = bytearray()
    async for chunk in request.content.iter_any():
        gathered += chunk
        if len(gathered) > LARGEST_BODY:
            return replies.TOO_LARGE
    return bytes(gathered)
