# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Calls to the engine: requests, shared connections and faults."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.actions.node.node import Node
from ansible_collections.fleet.power.plugins.module_utils._power.actions.turn.perform import perform
from ansible_collections.fleet.power.plugins.module_utils._power.engine import engine_calls
from ansible_collections.fleet.power.plugins.module_utils._power.engine.engine_calls import PLACES
from ansible_collections.fleet.power.plugins.module_utils._power.engine.engine_events import THREAD
from ansible_collections.fleet.power.plugins.module_utils._power.model.errors import EngineUnreachable
from ansible_collections.fleet.power.plugins.module_utils._power.model.result import Result

from .engine_proxy import EngineProxy
from .lab import Lab, wait_until

TERM = {"type": "signal", "value": "SIGTERM"}
#: Longer than the quick polls of a stop, so that the action opens the event stream.
STOP_SECONDS = 2


def asked(proxy: EngineProxy) -> list[str]:
    """Method and path of each request except pings, without API version and container."""
    paths = (f"{seen.method} {seen.path}" for seen in proxy.seen if not seen.path.endswith("/_ping"))
    return [re.sub(r"/v1\.\d+|/[0-9a-f-]{36}\b|/[0-9a-f]{64}\b|\?.*", "", path) for path in paths]


def connections(proxy: EngineProxy) -> int:
    return len(proxy._links)


def in_parallel(node: Node, lab: Lab, action: str, uuids: list[str]) -> list[Result]:
    requests = [lab.request(action, uuid, node) for uuid in uuids]
    with ThreadPoolExecutor(len(uuids)) as pool:
        return list(pool.map(lambda request: perform(request, node), requests))


@pytest.fixture(name="node")
def node_behind_the_proxy(lab: Lab, proxy: EngineProxy) -> Iterator[Node]:
    node = lab.at(proxy.host).node()
    yield node
    node.journal.close()


@pytest.fixture(name="no_threads_left")
def watch_threads(proxy: EngineProxy) -> Iterator[None]:
    """Assert that no thread listens to the engine two seconds after its last use."""

    def listening() -> bool:
        return any(thread.name == THREAD for thread in threading.enumerate())

    yield
    wait_until(lambda: not listening(), "the thread that listens to the engine ends", 2)


def test_forty_threads_share_the_connections_to_the_engine(lab: Lab, proxy: EngineProxy, node: Node) -> None:
    uuid = lab.server(done=())
    lab.power("start", uuid)
    with ThreadPoolExecutor(40) as pool:
        found = list(pool.map(lambda _number: node.engine.inspect(uuid), range(400)))
    assert all(snapshot is not None and snapshot.live for snapshot in found)
    assert len(asked(proxy)) == 400
    assert len([seen for seen in proxy.seen if seen.path.endswith("/_ping")]) == 1
    assert connections(proxy) <= PLACES


def test_every_thread_reports_a_frozen_engine_and_works_after_the_thaw(lab: Lab, proxy: EngineProxy) -> None:
    engine = lab.at(proxy.host).node(timeout=2).engine
    assert engine.servers() is not None
    proxy.freeze()

    def ask(_number: int) -> float:
        began = time.monotonic()
        with pytest.raises(EngineUnreachable, match="no answer within 2 s"):
            engine.inspect("x")
        return time.monotonic() - began

    with ThreadPoolExecutor(120) as pool:
        took = list(pool.map(ask, range(120)))
    assert max(took) < 2 * 2 + 2
    proxy.thaw()
    assert engine.inspect("x") is None


def test_unanswered_engine_calls_do_not_delay_a_kill(lab: Lab, proxy: EngineProxy, node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    uuid = lab.server(done=())
    lab.power("start", uuid)
    hung = proxy.hold("GET", r"/containers/hung/json")
    with ThreadPoolExecutor(PLACES) as pool:
        asking = [pool.submit(node.engine.inspect, "hung") for _unused in range(PLACES)]
        wait_until(lambda: asked(proxy).count("GET /containers/hung/json") == PLACES, "all are held")
        with monkeypatch.context() as patient:
            # Other calls wait a minute for a connection.
            patient.setattr(engine_calls, "_PLACE_SECONDS", 60.0)
            began = time.monotonic()
            assert node.engine.signal(uuid, "SIGKILL")
            assert time.monotonic() - began < 30
        began = time.monotonic()
        assert perform(lab.request("kill", uuid, node), node).outcome.value in ("done", "unchanged")
        ended = time.monotonic()
        hung.release()
        assert [each.result(10) for each in asking] == [None] * PLACES
    assert ended - began < 15


@pytest.mark.samples("silent")
@pytest.mark.usefixtures("no_threads_left")
@pytest.mark.parametrize("fault", ["refused", "cut", "silent"])
def test_a_stop_is_seen_without_a_working_event_stream(lab: Lab, proxy: EngineProxy, node: Node, fault: str) -> None:
    uuids = [lab.server(done=(), stop=TERM, STOP_SECONDS=STOP_SECONDS) for _unused in range(3)]
    in_parallel(node, lab, "start", uuids)
    for uuid in uuids:
        lab.await_ready(uuid)
    streams = proxy.hold("GET", r"/events")
    with ThreadPoolExecutor(1) as pool:
        stopping = pool.submit(in_parallel, node, lab, "stop", uuids)
        streams.await_arrival()
        if fault == "refused":
            streams.drop()
        elif fault == "cut":
            streams.release()
            wait_until(lambda: any("/events" in seen.path and seen.status for seen in proxy.seen), "it streams")
            time.sleep(0.2)
            proxy.hang_up()
        results = stopping.result(30)
        streams.release()
    assert {result.outcome.value for result in results} == {"done"}
    assert max(result.stop.seconds for result in results if result.stop) < STOP_SECONDS + 6
    assert not any(lab.is_up(uuid) for uuid in uuids)
