# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Metrics for Prometheus: ends of actions since this process began, ends of runs since the journal did, and figures of this moment."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ..._power.host.supervisor_record import PAUSES
from ..._power.model.request import POWER_ACTIONS
from ..._power.model.result import Outcome, Result
from ..process.version import VERSION
from ..servers.census import NodeNumbers, ServerNumbers

_WAITS = (0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 120, 300)
_STOPS = (0.1, 0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600)


class Metrics:
    """The metrics of one process. Counting never fails; without the library there is nothing to show."""

    def __init__(self, now: Callable[[], Mapping[str, float]]) -> None:
        """``now`` returns gauges by name, read when somebody asks."""
        self._now = now
        self._servers, self._runs = ServerNumbers(), NodeNumbers()
        self._registry: Any = None
        try:
            import prometheus_client as prometheus
        except ImportError:
            return
        self._registry = prometheus.CollectorRegistry()
        counted: dict[str, Any] = {"registry": self._registry, "namespace": "fleet_power"}
        operations = prometheus.Counter("operations", "Actions that ended", ("action", "outcome"), **counted)
        # From the beginning: of what appears with its first event, Prometheus does not see an increase.
        self._operations = {each: operations.labels(each[0].value, each[1].value) for each in itertools.product(POWER_ACTIONS, Outcome)}
        self._forced = prometheus.Counter("forced_stops", "Stops that needed SIGKILL", **counted)
        self._waits = prometheus.Histogram("lock_wait_seconds", "Waits for a server's turn and lock", buckets=_WAITS, **counted)
        self._stops = prometheus.Histogram("stop_seconds", "How long stops took", buckets=_STOPS, **counted)
        self._registry.register(_Gauges(self._gauges))
        prometheus.ProcessCollector(registry=self._registry)

    def ended(self, result: Result, turn_seconds: float = 0.0) -> None:
        """Count an action that ended; ``turn_seconds`` is how long it waited before it began, which its result does not know."""
        if self._registry is None:
            return
        self._operations[result.action, result.outcome].inc()
        self._waits.observe(turn_seconds + result.waited_seconds)
        if result.stop is not None:
            self._stops.observe(result.stop.seconds)
            self._forced.inc(int(result.stop.forced))

    def text(self, servers: ServerNumbers, runs: NodeNumbers) -> bytes | None:
        """Return all metrics in Prometheus' text form, with the numbers of this moment; None without the library."""
        if self._registry is None:
            return None
        import prometheus_client as prometheus

        self._servers, self._runs = servers, runs
        return bytes(prometheus.generate_latest(self._registry))

    def _gauges(self) -> Iterator[Any]:
        from prometheus_client.core import GaugeMetricFamily

        for name, value in self._now().items():
            yield GaugeMetricFamily(f"fleet_power_{name}", name.replace("_", " ").capitalize(), value)
        yield _by_label(GaugeMetricFamily("fleet_power_servers", "Servers by state", labels=["state"]), self._servers.states)
        text = "Servers by what the supervisor has to say of them"
        yield _by_label(GaugeMetricFamily("fleet_power_supervision", text, labels=["state"]), self._servers.supervision)
        text = "Servers whose players are waited for, or told"
        yield _by_label(GaugeMetricFamily("fleet_power_countdowns", text, labels=["phase"]), self._servers.countdowns)
        text = "Servers by whether their containers are not what their definitions say"
        yield _by_label(GaugeMetricFamily("fleet_power_outdated", text, labels=["outdated"]), self._servers.outdated)
        yield from _supervisor(self._runs)
        yield from _events(self._runs.events)
        family = GaugeMetricFamily("fleet_power_build_info", "The version that runs", labels=["version"])
        family.add_metric([VERSION], 1)
        yield family


def _supervisor(numbers: NodeNumbers) -> Iterator[Any]:
    """Return what is known of the supervisor and of ended runs; what is not known is left out."""
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    if numbers.ended is not None:
        counter = CounterMetricFamily("fleet_power_ended_runs", "Ended runs of the node, by verdict", labels=["verdict"])
        yield _by_label(counter, {verdict.value: runs for verdict, runs in numbers.ended.items()})
    running, paused = numbers.supervisor["running"], numbers.supervisor["paused"]
    if running is not None:
        yield GaugeMetricFamily("fleet_power_supervisor_up", "Whether the supervisor runs", int(running))
        family = GaugeMetricFamily("fleet_power_supervisor_paused", "What keeps the supervisor from starting anything", labels=["reason"])
        yield _by_label(family, {reason: int(reason == paused) for reason in PAUSES})


def _events(told: Mapping[str, Any]) -> Iterator[Any]:
    """Return what is known of the node's events; nothing where none are kept."""
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    if not told.get("enabled"):
        return
    if told["running"] is not None:
        yield GaugeMetricFamily("fleet_power_event_sender_up", "Whether what sends events runs", int(told["running"]))
    receivers = told["receivers"] or ()
    for name, text, kind, value in (
        ("events_waiting", "Events that a receiver has not taken yet", GaugeMetricFamily, "waiting"),
        ("events_sent", "Events that a receiver has taken", CounterMetricFamily, "sent"),
        ("events_dropped", "Events that were let go of before a receiver had taken them", CounterMetricFamily, "dropped"),
        ("event_receiver_off", "Whether a receiver has asked to be told nothing more", GaugeMetricFamily, "off"),
        ("event_receiver_failing", "Whether the last try to reach a receiver failed", GaugeMetricFamily, "failing_since"),
    ):
        numbers = {each["receiver"]: each[value] for each in receivers}
        family = kind(f"fleet_power_{name}", text, labels=["receiver"])
        yield _by_label(
            family, {receiver: number if kind is CounterMetricFamily else _gauge(number) for receiver, number in numbers.items()}
        )


def _gauge(value: object) -> int:
    return value if isinstance(value, int) else int(bool(value))


def _by_label(family: Any, numbers: Mapping[str, int]) -> Any:
    for label, number in numbers.items():
        family.add_metric([label], number)
    return family


class _Gauges:
    """A collector as the library wants one."""

    def __init__(self, collect: Callable[[], Iterator[Any]]) -> None:
        self.collect = collect

    def describe(self) -> list[Any]:
        """Return nothing: the values would be asked for before there are any."""
        return []
