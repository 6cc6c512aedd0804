# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Nothing reads a key of the engine's answers that Docker 29 drops, and nothing sends what it refuses."""

from __future__ import annotations

import ast
import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.fleet.power.plugins.module_utils._command.draft import definition_of
from ansible_collections.fleet.power.plugins.module_utils._fleet.inventory.engine import _entries
from ansible_collections.fleet.power.plugins.module_utils._power.actions.boot.container import _create_without
from ansible_collections.fleet.power.plugins.module_utils._power.definitions.settings import parse_settings
from ansible_collections.fleet.power.plugins.module_utils._power.engine.connection import Connection
from ansible_collections.fleet.power.plugins.module_utils._power.engine.docker_engine import DockerEngine
from ansible_collections.fleet.power.plugins.module_utils._power.engine.engine_answers import (
    container_in_event,
    image_of,
    listed_of,
    publisher_of,
    server_in_event,
    server_of,
    snapshot_of,
    use_of,
)
from ansible_collections.fleet.power.plugins.module_utils._power.engine.event_stream import container_event
from ansible_collections.fleet.power.plugins.module_utils._power.model.errors import EngineError
from ansible_collections.fleet.power.tests.integration import engine_29
from ansible_collections.fleet.power.tests.integration.engine_29 import CHANGES, RELEASES, changed, refusal
from ansible_collections.fleet.power.tests.unit.test_container_spec import PAPER, spec
from docker.errors import APIError

MODULE_UTILS = Path(__file__).parents[2] / "plugins" / "module_utils"
SAMPLES = Path(__file__).parent / "fixtures" / "inspect"
UUID = "566bf9d7-c55a-45f8-91a6-e55e9b9b1325"
#: The version that requests have, and the newest one of Docker 29.
VERSIONS = ("1.51", "1.54")
#: The files that read answers of the engine.
READERS = (
    *("_command/define.py", "_command/draft.py", "_fleet/inventory/engine.py", "_http_shim/servers/wings_view.py"),
    *("_power/actions/boot/container.py", "_power/actions/boot/previous.py", "_power/container/container_limits.py", "node_stop.py"),
    *("_supervisor/engine_link.py", *(f"_power/engine/{path.name}" for path in sorted((MODULE_UTILS / "_power" / "engine").glob("*.py")))),
)
#: A key of the same name elsewhere, or with another way beside it, and why it is no key that Docker 29 drops.
ALLOWED = {
    ("_power/engine/event_stream.py", "id"): "after Actor.ID",
    ("_power/engine/engine_answers.py", "id"): "after Actor.ID",
    ("_http_shim/servers/wings_view.py", "id"): "of an egg",
    ("_http_shim/servers/wings_view.py", "Containers"): "a number in /info",
    ("_command/draft.py", "Env"): "of a request of ours",
    **{(f"_power/engine/{name}.py", "status"): "of an error of ours" for name in ("docker_engine", "engine_calls", "engine_images")},
    ("_power/actions/boot/container.py", "status"): "of an error of ours",
    ("_power/actions/boot/container.py", "Labels"): "of a request of ours",
    ("_power/engine/docker_engine.py", "Labels"): "the list is one of containers with a label",
}


def with_dropped_keys(container: dict[str, Any], image: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Answers of Docker 28.5, with each key that a row of the table drops."""
    network = container.setdefault("NetworkSettings", {})
    for name in (*engine_29._OF_BRIDGE, *engine_29._GONE):
        network.setdefault(name, "192.0.2.9")
    container["Config"].setdefault("MacAddress", "02:00:00:00:00:01")
    container["HostConfig"].setdefault("KernelMemory", 0)
    for found in (container, image):
        found["GraphDriver"] = {"Name": "overlayfs", "Data": None}
    for name in engine_29._EMPTY:
        image.setdefault("Config", {}).setdefault(name, None)
    return container, image


def sample(name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    found = json.loads((SAMPLES / f"{name}.json").read_text(encoding="utf-8"))
    return with_dropped_keys(found["container"], found["image"])


LISTED = {
    "Id": "ab" * 32,
    "Names": [f"/{UUID}"],
    "Image": "game:1",
    "Labels": {"fleet.power.server": UUID},
    "State": "running",
    "Status": "Up 5 minutes (unhealthy)",
    "Ports": [{"PrivatePort": 25565, "Type": "tcp"}, {"IP": "192.0.2.1", "PrivatePort": 80, "PublicPort": 8080, "Type": "tcp"}],
}
EVENT = {
    "id": "ab" * 32,
    "status": "die",
    "from": "game:1",
    "Type": "container",
    "Action": "die",
    "scope": "local",
    "Actor": {"ID": "ab" * 32, "Attributes": {"fleet.power.server": UUID, "exitCode": "137", "image": "game:1", "name": UUID}},
    "time": 1769860800,
    "timeNano": 1769860800123456789,
}
STATS = {
    "read": "2026-01-31T12:00:00Z",
    "cpu_stats": {"cpu_usage": {"total_usage": 5}},
    "memory_stats": {"usage": 7, "limit": 9, "stats": {"inactive_file": 1}},
    "networks": {"eth0": {"rx_bytes": 1, "tx_bytes": 2}},
}
ANSWERS: dict[str, tuple[str, Any, Callable[[Any], object]]] = {
    "event": ("/events", EVENT, lambda found: (container_in_event(found), server_in_event(found), container_event(found))),
    "list": (
        "/containers/json",
        [LISTED],
        lambda found: [
            (
                server_of(row),
                listed_of(row, lambda _row: None),
                [publisher_of(row, f"{port}/tcp", address) for port in (25565, 80, 8080) for address in ("192.0.2.1", "0.0.0.0", "")],
            )
            for row in found
        ],
    ),
    "inventory": ("/containers/json", [LISTED], lambda found: _entries("node1", found)),
    "use": (f"/containers/{UUID}/stats", STATS, use_of),
}


@pytest.mark.parametrize("api", VERSIONS)
@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_of_docker_29_is_read_as_that_of_28_5(name: str, api: str) -> None:
    path, answer, read = ANSWERS[name]
    assert read(changed(path, api, copy.deepcopy(answer))) == read(answer)


@pytest.mark.parametrize("api", VERSIONS)
@pytest.mark.parametrize("name", sorted(path.stem for path in SAMPLES.glob("*.json")))
def test_a_container_and_its_image_are_read_as_those_of_28_5(name: str, api: str) -> None:
    def read(container: dict[str, Any], image: dict[str, Any]) -> object:
        state = {"Running": True, "Paused": False, "Restarting": False, "StartedAt": "x", "FinishedAt": "y", "OOMKilled": False}
        drafted = definition_of(container, image, parse_settings({}, where="config.yml"))
        return vars(snapshot_of({**container, "State": {**state, **container.get("State", {})}})), image_of(image), vars(drafted)["steps"]

    new = [changed(path, api, found) for path, found in zip(("/containers/x/json", "/images/sha256:1/json"), sample(name))]
    assert "LinkLocalIPv6Address" not in new[0]["NetworkSettings"] and "KernelMemory" not in new[0]["HostConfig"]
    assert ("GraphDriver" in new[0]) is (api == "1.51")
    assert read(*new) == read(*sample(name))


def dropped_names() -> set[str]:
    """The last parts of all keys that Docker 29 drops, whatever they hold."""
    paths = (path for change in CHANGES for path in change.drops)
    return {path.rpartition(".")[2] for path in paths} | {"GraphDriver", *engine_29._OF_BRIDGE}


def text_of(node: ast.AST | None) -> str | None:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def read_keys(tree: ast.AST) -> Iterator[tuple[str, bool]]:
    """Yield each constant key that is read, and whether a missing one is an error."""
    for node in ast.walk(tree):
        key, needed = None, False
        if isinstance(node, ast.Subscript):
            key, needed = text_of(node.slice), isinstance(node.ctx, ast.Load)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in ("get", "pop"):
            key = text_of(node.args[0] if node.args else None)
        elif isinstance(node, ast.Compare):
            key = text_of(node.left)
        if key is not None:
            yield key, needed


@pytest.mark.parametrize("file", READERS)
def test_no_key_is_read_that_docker_29_drops(file: str) -> None:
    dropped, found = dropped_names(), list(read_keys(ast.parse((MODULE_UTILS / file).read_text(encoding="utf-8"))))
    assert [name for name, _needed in found if name in dropped and (file, name) not in ALLOWED] == []
    # Docker 29 omits these if they are empty.
    optional = {path.rpartition(".")[2] for change in CHANGES for path in change.empty}
    assert [name for name, needed in found if needed and name in optional and (file, name) not in ALLOWED] == []


def test_the_walk_covers_each_file_that_reads_an_answer_of_the_engine() -> None:
    calls = ("inspect_container(", "inspect_image(", ".containers(all", "engine.facts", "engine.raw(", "images.raw(", "client.info(")
    found = {path.relative_to(MODULE_UTILS).as_posix() for path in MODULE_UTILS.rglob("*.py")}
    readers = {name for name in found if any(call in (MODULE_UTILS / name).read_text(encoding="utf-8") for call in calls)}
    assert readers - set(READERS) <= {"_http_shim/routes/servers.py"}, "it gives the answer to wings_view.py"
    assert all(any(name == key for key, _needed in read_keys(ast.parse((MODULE_UTILS / file).read_text()))) for file, name in ALLOWED)


def test_docker_29_accepts_the_containers_of_definitions() -> None:
    config = spec(PAPER).config
    assert refusal(config) == ""
    host = config["HostConfig"]
    for wrong in (
        {"Cmd": "run"},
        {"Entrypoint": ""},
        {"HostConfig": {**host, "CapDrop": "ALL"}},
        {"HostConfig": {**host, "Dns": ["localhost"]}},
        {"HostConfig": {**host, "PortBindings": {"80/tcp": [{"HostIp": "localhost", "HostPort": "80"}]}}},
        {"ExposedPorts": {"80-81/tcp": {}}},
    ):
        assert refusal({**config, **wrong}).startswith("invalid JSON: ")


def test_each_release_takes_the_version_of_our_requests() -> None:
    assert all(engine_29.at_least("1.51", each.oldest) and engine_29.at_least(each.newest, "1.52") for each in RELEASES.values())


def answer_of(status: int) -> APIError:
    return APIError("nope", response=SimpleNamespace(status_code=status, reason="nope"), explanation="nope")


class Removing:
    """A client whose container another process removes. Its messages say nothing; only the state of the container does."""

    def __init__(self, *states: str | None) -> None:
        self.states = list(states)
        self.timeout = 5.0

    def remove_container(self, _name: str, **_options: object) -> None:
        if self.states:
            raise answer_of(409)

    def inspect_container(self, _name: str) -> dict[str, Any]:
        status = self.states.pop(0)
        if status is None:
            raise answer_of(404)
        state = dict.fromkeys(("Running", "Paused", "Restarting", "OOMKilled"), False)
        state = {**state, "Status": status, "Running": status == "running", "StartedAt": "", "FinishedAt": "", "ExitCode": 0}
        return {"Id": "c1", "Name": "/c1", "State": state, "Config": {}, "HostConfig": {}}

    def close(self) -> None:
        pass


@pytest.mark.parametrize(
    "states, removed", [(("removing", "removing"), True), (("dead", None), True), (("running",), False), (("exited",), False)]
)
def test_a_container_shows_by_its_state_that_another_process_removes_it(states: tuple[str | None, ...], removed: bool) -> None:
    engine = DockerEngine(Connection(api_version="1.45"))
    engine._calls._idle.append(Removing(*states))
    assert engine.containers.remove("c1", volumes=True) is removed


@pytest.mark.parametrize("status, created", [(400, True), (409, False), (500, False)])
def test_a_status_not_a_text_leads_to_a_server_without_pinned_processors(status: int, created: bool) -> None:
    def create(_name: str, config: dict[str, Any]) -> tuple[str, list[str]]:
        if "CpusetCpus" in config["HostConfig"]:
            raise EngineError("Cannot create container x: nope", status=status)
        return "c1", []

    node: Any = SimpleNamespace(engine=SimpleNamespace(containers=SimpleNamespace(create=create)))
    config = {"HostConfig": {"CpusetCpus": "0-3"}}
    if created:
        sentence = "build.threads: this host cannot pin the server to the processors 0-3: nope"
        assert _create_without(node, "x", config) == ("c1", [sentence])
    else:
        with pytest.raises(EngineError):
            _create_without(node, "x", config)
