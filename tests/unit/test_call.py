# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One call over the servers of a node: whose priority is which, and who is meant to be up."""

from __future__ import annotations

import contextlib
import json
from datetime import datetime, timezone
from pathlib import Path

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.actions.many.bulk import Target
from ansible_collections.fleet.power.plugins.module_utils._power.call import _OnNode, open_call
from ansible_collections.fleet.power.plugins.module_utils._power.model.errors import InterruptedBySignal
from ansible_collections.fleet.power.plugins.module_utils._power.model.request import PowerAction, Request
from ansible_collections.fleet.power.plugins.module_utils._power.model.server import Server
from ansible_collections.fleet.power.tests.unit.fake_node import UUID, FakeNode

COBALT = Server(UUID, "Cobalt")


def priority(fake: FakeNode, action: str = "start", names: tuple[str, ...] = (UUID,), **given: int) -> list[int]:
    """The priorities of the servers named in a call."""
    call = _OnNode(fake.build())
    return call.priorities(call.targets(names, fake.request(action, server="")), given)


@pytest.mark.parametrize("action", ["start", "stop", "restart", "kill"])
def test_priority_is_the_given_else_of_settings_else_of_definition_else_100(fake: FakeNode, action: str) -> None:
    assert priority(fake, action) == [100]
    fake.define(meta={"name": "Cobalt", "priority": 7})
    assert priority(fake, action) == [7]
    fake.configure(system={"priorities": {"Cobalt": 5}})
    assert priority(fake, action) == [5]
    assert priority(fake, action, Cobalt=0) == [0]


def test_a_signal_ends_the_search_for_priorities(fake: FakeNode) -> None:
    fake.file.unlink()
    call = _OnNode(fake.build())
    targets = call.targets((UUID,), fake.request("start", server=""))
    fake.interrupted = True
    with pytest.raises(InterruptedBySignal):
        call.priorities(targets, {})


def test_those_meant_to_be_up_are_those_of_the_journal(fake: FakeNode) -> None:
    assert _OnNode(fake.node).meant_up() == []
    fake.up()
    assert _OnNode(fake.node).meant_up() == [COBALT]
    fake.perform("stop")
    assert _OnNode(fake.node).meant_up() == []


def test_a_directory_of_the_task_takes_the_place_of_the_settings_one(tmp_path: Path) -> None:
    settings = tmp_path / "config.yml"
    places = {"definitions": "here", "state_directory": "state", "lock_directory": "locks"}
    settings.write_text(json.dumps({"system": {name: str(tmp_path / place) for name, place in places.items()}}))
    for name, priority in (("here", 1), ("there", 2)):
        (tmp_path / name).mkdir()
        definition = {"settings": {"uuid": UUID, "meta": {"priority": priority}, "container": {"image": "game:1"}}}
        (tmp_path / name / f"{UUID}.json").write_text(json.dumps(definition))
    found = []
    for more in ({}, {"definitions_dir": str(tmp_path / "there")}):
        with contextlib.closing(open_call({"config": str(settings), **more}, read_only=True)) as call:
            found += call.priorities([Target(Request("x", PowerAction.START, "", datetime.now(timezone.utc)), COBALT)], {})
    assert found == [1, 2]
