# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One request on its way to its answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import parse_qs

from ..._power.definitions.settings import Settings
from ..wire.access import client_address, cors_headers
from ..wire.body import parsed_body
from ..wire.paths import PathMatch
from ..wire.replies import Reply
from ..wire.request_id import new_id

if TYPE_CHECKING:
    from aiohttp import web

T = TypeVar("T")


class HttpRequest:
    """One request, as its handler reads it."""

    def __init__(self, raw: web.BaseRequest, settings: Settings, match: PathMatch) -> None:
        self.raw = raw
        self.settings = settings
        self.match = match
        self.id = new_id()
        #: What every answer has.
        self.headers = (("X-Request-Id", self.id), *cors_headers(raw.headers.get("Origin"), settings))

    @property
    def address(self) -> str:
        """Return the address of the client."""
        return client_address(self.raw.remote or "", self.raw.headers.getall("X-Forwarded-For", []), self.settings.api_trusted_proxies)

    async def body(self, parse: Callable[[bytes], T]) -> T | Reply:
        """Return the body as ``parse`` reads it, or the answer to one that cannot be read."""
        return await parsed_body(self.raw, self.settings.api_request_timeout, self.id, parse)

    def query(self, name: str) -> str:
        """Return the first value of a parameter, empty if it is not there."""
        return parse_qs(self.raw.query_string).get(name, [""])[0]
