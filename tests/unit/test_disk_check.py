# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A data directory that cannot be looked through: refused before a stop, and no reason to stay down after one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.model.cancellation import no_check
from ansible_collections.fleet.power.plugins.module_utils._power.volume import volume_walk
from ansible_collections.fleet.power.plugins.module_utils._power.volume.volume import Volume
from ansible_collections.fleet.power.plugins.module_utils._power.volume.volume_survey import Bounds
from ansible_collections.fleet.power.tests.unit.fake_node import FakeNode
from ansible_collections.fleet.power.tests.unit.volume_support import (
    UNBOUNDED,
    made_ahead_of_the_walk,
    make_deep,
    make_files,
    open_descriptors,
    settled_descriptors,
)

ME = (os.geteuid(), os.getegid())


@pytest.mark.parametrize(
    "limit, ownership", [(100, False), (0, True), (100, True)], ids=["a disk limit", "ownership", "a disk limit and ownership"]
)
def test_directories_made_ahead_of_the_walk_get_a_restart_refused(fake: FakeNode, limit: int, ownership: bool) -> None:
    fake.up()
    fake.define(build={"disk_space": limit})
    fake.configure(system={"check_permissions_on_boot": ownership, "disk_check_timeout": 1})
    with made_ahead_of_the_walk(fake.volume):
        result = fake.perform("restart")
    assert (result.outcome.value, result.code, result.changed, fake.live) == ("refused", "disk_check_timeout", False, True)
    assert fake.engine.changes() == []
    assert f"its data directory {fake.volume} takes longer than 1 s to look through" in result.msg
    assert "raise system.disk_check_timeout" in result.msg


@pytest.mark.parametrize("action, is_up", [("restart", True), ("start", False)])
def test_more_files_than_the_settings_allow_are_refused_and_as_many_are_not(fake: FakeNode, action: str, is_up: bool) -> None:
    if is_up:
        fake.up()
    else:
        fake.down()
    make_files(fake.volume, range(100), ME)
    fake.configure(system={"disk_check_entries": 99})
    result = fake.perform(action)
    assert (result.outcome.value, result.code, fake.live) == ("refused", "disk_check_timeout", is_up)
    assert "holds more than 99 files and directories" in result.msg
    fake.configure(system={"disk_check_entries": 100})
    assert fake.perform(action).outcome.value == "done"


def test_where_what_was_found_is_too_much_already_that_is_said(fake: FakeNode) -> None:
    fake.up()
    make_files(fake.volume, range(100), ME)
    with open(fake.volume / "file 0", "ab") as file:
        file.truncate(2 * 1024 * 1024)
    for number in range(3):
        (fake.volume / f"below {number}").mkdir()
        make_files(fake.volume / f"below {number}", range(100), ME)
    fake.define(build={"disk_space": 1})
    fake.configure(system={"disk_check_entries": 200})
    assert fake.perform("restart").code == "disk_full"


def test_what_comes_in_during_the_stop_is_told_and_does_not_keep_the_server_down(fake: FakeNode) -> None:
    fake.up()
    fake.configure(system={"disk_check_entries": 50})

    def fill(call: object) -> None:
        if call == "signal":
            make_files(fake.volume, range(100), ME)

    fake.engine.witness = fill
    result = fake.perform("restart")
    assert (result.outcome.value, result.code, fake.live) == ("done", "", True)
    assert [warning for warning in result.warnings if "holds more than 50 files and directories" in warning]


def test_without_limit_and_ownership_nothing_is_looked_through(fake: FakeNode) -> None:
    fake.up()
    make_files(fake.volume, range(100), ME)
    fake.configure(system={"disk_check_entries": 50, "check_permissions_on_boot": False})
    assert fake.perform("restart").outcome.value == "done"


def test_levels_without_end_are_not_kept_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_deep(tmp_path, 20, ME)
    walked = Volume(str(tmp_path))
    assert walked.survey(no_check, UNBOUNDED, owner=None).cut == ""
    monkeypatch.setattr(volume_walk, "_DEEPEST", 10)
    assert walked.survey(no_check, UNBOUNDED, owner=None).cut == "is deeper than 10 levels"


@pytest.mark.parametrize("bounds", [Bounds(0, 1000), Bounds(60, 150), Bounds(60, 0)])
def test_a_walk_that_is_cut_tells_what_it_found_and_leaves_nothing_open(tmp_path: Path, bounds: Bounds) -> None:
    for number in range(3):
        (tmp_path / str(number)).mkdir()
        make_files(tmp_path / str(number), range(100), ME)
    before = settled_descriptors()
    found = Volume(str(tmp_path)).survey(no_check, bounds, owner=None)
    assert found.cut and found.files == (100 if bounds.entries == 150 else 0) + (32 if bounds.entries == 150 else 0)
    assert open_descriptors() == before
