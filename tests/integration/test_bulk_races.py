# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Calls over many servers that meet each other, are interrupted or die: no server is acted on twice at a time, and none is lied about."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any

import pytest

from .controller import Controller, Running, result_of
from .engine_proxy import EngineProxy, Seen
from .lab import Lab, wait_until
from .many import (
    FOR_EVER,
    assert_all_free,
    await_ended,
    await_phases,
    end,
    last_operations,
    phases,
    shown_endings,
    started,
    starts,
)
from .test_interruption import children


def child_of(module: Running) -> int:
    """The process that does a module's work, once it is there."""
    (child,) = wait_until(lambda: children(module.pid), "it has begun to work")
    return int(child)


def changes_to(lab: Lab, uuid: str, proxy: EngineProxy) -> list[Seen]:
    """The changes asked for of a server's container, in their order."""
    container = lab.container(uuid)
    assert container is not None
    names = (f"/containers/{container['Id']}", f"/containers/{uuid}")
    return [request for request in proxy.seen if request.changes and any(name in request.path for name in names)]


@pytest.mark.parametrize("rival", ["restart", pytest.param("stop", marks=pytest.mark.long)])
def test_two_calls_act_on_each_server_one_after_the_other_and_report_the_truth(
    lab: Lab, controller: Controller, proxy: EngineProxy, rival: str
) -> None:
    uuids = started(lab, 8)
    common = {**controller.options(wait_seconds=300, timeout=120), "docker_host": proxy.host}
    with (
        controller.module(action="restart", server=uuids, **common) as one,
        controller.module(action=rival, server=uuids[::-1], **common) as two,
    ):
        pids = child_of(one), child_of(two)
        found = [result_of(module.wait()) for module in (one, two)]
    actions = {pid: result["action"] for pid, result in zip(pids, found)}
    told = {pid: {entry["server"]: entry for entry in result["servers"]} for pid, result in zip(pids, found)}
    assert all(ending == ("done", "") for result in found for ending in shown_endings(result)), found
    rows = last_operations(lab, uuids)
    for uuid in uuids:
        changes = changes_to(lab, uuid, proxy)
        order = [change.pid for change, before in zip(changes, [None, *changes]) if before is None or before.pid != change.pid]
        # Each has done all of its work before the other began with its own.
        assert sorted(order) == sorted(pids), changes
        last = told[order[-1]][uuid]
        # Ready or not, whether it is up is what its last one says.
        assert lab.is_up(uuid) == (actions[order[-1]] == "restart") == (last["state"] != "offline")
        assert (rows[uuid].action, rows[uuid].outcome) == (actions[order[-1]], "done")
        assert {request.pid for request in changes if request.path.endswith("/start")} == {
            pid for pid, action in actions.items() if action == "restart"
        }
    assert_all_free(lab, uuids)


def control_c(controller: Controller, options: dict[str, Any]) -> tuple[Running, Callable[[Running], None]]:
    options = {name: value for name, value in options.items() if name not in ("config", "docker_host")}
    play = controller.start_play([controller.task(options.pop("action"), options.pop("server"), **options)])
    return play, lambda running: running.signal_all(signal.SIGINT)


def terminate(controller: Controller, options: dict[str, Any]) -> tuple[Running, Callable[[Running], None]]:
    return controller.module(**options), lambda running: running.signal(signal.SIGTERM)


@pytest.mark.samples("terminate")
@pytest.mark.parametrize("way", [control_c, terminate], ids=lambda way: way.__name__)
def test_an_interrupted_call_finishes_what_is_under_way_and_skips_the_rest(
    lab: Lab, controller: Controller, way: Callable[[Controller, dict[str, Any]], tuple[Running, Callable[[Running], None]]]
) -> None:
    locked, *uuids = started(lab, 6, STOP_SECONDS=FOR_EVER)
    under_way, waiting = uuids[:2], uuids[2:]
    before = starts(lab, [locked, *waiting])
    node = lab.node()
    options = controller.options(action="restart", server=[locked, *uuids], max_parallel=2, wait_seconds=300)
    with node.acquire(lab.request("stop", locked, node), locked, 0.0, lambda: None):
        running, interrupt = way(controller, options)
        with running:
            await_phases(lab, under_way, "stop")
            interrupt(running)
            # Who waits for a lock is the first to say that the signal was heard.
            await_ended(lab, "restart", [locked])
            assert phases(lab, under_way) == ["stop", "stop"]
            end(lab, *under_way)
            await_ended(lab, "restart", uuids)
            run = running.wait()
    assert run.code != 0
    rows = last_operations(lab, [locked, *uuids])
    skipped = ("skipped", "interrupted_by_signal")
    assert [(rows[uuid].outcome, rows[uuid].code) for uuid in [locked, *uuids]] == [skipped, *[("done", "")] * 2, *[skipped] * 3]
    assert starts(lab, [locked, *waiting]) == before
    assert all(lab.is_up(uuid) for uuid in uuids)
    if way is terminate:
        result = result_of(run)
        assert shown_endings(result) == [skipped, *[("done", "")] * 2, *[skipped] * 3]
        assert result["failed"] and result["changed"]
    wait_until(lambda: set(phases(lab, uuids)) == {""}, "the locks are free")
    assert_all_free(lab, [locked, *uuids])


def kill_module(module: Running) -> dict[str, Any]:
    """SIGKILL to the process that does the work; what its parent says then."""
    os.kill(child_of(module), signal.SIGKILL)
    return result_of(module.wait())


@pytest.mark.long
def test_after_a_kill_of_its_process_the_journal_has_what_was_done(lab: Lab, controller: Controller) -> None:
    quick, hung = started(lab, 15), started(lab, 5, STOP_SECONDS=FOR_EVER)
    asked = [*hung[:3], *quick, *hung[3:]]
    options = controller.options(action="restart", server=asked, timeout=120)
    with controller.module(**options) as module:
        await_phases(lab, hung, "stop")
        await_ended(lab, "restart", quick)
        told = kill_module(module)
    assert (told["failed"], told["code"]) == (True, "interrupted")
    assert set(phases(lab, asked)) == {""}
    assert_all_free(lab, asked)
    rows = last_operations(lab, asked)
    assert {(rows[uuid].action, rows[uuid].outcome, rows[uuid].code) for uuid in quick} == {("restart", "done", "")}
    assert {(rows[uuid].action, rows[uuid].outcome, rows[uuid].code) for uuid in hung} == {("restart", "failed", "interrupted")}
    with controller.module(**options) as again:
        await_phases(lab, hung, "stop")
        end(lab, *hung)
        result = result_of(again.wait())
    assert shown_endings(result) == [("done", "")] * 20
    assert all(entry.get("state_before") == "stopping" for entry in result["servers"] if entry["server"] in hung)
    assert all(lab.is_up(uuid) for uuid in asked)
