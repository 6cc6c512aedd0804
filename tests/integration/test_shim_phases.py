# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The HTTP face is killed with SIGKILL in every phase of an action: what it leaves behind, what is told of it, and what comes next."""

from __future__ import annotations

from typing import Any

import pytest

from .engine_proxy import EngineProxy, Hold
from .lab import IMAGE, Lab, wait_until
from .many import assert_all_free, phases
from .phases import CREATE, PULL, RENAME, inspect_of, kill_of, named, server_for, start_of, waiting_containers
from .shim import again, shim_on

#: "look": before the lock; "create": still in the phase of the pull, making the container.
KILLED_IN = [
    *(("start", phase) for phase in ("look", "prepare", "pull", "create", "preboot", "start", "observe")),
    *(("restart", phase) for phase in ("prepare", "pull", "create", "stop", "preboot", "start", "observe")),
    *(("stop", "stop"), ("kill", "prepare"), ("kill", "kill")),
]
#: A start has these phases as a restart has them.
IN_THE_LONG_RUN = [("start", phase) for phase in ("pull", "create", "preboot", "start", "observe")]
#: What is done again by the next process: what has not begun. A kill writes nothing down before it has killed.
NOT_BEGUN = [("start", "look"), ("kill", "prepare")]
#: The server's state as it is left behind where it is not as it was.
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
    """Have the engine keep the action in this phase; None where the server does."""
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
    """Make the definition such that the action goes through the phase."""
    if phase == "pull":
        lab.edit(server, container={"image": f"fleet-power/absent:{server}"})
    elif action == "restart" and phase in ("create", "preboot"):
        lab.edit(server, environment={**lab.definition(server)["settings"]["environment"], "CHANGED": 1})


@pytest.mark.samples("restart-stop", "restart-start", "kill-kill")
@pytest.mark.parametrize(
    "action, phase",
    [pytest.param(*case, marks=pytest.mark.long if case in IN_THE_LONG_RUN else ()) for case in KILLED_IN],
    ids=named(KILLED_IN),
)
def test_killed_in_any_phase_the_face_leaves_the_lock_free_and_the_truth(lab: Lab, proxy: EngineProxy, action: str, phase: str) -> None:
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
            # Nothing is claimed that nobody saw.
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
            # What the process that is gone had asked of the engine comes now.
            hold.release()
            hold.await_status()
        assert not lab.is_up(server)
        started = shim.done(server, "start", 0)
        assert (started["outcome"], started["state"]) == ("done", "starting")
        assert waiting_containers(lab, server) == []
        assert lab.is_up(server)
        assert [each["action"] for each in shim.ask("GET", f"/api/servers/{server}/operations").json[:3]] == ["start", "kill", action]
