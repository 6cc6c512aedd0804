# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every cell of the plan table, on real servers: what is done, what is reported, and that both are true."""

from __future__ import annotations

import pytest

from .lab import Lab, wait_until


def test_start_of_an_offline_server_brings_it_up(lab: Lab) -> None:
    uuid = lab.server()
    result = lab.power("start", uuid)
    assert (result.outcome.value, result.changed, result.state_before.value, result.state.value) == ("done", True, "offline", "starting")
    assert lab.is_up(uuid)


@pytest.mark.parametrize("boot_seconds, state", [(0, "running"), (60, "starting")])
def test_start_of_a_server_that_is_up_changes_nothing(lab: Lab, boot_seconds: int, state: str) -> None:
    uuid = lab.server(BOOT_SECONDS=boot_seconds)
    lab.power("start", uuid, wait_for="container" if boot_seconds else "running")
    before = lab.container(uuid)["State"]["StartedAt"]
    result = lab.power("start", uuid)
    assert (result.outcome.value, result.changed, result.state.value) == ("unchanged", False, state)
    assert lab.container(uuid)["State"]["StartedAt"] == before


def test_start_of_a_stopping_server_waits_for_its_exit_and_boots_it(lab: Lab) -> None:
    uuid = lab.up(STOP_SECONDS=5, MARK=1)
    with lab.actor("stop", uuid) as stop:
        wait_until(lambda: "got command stop" in lab.log(uuid), "the stop arrived")
        stop.kill()
    result = lab.power("start", uuid, wait_seconds=20)
    assert (result.outcome.value, result.state_before.value) == ("done", "stopping")
    assert lab.is_up(uuid)


def test_start_of_a_server_that_goes_on_stopping_is_refused_and_names_who_stops_it(lab: Lab) -> None:
    uuid = lab.up(STOP_SECONDS=60)
    with lab.actor("stop", uuid) as stop:
        lab.await_phase(uuid, "stop")
        stop.kill()
    result = lab.power("start", uuid, wait_seconds=1)
    assert (result.outcome.value, result.code, result.changed, result.state.value) == ("refused", "lock_timeout", False, "stopping")
    assert "stop by actor" in result.msg


def test_stop_of_an_offline_server_changes_nothing(lab: Lab) -> None:
    uuid = lab.server()
    result = lab.power("stop", uuid)
    assert (result.outcome.value, result.changed, result.state.value) == ("unchanged", False, "offline")


@pytest.mark.samples("starting-stop", "starting-restart", "running-kill", "running-restart", "stopping-restart", "stopping-kill")
@pytest.mark.parametrize("action", ["stop", "restart", "kill"])
@pytest.mark.parametrize("state", ["starting", "running", "stopping"])
def test_a_live_server_is_stopped_restarted_and_killed(lab: Lab, action: str, state: str) -> None:
    uuid = lab.server(BOOT_SECONDS=60 if state == "starting" else 0, STOP_SECONDS=5 if state == "stopping" else 0, MARK=1)
    lab.power("start", uuid, wait_for="container" if state == "starting" else "running")
    if state == "stopping":
        with lab.actor("stop", uuid) as stop:
            lab.await_phase(uuid, "stop")
            wait_until(lambda: "got command stop" in lab.log(uuid), "the stop arrived")
            stop.kill()
    before = lab.container(uuid)["State"]["StartedAt"]
    result = lab.power(action, uuid)
    assert (result.outcome.value, result.changed, result.state_before.value) == ("done", True, state)
    assert lab.is_up(uuid) == (action == "restart")
    assert lab.container(uuid)["State"]["StartedAt"] != before or action != "restart"
    assert (result.state.value != "offline") == (action == "restart")


def test_restart_of_an_offline_server_starts_it(lab: Lab) -> None:
    uuid = lab.server()
    result = lab.power("restart", uuid)
    assert (result.outcome.value, result.state_before.value, result.stop) == ("done", "offline", None)
    assert lab.is_up(uuid)


def test_kill_of_an_offline_server_changes_nothing(lab: Lab) -> None:
    uuid = lab.server()
    result = lab.power("kill", uuid)
    assert (result.outcome.value, result.changed, result.state.value) == ("unchanged", False, "offline")
