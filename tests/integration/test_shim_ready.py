# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Starts over HTTP that count as done when the server is ready: as the module has them, also over an end of the process."""

from __future__ import annotations

import signal
from typing import Any

from ansible_collections.fleet.power.plugins.module_utils._power.model.clock import SYSTEM_CLOCK

from .lab import Lab, wait_until
from .many import FOR_EVER
from .shim import Shim, again, shim_on


def took(shim: Shim, uuid: str, action: str, **fields: Any) -> str:
    """Ask for an action that must be accepted; where its operation can be read."""
    answer = shim.ask("POST", f"/api/servers/{uuid}/power", {"action": action, **fields})
    assert answer.status == 202, (answer.status, answer.body)
    return answer.headers["location"]


def ended(entry: dict[str, Any]) -> tuple[Any, Any, Any]:
    return entry["outcome"], entry.get("code", ""), entry["state"]


def await_awaiting(shim: Shim, location: str) -> None:
    wait_until(lambda: shim.operation(location).get("awaits") == "running", "its server is up, and awaited")


def test_a_start_is_done_when_its_container_runs_or_when_it_is_ready_as_it_was_asked(lab: Lab) -> None:
    slow, quick = lab.server(BOOT_SECONDS=1), lab.server(BOOT_SECONDS=FOR_EVER)
    with shim_on(lab) as shim:
        location = took(shim, slow, "restart", wait_for="running")
        await_awaiting(shim, location)
        assert ended(shim.done(quick, "start")) == ("done", "", "starting")
        found = shim.operation(location, wait=30)
        assert ended(found) == ("done", "", "running")
        assert "ready" in [each["phase"] for each in found["phases"]]
        late = shim.operation(took(shim, quick, "start", wait_for="running", wait_timeout=0), wait=30)
        assert ended(late) == ("failed", "start_timeout", "starting")
        refused = shim.ask("POST", f"/api/servers/{slow}/power", {"action": "start", "wait_for": "soon"})
        assert (refused.status, refused.json["code"]) == (422, "settings_invalid")


def test_the_process_after_a_killed_one_waits_for_what_was_accepted_before_it(lab: Lab) -> None:
    server = lab.server(BOOT_SECONDS=1)
    with shim_on(lab) as shim, lab.node().locks.acquire(server, lab.request("stop", server), wait_seconds=5, clock=SYSTEM_CLOCK):
        location = took(shim, server, "start", wait_for="running", wait_seconds=60)
        shim.kill()
    with again(lab) as shim:
        assert shim.events("resumed")[0]["actions"] == 1
        await_awaiting(shim, location)
        assert ended(shim.operation(location, wait=30)) == ("done", "", "running")


def test_asked_to_end_it_does_not_say_done_of_a_server_that_is_not_ready(lab: Lab) -> None:
    server = lab.server(BOOT_SECONDS=3)
    with shim_on(lab) as shim:
        location = took(shim, server, "start", wait_for="running")
        await_awaiting(shim, location)
        shim.signal(signal.SIGTERM)
        assert shim.child.wait(60.0) == 0
    with again(lab) as shim:
        assert ended(shim.operation(location)) == ("done", "", "running")
