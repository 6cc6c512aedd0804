# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Many servers in one task: separate results, slots and locks."""

from __future__ import annotations

import re
import shutil
import threading
import uuid as uuid_module
from collections.abc import Callable

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.actions.node import limiter
from ansible_collections.fleet.power.plugins.module_utils._power.model.server import PowerState

from .controller import Controller, result_of
from .engine_proxy import EngineProxy
from .lab import Lab, wait_until
from .many import (
    FOR_EVER,
    assert_all_free,
    await_ended,
    beside,
    end,
    endings,
    last_operations,
    most_at_once,
    phases,
    power_each,
    seconds,
    servers,
    shown_endings,
    started,
    starts,
)
from .phases import start_of


def nine_bad_ones(lab: Lab) -> dict[str, str]:
    """The names of nine servers that cannot be restarted, each with the code of its reason."""
    broken, foreign = lab.server(), lab.server()
    (lab.root / "servers" / f"{broken}.json").write_text('{"settings": ')
    lab.outsider(foreign)
    full = lab.server(build={"disk_space": 1})
    lab.volume(full).mkdir(parents=True)
    (lab.volume(full) / "world").write_bytes(b"w" * 2_000_000)
    bereft = lab.server()
    assert lab.power("start", bereft).outcome.value == "done"
    lab.power("kill", bereft)
    shutil.rmtree(lab.volume(bereft))
    for _unused in range(2):
        lab.server(name="Twin")
    return {
        str(uuid_module.uuid4()): "server_not_found",
        broken: "definition_invalid",
        lab.server(suspended=True): "suspended",
        foreign: "container_foreign",
        lab.server(image="~fleet-power/absent:1"): "image_unavailable",
        full: "disk_full",
        bereft: "volume_missing",
        lab.server(CRASH_AFTER=0, EXIT_CODE=3): "start_failed",
        "Twin": "ambiguous_server",
    }


@pytest.mark.parametrize("fine", [10, pytest.param(40, marks=pytest.mark.long)])
def test_ten_bad_servers_fail_with_their_codes_and_the_others_are_done(lab: Lab, controller: Controller, fine: int) -> None:
    bad = nine_bad_ones(lab)
    good = started(lab, fine // 4) + servers(lab, fine - fine // 4)
    (locked,) = started(lab, 1, STOP_SECONDS=FOR_EVER)
    expected = {**bad, locked: "lock_timeout"}
    asked = [name for pair in zip(expected, good) for name in pair] + good[len(expected) :]
    name = lab.definition(good[0])["settings"]["meta"]["name"]
    # More names of one server: it has one result, at its first name.
    asked += [good[0].upper(), good[0][:8], name]
    with lab.actor("stop", locked) as stop:
        lab.await_phase(locked, "stop")
        result = controller.run_module(
            **controller.options(action="restart", server=asked, wait_seconds=0, wait_for="running", timeout=120, wait_timeout=120)
        )
        end(lab, locked)
        assert stop.result()["outcome"] == "done"
    assert [entry["server"] for entry in result["servers"]] == asked[: 10 + fine]
    found = {entry["server"]: entry.get("code", "") for entry in result["servers"]}
    assert {server: code for server, code in found.items() if code} == expected
    assert result["summary"]["done"] == fine
    assert {entry["outcome"] for entry in result["servers"] if entry["server"] in bad} == {"refused", "failed"}
    assert result["failed"] and result["changed"] and len(result["summary"]["text"]) == 10
    assert all(lab.is_up(uuid) for uuid in good)


def test_past_the_failure_budget_running_actions_finish_and_no_other_begins(lab: Lab, controller: Controller) -> None:
    slow, *rest = started(lab, 5, STOP_SECONDS=FOR_EVER)
    bad = [lab.server(suspended=True) for _unused in range(2)]
    before = starts(lab, rest), last_operations(lab, rest)
    options = controller.options(action="restart", server=[slow, *bad, *rest], max_parallel=2, max_failures=1)
    with controller.module(**options) as module:
        lab.await_phase(slow, "stop")
        # Two failures exceed the budget of one: no action begins any more, although a slot is free.
        await_ended(lab, "restart", bad)
        end(lab, slow)
        result = result_of(module.wait())
    assert shown_endings(result) == [("done", ""), *[("refused", "suspended")] * 2, *[("skipped", "failure_budget")] * 4]
    assert result["failed"] and result["msg"].startswith("Cannot restart 6 of 7 servers")
    assert not any(entry["changed"] for entry in result["servers"][1:])
    assert (starts(lab, rest), last_operations(lab, rest)) == before


def test_max_parallel_bounds_servers_from_their_turn_to_the_end_of_their_wait(lab: Lab) -> None:
    uuids = servers(lab, 8, BOOT_SECONDS=0.5)
    assert set(endings(power_each(lab, "start", uuids, max_parallel=3, wait_for="running"))) == {("done", "")}
    turns = [(seconds(row.begun_at), seconds(row.ended_at)) for row in last_operations(lab, uuids).values()]
    assert most_at_once(turns) == 3
    assert min(ended - begun for begun, ended in turns) >= 0.5


ANY_START = start_of("")


@pytest.fixture
def boot_slots(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    return lambda count: monkeypatch.setattr(limiter, "default_slots", lambda: count)


def one_in_phase(lab: Lab, uuids: list[str], phase: str) -> tuple[str, str]:
    """Wait until the lock holder of one of two servers is in a phase; return this server, then the other."""
    wait_until(lambda: phase in phases(lab, uuids), f"one is in phase {phase}")
    first, second = sorted(uuids, key=lambda uuid: phases(lab, [uuid]) != [phase])
    return first, second


def test_boot_slots_bound_boots_from_pre_boot_to_the_answer_of_the_start(
    lab: Lab, proxy: EngineProxy, boot_slots: Callable[[int], None]
) -> None:
    boot_slots(2)
    proxy.latency = lambda request: 0.2 if request.path.endswith(("/start", "/rename")) else 0.0
    results = power_each(lab.at(proxy.host), "start", servers(lab, 6))
    assert set(endings(results)) == {("done", "")}
    boots: dict[str, list[float]] = {}
    for request in proxy.seen:
        # The container takes its place, then it starts.
        if found := re.search(r"/containers/([^/]+)/(rename|start)", request.path):
            assert request.answered_at is not None
            boots.setdefault(found[1], []).extend([request.at, request.answered_at])
    assert len(boots) == 6
    assert most_at_once([(min(moments), max(moments)) for moments in boots.values()]) == 2


def test_a_restart_that_waits_for_a_boot_slot_keeps_its_lock_and_a_kill_ends_it(
    lab: Lab, proxy: EngineProxy, boot_slots: Callable[[int], None]
) -> None:
    boot_slots(1)
    uuids = started(lab, 2)
    hold = proxy.hold("POST", ANY_START)
    with beside(lambda: power_each(lab.at(proxy.host), "restart", uuids), hold.release) as restarting:
        waiting, booting = one_in_phase(lab, uuids, "queue")
        hold.await_arrival()
        assert phases(lab, [booting]) == ["start"]
        assert not lab.is_up(waiting)
        refused = lab.power("start", waiting, wait_seconds=0)
        kill = lab.power("kill", waiting)
        assert not restarting.done()
        # The first restart still has its slot: only the kill can have ended the wait.
        assert phases(lab, [booting, waiting]) == ["start", ""]
        hold.release()
        results = {result.server.uuid: result for result in restarting.result()}
    assert (refused.code, refused.holder is not None and refused.holder["phase"]) == ("lock_timeout", "queue")
    assert (kill.outcome.value, kill.cancelled, kill.state) == ("done", "restart", PowerState.OFFLINE)
    killed = results[waiting]
    assert (killed.outcome.value, killed.code, killed.state) == ("cancelled", "cancelled_by_kill", PowerState.OFFLINE)
    assert endings([results[booting]]) == [("done", "")]
    assert (lab.is_up(waiting), lab.is_up(booting)) == (False, True)
    assert_all_free(lab, uuids)


def test_an_interrupted_call_finishes_its_running_actions_and_begins_no_other(
    lab: Lab, proxy: EngineProxy, boot_slots: Callable[[int], None]
) -> None:
    """Restarts that wait for a slot to boot finish. Starts that wait for one do not begin."""
    boot_slots(1)
    up, down, gone = started(lab, 2), servers(lab, 2), threading.Event()
    for action, uuids in (("restart", up), ("start", down)):
        hold = proxy.hold("POST", ANY_START)
        gone.clear()
        with beside(lambda: power_each(lab.at(proxy.host), action, uuids, interrupted=gone.is_set), hold.release) as acting:  # noqa: B023
            booting, waiting = one_in_phase(lab, uuids, "start")
            hold.await_arrival()
            if action == "restart":
                lab.await_phase(waiting, "queue")
            gone.set()
            if action == "start":
                await_ended(lab, "start", [waiting])
            hold.release()
            results = {result.server.uuid: result for result in acting.result()}
        expected = ("done", "") if action == "restart" else ("skipped", "interrupted_by_signal")
        assert endings([results[booting], results[waiting]]) == [("done", ""), expected]
        assert lab.is_up(booting) and lab.is_up(waiting) == (action == "restart")
        assert_all_free(lab, uuids)
