# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the HTTP face shows of servers, what reaches them beside power actions, and our own client of such an endpoint driving it."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote
from uuid import uuid4

import pytest
from ansible_collections.fleet.power.plugins.module_utils._http_shim.servers.wings_view import VERSION

from .controller import Controller
from .engine_proxy import EngineProxy
from .lab import Lab, wait_until
from .shim import NO_ENGINE, TOKEN, Shim, again, configure, shim_on

UNEXPECTED = "An unexpected error was encountered while processing this request"


@pytest.fixture(name="shim")
def running_shim(lab: Lab) -> Iterator[Shim]:
    with shim_on(lab) as shim:
        yield shim


def test_a_server_is_shown_as_wings_shows_one_with_what_it_really_uses(lab: Lab, shim: Shim) -> None:
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


def test_a_busy_server_shows_its_cpu_and_its_disk(lab: Lab, shim: Shim) -> None:
    server = lab.server(NOISE=2000)
    shim.done(server, "start")
    (lab.volume(server) / "world").write_bytes(b"x" * 5_000_000)

    def used() -> bool:
        use = shim.ask("GET", f"/api/servers/{server}").json["utilization"]
        return use["cpu_absolute"] > 0 and use["disk_bytes"] >= 5_000_000

    wait_until(used, "CPU and disk are shown")


def test_the_environment_is_shown_where_the_settings_ask_for_the_habit_of_wings(lab: Lab) -> None:
    server = lab.server(SECRET_WORD="correct horse")
    with shim_on(lab, api={"port": 0, "show_environment": True}) as shim:
        assert shim.ask("GET", f"/api/servers/{server}").json["configuration"]["environment"] == {"SECRET_WORD": "correct horse"}


def test_a_node_without_servers_has_an_empty_list(tmp_path: Path) -> None:
    with shim_on(Lab(tmp_path, NO_ENGINE, None)) as shim:
        answer = shim.ask("GET", "/api/servers")
    assert (answer.status, answer.body) == (200, b"[]")


def test_a_server_that_neither_definitions_nor_engine_know_is_404(shim: Shim) -> None:
    unknown = "/api/servers/00000000-0000-4000-8000-000000000000"
    for method, path in (
        ("GET", ""),
        ("POST", "/power"),
        ("GET", "/operations"),
        ("POST", "/commands"),
        ("GET", "/logs"),
        ("POST", "/sync"),
    ):
        answer = shim.ask(method, unknown + path, b'{"action":"start"}' if method == "POST" else None)
        assert (path, answer.status) == (path, 404)
        assert answer.json == {"error": "The requested resource does not exist on this instance."}


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


def test_logs_are_the_last_lines(lab: Lab, shim: Shim) -> None:
    server = lab.server(MARK="1")
    path = f"/api/servers/{server}/logs"
    assert shim.ask("GET", path).json == {"data": None}
    shim.done(server, "start")
    lab.await_ready(server)
    shim.ask("POST", f"/api/servers/{server}/commands", {"commands": [f"say {number}" for number in range(120)]})
    lab.await_ready(server, "got command say 119, ignored\n")
    assert shim.ask("GET", f"{path}?size=2").json == {"data": ["got command say 118, ignored", "got command say 119, ignored"]}
    assert len(shim.ask("GET", f"{path}?size=1000").json["data"]) == 100
    assert len(shim.ask("GET", f"{path}?size=-1").json["data"]) == 100


def test_a_line_of_any_length_is_one_line_of_the_logs(lab: Lab, shim: Shim) -> None:
    line = "x" * 70_000
    server = lab.server(READY_LINE=line, MARK="1")
    shim.done(server, "start")
    lab.await_ready(server, f"{line}\n")
    shim.ask("POST", f"/api/servers/{server}/commands", {"commands": ["say one"]})
    lab.await_ready(server, "got command say one, ignored\n")
    # A terminal repeats what is written to it.
    assert shim.ask("GET", f"/api/servers/{server}/logs").json == {"data": [line, "say one", "got command say one, ignored"]}


def test_a_sync_tells_of_a_suspension_at_once_and_stops_the_server(lab: Lab, shim: Shim) -> None:
    server = lab.server()
    shim.done(server, "start")
    lab.await_ready(server)
    lab.edit(server, suspended=True)
    assert shim.ask("POST", f"/api/servers/{server}/sync").status == 204
    assert shim.power(server, "start").status == 400
    assert shim.ask("GET", f"/api/servers/{server}").json["is_suspended"] is True
    wait_until(lambda: not lab.is_up(server), "the suspended server is stopped")
    lab.edit(server, suspended=False)
    assert shim.ask("POST", f"/api/servers/{server}/sync").status == 204
    assert shim.done(server, "start")["outcome"] == "done"


def test_a_sync_brings_the_limits_of_a_running_server_in_line(lab: Lab, shim: Shim) -> None:
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
    # What cannot be done is no failure of the sync, as with Wings.
    lab.edit(server, build={"memory_limit": 3})
    assert shim.ask("POST", f"{path}/sync").status == 204
    # A look at all servers that takes too long is told the next time; the engine may have servers of others, too.
    counted = re.compile(r'^fleet_power_outdated\{outdated="unknown"\} [1-9]', re.MULTILINE)
    wait_until(lambda: counted.search(shim.ask("GET", "/metrics").body.decode()), "metrics count it")
    assert shim.power(server, "limit").status == 422


def test_a_suspension_that_nobody_told_of_is_refused_by_the_action_itself(lab: Lab, shim: Shim) -> None:
    server = lab.server()
    shim.done(server, "start")
    for _attempt in range(3):
        lab.edit(server, suspended=False)
        shim.ask("POST", f"/api/servers/{server}/sync")
        lab.edit(server, suspended=True)
        # Now and then the look that comes every ten seconds comes just now.
        if (answer := shim.power(server, "restart")).status == 202:
            break
    assert answer.status == 202
    found = shim.operation(answer.headers["location"], wait=60)
    assert (found["outcome"], found["code"]) == ("refused", "suspended")
    assert lab.is_up(server)
    assert shim.power(server, "restart").status == 400


def test_metrics_tell_of_stops_and_of_the_states_of_servers(lab: Lab, proxy: EngineProxy) -> None:
    obedient, stubborn, up = lab.server(), lab.server(stop={"type": "signal", "value": "SIGTERM"}, IGNORE_SIGNALS="all"), lab.server()
    # The engine has servers of other tests, too.
    mine = b"?filters=" + quote(json.dumps({"name": [obedient, stubborn, up]})).encode() + b"&"
    proxy.rewrite = lambda head: head if b"filters" in head else head.replace(b"/containers/json?", b"/containers/json" + mine)
    with shim_on(lab.at(proxy.host), system={"stop_timeout": 1}) as shim:
        for server in (obedient, stubborn, up):
            shim.done(server, "start")
            lab.await_ready(server)
        stops = [shim.done(server, "stop")["stop"] for server in (obedient, stubborn)]
        lines = shim.ask("GET", "/metrics").body.decode().splitlines()
    assert [stop["forced"] for stop in stops] == [False, True]
    (seconds,) = (float(line.partition(" ")[2]) for line in lines if line.startswith("fleet_power_stop_seconds_sum "))
    assert seconds == pytest.approx(sum(stop["seconds"] for stop in stops), abs=0.01)
    assert {"fleet_power_stop_seconds_count 2.0", "fleet_power_forced_stops_total 1.0"} <= set(lines)
    states = dict(re.findall(r'^fleet_power_servers\{state="(\w+)"\} (\S+)$', "\n".join(lines), re.MULTILINE))
    assert states == {"offline": "2.0", "starting": "0.0", "running": "1.0", "stopping": "0.0", "unknown": "0.0"}


def test_a_server_that_cannot_be_inspected_is_neither_left_out_nor_missing(lab: Lab, proxy: EngineProxy, controller: Controller) -> None:
    seen, hidden = lab.server(), lab.server(name="Hidden")
    # The engine has servers of other tests, too.
    mine = b"?filters=" + quote(json.dumps({"name": [seen, hidden]})).encode() + b"&"
    proxy.rewrite = lambda head: head if b"filters" in head else head.replace(b"/containers/json?", b"/containers/json" + mine)
    for uuid in (seen, hidden):
        assert lab.power("start", uuid, wait_for="running").outcome.value == "done"
    with shim_on(lab.at(proxy.host)) as shim:
        proxy.fail("GET", rf"/containers/{hidden}/json")
        listed = {each["configuration"]["uuid"]: each for each in shim.ask("GET", "/api/servers").json}
        assert (listed[seen]["state"], listed[hidden]["state"], listed[hidden]["utilization"]) == ("running", None, None)
        assert (listed[hidden]["code"], hidden in listed[hidden]["msg"]) == ("engine_error", True)
        assert listed[hidden]["configuration"]["meta"]["name"] == "Hidden"
        alone = shim.ask("GET", f"/api/servers/{hidden}")
        assert (alone.status, alone.json["error"].startswith(UNEXPECTED)) == (500, True)
        counted = re.findall(r'^fleet_power_servers\{state="(\w+)"\} (\S+)$', shim.ask("GET", "/metrics").body.decode(), re.MULTILINE)
        assert {state: number for state, number in counted if number != "0.0"} == {"running": "1.0", "unknown": "1.0"}
        # Our own client of it tells the same.
        through = {"api_url": shim.url, "api_token": TOKEN}
        for server in ("all", [hidden, seen], hidden):
            told = controller.run_module("server_power_info", server=server, **through)
            states = {entry["server"]: (entry["state"], entry.get("code")) for entry in told["servers"]}
            code = "endpoint_error" if server == hidden else "engine_error"
            assert (states[hidden], states.get(seen, ("running", None)), told["complete"]) == ((None, code), ("running", None), True)
        result = controller.run_module(server="all", action="stop", only=["running"], **through)
        ended = {entry["server"]: (entry["outcome"], entry.get("code")) for entry in result["servers"]}
        assert ended == {seen: ("done", None), hidden: ("failed", "endpoint_error")}
        assert (result["failed"], result["code"]) == (True, "incomplete")
        # What is only known to the engine is found while it cannot be inspected, or else nobody can tell; it is not 404.
        (lab.root / "servers" / f"{hidden}.json").unlink()
        assert shim.ask("GET", f"/api/servers/{hidden}").status == 500


def test_anybody_may_ask_whether_it_is_well(shim: Shim) -> None:
    answer = shim.ask("GET", "/healthz", token=None)
    assert (answer.status, answer.json) == (200, {"status": "ok"})


def test_the_system_is_told_as_wings_tells_it(shim: Shim) -> None:
    found = shim.ask("GET", "/api/system").json
    assert sorted(found) == ["architecture", "cpu_count", "kernel_version", "os", "version"]
    assert (found["os"], found["version"]) == ("linux", VERSION)


def test_the_system_is_told_with_its_engine_to_who_asks_for_the_second_shape(lab: Lab, shim: Shim) -> None:
    found = shim.ask("GET", "/api/system?v=2").json
    said = lab.client.info()
    assert sorted(found) == ["docker", "system", "version"]
    assert found["docker"]["version"] == said["ServerVersion"]
    assert found["docker"]["cgroups"] == {"driver": said["CgroupDriver"], "version": said["CgroupVersion"]}
    assert found["docker"]["storage"]["driver"] == said["Driver"]
    assert sorted(found["docker"]["containers"]) == ["paused", "running", "stopped", "total"]
    assert (found["system"]["cpu_threads"], found["system"]["memory_bytes"]) == (said["NCPU"], said["MemTotal"])
    assert (found["system"]["os"], found["system"]["os_type"]) == (said["OperatingSystem"], "linux")


def test_without_an_engine_the_system_is_told_in_the_first_shape_only(tmp_path: Path) -> None:
    with shim_on(Lab(tmp_path, NO_ENGINE, None)) as shim:
        assert (shim.ask("GET", "/api/system").status, shim.ask("GET", "/api/system?v=2").status) == (200, 500)


# ----- our own client


def test_the_module_drives_it_as_any_endpoint_and_is_told_what_really_happened(lab: Lab, controller: Controller, shim: Shim) -> None:
    # The face also knows by name what other tests have on the engine.
    name = f"Cobalt {secrets.token_hex(4)}"
    server = lab.server(name=name, stop={"type": "signal", "value": "SIGTERM"})

    def act(action: str, **options: object) -> dict[str, object]:
        given = {"docker_host": NO_ENGINE, "api_url": shim.url, "api_token": TOKEN, "server": name, "action": action, **options}
        found = controller.run_module("server_power", **controller.options(**given))
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


@pytest.mark.long
def test_the_inventory_has_its_servers_by_state_and_suspension(lab: Lab, controller: Controller, shim: Shim) -> None:
    up = lab.server(name=(running := f"up-{uuid4()}"))
    lab.server(name=(suspended := f"overdue-{uuid4()}"), suspended=True)
    shim.done(up, "start")
    lab.await_ready(up)
    file = controller.root / "servers.fleet_power.yml"
    file.write_text(json.dumps({"plugin": "fleet.power.servers", "nodes": {"n": {"url": shim.url, "token": TOKEN}}}))
    listed = controller.root / "listed.json"
    found = {"ANSIBLE_COLLECTIONS_PATH": str(controller.collections)}
    ran = controller.run("ansible-inventory", "-i", str(file), "--list", "--output", str(listed), environment=found)
    assert ran.code == 0, ran.output
    inventory = json.loads(listed.read_text())
    groups = {name: {group for group, has in inventory.items() if name in has.get("hosts", ())} for name in (running, suspended)}
    assert groups == {running: {"node_n", "state_running"}, suspended: {"node_n", "state_offline", "suspended"}}


# ----- settings while it runs

#: A token that no request can bring: blanks at an end are taken away.
UNUSABLE = f"{TOKEN}\n"


def test_a_new_token_counts_as_soon_as_it_is_in_the_file(lab: Lab, shim: Shim) -> None:
    assert shim.ask("GET", "/api/servers").status == 200
    configure(lab, token="another-token-of-the-node")
    wait_until(lambda: shim.ask("GET", "/api/servers", token="another-token-of-the-node").status == 200, "the new token counts", 5.0)
    assert shim.ask("GET", "/api/servers").status == 403


def test_settings_that_cannot_be_used_leave_those_that_count(lab: Lab, shim: Shim) -> None:
    for text in ("token: [", "token: ''", "api: {port: x}", json.dumps({"token": UNUSABLE})):
        count = len(shim.events("settings_not_reloaded"))
        lab.config.write_text(text)
        wait_until(lambda: len(shim.events("settings_not_reloaded")) > count, "the settings were refused")  # noqa: B023
        assert shim.ask("GET", "/api/servers").status == 200
    lab.write_settings()
    lab.config.chmod(0o644)
    wait_until(lambda: "0644" in shim.events("settings_not_reloaded")[-1]["reason"], "the mode was refused")
    assert TOKEN not in (lab.root / "shim.log").read_text()


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
    ids=["read by others", "written by others", "no token", "no such token", "no port", "not our address", "no certificate", "no file"],
)
def test_what_keeps_it_from_beginning_is_one_sentence(lab: Lab, spoil: object, said: str) -> None:
    configure(lab)
    spoil(lab)  # type: ignore[operator]
    with pytest.raises(AssertionError) as refused:
        again(lab)
    sentence = str(refused.value).splitlines()[0].partition("AssertionError: ")[2] or str(refused.value).splitlines()[0]
    assert said in sentence
    assert "Traceback" not in str(refused.value)
