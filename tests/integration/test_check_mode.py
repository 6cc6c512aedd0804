# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check mode foretells what an action would do, and leaves no trace of having been asked."""

from __future__ import annotations

from typing import Any

import pytest

from .controller import Controller
from .lab import Lab


def foretell(controller: Controller, action: str, server: object, **options: object) -> dict[str, Any]:
    """The module's result in check mode, run as on a node."""
    return controller.run_module(
        **controller.options(action=action, server=server, _ansible_check_mode=True, _ansible_diff=True, **options)
    )


def trace(lab: Lab) -> dict[str, tuple[int, int]]:
    """Size and time of everything the node has, the controller's own files aside."""
    files = (path for path in lab.root.rglob("*") if "controller" not in path.relative_to(lab.root).parts)
    return {str(path): (path.lstat().st_size, path.lstat().st_mtime_ns) for path in files}


@pytest.mark.samples("start-False-plan0-starting", "restart-True-plan3-starting", "kill-True-plan4-offline")
@pytest.mark.parametrize(
    "action, up, plan, after",
    [
        ("start", False, ["preboot", "start"], "starting"),
        ("restart", False, ["preboot", "start"], "starting"),
        ("stop", True, ["stop"], "offline"),
        ("restart", True, ["stop", "preboot", "start"], "starting"),
        ("kill", True, ["kill"], "offline"),
    ],
)
def test_what_would_be_done_is_told_and_not_done(
    lab: Lab, controller: Controller, action: str, up: bool, plan: list[str], after: str
) -> None:
    uuid = lab.up(name="Cobalt") if up else lab.server(name="Cobalt")
    traces, container = trace(lab), lab.container(uuid)
    result = foretell(controller, action, uuid)
    (entry,) = result["servers"]
    state = "running" if up else "offline"
    assert (entry["outcome"], entry["changed"], entry["plan"], result["changed"]) == ("done", True, plan, True)
    assert (entry["state_before"], entry["state"]) == (state, state)
    assert result["diff"] == [{"before": f"Cobalt: {state}\n", "after": f"Cobalt: {after}\n"}]
    assert trace(lab) == traces
    assert lab.container(uuid) == container


def test_on_a_node_that_was_never_used_not_even_a_directory_is_made(lab: Lab, controller: Controller) -> None:
    uuid = lab.server()
    run = controller.play([controller.task(action, uuid) for action in ("start", "stop", "restart", "kill")], "--check", "--diff")
    assert run.code == 0, run.output
    assert [result["changed"] for result in run.results] == [True, False, True, False]
    assert f"-server-{uuid[:8]}: offline" in run.output and f"+server-{uuid[:8]}: starting" in run.output
    assert sorted(path.name for path in lab.root.iterdir()) == ["config.yml", "controller", "servers"]


def test_a_held_lock_is_reported_and_not_waited_for(lab: Lab, controller: Controller) -> None:
    uuid = lab.up(STOP_SECONDS=60)
    with lab.actor("stop", uuid) as stop:
        lab.await_phase(uuid, "stop")
        (entry,) = foretell(controller, "restart", uuid, wait_seconds=300)["servers"]
        assert entry["lock"]["holder"]["pid"] == stop.pid
    assert (entry["outcome"], entry["state"]) == ("done", "stopping")
    assert entry["seconds"] < 20
