# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A data directory that cannot be looked through: refused before a stop, and no reason to stay down after one."""

from __future__ import annotations

import os

import pytest
from ansible_collections.fleet.power.tests.unit.fake_node import FakeNode
from ansible_collections.fleet.power.tests.unit.volume_support import made_ahead_of_the_walk, make_files

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
