# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Many servers in one call: each named server once, in the order asked, whatever becomes of the others."""

from __future__ import annotations

from collections.abc import Sequence

from .errors import PowerError
from .model import Request, Result, Server
from .node import Node
from .perform import perform


def perform_each(requests: Sequence[Request], node: Node) -> list[Result]:
    """Perform each request; a server named twice, by whatever names, is acted on once."""
    return [perform(request, node, server) for request, server in _once_each(requests, node)]


def _once_each(requests: Sequence[Request], node: Node) -> list[tuple[Request, Server | None]]:
    """The requests that mean different servers, each with its server where that could be found."""
    chosen: dict[str, tuple[Request, Server | None]] = {}
    for request in requests:
        server = _identify(request, node)
        chosen.setdefault(request.server if server is None else server.uuid, (request, server))
    return list(chosen.values())


def _identify(request: Request, node: Node) -> Server | None:
    """The server a request means; what cannot be identified is told by the action itself."""
    try:
        return node.sources.identify(request.server, request.action)
    except PowerError:
        return None
