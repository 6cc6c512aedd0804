# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A node gets a supervisor or loses it, whole or cut off on the way: nothing starts unasked, and the next boot is well."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from .lab import Node, cut_off, playbook, restored, server, uuid_of, wait_until
from .ran import changes, made
from .supervised import BACK_SECONDS, RESTORE, SHORT, SUPERVISOR, act, crash, facts, is_back, libraries, starts, supervised, units, verdicts


@dataclass(frozen=True)
class Grown:
    """A node with a server that is up, one that has crashed, and two that are not meant to be up."""

    node: Node
    up: dict[str, Any]
    crashed: dict[str, Any]
    stopped: dict[str, Any]
    killed: dict[str, Any]

    @classmethod
    def made(cls, node: Node, **variables: object) -> Grown:
        """Make it of this node, through the collection in use."""
        found = cls(node, server("up"), server("crashed"), server("stopped"), server("killed"))
        made(playbook("node", [node], **{**SHORT, "node_definitions": found.servers, **variables}))
        act(node, "start")
        act(node, "stop", found.stopped)
        act(node, "kill", found.killed)
        return found

    @property
    def servers(self) -> list[dict[str, Any]]:
        """Return all its servers."""
        return [self.up, self.crashed, self.stopped, self.killed]

    def are_up(self) -> list[bool]:
        """Tell which are up, in that order."""
        return [self.node.is_up(uuid_of(each)) for each in self.servers]

    def cut_power(self) -> None:
        """Pull the plug, boot the node, and look that what was meant to be up was started, once, and nothing else."""
        before = [len(each) for each in starts(self.node, *self.servers)]
        self.node.faults.halt()
        self.node.faults.boot()
        wait_until(lambda: self.are_up()[:2] == [True, True], "both are back", BACK_SECONDS)
        if units(self.node).get(RESTORE, "").startswith("enabled"):
            assert restored(self.node) == "exited success"
        assert self.are_up() == [True, True, False, False]
        after = [len(each) for each in starts(self.node, *self.servers)]
        assert [now - then for now, then in zip(after, before)] == [1, 1, 0, 0]


@pytest.fixture
def grown(node: Node) -> Grown:
    """Such a node without a supervisor."""
    found = Grown.made(node, node_supervise=False)
    crash(node, found.crashed)
    wait_until(lambda: not node.is_up(uuid_of(found.crashed)), "it has crashed")
    return found


#: The tasks by which a node gets a supervisor, in their order; any other leaves the node as the one before it did.
CHANGES = (
    "Have a library of its own for the supervisor",
    "Write the unit of the supervisor",
    "Have the supervisor started",
    "Disable the unit",
    "Remove the unit",
)


@pytest.mark.long
def test_what_is_down_when_a_node_gets_a_supervisor_stays_down_and_what_is_up_is_kept_up_from_then_on(grown: Grown) -> None:
    node, began = grown.node, grown.node.started_at(uuid_of(grown.up))
    assert changes(supervised(node)) == sorted(CHANGES)
    assert units(node) == {SUPERVISOR: "enabled active"}

    crash(node, grown.up)
    wait_until(lambda: is_back(node, grown.up, began), "it was started again", BACK_SECONDS)
    assert grown.are_up() == [True, False, False, False]
    assert [each["intent"]["up"] for each in facts(node, *grown.servers)] == [True, True, False, False]
    assert verdicts(node, grown.up, grown.crashed) == [["crashed"], ["initially_down"]]
    grown.cut_power()


@pytest.mark.long
@pytest.mark.parametrize("task", CHANGES)
def test_a_change_that_is_cut_off_after_any_task_leaves_a_node_whose_next_boot_is_well_and_is_finished_later(
    grown: Grown, task: str
) -> None:
    cut_off("node", grown.node, after=task, **SHORT)
    assert grown.are_up() == [True, False, False, False]
    grown.cut_power()
    supervised(grown.node)
    assert units(grown.node) == {SUPERVISOR: "enabled active"}
    assert grown.are_up() == [True, True, False, False]


#: The tasks by which the supervisor is taken away.
REMOVALS = (
    "Write the unit",
    "Enable the unit",
    "Disable and stop the supervisor",
    "Remove the libraries of the supervisor",
    "Remove the unit of the supervisor",
)


@pytest.mark.long
@pytest.mark.parametrize("task", REMOVALS)
def test_a_removal_that_is_cut_off_after_any_task_leaves_a_node_whose_next_boot_is_well_and_is_finished_later(
    node: Node, task: str
) -> None:
    grown = Grown.made(node)
    cut_off("node", node, after=task, **SHORT, node_supervise=False)
    grown.cut_power()
    supervised(node, node_supervise=False)
    assert units(node)[RESTORE].startswith("enabled") and SUPERVISOR not in units(node)
    assert libraries(node) == []
    assert grown.are_up() == [True, True, False, False]
