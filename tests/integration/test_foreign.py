# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Containers that somebody else made: a stranger's is never removed unasked, Wings' are taken over and their world is untouched."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from .lab import Lab, ended

WINGS = {"Service": "Pterodactyl", "ContainerType": "server_process"}
WITH_VOLUME = "fleet-power/testserver:sigint"


@dataclass(frozen=True)
class Stranger:
    """A running container of a server's name, with something in its anonymous volume and in the server's data directory."""

    lab: Lab
    uuid: str
    volume: str

    def contents(self) -> tuple[dict[str, Any], str]:
        """The container as it is, and what stands in its anonymous volume."""
        command = self.lab.client.exec_create(self.uuid, ["cat", "/anonymous/precious"])
        text = self.lab.client.exec_start(command["Id"]).decode()
        # What was executed in a container is listed until the engine has forgotten it.
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
def test_a_restart_of_a_strangers_container_is_refused_and_leaves_it_intact(lab: Lab, stranger: Stranger, check: bool) -> None:
    before = stranger.contents()
    result = lab.power("restart", stranger.uuid, check=check)
    assert (*ended(result), result.changed, result.state.value) == ("refused", "container_foreign", False, "running")
    assert "adopt: true" in result.msg
    assert stranger.contents() == before


@pytest.mark.samples("kill")
@pytest.mark.parametrize("action", ["stop", "kill"])
def test_a_strangers_container_is_taken_down_but_neither_removed_nor_started_again(lab: Lab, stranger: Stranger, action: str) -> None:
    identity = lab.container(stranger.uuid)["Id"]
    assert ended(lab.power(action, stranger.uuid)) == ("done", "")
    result = lab.power("start", stranger.uuid)
    assert (*ended(result), result.changed) == ("refused", "container_foreign", False)
    assert (lab.container(stranger.uuid)["Id"], lab.is_up(stranger.uuid), stranger.volume_exists()) == (identity, False, True)
    lab.client.start(stranger.uuid)
    assert stranger.contents()[1] == "world\n"


@pytest.mark.samples("restart")
@pytest.mark.parametrize("action", ["start", "restart"])
def test_an_adopted_container_is_made_anew_and_its_volume_kept(lab: Lab, stranger: Stranger, action: str) -> None:
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
def test_wings_container_is_taken_over_with_its_world(lab: Lab, is_up: bool) -> None:
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
    """Somebody else's container of that name, whose image has our labels and names a server; its name."""
    image = lab.image(*(f"LABEL {label}={uuid if label.endswith('server') else 'SIGKILL'}" for label in labels))
    if name not in lab.uuids:
        lab.uuids.append(name)
    lab.outsider(name, Image=image[1:])
    lab.await_ready(name)
    return name


@pytest.mark.samples("3")
@pytest.mark.parametrize("labels", CLAIMS, ids=len)
def test_a_container_whose_image_claims_to_be_a_server_is_never_taken_for_it(lab: Lab, labels: tuple[str, ...]) -> None:
    uuid = lab.server()
    other = claimant(lab, f"web-{uuid}", uuid, labels)
    assert [ended(lab.power(action, uuid)) for action in ("kill", "stop")] == [("unchanged", ""), ("unchanged", "")]
    assert uuid not in {server.uuid for server in lab.node().engine.servers()}
    assert lab.is_up(other)
    assert ended(lab.power("start", uuid)) == ("done", "")
    assert (lab.is_up(uuid), lab.is_up(other)) == (True, True)
