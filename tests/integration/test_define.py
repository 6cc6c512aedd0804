# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The guide "From docker run to a server in ten minutes", on the real engine."""

from __future__ import annotations

import grp
import os
import stat
import subprocess
import urllib.request
import uuid as uuid_module
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.fleet.power.plugins.module_utils._command.define import define
from ansible_collections.fleet.power.plugins.module_utils._power.definitions.definition import UNFILLED
from ansible_collections.fleet.power.plugins.module_utils._power.model.errors import PowerError

from .command import Seen, fleet_power
from .lab import IMAGE, Lab, ended, free_port, wait_until

COMPOSE = ("--label", "com.docker.compose.project=shop", "--label", "com.docker.compose.service=front")
#: A web application: it writes its greeting where it serves files.
WEB = 'ENTRYPOINT ["/bin/sh", "-c", "echo $GREETING > /data/greeting ; trap exit TERM; busybox httpd -f -p $HTTP_PORT -h /data & wait"]'


@pytest.fixture
def node(lab: Lab, tmp_path: Path) -> Lab:
    """A node whose settings allow mounts below its root, and where containers are in the engine's own network."""
    group = grp.getgrgid(os.getgid()).gr_name
    network = {"network_mode": "bridge", "interface": "127.0.0.1"}
    lab.write_settings(system={"group": group}, docker={"network": network}, allowed_mounts=[str(tmp_path)])
    return lab


def docker(lab: Lab, *arguments: str) -> str:
    environment = {**os.environ, "DOCKER_HOST": lab.docker_host}
    return subprocess.run(["docker", *arguments], env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


def docker_run(lab: Lab, *arguments: str) -> str:
    """Start a container of any name, as a person does; the lab removes it. Returns its name."""
    name = f"web-{uuid_module.uuid4().hex[:12]}"
    lab.uuids.append(name)
    docker(lab, "run", "--detach", "--name", name, *arguments)
    return name


def defined(lab: Lab, name: str) -> tuple[Path, list[str], str]:
    """Write the definition; return its file, the printed commands before the restart, and the whole text for people."""
    seen = fleet_power(lab, "define", name, "--write")
    assert seen.code == 0, seen.err
    text, printed = seen.out, seen.err
    (path,) = (path for path in (lab.root / "servers").iterdir() if path.read_text() == text)
    lab.uuids.append(path.stem)
    *commands, restart = map(str.strip, printed.partition("over:\n")[2].partition("\nThe restart")[0].splitlines())
    assert restart == f"fleet-power restart {name} --adopt"
    return path, commands, printed


def take_over(lab: Lab, name: str, commands: list[str]) -> Seen:
    for command in commands:
        subprocess.run(command, shell=True, check=True, env={**os.environ, "DOCKER_HOST": lab.docker_host})
    return fleet_power(lab, "restart", name, "--adopt")


def variables(lab: Lab, name: str) -> dict[str, str]:
    found = lab.container(name)
    assert found is not None
    return dict(entry.split("=", 1) for entry in found["Config"]["Env"])


def fetched(port: int, path: str) -> str:
    def once() -> str:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}", timeout=2) as answer:
                return str(answer.read().decode())
        except OSError:
            return ""

    return str(wait_until(once, f"port {port} serves {path}"))


@pytest.mark.samples("compose")
@pytest.mark.parametrize("labels", [(), COMPOSE], ids=["docker run", "compose"])
def test_a_web_application_becomes_a_server_with_its_data_ports_and_environment(node: Lab, labels: tuple[str, ...]) -> None:
    image, port, data = node.image(WEB)[1:], free_port(), node.root / "site"
    data.mkdir()
    data.chmod(0o777)
    (data / "index.html").write_text("precious")
    environment = ("--env", f"HTTP_PORT={port}", "--env", "GREETING=a: #b")
    mounts = ("--volume", f"{data}:/data", "--memory", "64m", "--cpus", "0.5", "--stop-timeout", "20")
    name = docker_run(node, "--publish", f"{port}:{port}", *environment, *mounts, *labels, image)
    before = (fetched(port, "index.html"), fetched(port, "greeting"))
    assert before == ("precious", "a: #b\n")
    path, commands, printed = defined(node, name)
    status = path.stat()
    assert (stat.S_IMODE(status.st_mode), status.st_gid) == (0o640, os.getgid())
    assert "suspended" not in path.read_text() and "These are lost: files that it wrote outside of its mounts." in printed
    assert ("project shop" in path.read_text()) == bool(labels)
    result = take_over(node, name, commands)
    assert result.code == 0, result.out
    assert (fetched(port, "index.html"), fetched(port, "greeting")) == before
    found = node.container(path.stem)
    assert found is not None and found["Config"]["Labels"]["fleet.power.server"] == path.stem
    assert not any(label.startswith("com.docker.compose.") for label in found["Config"]["Labels"])
    assert variables(node, path.stem)["GREETING"] == "a: #b"
    assert (found["HostConfig"]["MemoryReservation"], found["HostConfig"]["CpuQuota"]) == (68_000_000, 50_000)
    assert ended(node.power("restart", name)) == ("done", "")


def test_a_container_with_another_port_inside_is_adopted(node: Lab) -> None:
    port = free_port()
    name = docker_run(node, "--publish", f"{port}:80", IMAGE[1:])
    path, commands, printed = defined(node, name)
    assert "read why the server is suspended" in printed
    path.write_text(path.read_text().replace("suspended: true", "suspended: false"))
    result = take_over(node, name, commands)
    assert result.code == 0, result.out
    assert node.container(path.stem)["HostConfig"]["PortBindings"][f"{port}/tcp"][0]["HostPort"] == str(port)


@pytest.mark.samples("named volume")
@pytest.mark.parametrize("volume", [False, True], ids=["bind", "named volume"])
def test_a_game_server_becomes_a_server_with_its_world(node: Lab, volume: bool) -> None:
    world, port, source = node.root / "world", free_port(), f"fleet-power-test-{uuid_module.uuid4().hex[:12]}"
    world.mkdir()
    world.chmod(0o777)
    ports = ("--publish", f"{port}:{port}", "--publish", f"{port}:{port}/udp")
    environment = ("--env", "DATA_WRITE=1", "--env", "RCON_PASSWORD=hunter22")
    mount = ("--volume", f"{source if volume else world}:/home/container")
    name = docker_run(node, "--interactive", *ports, *environment, *mount, IMAGE[1:])
    try:
        node.await_ready(name)
        docker(node, "exec", name, "sh", "-c", "echo precious > /home/container/level.dat")
        path, commands, printed = defined(node, name)
        identity = node.container(name)["Id"]
        assert "write the values of RCON_PASSWORD" in printed and "hunter22" not in path.read_text() + printed
        docker(node, "rename", name, path.stem)
        refused = node.power("restart", name, adopt=True)
        assert (*ended(refused), refused.changed) == ("refused", "definition_invalid", False)
        assert "settings.environment.RCON_PASSWORD" in refused.msg
        assert node.is_up(path.stem) and node.container(path.stem)["Id"] == identity
        path.write_text(path.read_text().replace(f"RCON_PASSWORD: {UNFILLED}", "RCON_PASSWORD: hunter22"))
        result = take_over(node, name, commands[1:])
        assert result.code == 0, result.out
        node.await_ready(path.stem)
        assert (node.volume(path.stem) / "level.dat").read_text() == "precious\n"
        assert (node.volume(path.stem) / "boots").read_text() == "2\n"
        found = variables(node, path.stem)
        assert (found["RCON_PASSWORD"], found["SERVER_PORT"], found["DATA_WRITE"]) == ("hunter22", str(port), "1")
        bindings = node.container(path.stem)["HostConfig"]["PortBindings"]
        assert {published: each[0]["HostPort"] for published, each in bindings.items()} == {
            f"{port}/tcp": str(port),
            f"{port}/udp": str(port),
        }
    finally:
        if volume:
            node.clean()
            docker(node, "volume", "rm", source)


@pytest.mark.long
def test_a_named_volume_becomes_a_mount_with_its_files(node: Lab) -> None:
    volume = f"fleet-power-test-{uuid_module.uuid4().hex[:12]}"
    node.write_settings(allowed_mounts=[f"{node.client.info()['DockerRootDir']}/volumes"])
    name = docker_run(node, "--volume", f"{volume}:/extra", "--volume", "/anonymous", IMAGE[1:])
    try:
        docker(node, "exec", "--user", "0", name, "sh", "-c", "echo precious > /extra/file")
        path, commands, printed = defined(node, name)
        assert f"it is the volume {volume}, which" in path.read_text()
        assert take_over(node, name, commands).code == 0
        assert docker(node, "exec", path.stem, "cat", "/extra/file") == "precious"
        kept = printed.partition("the anonymous volume at /anonymous (its files stay in ")[2].partition(")")[0]
        assert Path(kept).is_dir()
        docker(node, "volume", "rm", Path(kept).parent.name)
    finally:
        node.clean()
        docker(node, "volume", "rm", volume)


def test_a_container_that_removes_itself_becomes_a_server(node: Lab) -> None:
    name = docker_run(node, "--rm", "--volume", "/anonymous", "--volume", f"{node.root}:/data:ro", IMAGE[1:])
    path, commands, printed = defined(node, name)
    assert "the anonymous volume at /anonymous (the engine removes it)" in printed
    result = take_over(node, name, commands)
    assert result.code == 0 and node.is_up(path.stem)


def test_a_mount_outside_of_allowed_mounts_suspends_the_server(node: Lab) -> None:
    node.write_settings(allowed_mounts=[])
    name = docker_run(node, "--volume", f"{node.root}:/data", IMAGE[1:])
    path, commands, printed = defined(node, name)
    assert "outside the settings' allowed_mounts" in path.read_text() and "settings.suspended" in printed
    result = take_over(node, name, commands)
    assert (result.code, "suspended" in result.out, node.is_up(path.stem)) == (3, True, True)


def refused(lab: Lab, name: str, **options: Any) -> str:
    before = sorted(path.name for path in (lab.root / "servers").iterdir())
    with pytest.raises(PowerError) as error:
        define(name, lab.node(**options), write=True)
    assert sorted(path.name for path in (lab.root / "servers").iterdir()) == before
    return error.value.code


def test_the_draft_changes_nothing_and_is_always_the_same(node: Lab) -> None:
    name = docker_run(node, "--volume", f"{node.root}:/b", "--volume", f"{node.root}:/a", "--publish", "7777", IMAGE[1:])

    def seen() -> dict[str, Any]:
        # The engine lists mounts in any order.
        found = node.container(name) or {}
        return {**found, "Mounts": sorted(found["Mounts"], key=lambda mount: str(mount["Destination"]))}

    before = seen()
    assert len({define(identity, node.node()) for identity in (name, name, before["Id"], before["Id"][:12])}) == 1
    assert seen() == before
    assert [*(node.root / "servers").iterdir(), *node.root.glob("state*"), *node.root.glob("run*")] == []


def test_an_impossible_definition_is_refused_with_a_code(node: Lab) -> None:
    assert {refused(node, name) for name in ("no-such-container", "", "../images/json", "a b", "\n")} == {"server_not_found"}
    assert refused(node, node.up()) == "not_definable"
    name = docker_run(node, IMAGE[1:])
    assert refused(node, name, docker_host="unix:///nowhere.sock") == "engine_unreachable"
    node.server(name=name)
    assert refused(node, name) == "not_definable"
    node.server(name=name)
    assert refused(node, name) == "ambiguous_server"


def test_an_unreadable_definition_that_may_have_the_name_is_a_warning(node: Lab) -> None:
    broken = node.root / "servers" / f"{uuid_module.uuid4()}.yml"
    broken.write_text("[")
    _path, _commands, printed = defined(node, docker_run(node, IMAGE[1:]))
    assert f"Warning: Cannot read definition {broken}" in printed


@pytest.mark.samples("another format")
@pytest.mark.parametrize(
    "rename",
    [str, lambda name: name.replace(".yml", ".json"), lambda name: name.upper().replace("YML", "yml")],
    ids=["the same name", "another format", "another case"],
)
def test_a_second_definition_of_a_container_is_refused(node: Lab, rename: Callable[[str], str]) -> None:
    name = docker_run(node, IMAGE[1:])
    path, _commands, _printed = defined(node, name)
    path.rename(path.with_name(rename(path.name)))
    assert refused(node, name) == "not_definable"


def test_only_the_first_of_eight_writers_succeeds(node: Lab) -> None:
    name = docker_run(node, IMAGE[1:])

    def one(_number: int) -> str:
        try:
            return define(name, node.node(), write=True)[1]
        except PowerError as error:
            return error.code

    with ThreadPoolExecutor(8) as pool:
        ends = list(pool.map(one, range(8)))
    assert ends.count("not_definable") == 7
    (path,) = (node.root / "servers").iterdir()
    assert path.read_text() == define(name, node.node())[0]


def test_a_directory_that_cannot_be_written_is_refused(node: Lab) -> None:
    name = docker_run(node, IMAGE[1:])
    node.write_settings(system={"group": "no-such-group"})
    assert refused(node, name) == "not_definable"
    node.write_settings(system={"group": grp.getgrgid(os.getgid()).gr_name})
    (node.root / "servers").rmdir()
    with pytest.raises(PowerError, match="No such file or directory") as error:
        define(name, node.node(), write=True)
    assert error.value.code == "not_definable"
