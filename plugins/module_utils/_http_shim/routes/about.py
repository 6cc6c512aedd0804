# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Routes that tell of the process itself: health, metrics, the OpenAPI document."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from ..servers.census import Census
from ..wire import replies
from ..wire.replies import Reply, json_reply
from .http_request import HttpRequest
from .metrics import Metrics
from .route import AnswerDoc, Route, failure, handles

_OBJECT = {"type": "object"}
_METRICS = "text/plain; version=0.0.4; charset=utf-8"


class AboutRoutes:
    """Answers about one process."""

    def __init__(self, metrics: Metrics, census: Census, is_well: Callable[[], bool], document: Mapping[str, Any]) -> None:
        """``document`` is that of all routes."""
        self._metrics = metrics
        self._census = census
        self._is_well = is_well
        self._document = document

    @handles(
        Route(
            "health",
            "GET",
            "/healthz",
            "Health check: 503 while the process ends, or while the journal cannot be read or written",
            {200: AnswerDoc("It accepts actions", _OBJECT), 503: AnswerDoc("It accepts no actions", _OBJECT)},
            public=True,
        )
    )
    async def _health(self, _request: HttpRequest) -> Reply:
        """Tell whether actions are taken; no more than that is told to whoever asks."""
        return json_reply({"status": "ok"}) if self._is_well() else json_reply({"status": "unavailable"}, 503)

    @handles(
        Route("metrics", "GET", "/metrics", "Metrics for Prometheus", {200: AnswerDoc("Text"), 501: failure("The library is missing")})
    )
    async def _show_metrics(self, _request: HttpRequest) -> Reply:
        text = self._metrics.text(*await self._census.numbers())
        if text is None:
            return replies.error(
                501, "Cannot show metrics: install the Debian package python3-prometheus-client, or prometheus_client from PyPI"
            )
        return Reply(200, text, _METRICS)

    @handles(
        Route(
            "openapi", "GET", "/openapi.json", "These routes as an OpenAPI document", {200: AnswerDoc("The document", _OBJECT)}, public=True
        )
    )
    async def _openapi(self, _request: HttpRequest) -> Reply:
        return replace(json_reply(self._document), content_type="application/json")
