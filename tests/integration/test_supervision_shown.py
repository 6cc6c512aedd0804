# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What users are told of crashes: by the module, over HTTP, in the metrics, and by an action that waits, whoever starts it again."""

from __future__ import annotations

import re
import time
from typing import Any

from .controller import Controller
from .lab import Lab, wait_until
from .supervisors import Supervising, await_run_after, await_verdicts, crash, run_of


def look(controller: Controller, uuid: str, **options: object) -> tuple[dict[str, Any], dict[str, Any]]:
    """The entry of a server, and the whole result, as the module returns them on a node."""
    told = controller.run_module("server_power_info", **controller.options(server=uuid, **options))
    (entry,) = told["servers"]
    return entry, told


def test_a_crash_is_told_with_what_is_done_about_it_and_by_whom(lab: Lab, controller: Controller) -> None:
    # The engine stamps what a server says at once some milliseconds before its start.
    uuid = lab.up(BOOT_SECONDS=0.5)
    entry, told = look(controller, uuid)
    assert told["supervisor"] == {"running": False, "since": None, "paused": None}
    assert (entry["supervision"]["state"], entry["supervision"]["running"]) == ("ok", False)
    with Supervising(lab):
        for _crash in range(2):
            before = crash(lab, uuid)
            after = await_run_after(lab, uuid, before, 30)
            wait_until(lambda: look(controller, uuid)[0]["state"] == "running", "it is ready", 30)
        entry, told = look(controller, uuid, crashes=5)
        assert told["supervisor"]["running"] is True and told["supervisor"]["since"]
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
        # The third in a row is answered after twenty seconds.
        crash(lab, uuid)
        await_verdicts(lab, uuid, "crashed", "crashed", "crashed")
        entry, _told = look(controller, uuid)
        supervision = entry["supervision"]
        assert [supervision[name] for name in ("state", "verdict", "exit_code", "consecutive_crashes")] == ["backoff", "crashed", 137, 3]
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", supervision["next_at"])
    entry, told = look(controller, uuid)
    assert told["supervisor"]["running"] is False
    assert (entry["supervision"]["state"], entry["supervision"]["next_at"]) == ("backoff", None), "nobody will"


def test_a_waiting_action_learns_how_its_run_ended_after_a_supervised_start(lab: Lab) -> None:
    uuid = lab.server(BOOT_SECONDS=600)
    with Supervising(lab), lab.actor("start", uuid, wait_for="running", wait_timeout=60) as start:
        wait_until(lambda: lab.is_up(uuid), "it boots", 30)
        # Longer than the supervisor needs to see that it is up.
        time.sleep(1.0)
        named = run_of(lab, uuid)
        crash(lab, uuid)
        await_run_after(lab, uuid, named)
        result = start.result()
    assert (result["outcome"], result["code"], result["exit_code"]) == ("failed", "start_failed", 137)
    assert result["run"] == {"container": named.container, "started_at": named.started_at}
