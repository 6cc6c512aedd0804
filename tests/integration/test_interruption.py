# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An action that has begun is finished, whatever becomes of the one who asked; what has not begun never begins."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from .controller import Controller, Running, result_of
from .lab import Lab, wait_until
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
    """Wait until a stop is under way and the server has got it."""
    lab.await_phase(uuid, "stop")
    wait_until(lambda: "got command stop" in lab.log(uuid), "the stop arrived")


def ending(lab: Lab, uuid: str, action: str) -> tuple[str, str]:
    """Outcome and code of the server's last operation, once the journal has its end."""

    def ended() -> tuple[str, str] | None:
        row = lab.node().journal.operations.last(uuid)
        return (row.outcome, row.code) if row is not None and row.action == action and row.outcome else None

    found: tuple[str, str] = wait_until(ended, f"the {action} of {uuid} is in the journal")
    return found


def is_alive(pid: int) -> bool:
    """Whether a process exists and is not a mere entry that waits for its parent."""
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
    """Stop two servers, one after the other, and end something while the first stops.

    Return whether the play ended well, what the journal has of the last operation of each, and whether they are up.
    """
    # Longer than the two seconds that sudo leaves a command between SIGTERM and SIGKILL.
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
                # Another would begin at once.
                time.sleep(1.0)
            rows = [lab.node().journal.operations.last(uuid) for uuid in servers]
            return ended_well, [f"{row.action} {row.outcome}" for row in rows if row is not None], [lab.is_up(uuid) for uuid in servers]


def every_way(lab: Lab, root: Path, may_become: bool, end: Callable[[Running, Sshd], None]) -> dict[Way, object]:
    """What `interrupt` finds for each way to reach the node."""
    ways = [Way(pipelining, become) for pipelining in (True, False) for become in (True, False) if may_become or not become]
    with ThreadPoolExecutor(len(ways)) as pool:
        runs = {way: pool.submit(interrupt, lab, root / f"way-{number}", way, end) for number, way in enumerate(ways)}
        return {way: run.result() for way, run in runs.items()}


@pytest.mark.long
def test_after_ctrl_c_the_stop_under_way_is_finished_and_nothing_else_begins(lab: Lab, tmp_path: Path, sshd: Sshd) -> None:
    found = every_way(lab, tmp_path, sshd.may_become, control_c)
    assert found == dict.fromkeys(found, (False, ["stop done", "start done"], [False, True]))


@pytest.mark.samples("cut_connection")
@pytest.mark.parametrize("end", [kill_ssh, cut_connection], ids=lambda end: end.__name__)
def test_a_task_whose_connection_breaks_goes_on_as_if_nothing_had_been(
    lab: Lab, tmp_path: Path, sshd: Sshd, end: Callable[[Running, Sshd], None]
) -> None:
    found = every_way(lab, tmp_path, sshd.may_become, end)
    assert found == dict.fromkeys(found, (True, ["stop done", "stop done"], [False, False]))


def test_control_c_beside_a_local_connection_leaves_nothing_half_done(lab: Lab, controller: Controller) -> None:
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
def test_a_module_with_a_signal_finishes_what_it_has_begun_and_reports_the_rest(
    lab: Lab, controller: Controller, number: signal.Signals
) -> None:
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
    """SIGKILL to that process and all of its group, as sudo does when its terminal is gone."""
    module.signal_all(signal.SIGKILL)


@pytest.mark.samples("kill_parent")
@pytest.mark.parametrize("end", [hang_up, close_output, kill_parent, kill_group], ids=lambda end: end.__name__)
def test_a_module_without_a_caller_finishes_what_it_has_begun_and_begins_nothing(
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
