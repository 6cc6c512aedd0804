# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pre-boot: data directory, disk limit, image and mounts, with errors before a stop."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from .engine_proxy import EngineProxy
from .lab import SOON_SECONDS, Lab, ended
from .many import FOR_EVER, end
from .phases import RENAME, meanwhile

OWNER = (12345, 12346)


@pytest.fixture(autouse=True)
def owner(lab: Lab) -> None:
    lab.write_settings(system={"user": {"uid": OWNER[0], "gid": OWNER[1]}})


def refused_restart(lab: Lab, uuid: str) -> Any:
    """The result of a refused restart. The server must still run."""
    before = lab.container(uuid)
    result = lab.power("restart", uuid)
    assert (result.outcome.value, result.changed, result.state.value) == ("refused", False, "running"), result.msg
    assert lab.container(uuid) == before
    return result


def changed_steps(result: Any) -> list[str]:
    return [step.step for step in result.preboot if step.changed]


def owners(directory: Path) -> set[tuple[int, int]]:
    """The owners of a directory and of all its contents, without following links."""
    return {(path.lstat().st_uid, path.lstat().st_gid) for path in (directory, *directory.rglob("*"))}


def test_pre_boot_corrects_owners_without_following_links(lab: Lab) -> None:
    uuid = lab.server()
    outside = lab.root / "outside"
    outside.write_text("not the server's")
    world = lab.volume(uuid) / "world" / "region"
    world.mkdir(parents=True)
    (world / "r.0.0.mca").write_text("blocks")
    (world / "link").symlink_to(outside)
    assert changed_steps(lab.power("start", uuid)) == ["disk", "placement"]
    assert owners(lab.volume(uuid)) == {OWNER}
    assert (outside.stat().st_uid, outside.stat().st_gid) == (os.getuid(), os.getgid())
    assert changed_steps(lab.power("restart", uuid)) == []


@pytest.mark.parametrize("container_too", [False, True])
def test_a_missing_data_directory_of_a_used_server_refuses_the_start(lab: Lab, container_too: bool) -> None:
    uuid = lab.up()
    lab.power("stop", uuid)
    shutil.rmtree(lab.volume(uuid))
    if container_too:
        lab.client.remove_container(uuid)
    result = lab.power("start", uuid)
    assert (*ended(result), result.changed) == ("refused", "volume_missing", False)
    assert not lab.volume(uuid).exists()
    lab.volume(uuid).mkdir()
    assert ended(lab.power("start", uuid)) == ("done", "")


def test_a_full_disk_refuses_a_restart_before_the_stop(lab: Lab) -> None:
    uuid = lab.up(build={"disk_space": 1})
    with (lab.volume(uuid) / "world").open("wb") as world:
        world.truncate(1024 * 1024 + 1)
    result = refused_restart(lab, uuid)
    assert result.code == "disk_full" and "1 MiB" in result.msg
    os.truncate(lab.volume(uuid) / "world", 1024 * 1024)
    assert ended(lab.power("restart", uuid)) == ("done", "")


def test_too_many_directories_refuse_a_restart_before_the_stop(lab: Lab) -> None:
    uuid = lab.up(STOP_SECONDS=FOR_EVER)
    bounds = {"user": {"uid": OWNER[0], "gid": OWNER[1]}, "disk_check_entries": 50}
    lab.write_settings(system=bounds)
    with lab.actor("restart", uuid, wait_for="running") as restart:
        lab.await_phase(uuid, "stop")
        for number in range(100):
            (lab.volume(uuid) / str(number)).mkdir()
        end(lab, uuid)
        result = restart.result()
    assert (result["outcome"], result["state"]) == ("done", "running"), result
    assert [warning for warning in result["warnings"] if "holds more than 50 files and directories" in warning]
    assert refused_restart(lab, uuid).code == "disk_check_timeout"
    lab.write_settings(system={**bounds, "disk_check_entries": 200})
    assert ended(lab.power("restart", uuid, stop_timeout=0)) == ("done", "")


@pytest.mark.samples("never-fleet-power/nowhere:1", "missing-host.invalid/nowhere:1")
@pytest.mark.parametrize(
    "pull, image", [("never", "fleet-power/nowhere:1"), ("missing", "~fleet-power/nowhere:1"), ("missing", "host.invalid/nowhere:1")]
)
def test_an_unavailable_image_refuses_a_restart_before_the_stop(lab: Lab, pull: str, image: str) -> None:
    uuid = lab.up()
    lab.write_settings(docker={"pull": pull})
    lab.edit(uuid, container={"image": image})
    result = refused_restart(lab, uuid)
    assert result.code == "image_unavailable" and "nowhere:1" in result.msg
    assert result.seconds < SOON_SECONDS


def mounted(lab: Lab, uuid: str) -> dict[str, tuple[str, bool]]:
    return {mount["Destination"]: (mount["Source"], mount["RW"]) for mount in lab.container(uuid)["Mounts"]}


def test_only_allowed_mounts_are_made(lab: Lab) -> None:
    allowed, beside = lab.root / "maps", lab.root / "maps-private"
    (allowed / "arena").mkdir(parents=True)
    beside.mkdir()
    (allowed / "way-out").symlink_to(beside)
    lab.write_settings(allowed_mounts=[str(allowed)])
    uuid = lab.server()
    sources = (allowed / "arena", beside, f"{allowed}/../maps-private", allowed / "way-out")
    mounts = [{"source": str(source), "target": f"/mnt/{number}", "read_only": True} for number, source in enumerate(sources)]
    lab.edit(uuid, mounts=mounts)
    result = lab.power("start", uuid)
    assert ended(result) == ("done", "")
    home = {"/home/container": (str(lab.volume(uuid)), True)}
    assert mounted(lab, uuid) == {**home, "/mnt/0": (str(allowed / "arena"), False)}
    assert sum("allowed_mounts" in warning for warning in result.warnings) == 3


def test_a_mount_that_becomes_a_link_after_its_check_fails_the_start(lab: Lab, proxy: EngineProxy) -> None:
    allowed, private = lab.root / "maps", lab.root / "private"
    (allowed / "arena").mkdir(parents=True)
    private.mkdir()
    lab.write_settings(allowed_mounts=[str(allowed)])
    uuid = lab.up()
    lab.edit(uuid, mounts=[{"source": str(allowed / "arena"), "target": "/mnt/arena"}])
    placement = proxy.hold("POST", RENAME)
    with meanwhile(lambda: lab.at(proxy.host).power("restart", uuid)) as restart:
        placement.await_arrival()
        (allowed / "arena").rename(allowed / "arena-before")
        (allowed / "arena").symlink_to(private)
        placement.release()
        result = restart.result(60.0)
    assert ended(result) == ("failed", "preboot_failed")
    assert str(allowed / "arena") in result.msg and "leads elsewhere" in result.msg
    assert not lab.is_up(uuid)
    assert not [request for request in proxy.seen if request.path.endswith("/start")]
    (allowed / "arena").unlink()
    (allowed / "arena-before").rename(allowed / "arena")
    assert ended(lab.power("start", uuid)) == ("done", "")
    assert mounted(lab, uuid)["/mnt/arena"] == (str(allowed / "arena"), True)
