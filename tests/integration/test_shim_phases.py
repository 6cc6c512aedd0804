# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Actions over HTTP: a kill of the HTTP shim in each phase, readiness, and a Panel."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.model.clock import SYSTEM_CLOCK

from .engine_proxy import EngineProxy, Hold
from .lab import IMAGE, Lab, wait_until
from .many import FOR_EVER, assert_all_free, phases
from .panel_server import TOKEN, FakePanel
from .phases import CREATE, PULL, RENAME, inspect_of, kill_of, named, server_for, start_of, waiting_containers
from .shim import Answer, Shim, again, shim_on

#: "look": before the lock. "create": the engine makes the container, and the phase is still "pull".
KILLED_IN = [
    *(("start", phase) for phase in ("look", "prepare", "pull", "create", "preboot", "start", "observe")),
    *(("restart", phase) for phase in ("prepare", "pull", "create", "stop", "preboot", "start", "observe")),
    *(("stop", "stop"), ("kill", "prepare"), ("kill", "kill")),
]
#: A restart has the same phases.
ONLY_LONG = [("start", phase) for phase in ("pull", "create", "preboot", "start", "observe")]
#: The next process does these again, because they have not begun. A kill records its begin only after it has killed.
NOT_BEGUN = [("start", "look"), ("kill", "prepare")]
#: The state of the server after the kill of the shim, where that differs from before.
LEFT = {
    ("start", "observe"): "running",
    ("restart", "stop"): "stopping",
    ("restart", "preboot"): "offline",
    ("restart", "start"): "offline",
    ("restart", "observe"): "running",
    ("stop", "stop"): "stopping",
    ("kill", "kill"): "offline",
}


def hold_in(proxy: EngineProxy, server: str, action: str, phase: str) -> Hold | None:
    """Make the engine hold the action in this phase. Return None if the server itself holds it."""
    if phase == "prepare" and action == "kill":
        return proxy.hold("POST", kill_of(server))
    requests: dict[str, tuple[str, str, dict[str, Any]]] = {
        "look": ("GET", inspect_of(server), {}),
        "prepare": ("GET", inspect_of(server), {"skip": 1}),
        "pull": ("POST", PULL, {}),
        "create": ("POST", CREATE, {}),
        "preboot": ("POST", RENAME, {}),
        "start": ("POST", start_of(server), {}),
        "observe": ("GET", r"/containers/[^/]+/json$", {"after": start_of(server)}),
        "kill": ("POST", kill_of(server), {"skip": 1}),
    }
    if phase not in requests:
        return None
    method, pattern, more = requests[phase]
    return proxy.hold(method, pattern, **more)


def change(lab: Lab, server: str, action: str, phase: str) -> None:
    """Change the definition so that the action reaches the phase."""
    if phase == "pull":
        lab.edit(server, container={"image": f"fleet-power/absent:{server}"})
    elif action == "restart" and phase in ("create", "preboot"):
        lab.edit(server, environment={**lab.definition(server)["settings"]["environment"], "CHANGED": 1})


@pytest.mark.samples("restart-stop")
@pytest.mark.parametrize(
    "action, phase",
    [pytest.param(*case, marks=pytest.mark.long if case in ONLY_LONG else ()) for case in KILLED_IN],
    ids=named(KILLED_IN),
)
def test_a_shim_killed_in_any_phase_leaves_a_free_lock_and_true_records(lab: Lab, proxy: EngineProxy, action: str, phase: str) -> None:
    server = server_for(lab, action, phase)
    change(lab, server, action, phase)
    with shim_on(lab.at(proxy.host)) as shim:
        wait_until(lambda: shim.ask("GET", f"/api/servers/{server}").status == 200, "the server is known")
        hold = hold_in(proxy, server, action, phase)
        location = shim.took(server, action, 300)
        if hold is not None:
            hold.await_arrival()
        else:
            wait_until(lambda: "got command stop" in lab.log(server), "the stop arrived")
        assert phases(lab, [server]) == [{"look": "", "create": "pull"}.get(phase, phase)]
        shim.kill()
    left = LEFT.get((action, phase), "offline" if action == "start" else "running")
    begun = (action, phase) not in NOT_BEGUN
    assert phases(lab, [server]) == [""]
    lab.edit(server, container={"image": IMAGE})
    with again(lab) as shim:
        assert shim.events("resumed")[0]["actions"] == (0 if begun else 1)
        ended = shim.operation(location, wait=60)
        if begun:
            assert (ended["outcome"], ended["code"]) == ("failed", "interrupted")
            # The entry claims no unobserved state.
            assert not {"state", "changed"} & {name for name, value in ended.items() if value}
            assert shim.ask("GET", f"/api/servers/{server}").json["state"] == left
            assert lab.is_up(server) is (left != "offline")
            assert_all_free(lab, [server])
        else:
            assert ended["outcome"] == "done"
            assert lab.is_up(server) is (action == "start")
        killed = shim.done(server, "kill")
        assert (killed["outcome"] in ("done", "unchanged"), killed["state"]) == (True, "offline")
        if hold is not None:
            # The engine now gets the late request of the dead process.
            hold.release()
            hold.await_status()
        assert not lab.is_up(server)
        started = shim.done(server, "start", 0)
        assert (started["outcome"], started["state"]) == ("done", "starting")
        assert waiting_containers(lab, server) == []
        assert lab.is_up(server)
        assert [each["action"] for each in shim.ask("GET", f"/api/servers/{server}/operations").json[:3]] == ["start", "kill", action]


def took(shim: Shim, uuid: str, action: str, **fields: Any) -> str:
    """Request an action, which must be accepted; return the location of its operation."""
    answer = shim.ask("POST", f"/api/servers/{uuid}/power", {"action": action, **fields})
    assert answer.status == 202, (answer.status, answer.body)
    return answer.headers["location"]


def ended_ready(entry: dict[str, Any]) -> tuple[Any, Any, Any]:
    return entry["outcome"], entry.get("code", ""), entry["state"]


def await_awaiting(shim: Shim, location: str) -> None:
    wait_until(lambda: shim.operation(location).get("awaits") == "running", "the action waits for readiness")


def test_wait_for_decides_whether_a_start_ends_when_up_or_when_ready(lab: Lab) -> None:
    slow, quick = lab.server(BOOT_SECONDS=1), lab.server(BOOT_SECONDS=FOR_EVER)
    with shim_on(lab) as shim:
        location = took(shim, slow, "restart", wait_for="running")
        await_awaiting(shim, location)
        assert ended_ready(shim.done(quick, "start")) == ("done", "", "starting")
        found = shim.operation(location, wait=30)
        assert ended_ready(found) == ("done", "", "running")
        assert "ready" in [each["phase"] for each in found["phases"]]
        late = shim.operation(took(shim, quick, "start", wait_for="running", wait_timeout=0), wait=30)
        assert ended_ready(late) == ("failed", "start_timeout", "starting")
        refused = shim.ask("POST", f"/api/servers/{slow}/power", {"action": "start", "wait_for": "soon"})
        assert (refused.status, refused.json["code"]) == (422, "settings_invalid")


@pytest.mark.long
def test_the_process_after_a_killed_shim_keeps_the_wait_for_of_accepted_actions(lab: Lab) -> None:
    server = lab.server(BOOT_SECONDS=1)
    with shim_on(lab) as shim, lab.node().locks.acquire(server, lab.request("stop", server), wait_seconds=5, clock=SYSTEM_CLOCK):
        location = took(shim, server, "start", wait_for="running", wait_seconds=60)
        shim.kill()
    with again(lab) as shim:
        assert shim.events("resumed")[0]["actions"] == 1
        await_awaiting(shim, location)
        assert ended_ready(shim.operation(location, wait=30)) == ("done", "", "running")


def test_an_ending_shim_does_not_report_done_before_the_server_is_ready(lab: Lab) -> None:
    server = lab.server(BOOT_SECONDS=3)
    with shim_on(lab) as shim:
        location = took(shim, server, "start", wait_for="running")
        await_awaiting(shim, location)
        shim.signal(signal.SIGTERM)
        assert shim.child.wait(60.0) == 0
    with again(lab) as shim:
        assert ended_ready(shim.operation(location)) == ("done", "", "running")


#: The token and headers of every request from the Panel.
PANEL = {"token": TOKEN, "Accept": "application/json", "Content_Type": "application/json"}


@pytest.fixture(name="panel")
def fake_panel(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakePanel]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with closing(FakePanel()) as panel:
        lab.write_settings(**panel.settings, api={"port": 0})
        lab.config.chmod(0o600)
        yield panel


def managed(lab: Lab, panel: FakePanel, *, listed: bool = True, **options: object) -> str:
    """Make a server that only the Panel knows; ``listed``: it belongs to this node."""
    uuid = lab.server(**options)  # type: ignore[arg-type]
    panel.put(lab.definition(uuid), listed=listed)
    (lab.root / "servers" / f"{uuid}.json").unlink()
    return uuid


def press(shim: Shim, uuid: str, action: str) -> Answer:
    return shim.ask("POST", f"/api/servers/{uuid}/power", {"action": action}, **PANEL)


def ended_by_panel(shim: Shim, answer: Answer) -> tuple[str, str]:
    assert answer.status == 202, (answer.status, answer.body)
    found = shim.ask("GET", f"{answer.headers['location']}?wait=60", token=TOKEN, seconds=90.0).json
    return found["outcome"], found.get("code", "")


def suspend(lab: Lab, panel: FakePanel, uuid: str, *, suspended: bool) -> None:
    raw = panel.guests[uuid].raw
    panel.put({**raw, "settings": {**raw["settings"], "suspended": suspended}})


def test_requests_of_the_panel_control_its_servers(lab: Lab, panel: FakePanel) -> None:
    server = managed(lab, panel, name="Cobalt")
    with again(lab) as shim:
        wait_until(lambda: shim.ask("GET", f"/api/servers/{server}", **PANEL).status == 200, "the server is known")
        assert ended_by_panel(shim, press(shim, server, "start")) == ("done", "")
        lab.await_ready(server)
        shown = shim.ask("GET", f"/api/servers/{server}", **PANEL).json
        assert (shown["state"], shown["configuration"]["meta"]["name"]) == ("running", "Cobalt")
        assert shim.ask("POST", f"/api/servers/{server}/commands", {"commands": ["hello"]}, **PANEL).status == 204
        assert ended_by_panel(shim, press(shim, server, "restart")) == ("done", "")
        assert ended_by_panel(shim, press(shim, server, "kill")) == ("done", "")
        origin = shim.ask("GET", f"/api/servers/{server}/operations", **PANEL).json[0]["origin"]
        assert origin.startswith("127.0.0.1 (token ")
        assert shim.ask("GET", "/nothing", **PANEL).headers["access-control-allow-origin"] == panel.url


def test_a_synced_suspension_on_the_panel_stops_the_server_and_refuses_a_start(lab: Lab, panel: FakePanel) -> None:
    server = managed(lab, panel)
    with again(lab) as shim:
        wait_until(lambda: shim.ask("GET", f"/api/servers/{server}", token=TOKEN).status == 200, "the list is read")
        assert ended_by_panel(shim, press(shim, server, "start")) == ("done", "")
        suspend(lab, panel, server, suspended=True)
        assert shim.ask("POST", f"/api/servers/{server}/sync", b"", token=TOKEN).status == 204
        wait_until(lambda: not lab.is_up(server), "the suspended server is stopped")
        assert press(shim, server, "start").status == 400
        suspend(lab, panel, server, suspended=False)
        assert ended_by_panel(shim, press(shim, server, "start")) == ("done", "")


def test_a_restart_sees_a_suspension_that_was_not_synced(lab: Lab, panel: FakePanel) -> None:
    server = managed(lab, panel)
    with again(lab) as shim:
        wait_until(lambda: shim.ask("GET", f"/api/servers/{server}", token=TOKEN).status == 200, "the list is read")
        assert ended_by_panel(shim, press(shim, server, "start")) == ("done", "")
        suspend(lab, panel, server, suspended=True)
        # The last list stays valid for a moment.
        time.sleep(1.1)
        assert ended_by_panel(shim, press(shim, server, "restart")) == ("refused", "suspended")
        assert lab.is_up(server)
        assert press(shim, server, "restart").status == 400
