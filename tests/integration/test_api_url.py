# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The modules through an HTTP endpoint, as Ansible runs them: endpoint, token, and no trace on the node."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .controller import INFO, MODULE, Controller
from .lab import Lab
from .private_syslog import PrivateSyslog
from .wings_server import TOKEN, WingsServer, wings

NO_ENGINE = "unix:///no/engine/here.sock"


@pytest.fixture(name="server")
def wings_server() -> Iterator[WingsServer]:
    with wings() as server:
        yield server


def run(controller: Controller, wings: WingsServer, name: str = "server_power", /, **options: object) -> dict[str, Any]:
    given: dict[str, Any] = {"docker_host": NO_ENGINE, "api_url": wings.url, "api_token": TOKEN, **options}
    present: dict[str, Any] = controller.options(**{key: value for key, value in given.items() if value is not None})
    return controller.run_module(name, **present)


def ended(result: dict[str, Any]) -> list[tuple[str, str]]:
    return [(entry["name"], entry["outcome"]) for entry in result["servers"]]


def test_a_play_acts_through_the_endpoint_and_shows_its_token_nowhere(
    lab: Lab, controller: Controller, server: WingsServer, tmp_path: Path
) -> None:
    machine = server.machine("Cobalt", up_for=93.5)
    machine.output = ["ready"]
    common = controller.options(docker_host=NO_ENGINE, api_url=server.url, api_token=TOKEN)
    tasks: list[dict[str, object]] = [
        {MODULE: {**common, "server": "Cobalt", "action": "restart"}},
        {MODULE: {**common, "server": machine.uuid[:8], "action": "stop"}},
        {MODULE: {**common, "server": machine.uuid, "action": "start", "wait_for": "running"}},
        {INFO: {**common, "tail": 5}},
        {MODULE: {**common, "server": "Cobalt", "action": "kill"}},
        {MODULE: {**common, "server": "Nobody", "action": "kill", "api_token": f"{TOKEN}x"}, "ignore_errors": True},
    ]
    controller.host_vars["ansible_inject_invocation"] = True
    with PrivateSyslog(tmp_path / "syslog") as syslog:
        controller.through = syslog.through
        played = controller.play(tasks, "-vvv")
        logged = syslog.close()
    assert played.code == 0, played.output
    restarted, stopped, started, looked, killed, refused = played.results
    assert [ended(each) for each in (restarted, stopped, started, killed)] == [[("Cobalt", "done")]] * 4
    assert (machine.taken, [body["action"] for body in server.posts()]) == (["restart", "stop", "start", "kill"],) * 2
    assert (looked["servers"][0]["state"], looked["servers"][0]["log"]) == ("running", ["ready"])
    assert refused["servers"][0]["code"] == "endpoint_error"
    assert restarted["invocation"]["module_args"]["api_url"] == server.url
    assert TOKEN not in played.output + json.dumps(played.results) + "".join(logged)
    assert len([line for line in logged if "fleet-power[" in line and " done " in line]) == 4
    assert not (lab.root / "state").exists() and not (lab.root / "run").exists()


@pytest.mark.long
def test_a_play_for_a_node_without_a_login_acts_from_the_controller(lab: Lab, tmp_path: Path, server: WingsServer) -> None:
    connection = {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 1, "wings": server.url, "wings_token": TOKEN}
    controller = Controller(lab, tmp_path / "controller", connection=connection)
    machine = server.machine(up_for=93.5)
    task = {"server": machine.uuid, "action": "stop", "api_url": "{{ wings }}", "api_token": "{{ wings_token }}"}
    played = controller.play([{MODULE: task, "delegate_to": "localhost"}])
    assert played.code == 0, played.output
    assert (ended(played.result), machine.taken) == ([("Cobalt", "done")], ["stop"])
