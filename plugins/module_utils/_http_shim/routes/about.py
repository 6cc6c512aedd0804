# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Routes about the process itself: health, metrics for Prometheus, the OpenAPI document."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

from ..._power.host.supervisor_record import PAUSES
from ..._power.model.request import POWER_ACTIONS
from ..._power.model.result import Outcome, Result
from ..http import replies
from ..http.replies import Reply, json_reply
from ..servers.census import Census, NodeNumbers, ServerNumbers
from ..servers.wings_view import VERSION
from .router import HttpRequest, ReplyDoc, Route, failure
from .schemas import ERROR

_WAITS = (0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 120, 300)
_STOPS = (0.1, 0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600)
_TOKEN_REPLIES = {401: failure("No token"), 403: failure("Wrong token")}
_SERVER_REPLIES = {404: failure("This node has no such server"), 500: failure("The engine does not answer")}
_BODY_REPLIES = {408: failure("The body did not come in time"), 413: failure("The body is larger than 64 KiB")}
_FORMATS = {"server": {"format": "uuid"}}
_OBJECT = {"type": "object"}
_METRICS = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """The metrics of one process. Counting never fails; without the library there are no metrics."""

    def __init__(self, now: Callable[[], Mapping[str, float]]) -> None:
        """``now`` returns gauges by name, read at each request."""
        self._now = now
        self._registry: Any = None
        try:
            import prometheus_client as prometheus
        except ImportError:
            return
        self._registry = prometheus.CollectorRegistry()
        counted: dict[str, Any] = {"registry": self._registry, "namespace": "fleet_power"}
        operations = prometheus.Counter("operations", "Actions that ended", ("action", "outcome"), **counted)
        # Create all series now: Prometheus does not see the increase to the first value of a new one.
        self._operations = {each: operations.labels(each[0].value, each[1].value) for each in itertools.product(POWER_ACTIONS, Outcome)}
        self._forced = prometheus.Counter("forced_stops", "Stops that needed SIGKILL", **counted)
        self._waits = prometheus.Histogram("lock_wait_seconds", "Waits for the turn and the lock of a server", buckets=_WAITS, **counted)
        self._stops = prometheus.Histogram("stop_seconds", "Duration of stops", buckets=_STOPS, **counted)
        self._process = prometheus.ProcessCollector(registry=None)

    def ended(self, result: Result, turn_seconds: float = 0.0) -> None:
        """Count an action that ended; ``turn_seconds`` is its wait before it began."""
        if self._registry is None:
            return
        self._operations[result.action, result.outcome].inc()
        self._waits.observe(turn_seconds + result.waited_seconds)
        if result.stop is not None:
            self._stops.observe(result.stop.seconds)
            self._forced.inc(int(result.stop.forced))

    def text(self, servers: ServerNumbers, runs: NodeNumbers) -> bytes | None:
        """Return all metrics in Prometheus' text form; None without the library."""
        if self._registry is None:
            return None
        import prometheus_client as prometheus

        families = itertools.chain(self._registry.collect(), self._gauges(servers, runs), self._process.collect())
        whole: Any = SimpleNamespace(collect=lambda: families)
        return bytes(prometheus.generate_latest(whole))

    def _gauges(self, servers: ServerNumbers, runs: NodeNumbers) -> Iterator[Any]:
        from prometheus_client.core import GaugeMetricFamily

        for name, value in self._now().items():
            yield GaugeMetricFamily(f"fleet_power_{name}", name.replace("_", " ").capitalize(), value)
        for name, text, label, numbers in (
            ("servers", "Servers by state", "state", servers.states),
            ("supervision", "Servers by state of supervision", "state", servers.supervision),
            ("countdowns", "Servers with an action that waits for players or warns them", "phase", servers.countdowns),
            ("outdated", "Servers by whether the container differs from the definition", "outdated", servers.outdated),
        ):
            yield _by_label(GaugeMetricFamily, name, text, label, numbers)
        if servers.engine is not None:
            found = GaugeMetricFamily("fleet_power_engine_info", "The engine that answers", labels=["version", "api", "newest_api"])
            found.add_metric([servers.engine.release, servers.engine.spoken, servers.engine.newest], 1)
            yield found
        if servers.frozen is not None:
            yield GaugeMetricFamily("fleet_power_frozen_servers", "Servers that must not start or restart", servers.frozen)
        if runs.frozen is not None:
            yield GaugeMetricFamily("fleet_power_node_frozen", "Whether the whole node is frozen", int(runs.frozen))
        yield from _supervisor(runs)
        yield from _events(runs.events)
        yield _by_label(GaugeMetricFamily, "build_info", "The version that runs", "version", {VERSION: 1})


def _supervisor(numbers: NodeNumbers) -> Iterator[Any]:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    if numbers.ended is not None:
        ended = {verdict.value: runs for verdict, runs in numbers.ended.items()}
        yield _by_label(CounterMetricFamily, "ended_runs", "Ended runs of the node, by verdict", "verdict", ended)
    running, paused = numbers.supervisor["running"], numbers.supervisor["paused"]
    if running is not None:
        yield GaugeMetricFamily("fleet_power_supervisor_up", "Whether the supervisor runs", int(running))
        reasons = {reason: int(reason == paused) for reason in PAUSES}
        yield _by_label(GaugeMetricFamily, "supervisor_paused", "Why the supervisor starts nothing", "reason", reasons)


def _events(facts: Mapping[str, Any]) -> Iterator[Any]:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    if not facts.get("enabled"):
        return
    if facts["running"] is not None:
        yield GaugeMetricFamily("fleet_power_event_sender_up", "Whether the sender of events runs", int(facts["running"]))
    receivers = facts["receivers"] or ()
    for name, text, kind, value in (
        ("events_waiting", "Events that wait for a receiver", GaugeMetricFamily, "waiting"),
        ("events_sent", "Events that a receiver has taken", CounterMetricFamily, "sent"),
        ("events_dropped", "Events that were dropped before a receiver took them", CounterMetricFamily, "dropped"),
        ("event_receiver_off", "Whether a receiver has asked for no more events", GaugeMetricFamily, "off"),
        ("event_receiver_failing", "Whether the last delivery to a receiver failed", GaugeMetricFamily, "failing_since"),
    ):
        # Whether a delivery failed is the time since when, or nothing.
        numbers = {each["receiver"]: each[value] if isinstance(each[value], int) else int(bool(each[value])) for each in receivers}
        yield _by_label(kind, name, text, "receiver", numbers)


def _by_label(kind: Any, name: str, text: str, label: str, numbers: Mapping[str, int]) -> Any:
    family = kind(f"fleet_power_{name}", text, labels=[label])
    for value, number in numbers.items():
        family.add_metric([value], number)
    return family


def document(routes: Iterable[Route]) -> dict[str, Any]:
    """Return the OpenAPI document, valid for each address of the routes."""
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "fleet.power",
            "version": VERSION,
            "description": "Power actions on servers, as in Pterodactyl Wings, and their results.",
        },
        "servers": [{"url": "/"}],
        "security": [{"token": []}],
        "paths": paths,
        "components": {"securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}},
    }


def _operation(route: Route) -> dict[str, Any]:
    parameters = _parameters(route)
    operation: dict[str, Any] = {
        "operationId": route.name,
        "summary": route.summary,
        **({"security": []} if route.public else {}),
        **({"parameters": parameters} if parameters else {}),
        "responses": {str(status): _response(reply) for status, reply in _replies_of(route).items()},
    }
    if route.body is not None:
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": route.body}}}
    return operation


def _parameters(route: Route) -> list[dict[str, Any]]:
    in_path = re.findall(r"{(\w+)}", route.path)
    return [
        *({"name": name, "in": "path", "required": True, "schema": {"type": "string", **_FORMATS.get(name, {})}} for name in in_path),
        *({"name": name, "in": "query", "schema": schema} for name, schema in route.query.items()),
    ]


def _replies_of(route: Route) -> dict[int, ReplyDoc]:
    """Return the replies of a route by status. Those of its kind come first, except for a public route."""
    kind = {} if route.public else {**_TOKEN_REPLIES, **(_SERVER_REPLIES if route.of_server else {})}
    return {**kind, **(_BODY_REPLIES if route.body is not None else {}), **route.replies}


def _response(reply: ReplyDoc) -> dict[str, Any]:
    response: dict[str, Any] = {"description": reply.text}
    if reply.headers:
        response["headers"] = {
            name: {**({"description": text} if text else {}), "schema": {"type": "string"}} for name, text in reply.headers.items()
        }
    if reply.schema is not None:
        # Wings labels some of its JSON errors as text.
        types = ("application/json", "text/plain") if reply.schema is ERROR else ("application/json",)
        response["content"] = {each: {"schema": reply.schema} for each in types}
    return response


class AboutRoutes:
    def __init__(self, metrics: Metrics, census: Census, is_well: Callable[[], bool], document: Mapping[str, Any]) -> None:
        self._metrics = metrics
        self._census = census
        self._is_well = is_well
        self._document = document

    @Route(
        "health",
        "GET",
        "/healthz",
        "Health check: 503 while the process ends, or while the journal cannot be read or written",
        {200: ReplyDoc("It accepts actions", _OBJECT), 503: ReplyDoc("It accepts no actions", _OBJECT)},
        public=True,
    )
    async def _health(self, _request: HttpRequest) -> Reply:
        """Tell if the process accepts actions. Anyone may ask, so the reply has nothing else."""
        return json_reply({"status": "ok"}) if self._is_well() else json_reply({"status": "unavailable"}, 503)

    @Route("metrics", "GET", "/metrics", "Metrics for Prometheus", {200: ReplyDoc("Text"), 501: failure("The library is missing")})
    async def _show_metrics(self, _request: HttpRequest) -> Reply:
        text = self._metrics.text(*await self._census.numbers())
        if text is None:
            return replies.error(
                501, "Cannot show metrics: install the Debian package python3-prometheus-client, or prometheus_client from PyPI"
            )
        return Reply(200, text, _METRICS)

    @Route("openapi", "GET", "/openapi.json", "These routes as an OpenAPI document", {200: ReplyDoc("The document", _OBJECT)}, public=True)
    async def _openapi(self, _request: HttpRequest) -> Reply:
        return replace(json_reply(self._document), content_type="application/json")
