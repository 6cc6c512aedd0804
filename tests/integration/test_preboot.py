# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pre-boot: owners in the data directory, unavailable images and allowed mounts."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from .command import fleet_power
from .lab import SOON_SECONDS, Lab, ended

OWNER = (12345, 12346)


@pytest.fixture(autouse=True)
def owner(lab: Lab) -> None:
    lab.write_settings(system={"user": {"uid": OWNER[0], "gid": OWNER[1]}})


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


@pytest.mark.samples("never-fleet-power/nowhere:1", "missing-host.invalid/nowhere:1")
@pytest.mark.parametrize(
    "pull, image", [("never", "fleet-power/nowhere:1"), ("missing", "~fleet-power/nowhere:1"), ("missing", "host.invalid/nowhere:1")]
)
def test_an_unavailable_image_refuses_a_restart_before_the_stop(lab: Lab, pull: str, image: str) -> None:
    uuid = lab.up()
    lab.write_settings(docker={"pull": pull})
    lab.edit(uuid, container={"image": image})
    before = lab.container(uuid)
    result = lab.power("restart", uuid)
    assert (result.outcome.value, result.changed, result.state.value) == ("refused", False, "running"), result.msg
    assert lab.container(uuid) == before
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
    lab.edit(uuid, mounts=mounts[:1])
    assert ended(lab.power("start", uuid)) == ("done", "")
    home = {"/home/container": (str(lab.volume(uuid)), True)}
    assert mounted(lab, uuid) == {**home, "/mnt/0": (str(allowed / "arena"), False)}
    for mount in mounts[1:]:
        # The server would lose the data behind it.
        lab.edit(uuid, mounts=[mounts[0], mount])
        result = lab.power("restart", uuid)
        assert ended(result) == ("refused", "mount_not_allowed") and lab.is_up(uuid)
        assert f"settings.mounts[1]: {mount['source']} is not mounted: it is outside the settings' allowed_mounts; add it" in result.msg
    assert "mount_not_allowed" in fleet_power(lab, "why", uuid).out
    assert f"server {uuid}: settings.mounts[1]: " in fleet_power(lab, "status").err
