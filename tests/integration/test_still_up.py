# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A restart never takes down a server that may not start again: whatever forbids the start is found while it is still up."""

from __future__ import annotations

import socket
import uuid as uuid_module
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from .lab import Lab, wait_until
from .test_container import ended, free_port

Change = Callable[[Lab, str], object]


def docker(**settings: Any) -> Change:
    """Change the node's docker settings."""
    return lambda lab, uuid: lab.write_settings(docker=settings)


def edit(**settings: Any) -> Change:
    """Change the server's definition."""
    return lambda lab, uuid: lab.edit(uuid, **settings)


def network(**fields: Any) -> Change:
    """Ask for a network of the test's own that cannot be made, or is not there."""
    name = f"fleet-power-test-{uuid_module.uuid4().hex[:12]}"
    return docker(network={"name": name, "network_mode": name, **fields})


NOBODYS = {"v4": {"subnet": "10.213.78.0/24", "gateway": "10.1.1.1"}, "v6": {"subnet": "", "gateway": ""}}


@pytest.mark.samples(
    "the network of a container that is not there",
    "a gateway outside its network",
    "less memory than the engine can give",
    "an image that is not there",
)
@pytest.mark.parametrize(
    "change",
    [
        pytest.param(docker(log_config={"type": "nosuch"}), id="a log driver the engine does not have"),
        pytest.param(docker(network={"network_mode": "container:nobody"}), id="the network of a container that is not there"),
        pytest.param(network(driver="nosuch"), id="a network driver the engine does not have", marks=pytest.mark.long),
        pytest.param(network(interfaces=NOBODYS), id="a gateway outside its network"),
        pytest.param(edit(build={"memory_limit": 6}), id="less memory than the engine can give"),
        pytest.param(edit(container={"image": "~fleet-power/nosuch:1"}), id="an image that is not there"),
    ],
)
def test_what_the_engine_would_refuse_is_refused_while_the_server_is_up(lab: Lab, change: Change) -> None:
    uuid = lab.up()
    before = lab.container(uuid)
    change(lab, uuid)
    result = lab.power("restart", uuid)
    assert result.outcome.value in ("refused", "failed"), result
    assert before is not None and lab.container(uuid)["Id"] == before["Id"]
    assert lab.is_up(uuid)
    assert lab.client.containers(all=True, filters={"name": f"{uuid}-"}) == [], "nothing waits any longer"


@pytest.fixture
def published(lab: Lab) -> Iterator[tuple[Lab, int]]:
    """A node whose servers publish ports, and a free one."""
    lab.write_settings(docker={"network": {"network_mode": "bridge", "interface": "127.0.0.1"}})
    yield lab, free_port()


def publish(lab: Lab, uuid: str, port: int, address: str = "127.0.0.1") -> None:
    """Have a server publish a port from its next start on."""
    lab.edit(uuid, allocations={"default": {"ip": address, "port": port}, "mappings": {address: [port]}})


def test_a_port_that_somebody_else_holds_is_found_before_the_stop(published: tuple[Lab, int]) -> None:
    lab, port = published
    uuid = lab.up()
    publish(lab, uuid, port)
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", port))
        holder.listen()
        result = lab.power("restart", uuid)
        assert ended(result) == ("refused", "preboot_failed")
        assert f"port 127.0.0.1:{port}/tcp is taken; change" in result.msg
        assert lab.is_up(uuid)
    assert ended(lab.power("restart", uuid)) == ("done", "")


def test_an_address_that_the_machine_does_not_have_is_found_before_the_stop(published: tuple[Lab, int]) -> None:
    lab, port = published
    uuid = lab.up()
    publish(lab, uuid, port, "203.0.113.9")
    result = lab.power("restart", uuid)
    assert ended(result) == ("refused", "preboot_failed")
    assert "does not have" in result.msg
    assert lab.is_up(uuid)


def test_a_restart_that_is_killed_gives_up_the_container_that_waits(lab: Lab) -> None:
    uuid = lab.up(IGNORE_SIGNALS="all", STOP_COMMAND="never")
    lab.edit(uuid, environment={"MARK": "1"})
    with lab.actor("restart", uuid) as restart:
        lab.await_phase(uuid, "stop")
        assert len(lab.client.containers(all=True, filters={"name": uuid})) == 2
        assert ended(lab.power("kill", uuid)) == ("done", "")
        assert restart.result()["code"] == "cancelled_by_kill"
    assert [each["Names"] for each in lab.client.containers(all=True, filters={"name": uuid})] == [[f"/{uuid}"]]


def test_a_restart_that_dies_in_mid_stop_leaves_nothing_that_the_next_one_cannot_use(lab: Lab) -> None:
    uuid = lab.up(STOP_SECONDS=60, MARK=1)
    lab.edit(uuid, environment={"STOP_SECONDS": "0"})
    with lab.actor("restart", uuid) as restart:
        wait_until(lambda: "got command stop" in lab.log(uuid), "the stop arrived")
        restart.kill()
    assert ended(lab.power("restart", uuid, stop_timeout=1, wait_for="running")) == ("done", "")
    assert len(lab.client.containers(all=True, filters={"name": uuid})) == 1
