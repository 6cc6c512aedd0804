# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The supervisor starts crashed servers again, survives its own death, and pauses."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.host.supervisor_record import read_record
from ansible_collections.fleet.power.plugins.module_utils._supervisor import connection_watch, service

from .controller import Controller
from .engine_proxy import EngineProxy
from .engine_rounds import EngineRounds
from .lab import Lab, ended, lab_on, wait_until
from .own_engine import own_engine
from .supervised_rounds import Rounds
from .supervisors import (
    Supervising,
    SupervisingHere,
    await_run_after,
    await_verdicts,
    crash,
    die_in_restart,
    rows_of,
    run_of,
    state_directory,
    verdicts,
)


def test_the_supervisor_starts_a_crashed_server_and_records_one_complete_row(lab: Lab) -> None:
    uuid = lab.up()
    with Supervising(lab):
        before = crash(lab, uuid)
        after = await_run_after(lab, uuid, before)
        (row,) = await_verdicts(lab, uuid, "crashed")
        wait_until(lambda: not rows_due(lab, uuid), "the row is closed")
    (row,) = await_verdicts(lab, uuid, "crashed")
    assert (row.run, row.exit_code, row.oom_killed, row.consecutive_crashes, row.next_run) == (before, 137, False, 1, after)
    assert any("ready" in line for line in row.log)
    node = lab.node()
    operation = node.journal.operations.last(uuid)
    assert operation is not None and (operation.origin, operation.action, operation.outcome) == ("supervisor", "start", "done")
    intent = node.journal.intents.of(uuid)
    assert intent is not None and intent.up and intent.origin != "supervisor"


def rows_due(lab: Lab, uuid: str) -> list[int]:
    return [row.number for row in lab.node().journal.ended_runs.due() if row.server.uuid == uuid]


@pytest.mark.samples("stop")
@pytest.mark.parametrize("action", ["stop", "kill"])
def test_our_stop_or_kill_is_no_crash_and_the_server_stays_down(lab: Lab, action: str) -> None:
    uuid = lab.up()
    with Supervising(lab):
        assert ended(lab.power(action, uuid)) == ("done", "")
        time.sleep(1.0)
        assert not lab.is_up(uuid)
        assert verdicts(lab, uuid) == ["stopped"]


def test_our_restart_is_no_crash_and_happens_once(lab: Lab) -> None:
    uuid = lab.up()
    with Supervising(lab):
        assert ended(lab.power("restart", uuid)) == ("done", "")
        after = run_of(lab, uuid)
        time.sleep(1.0)
        assert run_of(lab, uuid) == after
        assert verdicts(lab, uuid) == ["restarting"]


def test_the_supervisor_finishes_a_restart_that_dies_between_stop_and_start(lab: Lab) -> None:
    uuid = lab.up(STOP_SECONDS=4, MARK=1)
    with Supervising(lab):
        before = run_of(lab, uuid)
        with lab.actor("restart", uuid) as actor:
            die_in_restart(lab, uuid, actor)
        await_run_after(lab, uuid, before)
        await_verdicts(lab, uuid, "restarting")


def test_a_stop_at_the_engine_keeps_only_that_run_down(lab: Lab) -> None:
    uuid = lab.up()
    with Supervising(lab):
        lab.client.stop(uuid, timeout=1)
        await_verdicts(lab, uuid, "stopped_externally")
        assert not lab.is_up(uuid)
        lab.client.start(uuid)
        wait_until(lambda: lab.node().journal.runs.known_of(uuid).run == run_of(lab, uuid), "the supervisor has seen the new run")
        before = crash(lab, uuid)
        await_run_after(lab, uuid, before)
        await_verdicts(lab, uuid, "crashed", "stopped_externally")


def test_the_next_supervisor_finds_a_crash_from_before_its_start(lab: Lab) -> None:
    uuid = lab.up()
    with Supervising(lab) as supervising:
        supervising.kill()
        before = crash(lab, uuid)
        wait_until(lambda: not lab.is_up(uuid), "the server is down")
        supervising.begin_again()
        await_run_after(lab, uuid, before)
        await_verdicts(lab, uuid, "crashed")


@pytest.mark.long
def test_the_next_supervisor_finds_a_crash_of_the_first_server_of_a_node(lab: Lab) -> None:
    with Supervising(lab) as supervising:
        uuid = lab.up()
        supervising.kill()
        before = crash(lab, uuid)
        supervising.begin_again()
        await_run_after(lab, uuid, before)
        await_verdicts(lab, uuid, "crashed")


def test_a_second_supervisor_names_the_first_and_exits(lab: Lab) -> None:
    uuid = lab.up()
    with Supervising(lab) as first:
        second = Supervising(lab)
        assert second.child.wait(20) == 1
        (line,) = second.errors.read_text().splitlines()
        assert re.fullmatch(
            rf"Cannot supervise: process {first.child.pid}, since \S+, already does so; look at fleet-power-supervisor", line
        ), line
        await_run_after(lab, uuid, crash(lab, uuid))


def test_a_supervisor_finishes_its_begun_start_on_sigterm(lab: Lab, proxy: EngineProxy) -> None:
    uuid = lab.up()
    with Supervising(lab.at(proxy.host)) as supervising:
        held = proxy.hold("POST", r"/start$")
        before = crash(lab, uuid)
        held.await_arrival()
        supervising.child.terminate()
        with pytest.raises(subprocess.TimeoutExpired):
            supervising.child.wait(1.0)
        held.release()
        assert supervising.child.wait(20) == 0
        assert lab.is_up(uuid)
        (row,) = rows_of(lab, uuid)
        assert (row.run, row.due, row.next_run) == (before, False, run_of(lab, uuid))


#: When it dies: while the start request or its answer is held. ``dropped``: the engine never gets the request.
DEATHS = {
    "before the start reaches the engine": {"answer": False, "dropped": True},
    "while the start is under way": {"answer": False, "dropped": False},
    "after the start, before its record": {"answer": True, "dropped": False},
}


@pytest.mark.samples("after the start, before its record")
@pytest.mark.parametrize("moment", DEATHS)
def test_a_supervisor_killed_during_a_start_leaves_one_row_and_one_run(lab: Lab, proxy: EngineProxy, moment: str) -> None:
    uuid = lab.up()
    with Supervising(lab.at(proxy.host)) as supervising:
        held = proxy.hold("POST", r"/start$", answer=DEATHS[moment]["answer"])
        before = crash(lab, uuid)
        held.await_arrival()
        supervising.kill()
        (held.drop if DEATHS[moment]["dropped"] else held.release)()
        supervising.begin_again()
        supervising.await_ready()
        after = await_run_after(lab, uuid, before)
        wait_until(lambda: not any(row.due for row in rows_of(lab, uuid)), "no start is due")
        time.sleep(0.5)
        (row,) = rows_of(lab, uuid)
        assert (run_of(lab, uuid), row.consecutive_crashes, row.next_run) == (after, 1, after)
        crash(lab, uuid)
        newest, _first = await_verdicts(lab, uuid, "crashed", "crashed")
        assert newest.consecutive_crashes == 2


@pytest.mark.samples("leave-2")
@pytest.mark.parametrize(
    "crash_after, clean_exit", [(2, "leave"), (2, "restart"), (1, "restart")], ids=["leave-2", "restart-2", "restart-1"]
)
def test_clean_exit_restart_starts_only_a_server_that_was_ready(lab: Lab, crash_after: int, clean_exit: str) -> None:
    lab.write_settings(supervisor={"clean_exit": clean_exit})
    uuid = lab.server(CRASH_AFTER=crash_after, EXIT_CODE=0, BOOT_SECONDS=1.5)
    with Supervising(lab):
        lab.power("start", uuid)
        run = run_of(lab, uuid)
        row = await_verdicts(lab, uuid, "ended")[-1]
        assert (row.exit_code, row.run) == (0, run)
        if (crash_after, clean_exit) == (2, "restart"):
            await_run_after(lab, uuid, run)
            return
        time.sleep(1.0)
        assert (lab.is_up(uuid), row.due, verdicts(lab, uuid)) == (False, False, ["ended"])


def paused(lab: Lab) -> str | None:
    record = read_record([str(lab.root / "run")])
    return None if record is None else record.paused


def await_paused(lab: Lab, reason: str) -> None:
    wait_until(lambda: paused(lab) == reason, f"paused: {reason!r}")


RECORDS = {
    "under way": (json.dumps({"phase": "stopping"}), "maintenance"),
    "another version": (json.dumps({"stage": 3}), "maintenance_unreadable"),
    "broken": ('{"phase": ', "maintenance_unreadable"),
    "nested": ("[" * 100_000, "maintenance_unreadable"),
}


@pytest.mark.samples("under way")
@pytest.mark.parametrize("record", RECORDS)
def test_due_starts_wait_until_the_maintenance_ends(lab: Lab, record: str) -> None:
    uuid, file = lab.up(), state_directory(lab) / "maintenance.json"
    with Supervising(lab):
        text, reason = RECORDS[record]
        file.write_text(text)
        # Before a start the supervisor looks for the record, but not twice in this pause.
        time.sleep(connection_watch._DUE_PAUSE_SECONDS)
        before = crash(lab, uuid)
        (row,) = await_verdicts(lab, uuid, "crashed")
        await_paused(lab, reason)
        time.sleep(1.0)
        assert (row.due, lab.is_up(uuid)) == (True, False)
        file.unlink()
        await_run_after(lab, uuid, before)
        await_paused(lab, "")


@pytest.fixture(name="wings")
def wings_at_will(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Supervisors of this process find Wings if its pid is in this list, and look for it more often."""
    found: list[int] = []
    build = service.build_node
    monkeypatch.setattr(
        service, "build_node", lambda *given, **named: replace(build(*given, **named), wings_pid=lambda: found[0] if found else None)
    )
    monkeypatch.setattr(connection_watch, "_PAUSE_SECONDS", 0.2)
    return found


def test_the_supervisor_pauses_beside_wings_and_leaves_servers_down_after_it(lab: Lab, wings: list[int]) -> None:
    first, second = lab.up(), lab.up()
    with SupervisingHere(lab):
        wings.append(4321)
        await_paused(lab, "wings")
        crash(lab, first)
        time.sleep(1.0)
        assert (lab.is_up(first), verdicts(lab, first)) == (False, [])
        wings.clear()
        await_verdicts(lab, first, "initially_down")
        await_paused(lab, "")
        time.sleep(0.5)
        assert not lab.is_up(first)
        await_run_after(lab, second, crash(lab, second))
        assert ended(lab.power("start", first)) == ("done", "")
        await_run_after(lab, first, crash(lab, first))


def test_a_start_or_a_changed_definition_ends_the_crash_loop_of_a_server(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_watch, "_ALL_SECONDS", 0.5)
    lab.write_settings(supervisor={"max_restarts": 0})
    uuid = lab.up()
    with SupervisingHere(lab):
        before = crash(lab, uuid)
        (row,) = await_verdicts(lab, uuid, "crashed")
        time.sleep(1.5)
        assert (lab.is_up(uuid), row.due, row.consecutive_crashes) == (False, True, 1)
        lab.edit(uuid, environment={"FIXED": "yes"})
        await_run_after(lab, uuid, before)
        wait_until(lambda: rows_of(lab, uuid)[0].next_run == run_of(lab, uuid), "the row names the next run")
        crash(lab, uuid)
        assert (await_verdicts(lab, uuid, "crashed", "crashed"))[0].consecutive_crashes == 1
        assert ended(lab.power("start", uuid)) == ("done", "")
        wait_until(lambda: not any(row.due for row in rows_of(lab, uuid)), "no start is due")


def race(lab: Lab, seed: int, *, servers: int, rounds: int) -> None:
    # Rounds crash a server more often than the default of max_restarts allows.
    lab.write_settings(supervisor={"max_restarts": 1000, "reset_after": 1})
    uuids = [lab.up(STOP_SECONDS=number % 3 / 4, EXIT_CODE=number % 2) for number in range(servers)]
    with Supervising(lab) as supervising:
        played = Rounds(lab, supervising, uuids, seed)
        try:
            for number in range(rounds):
                played.play()
                played.await_quiet()
                found = list(played.violations())
                assert not found, "\n".join([f"seed {seed}, round {number}", *found])
        finally:
            played.close()


@pytest.mark.long
def test_a_few_rounds_give_the_expected_states_and_verdicts(lab: Lab) -> None:
    race(lab, 1, servers=4, rounds=1)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(100, 103))
def test_hundreds_of_rounds_give_the_expected_states_and_verdicts(lab: Lab, seed: int) -> None:
    race(lab, seed, servers=8, rounds=13)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(200, 203))
def test_rounds_with_an_end_of_the_engine_give_the_expected_states_and_verdicts(tmp_path: Path, docker_host: str, seed: int) -> None:
    for own in own_engine(docker_host):
        for lab in lab_on(tmp_path, own.host):
            lab.write_settings(supervisor={"max_restarts": 1000, "reset_after": 1})
            uuids = [lab.up(STOP_SECONDS=number % 3 / 4, EXIT_CODE=number % 2) for number in range(6)]
            with Supervising(lab) as supervising:
                played = EngineRounds(lab, own, supervising, uuids, seed)
                for number in range(8):
                    played.play()
                    played.await_quiet()
                    found = list(played.violations())
                    assert not found, "\n".join([f"seed {seed}, round {number}", *found])


def look(controller: Controller, uuid: str, **options: object) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the entry of a server and the whole result of the info module."""
    result = controller.run_module("server_power_info", **controller.options(server=uuid, **options))
    (entry,) = result["servers"]
    return entry, result


def test_the_info_module_returns_crashes_and_their_supervision(lab: Lab, controller: Controller) -> None:
    # The engine dates an immediate line of a server some milliseconds before its start.
    uuid = lab.up(BOOT_SECONDS=0.5)
    entry, result = look(controller, uuid)
    assert result["supervisor"] == {"running": False, "since": None, "paused": None}
    assert (entry["supervision"]["state"], entry["supervision"]["running"]) == ("ok", False)
    with Supervising(lab):
        for _crash in range(2):
            before = crash(lab, uuid)
            after = await_run_after(lab, uuid, before, 30)
            wait_until(lambda: look(controller, uuid)[0]["state"] == "running", "the server is ready", 30)
        entry, result = look(controller, uuid, crashes=5)
        assert result["supervisor"]["running"] is True and result["supervisor"]["since"]
        supervision = entry["supervision"]
        assert [supervision[name] for name in ("state", "verdict", "next_at", "consecutive_crashes", "crashes_today")] == [
            "ok",
            None,
            None,
            2,
            2,
        ]
        newest = entry["crashes"][0]
        assert [newest[name] for name in ("verdict", "exit_code", "consecutive_crashes", "origin")] == ["crashed", 137, 2, None]
        assert (newest["container"], newest["started_at"]) == (before.container, before.started_at) != (after.container, after.started_at)
        assert len(entry["crashes"]) == 2 and any("ready" in line for line in newest["log"])
        # The back-off after the third crash takes twenty seconds.
        crash(lab, uuid)
        await_verdicts(lab, uuid, "crashed", "crashed", "crashed")
        entry, _result = look(controller, uuid)
        supervision = entry["supervision"]
        assert [supervision[name] for name in ("state", "verdict", "exit_code", "consecutive_crashes")] == ["backoff", "crashed", 137, 3]
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", supervision["next_at"])
    entry, result = look(controller, uuid)
    assert result["supervisor"]["running"] is False
    assert (entry["supervision"]["state"], entry["supervision"]["next_at"]) == ("backoff", None), "no supervisor will start it"


def test_a_waiting_start_fails_with_its_own_run_after_a_supervised_start(lab: Lab) -> None:
    uuid = lab.server(BOOT_SECONDS=600)
    with Supervising(lab), lab.actor("start", uuid, wait_for="running", wait_timeout=60) as start:
        wait_until(lambda: lab.is_up(uuid), "the server boots", 30)
        # The supervisor needs less time to see the run.
        time.sleep(1.0)
        named = run_of(lab, uuid)
        crash(lab, uuid)
        await_run_after(lab, uuid, named)
        result = start.result()
    assert (result["outcome"], result["code"], result["exit_code"]) == ("failed", "start_failed", 137)
    assert result["run"] == {"container": named.container, "started_at": named.started_at}
