# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Servers in the HTTP shim: facts, commands, syncs, and the module as a client; and settings that stop the shim."""

from __future__ import annotations

import json
import re
import secrets

import pytest

from .controller import Controller
from .lab import Lab, wait_until
from .shim import NO_ENGINE, TOKEN, Shim, again, configure

UNEXPECTED = "An unexpected error was encountered while processing this request"


def test_the_shim_shows_a_server_in_the_form_of_wings_with_its_real_usage(lab: Lab, shim: Shim) -> None:
    server = lab.server(name="Cobalt", build={"memory_limit": 512, "disk_space": 100}, SECRET_WORD="correct horse", DATA_WRITE="1")
    lab.edit(server, invocation="run it", egg={"id": "e1", "file_denylist": ["*.key"]}, labels={"tier": "gold"})
    down = shim.ask("GET", f"/api/servers/{server}").json
    assert (down["state"], down["is_suspended"]) == ("offline", False)
    assert down["utilization"] == {
        "memory_bytes": 0,
        "memory_limit_bytes": 588_800_000,
        "cpu_absolute": 0.0,
        "network": {"rx_bytes": 0, "tx_bytes": 0},
        "uptime": 0,
        "state": "offline",
        "disk_bytes": 0,
    }
    assert shim.done(server, "start")["outcome"] == "done"
    lab.await_ready(server)
    up = shim.ask("GET", f"/api/servers/{server}").json
    use = up["utilization"]
    assert (up["state"], use["state"]) == ("running", "running")
    assert 0 < use["memory_bytes"] < use["memory_limit_bytes"] == 588_800_000 // 4096 * 4096
    assert 0 < use["uptime"] < 60_000
    assert isinstance(use["cpu_absolute"], float)
    configuration = up["configuration"]
    assert "environment" not in configuration
    assert "correct horse" not in json.dumps(up)
    assert (configuration["uuid"], configuration["meta"]["name"], configuration["invocation"]) == (server, "Cobalt", "run it")
    assert (configuration["egg"], configuration["labels"]) == ({"id": "e1", "file_denylist": ["*.key"]}, {"tier": "gold"})
    assert configuration["build"]["memory_limit"] == 512
    assert configuration["container"]["image"].startswith("~fleet-power/")
    listed = shim.ask("GET", "/api/servers").json
    assert [each["state"] for each in listed if each["configuration"]["uuid"] == server] == ["running"]


def test_commands_reach_the_process(lab: Lab, shim: Shim) -> None:
    server = lab.server(MARK="1")
    path = f"/api/servers/{server}/commands"
    no_container = shim.ask("POST", path, {"commands": ["x"]})
    assert (no_container.status, no_container.headers["content-type"]) == (500, "application/json; charset=utf-8")
    assert no_container.json == {"error": UNEXPECTED, "request_id": no_container.headers["x-request-id"]}
    shim.done(server, "start")
    lab.await_ready(server)
    answer = shim.ask("POST", path, {"commands": ["say one", "say two"]})
    assert (answer.status, answer.body) == (204, b"")
    lab.await_ready(server, "got command say two")
    assert "got command say one" in lab.log(server)
    empty = shim.ask("POST", path, b"")
    assert (empty.status, empty.headers["content-type"]) == (400, "text/plain; charset=utf-8")
    assert empty.json == {"error": "The data passed in the request was not in a parsable format. Please try again."}
    for body in (b"[]", b'{"commands":"x"}', b'{"commands":[1]}'):
        invalid = shim.ask("POST", path, body)
        assert (invalid.status, invalid.headers["content-type"]) == (400, "text/plain; charset=utf-8")
        assert invalid.json == {"error": UNEXPECTED, "request_id": invalid.headers["x-request-id"]}
    shim.done(server, "stop")
    answer = shim.ask("POST", path, {"commands": ["x"]})
    assert (answer.status, answer.body) == (502, b'{"error":"Cannot send commands to a stopped server instance."}')


def test_a_sync_applies_a_suspension_at_once_and_stops_the_server(lab: Lab, shim: Shim) -> None:
    server = lab.server()
    shim.done(server, "start")
    lab.await_ready(server)
    lab.edit(server, suspended=True)
    assert shim.ask("POST", f"/api/servers/{server}/sync").status == 204
    assert shim.power(server, "start").status == 400
    assert shim.ask("GET", f"/api/servers/{server}").json["is_suspended"] is True
    wait_until(lambda: not lab.is_up(server), "the suspended server is stopped")
    lab.edit(server, suspended=False)
    assert shim.done(server, "start")["outcome"] == "done"


def test_a_sync_applies_new_limits_to_a_running_server(lab: Lab, shim: Shim) -> None:
    server, path = lab.server(build={"memory_limit": 100}), ""
    path = f"/api/servers/{server}"
    shim.done(server, "start")
    lab.await_ready(server)
    assert shim.ask("GET", path).json["outdated"]["is_outdated"] is False
    before = lab.container(server)
    lab.edit(server, build={"memory_limit": 300, "cpu_limit": 50}, labels={"tier": "front"})
    assert shim.ask("GET", path).json["outdated"]["differs"] == ["build.cpu_limit", "build.memory_limit", "labels.tier"]
    assert shim.ask("POST", f"{path}/sync").status == 204
    after = lab.container(server)
    assert before is not None and after is not None
    assert (after["HostConfig"]["Memory"], after["HostConfig"]["CpuQuota"]) == (345_000_000, 50_000)
    assert (after["Id"], after["State"]["StartedAt"]) == (before["Id"], before["State"]["StartedAt"])
    assert shim.ask("GET", path).json["outdated"]["differs"] == ["labels.tier"]
    newest = shim.ask("GET", f"{path}/operations").json[0]
    assert (newest["action"], newest["outcome"], newest["reason"]) == ("limit", "done", "sync")
    # As in Wings, a sync succeeds even if it cannot apply the limits.
    lab.edit(server, build={"memory_limit": 3})
    assert shim.ask("POST", f"{path}/sync").status == 204
    # A slow look at all servers counts only in later metrics. The engine may also have servers of other tests.
    counted = re.compile(r'^fleet_power_outdated\{outdated="unknown"\} [1-9]', re.MULTILINE)
    wait_until(lambda: counted.search(shim.ask("GET", "/metrics").body.decode()), "metrics count the server")
    assert shim.power(server, "limit").status == 422


def test_the_module_controls_servers_over_the_shim_and_gets_true_outcomes(lab: Lab, controller: Controller, shim: Shim) -> None:
    # The HTTP shim also finds servers of other tests on the engine by name.
    name = f"Cobalt {secrets.token_hex(4)}"
    server = lab.server(name=name, stop={"type": "signal", "value": "SIGTERM"})

    def act(action: str, **options: object) -> dict[str, object]:
        merged = {"docker_host": NO_ENGINE, "api_url": shim.url, "api_token": TOKEN, "server": name, "action": action, **options}
        found = controller.run_module("server_power", **controller.options(**merged))
        assert "code" not in found["servers"][0], found
        entry: dict[str, object] = found["servers"][0]
        return entry

    start = act("start", wait_for="running")
    assert (start["outcome"], start["state_before"], start["state"]) == ("done", "offline", "running")
    restart = act("restart")
    assert (restart["outcome"], restart["stop"]) == ("done", {**restart["stop"], "how": "signal", "forced": False})  # type: ignore[dict-item]
    assert act("start")["outcome"] == "unchanged"
    stop = act("stop")
    assert (stop["outcome"], stop["state"]) == ("done", "offline")
    assert act("kill")["outcome"] == "unchanged"
    row = lab.node().journal.operations.last(server)
    assert row is not None
    assert row.origin.startswith("127.0.0.1")


#: No request can carry this token: HTTP removes blanks at an end.
UNUSABLE = f"{TOKEN}\n"


@pytest.mark.samples("read by others", "no token", "no certificate")
@pytest.mark.parametrize(
    "spoil, said",
    [
        (lambda lab: lab.config.chmod(0o644), "which everybody may use (mode 0644)"),
        (lambda lab: lab.config.chmod(0o602), "which everybody may use (mode 0602)"),
        (lambda lab: configure(lab, token=""), "has no token"),
        (lambda lab: configure(lab, token=UNUSABLE), "blanks at an end, which no request can bring"),
        (lambda lab: configure(lab, api={"port": 70000}), "api.port"),
        (lambda lab: configure(lab, api={"host": "192.0.2.1"}), "Cannot listen on 192.0.2.1"),
        (
            lambda lab: configure(lab, api={"port": 0, "ssl": {"enabled": True, "cert": "/nowhere", "key": "/nowhere"}}),
            "Cannot serve HTTPS",
        ),
        (lambda lab: lab.config.unlink(), "No such file"),
    ],
    ids=["read by others", "written by others", "no token", "bad token", "bad port", "foreign address", "no certificate", "no file"],
)
def test_the_shim_refuses_bad_settings_with_one_sentence(lab: Lab, spoil: object, said: str) -> None:
    configure(lab)
    spoil(lab)  # type: ignore[operator]
    with pytest.raises(AssertionError) as refused:
        again(lab)
    sentence = str(refused.value).splitlines()[0].partition("AssertionError: ")[2] or str(refused.value).splitlines()[0]
    assert said in sentence
    assert "Traceback" not in str(refused.value)
