# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Foreign containers, and a running Wings daemon."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.host import pauses as wings_module
from ansible_collections.fleet.power.plugins.module_utils._power.host.pauses import wings_pid

from .lab import Lab, ended, wait_until

WINGS = {"Service": "Pterodactyl", "ContainerType": "server_process"}
WITH_VOLUME = "fleet-power/testserver:sigint"


@dataclass(frozen=True)
class Stranger:
    """A foreign container with a server's name, and files in its anonymous volume and in the data directory."""

    lab: Lab
    uuid: str
    volume: str

    def contents(self) -> tuple[dict[str, Any], str]:
        """The state of the container, and the text in its anonymous volume."""
        command = self.lab.client.exec_create(self.uuid, ["cat", "/anonymous/precious"])
        text = self.lab.client.exec_start(command["Id"]).decode()
        # The engine lists commands in a container for some time after their end.
        return {key: value for key, value in self.lab.container(self.uuid).items() if key != "ExecIDs"}, text

    def volume_exists(self) -> bool:
        return self.volume in {found["Name"] for found in self.lab.client.volumes()["Volumes"] or ()}


@pytest.fixture
def stranger(lab: Lab) -> Iterator[Stranger]:
    uuid = lab.server()
    lab.outsider(uuid, Image=WITH_VOLUME, User="0:0", OpenStdin=True)
    lab.await_ready(uuid)
    command = lab.client.exec_create(uuid, ["sh", "-c", "echo world > /anonymous/precious"])
    lab.client.exec_start(command["Id"])
    (volume,) = (mount["Name"] for mount in lab.container(uuid)["Mounts"])
    lab.volume(uuid).mkdir(parents=True)
    (lab.volume(uuid) / "level.dat").write_text("precious")
    found = Stranger(lab, uuid, volume)
    yield found
    lab.clean()
    if found.volume_exists():
        lab.client.remove_volume(volume)


@pytest.mark.samples("False")
@pytest.mark.parametrize("check", [False, True])
def test_a_restart_refuses_a_foreign_container_and_leaves_it_intact(lab: Lab, stranger: Stranger, check: bool) -> None:
    before = stranger.contents()
    result = lab.power("restart", stranger.uuid, check=check)
    assert (*ended(result), result.changed, result.state.value) == ("refused", "container_foreign", False, "running")
    assert "adopt: true" in result.msg
    assert stranger.contents() == before


@pytest.mark.samples("kill")
@pytest.mark.parametrize("action", ["stop", "kill"])
def test_a_stopped_foreign_container_is_kept_and_not_started_again(lab: Lab, stranger: Stranger, action: str) -> None:
    identity = lab.container(stranger.uuid)["Id"]
    assert ended(lab.power(action, stranger.uuid)) == ("done", "")
    result = lab.power("start", stranger.uuid)
    assert (*ended(result), result.changed) == ("refused", "container_foreign", False)
    assert (lab.container(stranger.uuid)["Id"], lab.is_up(stranger.uuid), stranger.volume_exists()) == (identity, False, True)
    lab.client.start(stranger.uuid)
    assert stranger.contents()[1] == "world\n"


@pytest.mark.samples("restart")
@pytest.mark.parametrize("action", ["start", "restart"])
def test_adoption_replaces_the_container_and_keeps_its_volume(lab: Lab, stranger: Stranger, action: str) -> None:
    identity = lab.container(stranger.uuid)["Id"]
    if action == "start":
        lab.power("stop", stranger.uuid)
    result = lab.power(action, stranger.uuid, adopt=True, wait_for="running")
    assert (*ended(result), result.state.value) == ("done", "", "running")
    found = lab.container(stranger.uuid)
    assert found["Id"] != identity and found["Config"]["Labels"]["fleet.power.server"] == stranger.uuid
    assert stranger.volume_exists()
    assert (lab.volume(stranger.uuid) / "level.dat").read_text() == "precious"
    assert ended(lab.power("restart", stranger.uuid)) == ("done", "")


@pytest.mark.parametrize("is_up", [False, True])
def test_a_container_of_wings_is_taken_over_with_its_world(lab: Lab, is_up: bool) -> None:
    uuid = lab.server(DATA_WRITE=1)
    world = lab.volume(uuid)
    world.mkdir(parents=True)
    (world / "level.dat").write_text("precious")
    lab.outsider(
        uuid,
        Labels=WINGS,
        Tty=True,
        OpenStdin=True,
        User="988:988",
        host={"Binds": [f"{world}:/home/container"], "RestartPolicy": {"Name": "no"}},
    )
    lab.await_ready(uuid)
    identity = lab.container(uuid)["Id"]
    if not is_up:
        assert ended(lab.power("stop", uuid)) == ("done", "")
    result = lab.power("restart" if is_up else "start", uuid, wait_for="running")
    assert ended(result) == ("done", "")
    found = lab.container(uuid)
    assert (found["Id"] != identity, found["Config"]["Labels"].get("Service")) == (True, None)
    assert ((world / "level.dat").read_text(), (world / "boots").read_text()) == ("precious", "1\n")
    assert (result.stop is not None) == is_up


CLAIMS = [("fleet.power.server",), ("fleet.power.server", "fleet.power.spec", "fleet.power.stop")]


def claimant(lab: Lab, name: str, uuid: str, labels: tuple[str, ...]) -> str:
    """Start a foreign container whose image has our labels and the server's uuid; return its name."""
    image = lab.image(*(f"LABEL {label}={uuid if label.endswith('server') else 'SIGKILL'}" for label in labels))
    if name not in lab.uuids:
        lab.uuids.append(name)
    lab.outsider(name, Image=image[1:])
    lab.await_ready(name)
    return name


@pytest.mark.samples("3")
@pytest.mark.parametrize("labels", CLAIMS, ids=len)
def test_labels_of_an_image_do_not_make_a_container_a_server(lab: Lab, labels: tuple[str, ...]) -> None:
    uuid = lab.server()
    other = claimant(lab, f"web-{uuid}", uuid, labels)
    assert [ended(lab.power(action, uuid)) for action in ("kill", "stop")] == [("unchanged", ""), ("unchanged", "")]
    assert uuid not in {server.uuid for server in lab.node().engine.servers()}
    assert lab.is_up(other)
    assert ended(lab.power("start", uuid)) == ("done", "")
    assert (lab.is_up(uuid), lab.is_up(other)) == (True, True)


#: A user without other processes: every other test would see a process of root that is called wings.
_LONELY = 64321


@contextmanager
def process_called_wings() -> Iterator[int]:
    child = os.fork()
    if child == 0:
        name = os.open("/proc/self/comm", os.O_WRONLY)
        os.setuid(_LONELY)
        os.write(name, b"wings")
        signal.pause()
    try:
        wait_until(lambda: Path(f"/proc/{child}/comm").read_text() == "wings\n", "the process has its name")
        yield child
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def wings_seen_by(user: int) -> int:
    """The pid that ``wings_pid`` finds as another user; 0 for none."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.setuid(user)
        os.write(writing, str(wings_pid() or 0).encode())
        os._exit(0)
    os.close(writing)
    with open(reading) as source:
        found = int(source.read())
    os.waitpid(child, 0)
    return found


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as another user")
def test_a_process_called_wings_counts_only_if_root_or_our_user_runs_it() -> None:
    with process_called_wings() as pid:
        assert wings_seen_by(_LONELY) == pid
        # A process of a server can take any name.
        assert wings_seen_by(0) != pid
        assert wings_seen_by(_LONELY + 1) != pid
    assert wings_seen_by(_LONELY) != pid


@contextmanager
def container_process(name: str, user: int, *flags: str) -> Iterator[int]:
    """A process of that name and user in a separate pid namespace, as in an engine's container."""
    script = f"printf {name} > /proc/self/comm; read _line"
    command = ["unshare", *flags, "--pid", "--fork", "--kill-child", "sh", "-c", script]
    # Many groups: the line about namespaces then comes late in the kernel's status file.
    outside = subprocess.Popen(command, stdin=subprocess.PIPE, user=user, group=user, extra_groups=range(700_000, 710_000))

    def inside() -> list[str]:
        return Path(f"/proc/{outside.pid}/task/{outside.pid}/children").read_text().split()

    try:
        wait_until(lambda: any(Path(f"/proc/{pid}/comm").read_text() == f"{name}\n" for pid in inside()), "the process has its name")
        yield int(inside()[0])
    finally:
        left = inside()
        outside.kill()
        outside.communicate()
        wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in left), "the process has ended")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as another user")
def test_a_tenant_of_our_own_rootless_engine_cannot_pass_for_wings() -> None:
    with container_process("wings", _LONELY, "--user", "--map-root-user") as pid:
        assert os.stat(f"/proc/{pid}").st_uid == _LONELY
        assert wings_seen_by(_LONELY) == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can run a process as root")
def test_a_wings_of_root_in_a_container_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    # Every other test on this machine would see the real name.
    monkeypatch.setattr(wings_module, "_NAME", b"wings-of-a-test\n")
    with container_process("wings-of-a-test", 0) as pid:
        assert wings_pid() == pid
        assert wings_seen_by(_LONELY) == pid


@pytest.mark.skipif(os.geteuid() != 0, reason="only root sees the processes of a container")
def test_a_process_called_wings_in_a_servers_container_is_not_wings(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wings_module, "_NAME", b"wings-in-server\n")
    uuid = lab.server()
    assert ended(lab.power("start", uuid)) == ("done", "")
    script = "printf wings-in-server > /proc/self/comm; sleep 60; :"
    lab.client.exec_start(lab.client.exec_create(uuid, ["sh", "-c", script], user="0")["Id"], detach=True)
    engine = lab.node().engine
    wait_until(lambda: wings_pid() is not None, "the process has its name")
    assert wings_pid(is_server=engine.is_server) is None
    assert wings_pid(is_server=lambda _container: False) is not None
