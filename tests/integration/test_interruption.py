# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Actions on one or many servers after their caller leaves or dies."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
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
from .sshd import Sshd, running_sshd


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    with running_sshd(tmp_path_factory.mktemp("sshd")) as running:
        yield running


def control_c(playbook: Running, _sshd: Sshd) -> None:
    playbook.signal_all(signal.SIGINT)


def kill_ssh(_playbook: Running, sshd: Sshd) -> None:
    sshd.kill_clients()


def cut_connection(_playbook: Running, sshd: Sshd) -> None:
    sshd.kill_sessions()


def await_stop(lab: Lab, uuid: str) -> None:
    """Wait until the server has received the stop command."""
    lab.await_phase(uuid, "stop")
    wait_until(lambda: "got command stop" in lab.log(uuid), "the stop arrived")


def ending(lab: Lab, uuid: str, action: str) -> tuple[str, str]:
    def ended() -> tuple[str, str] | None:
        row = lab.node().journal.operations.last(uuid)
        return (row.outcome, row.code) if row is not None and row.action == action and row.outcome else None

    found: tuple[str, str] = wait_until(ended, f"the {action} of {uuid} is in the journal")
    return found


def is_alive(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    return False


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@dataclass(frozen=True)
class Way:
    pipelining: bool
    become: bool


def interrupt(lab: Lab, root: Path, way: Way, end: Callable[[Running, Sshd], None]) -> tuple[bool, list[str], list[bool]]:
    """Stop two servers in turn, and call ``end`` during the first stop. Return success, last operations, and whether each server is up."""
    # Longer than the two seconds of sudo between SIGTERM and SIGKILL.
    servers = [lab.up(MARK=1, STOP_SECONDS=5), lab.up(MARK=1)]
    (root / "sshd").mkdir(parents=True)
    with running_sshd(root / "sshd") as sshd:
        connection = {**sshd.variables, "ansible_pipelining": way.pipelining, "ansible_become": way.become}
        controller = Controller(lab, root / "controller", connection=connection)
        with controller.start_play([controller.task("stop", servers, max_parallel=1)]) as playbook:
            await_stop(lab, servers[0])
            end(playbook, sshd)
            ended_well = playbook.wait().code == 0
            assert ending(lab, servers[0], "stop") == ("done", "")
            if not ended_well:
                # The next action would begin at once.
                time.sleep(1.0)
            rows = [lab.node().journal.operations.last(uuid) for uuid in servers]
            return ended_well, [f"{row.action} {row.outcome}" for row in rows if row is not None], [lab.is_up(uuid) for uuid in servers]


def every_way(lab: Lab, root: Path, may_become: bool, end: Callable[[Running, Sshd], None]) -> dict[Way, object]:
    ways = [Way(pipelining, become) for pipelining in (True, False) for become in (True, False) if may_become or not become]
    with ThreadPoolExecutor(len(ways)) as pool:
        runs = {way: pool.submit(interrupt, lab, root / f"way-{number}", way, end) for number, way in enumerate(ways)}
        return {way: run.result() for way, run in runs.items()}


@pytest.mark.long
def test_ctrl_c_lets_the_running_stop_finish_and_no_other_begin(lab: Lab, tmp_path: Path, sshd: Sshd) -> None:
    found = every_way(lab, tmp_path, sshd.may_become, control_c)
    assert found == dict.fromkeys(found, (False, ["stop done", "stop skipped"], [False, True]))


#: What `interrupt` returns if the task does both stops.
BOTH_DONE = (True, ["stop done", "stop done"], [False, False])


def test_a_task_continues_after_its_connection_breaks(lab: Lab, tmp_path: Path) -> None:
    assert interrupt(lab, tmp_path / "way", Way(pipelining=True, become=False), cut_connection) == BOTH_DONE


@pytest.mark.long
@pytest.mark.parametrize("end", [kill_ssh, cut_connection], ids=lambda end: end.__name__)
def test_a_task_continues_after_its_connection_breaks_in_every_way(
    lab: Lab, tmp_path: Path, sshd: Sshd, end: Callable[[Running, Sshd], None]
) -> None:
    found = every_way(lab, tmp_path, sshd.may_become, end)
    assert found == dict.fromkeys(found, BOTH_DONE)


def test_ctrl_c_on_a_local_connection_leaves_no_server_half_done(lab: Lab, controller: Controller) -> None:
    uuid, following = lab.up(MARK=1, STOP_SECONDS=3), lab.up(MARK=1)
    with controller.start_play([controller.task("restart", [uuid, following], max_parallel=1)]) as playbook:
        await_stop(lab, uuid)
        playbook.signal_all(signal.SIGINT)
        assert playbook.wait().code != 0
        assert ending(lab, uuid, "restart") == ("done", "")
        assert ending(lab, following, "restart") == ("skipped", "interrupted_by_signal")
    assert lab.is_up(uuid) and lab.log(uuid).count("ready") == 2
    assert lab.is_up(following) and lab.log(following).count("ready") == 1


@pytest.mark.samples("SIGHUP")
@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_a_signal_lets_the_module_finish_its_action_and_skip_the_rest(lab: Lab, controller: Controller, number: signal.Signals) -> None:
    uuid, following = lab.up(MARK=1, STOP_SECONDS=4), lab.up(MARK=1)
    with controller.module(**controller.options(action="restart", server=[uuid, following], max_parallel=1)) as module:
        await_stop(lab, uuid)
        module.signal(number)
        module.signal(number)
        result = result_of(module.wait())
    assert [(entry["outcome"], entry.get("code")) for entry in result["servers"]] == [
        ("done", None),
        ("skipped", "interrupted_by_signal"),
    ]
    assert result["failed"] and result["changed"]
    assert result["msg"].startswith("Cannot restart 1 of 2 servers:") and "interrupted_by_signal" in result["msg"]
    assert (ending(lab, uuid, "restart"), ending(lab, following, "restart")) == (("done", ""), ("skipped", "interrupted_by_signal"))
    assert lab.is_up(uuid) and lab.log(uuid).count("ready") == 2
    assert lab.log(following).count("ready") == 1


def hang_up(module: Running) -> None:
    module.signal_all(signal.SIGHUP)


def close_output(module: Running) -> None:
    module.close_output()


def kill_parent(module: Running) -> None:
    module.signal(signal.SIGKILL)


def kill_group(module: Running) -> None:
    """SIGKILL to the process group, as sudo does after the loss of its terminal."""
    module.signal_all(signal.SIGKILL)


@pytest.mark.samples("kill_parent")
@pytest.mark.parametrize("end", [hang_up, close_output, kill_parent, kill_group], ids=lambda end: end.__name__)
def test_a_module_without_a_caller_finishes_its_action_and_begins_no_other(
    lab: Lab, controller: Controller, end: Callable[[Running], None]
) -> None:
    uuid, following = lab.up(MARK=1, STOP_SECONDS=4), lab.up(MARK=1)
    with controller.module(**controller.options(action="stop", server=[uuid, following], max_parallel=1)) as module:
        await_stop(lab, uuid)
        (child,) = children(module.pid)
        end(module)
        assert (ending(lab, uuid, "stop"), ending(lab, following, "stop")) == (("done", ""), ("skipped", "interrupted_by_signal"))
        wait_until(lambda: not is_alive(child), "the module ends")
    assert not lab.is_up(uuid) and lab.is_up(following)


def child_of(module: Running) -> int:
    """Wait for the process that does a module's work, and return its pid."""
    (child,) = wait_until(lambda: children(module.pid), "the module has begun to work")
    return int(child)


def changes_to(lab: Lab, uuid: str, proxy: EngineProxy) -> list[Seen]:
    container = lab.container(uuid)
    assert container is not None
    names = (f"/containers/{container['Id']}", f"/containers/{uuid}")
    return [request for request in proxy.seen if request.changes and any(name in request.path for name in names)]


@pytest.mark.long
@pytest.mark.parametrize("rival", ["restart", pytest.param("stop", marks=pytest.mark.long)])
def test_two_calls_act_on_each_server_one_after_the_other(lab: Lab, controller: Controller, proxy: EngineProxy, rival: str) -> None:
    uuids = started(lab, 8)
    common = {**controller.options(wait_seconds=300, timeout=120), "docker_host": proxy.host}
    with (
        controller.module(action="restart", server=uuids, **common) as one,
        controller.module(action=rival, server=uuids[::-1], **common) as two,
    ):
        pids = child_of(one), child_of(two)
        found = [result_of(module.wait()) for module in (one, two)]
    actions = {pid: result["action"] for pid, result in zip(pids, found)}
    entries = {pid: {entry["server"]: entry for entry in result["servers"]} for pid, result in zip(pids, found)}
    assert all(ending == ("done", "") for result in found for ending in shown_endings(result)), found
    rows = last_operations(lab, uuids)
    for uuid in uuids:
        changes = changes_to(lab, uuid, proxy)
        order = [change.pid for change, before in zip(changes, [None, *changes]) if before is None or before.pid != change.pid]
        # Each call finished its work on this server before the other began.
        assert sorted(order) == sorted(pids), changes
        last = entries[order[-1]][uuid]
        # The last call decides whether the server is up, ready or not.
        assert lab.is_up(uuid) == (actions[order[-1]] == "restart") == (last["state"] != "offline")
        assert (rows[uuid].action, rows[uuid].outcome) == (actions[order[-1]], "done")
        assert {request.pid for request in changes if request.path.endswith("/start")} == {
            pid for pid, action in actions.items() if action == "restart"
        }
    assert_all_free(lab, uuids)


def control_c_on_play(controller: Controller, options: dict[str, Any]) -> tuple[Running, Callable[[Running], None]]:
    options = {name: value for name, value in options.items() if name not in ("config", "docker_host")}
    play = controller.start_play([controller.task(options.pop("action"), options.pop("server"), **options)])
    return play, lambda running: running.signal_all(signal.SIGINT)


def terminate(controller: Controller, options: dict[str, Any]) -> tuple[Running, Callable[[Running], None]]:
    return controller.module(**options), lambda running: running.signal(signal.SIGTERM)


@pytest.mark.samples("terminate")
@pytest.mark.parametrize("way", [control_c_on_play, terminate], ids=lambda way: way.__name__)
def test_an_interrupted_call_finishes_running_actions_and_skips_the_rest(
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
            # The action that waits for the lock ends first after the signal.
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
    """SIGKILL to the process that does the work; return the result that its parent prints."""
    os.kill(child_of(module), signal.SIGKILL)
    return result_of(module.wait())


@pytest.mark.long
def test_the_journal_has_done_and_interrupted_actions_after_a_kill_of_the_module(lab: Lab, controller: Controller) -> None:
    quick, hung = started(lab, 15), started(lab, 5, STOP_SECONDS=FOR_EVER)
    asked = [*hung[:3], *quick, *hung[3:]]
    options = controller.options(action="restart", server=asked, timeout=120)
    with controller.module(**options) as module:
        await_phases(lab, hung, "stop")
        await_ended(lab, "restart", quick)
        killed = kill_module(module)
    assert (killed["failed"], killed["code"]) == (True, "interrupted")
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
