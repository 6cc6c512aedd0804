# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The supervisor alone on its node, at its end, and killed in the middle of a start; and ends that are told by more than a signal."""

from __future__ import annotations

import re
import subprocess
import time

import pytest

from .engine_proxy import EngineProxy
from .lab import Lab, wait_until
from .supervisors import Supervising, await_run_after, await_verdicts, crash, rows_of, run_of, verdicts


def test_a_second_supervisor_says_who_is_first_and_leaves_it_alone(lab: Lab) -> None:
    uuid = lab.up()
    with Supervising(lab) as first:
        second = Supervising(lab)
        assert second.child.wait(20) == 1
        (line,) = second.errors.read_text().splitlines()
        assert re.fullmatch(
            rf"Cannot supervise: process {first.child.pid}, since \S+, does already; look at fleet-power-supervisor", line
        ), line
        await_run_after(lab, uuid, crash(lab, uuid))


def test_a_signal_to_end_has_it_finish_the_start_that_it_has_begun(lab: Lab, proxy: EngineProxy) -> None:
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


#: Where it is killed: a request of its start or the answer to it that does not come through, and whether that is carried out.
DEATHS = {
    "before the start came to the engine": {"answer": False, "dropped": True},
    "while the start is under way": {"answer": False, "dropped": False},
    "after the start, before it is written down": {"answer": True, "dropped": False},
}


@pytest.mark.samples("after the start, before it is written down")
@pytest.mark.parametrize("dies", DEATHS)
def test_a_supervisor_killed_in_a_start_leaves_one_row_and_one_run(lab: Lab, proxy: EngineProxy, dies: str) -> None:
    uuid = lab.up()
    with Supervising(lab.at(proxy.host)) as supervising:
        held = proxy.hold("POST", r"/start$", answer=DEATHS[dies]["answer"])
        before = crash(lab, uuid)
        held.await_arrival()
        supervising.kill()
        (held.drop if DEATHS[dies]["dropped"] else held.release)()
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
def test_a_server_with_exit_code_0_comes_back_only_if_asked_for_and_ready(lab: Lab, crash_after: int, clean_exit: str) -> None:
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
