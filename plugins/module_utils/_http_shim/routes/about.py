# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Routes that tell of the face itself: health, metrics, the OpenAPI document."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from ..wire import replies
from ..wire.replies import Reply, json_reply
from .face import Answer, Asked
from .metrics import Metrics
from .openapi import document
from .servers import ServerRoutes

_METRICS = "text/plain; version=0.0.4; charset=utf-8"


class AboutRoutes:
    """Answers about one process."""

    def __init__(self, metrics: Metrics, servers: ServerRoutes, is_well: Callable[[], bool]) -> None:
        self._metrics = metrics
        self._servers = servers
        self._is_well = is_well

    def answers(self) -> dict[str, Answer]:
        """What answers these routes."""
        return {"health": self._health, "metrics": self._show_metrics, "openapi": self._openapi}

    async def _health(self, _asked: Asked) -> Reply:
        """Whether actions are taken; no more than that is told to whoever asks."""
        return json_reply({"status": "ok"}) if self._is_well() else json_reply({"status": "unavailable"}, 503)

    async def _show_metrics(self, _asked: Asked) -> Reply:
        text = self._metrics.text(await self._servers.states())
        if text is None:
            return replies.error(
                501, "Cannot show metrics: install the Debian package python3-prometheus-client, or prometheus_client from PyPI"
            )
        return Reply(200, text, _METRICS)

    async def _openapi(self, _asked: Asked) -> Reply:
        return replace(json_reply(document()), content_type="application/json")
