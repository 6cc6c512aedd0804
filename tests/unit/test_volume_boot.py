# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When a boot walks over the data directory, and what it says about what it found there."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.volume import volume_walk
from ansible_collections.fleet.power.plugins.module_utils._power.volume.volume import Volume
from ansible_collections.fleet.power.plugins.module_utils._power.volume.volume_walk import Bounds, Survey
from ansible_collections.fleet.power.tests.unit.fake_node import UUID, FakeNode

AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
USAGE, BOTH = "usage", "usage and ownership"


@pytest.fixture(name="walks")
def walks_fixture(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    walks: list[str] = []
    original = Volume.survey

    def survey(
        volume: Volume,
        check_cancelled: Callable[[], None],
        bounds: Bounds,
        *,
        owner: tuple[int, int] | None,
        altered: Callable[[], None] = lambda: None,
    ) -> Survey:
        walks.append(USAGE if owner is None else BOTH)
        return original(volume, check_cancelled, bounds, owner=owner, altered=altered)

    monkeypatch.setattr(Volume, "survey", survey)
    return walks


@pytest.mark.parametrize(
    "limit, ownership, expected",
    [(0, False, []), (-1, False, []), (0, True, [USAGE, BOTH]), (100, False, [USAGE, USAGE]), (100, True, [USAGE, BOTH])],
)
def test_usage_and_ownership_share_one_walk(fake: FakeNode, walks: list[str], limit: int, ownership: bool, expected: list[str]) -> None:
    """The walk for usage alone comes before anything is touched, and finds out whether there can be one."""
    fake.down()
    fake.define(build={"disk_space": limit})
    fake.configure(system={"check_permissions_on_boot": ownership})
    walks.clear()
    assert fake.perform("start").outcome.value == "done"
    assert walks == expected


def test_a_kill_during_the_walk_ends_the_boot(fake: FakeNode, monkeypatch: pytest.MonkeyPatch) -> None:
    fake.down()
    monkeypatch.setattr(volume_walk, "LOOK_SECONDS", 0.0)
    for number in range(100):
        (fake.volume / str(number)).mkdir()
    listed, original = [], os.scandir

    def scandir(path: int) -> object:
        listed.append(path)
        if len(listed) == 50:
            fake.kill_elsewhere()
        return original(path)

    monkeypatch.setattr(os, "scandir", scandir)
    result = fake.perform("start")
    monkeypatch.undo()
    assert (result.outcome.value, result.code) == ("cancelled", "cancelled_by_kill")
    assert len(listed) == 50
    assert not fake.live


@AS_ROOT
def test_what_is_given_to_the_server_is_a_change_once_and_what_is_left_alone_is_told(fake: FakeNode) -> None:
    fake.down()
    settings = fake.build().settings
    (fake.volume / "world").write_bytes(b"")
    os.chown(fake.volume / "world", settings.uid + 1, settings.gid + 1)
    stranger = fake.root / "somebody else's"
    stranger.write_bytes(b"")
    os.chown(stranger, settings.uid + 1, settings.gid + 1)
    os.link(stranger, fake.volume / "link")
    result = fake.perform("start")
    assert {step.step: step.changed for step in result.preboot}["disk"]
    assert any("1 devices and hard-linked files of other owners were left as they are" in warning for warning in result.warnings)
    assert (fake.volume / "world").stat().st_uid == settings.uid
    assert stranger.stat().st_uid == settings.uid + 1
    fake.engine.end(UUID)
    assert not {step.step: step.changed for step in fake.perform("start").preboot}["disk"]
