# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The modules through an HTTP endpoint, run as Ansible runs them: which endpoint, whose token, and nothing done or left on the node."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .controller import INFO, MODULE, Controller, warnings_of
from .lab import Lab
from .private_syslog import PrivateSyslog
from .wings_server import TOKEN, WingsServer, wings

ELSEWHERE = "https://node1.example.test:8080"
NO_ENGINE = "unix:///nobody/listens/here.sock"


@pytest.fixture(name="server")
def wings_server() -> Iterator[WingsServer]:
    """Wings with no server yet."""
    with wings() as server:
        yield server


def run(controller: Controller, wings: WingsServer, name: str = "server_power", /, **options: object) -> dict[str, Any]:
    """A module's result, run as on a node whose engine nobody needs."""
    given: dict[str, Any] = {"docker_host": NO_ENGINE, "api_url": wings.url, "api_token": TOKEN, **options}
    present: dict[str, Any] = controller.options(**{key: value for key, value in given.items() if value is not None})
    return controller.run_module(name, **present)


def ended(result: dict[str, Any]) -> list[tuple[str, str]]:
    return [(entry["name"], entry["outcome"]) for entry in result["servers"]]


def tokens(server: WingsServer) -> set[str]:
    """The tokens that came by."""
    return {asked.authorization.partition(" ")[2] for asked in server.asked}


def test_a_play_acts_through_the_endpoint_shows_its_token_nowhere_and_leaves_nothing_on_the_node(
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


def test_a_play_for_a_node_that_nobody_can_log_in_to_acts_from_the_controller(lab: Lab, tmp_path: Path, server: WingsServer) -> None:
    connection = {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 1, "wings": server.url, "wings_token": TOKEN}
    controller = Controller(lab, tmp_path / "controller", connection=connection)
    machine = server.machine(up_for=93.5)
    task = {"server": machine.uuid, "action": "stop", "api_url": "{{ wings }}", "api_token": "{{ wings_token }}"}
    played = controller.play([{MODULE: task, "delegate_to": "localhost"}])
    assert played.code == 0, played.output
    assert (ended(played.result), machine.taken) == ([("Cobalt", "done")], ["stop"])


@pytest.mark.long
def test_all_means_every_server_of_the_endpoint_and_only_chooses_among_them(controller: Controller, server: WingsServer) -> None:
    up, down = server.machine("Up", up_for=93.5), server.machine("Down")
    assert ended(run(controller, server, action="restart", server="all")) == [("Up", "done")]
    chosen = run(controller, server, action="start", server="all", only=["running", "starting"])
    assert {entry["outcome"] for entry in chosen["servers"]} == {"unchanged", "skipped"}
    assert sorted(ended(run(controller, server, action="kill", server="all"))) == [("Down", "unchanged"), ("Up", "done")]
    assert (up.taken, down.taken) == (["restart", "kill"], ["kill"])


def test_check_mode_asks_for_nothing_and_says_what_would_be_done(controller: Controller, server: WingsServer) -> None:
    machine = server.machine(up_for=93.5)
    result = run(controller, server, action="restart", server=machine.uuid, _ansible_check_mode=True)
    assert (result["changed"], result["servers"][0]["plan"], server.posts()) == (True, ["stop", "preboot", "start"], [])


def test_what_the_endpoint_tells_of_its_servers_is_read(controller: Controller, server: WingsServer) -> None:
    machine = server.machine("Cobalt", up_for=93.5)
    machine.output = ["it is rcon-secret-of-the-server", "ready"]
    server.machine("Never started").output = None
    every = run(controller, server, "server_power_info")
    assert sorted(entry["name"] for entry in every["servers"]) == ["Cobalt", "Never started"]
    assert "log" not in every["servers"][0]
    named = run(controller, server, "server_power_info", server=["Cobalt", "Nobody"], tail=10)
    (entry,) = named["servers"]
    assert (entry["server"], entry["state"], entry["log"]) == (machine.uuid, "running", ["it is ********", "ready"])
    assert entry["utilization"]["memory_bytes"] > 0
    assert [True for warning in warnings_of(named) if "Nobody" in warning] == [True]


def test_the_settings_can_name_the_endpoint_and_its_token_and_the_task_comes_first(
    lab: Lab, controller: Controller, server: WingsServer
) -> None:
    machine = server.machine(up_for=93.5)

    def look(**options: object) -> dict[str, Any]:
        server.asked.clear()
        return run(controller, server, "server_power_info", server=machine.uuid, **{"api_url": None, "api_token": None, **options})

    lab.write_settings(endpoint={"url": server.url}, token=TOKEN)
    assert len(look()["servers"]) == 1
    lab.write_settings(endpoint={"token": "of-endpoint-token"})
    assert (look()["code"], tokens(server)) == ("endpoint_error", {"of-endpoint-token"})
    assert (len(look(api_token=TOKEN)["servers"]), tokens(server)) == (1, {TOKEN})
    assert (look(api_token="")["code"], server.asked) == ("settings_invalid", [])


def test_an_empty_address_acts_on_the_engine_whatever_the_settings_say(lab: Lab, controller: Controller, server: WingsServer) -> None:
    lab.write_settings(endpoint={"url": server.url, "token": TOKEN})
    uuid = lab.server(name="Ours")
    result = run(controller, server, action="start", server=uuid, api_url="", docker_host=lab.docker_host)
    assert (ended(result), server.asked) == ([("Ours", "done")], [])
    assert lab.container(uuid) is not None


def test_a_token_of_the_settings_goes_to_no_other_address_that_a_task_names(lab: Lab, controller: Controller, server: WingsServer) -> None:
    lab.write_settings(endpoint={"url": server.url, "token": TOKEN}, token=TOKEN)
    refused = run(controller, server, action="stop", server="Cobalt", api_url=ELSEWHERE, api_token=None)
    assert (refused["code"], "give api_token" in refused["msg"], TOKEN in json.dumps(refused)) == ("settings_invalid", True, False)


def test_a_password_in_an_address_is_refused_and_not_shown(controller: Controller, server: WingsServer) -> None:
    refused = run(controller, server, action="stop", server="Cobalt", api_url="https://alice:hunter22@node1.example.test")
    assert (refused["code"], "hunter22" in json.dumps(refused)) == ("settings_invalid", False)
    # ansible-core 2.21 shows a module's arguments only where it is asked to.
    shown = refused.get("invocation", {"module_args": {"api_url": "https://node1.example.test"}})
    assert shown["module_args"]["api_url"] == "https://node1.example.test"


@pytest.mark.parametrize("name, value", [("stop_timeout", 5), ("definitions", [{}]), ("adopt", True)])
def test_an_option_that_no_endpoint_can_honour_is_refused_before_it_is_asked(
    controller: Controller, server: WingsServer, name: str, value: object
) -> None:
    refused = run(controller, server, action="start", server="Cobalt", **{name: value})
    assert (refused["code"], name in refused["msg"], server.asked) == ("unsupported_by_endpoint", True, [])


def test_a_health_check_that_wings_does_not_tell_of_is_refused_before_anything_is_done(controller: Controller, server: WingsServer) -> None:
    machine = server.machine("Cobalt", up_for=93.5)
    refused = run(controller, server, action="restart", server="Cobalt", wait_for="healthy")["servers"][0]
    assert (refused["outcome"], refused["code"]) == ("refused", "unsupported_by_endpoint")
    assert ({each.method for each in server.asked}, machine.taken) == ({"GET"}, [])
