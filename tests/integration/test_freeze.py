# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Freezes on a real engine: the module, the HTTP shim, the supervisor, and actions that wait."""

from __future__ import annotations

import json
from contextlib import closing
from datetime import timedelta
from typing import Any

from ansible_collections.fleet.power.plugins.module_utils._power.journal.freezes import freeze, thaw
from ansible_collections.fleet.power.plugins.module_utils._power.model.clock import SYSTEM_CLOCK
from ansible_collections.fleet.power.plugins.module_utils._power.model.server import Server

from .controller import Controller
from .lab import Lab, ended, wait_until
from .shim import NO_ENGINE, TOKEN, Shim
from .supervisors import Supervising, await_run_after, await_verdicts, crash

REFUSED = ("refused", "frozen")


def frozen(lab: Lab, *servers: str, seconds: float = 3600, supervisor: bool = False) -> None:
    with closing(lab.node().journal) as journal:
        until = SYSTEM_CLOCK.now() + timedelta(seconds=seconds)
        named = [Server(uuid, "frozen") for uuid in servers]
        freeze(journal.freezes, named, until=until, reason="final", origin="bob@ops", supervisor=supervisor)


def thawed(lab: Lab) -> None:
    with closing(lab.node().journal) as journal:
        thaw(journal.freezes, None, origin="bob@ops")


def test_the_modules_refuse_and_show_a_freeze(lab: Lab, controller: Controller) -> None:
    uuid, other = lab.up(build={"memory_limit": 256}), lab.up()
    before = lab.container(uuid)
    lab.edit(uuid, build={"memory_limit": 300})
    frozen(lab, uuid)
    for module, options in (("server_power", {"action": "restart"}), ("server_limits", {})):
        found = controller.run_module(module, **controller.options(server=uuid, **options))
        assert (found["servers"][0]["outcome"], found["servers"][0]["code"], found["failed"]) == (*REFUSED, True)
        assert "it is frozen until " in found["msg"] and "by bob@ops: final" in found["msg"]
    found = controller.run_module("server_power_info", **controller.options(server=[uuid, other]))
    shown, free = found["servers"]
    assert (shown["freeze"]["is_frozen"], shown["freeze"]["reason"], free["freeze"], found["freeze"]) == (True, "final", None, None)
    assert lab.container(uuid) == before
    assert ended(lab.power("restart", other)) == ended(lab.power("stop", uuid)) == ("done", "")
    frozen(lab)
    assert ended(lab.power("start", uuid)) == ended(lab.power("restart", other)) == REFUSED
    thawed(lab)
    assert ended(lab.power("start", uuid)) == ("done", "")


def test_a_freeze_refuses_a_waiting_action_and_lets_a_begun_stop_finish(lab: Lab) -> None:
    uuid = lab.up(stop={"type": "signal", "value": "SIGUSR1"})
    with lab.actor("restart", uuid, stop_timeout=4) as first:
        lab.await_phase(uuid, "stop")
        with lab.actor("restart", uuid, wait_seconds=60) as second:
            frozen(lab, uuid)
            assert (first.result()["outcome"], lab.is_up(uuid)) == ("done", True)
            after = lab.container(uuid)
            found = second.result()
    assert (found["outcome"], found["code"], found["changed"]) == (*REFUSED, False)
    assert lab.container(uuid) == after


def test_the_shim_freezes_refuses_and_thaws(lab: Lab, controller: Controller, shim: Shim) -> None:
    uuid = lab.up()
    until = (SYSTEM_CLOCK.now() + timedelta(hours=1)).isoformat()
    assert shim.ask("PUT", f"/api/servers/{uuid}/freeze", {"until": until, "reason": "final"}).status == 204
    refused = shim.power(uuid, "restart")
    assert (refused.status, refused.json["code"]) == (409, "frozen")
    # As by command: it is up already.
    assert shim.done(uuid, "start")["outcome"] == "unchanged"
    assert f"Cannot restart server {uuid}: it is frozen until " in refused.json["error"] and "(token a1b2): final" in refused.json["error"]
    remote: dict[str, Any] = controller.options(docker_host=NO_ENGINE, api_url=shim.url, api_token=TOKEN, server=uuid)
    for check in (False, True):
        found = controller.run_module(**{**remote, "action": "restart", "_ansible_check_mode": check})["servers"][0]
        assert (found["outcome"], found["code"]) == REFUSED and "is frozen until " in found["msg"]
    shown = controller.run_module("server_power_info", **{**remote, "server": [uuid]})["servers"][0]
    assert shown["freeze"] == shim.ask("GET", f"/api/servers/{uuid}").json["freeze"]
    assert shown["freeze"]["is_frozen"] is True

    def metrics() -> bytes:
        return shim.ask("GET", "/metrics").body

    wait_until(lambda: b"\nfleet_power_frozen_servers 1.0" in metrics() and b"\nfleet_power_node_frozen 0.0" in metrics(), "it is counted")
    assert shim.done(uuid, "stop")["outcome"] == "done"
    assert shim.power(uuid, "start").json["code"] == "frozen"
    assert shim.ask("DELETE", f"/api/servers/{uuid}/freeze").status == shim.ask("DELETE", "/api/freeze").status == 204
    assert shim.done(uuid, "start")["outcome"] == "done"


def test_an_accepted_action_is_refused_at_its_turn(lab: Lab, shim: Shim) -> None:
    uuid = lab.up(stop={"type": "signal", "value": "SIGUSR1"})
    with lab.actor("stop", uuid, stop_timeout=3):
        lab.await_phase(uuid, "stop")
        location = shim.took(uuid, "start", 60)
        frozen(lab, uuid)
        found = shim.operation(location, wait=60)
    assert (found["outcome"], found["code"]) == REFUSED and not lab.is_up(uuid)


def test_the_supervisor_starts_a_frozen_server_unless_the_freeze_names_it(lab: Lab) -> None:
    uuid = lab.up()
    with Supervising(lab):
        frozen(lab, uuid)
        run = await_run_after(lab, uuid, crash(lab, uuid))
        lab.await_ready(uuid)
        # Short, so that its end comes during the test.
        frozen(lab, uuid, seconds=15, supervisor=True)
        before = crash(lab, uuid)
        assert before == run
        await_verdicts(lab, uuid, "crashed", "crashed")
        assert not lab.is_up(uuid)
        await_run_after(lab, uuid, before, seconds=60)
        wait_until(lambda: not (lab.root / "state" / "frozen").exists(), "the supervisor removes the freeze", 30)
    with closing(lab.node().journal) as journal:
        row = journal.operations.last(uuid)
    assert row is not None and (row.origin, row.outcome) == ("supervisor", "done")


def test_a_maintenance_record_brings_back_frozen_servers(lab: Lab) -> None:
    uuid = lab.up()
    frozen(lab)
    assert ended(lab.power("stop", uuid)) == ("done", "")
    record = lab.root / "state" / "maintenance.json"
    record.write_text(json.dumps({"phase": "start", "servers": [uuid]}))
    assert ended(lab.power("start", uuid)) == ("done", "")
