# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A node of before the modules moved into packages: old and new act on it side by side, and it is upgraded whole or cut off on the way."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from .lab import Going, Node, adhoc, adhoc_begun, cut_off, phase_of, playbook, restored, server, uuid_of, wait_until
from .ran import changes, made
from .scratch import collections, using
from .servers import held, holder_of
from .shim import LIBRARIES, SERVICE, UNIT, accepted, ask, done, end_of, installed, library_of, pid_of

#: A file of the library that was there before, and one that is there now.
MOVED = {"old": "module_utils/power/call.py", "new": "module_utils/_power/call.py"}


@dataclass(frozen=True)
class Versions:
    """The collection of before and that of now, each run by its name."""

    places: dict[str, Path]

    def begin(self, version: str, node: Node, definition: dict[str, Any], action: str, **options: object) -> Going:
        """Begin an action with a module of that version."""
        with using(self.places[version]):
            return adhoc_begun([node], "server_power", {"server": [uuid_of(definition)], "action": action, **options})

    def act(self, version: str, node: Node, definition: dict[str, Any], action: str, **options: object) -> dict[str, Any]:
        """Act on a server with a module of that version; return what became of it."""
        return entry_of(self.begin(version, node, definition, action, **options))

    def info(self, version: str, node: Node, definition: dict[str, Any]) -> dict[str, Any]:
        """Return all that a module of that version tells of a server, its journal included."""
        with using(self.places[version]):
            shown = adhoc([node], "server_power_info", {"server": [uuid_of(definition)], "operations": 100})[node.name]
        (entry,) = shown["servers"]
        return dict(entry)


def entry_of(going: Going) -> dict[str, Any]:
    """Return what became of the one server of an action that was begun."""
    (each,) = going.finish().results
    (entry,) = each["result"]["servers"]
    return dict(entry)


@pytest.fixture
def versions(old_collections: Path) -> Iterator[Versions]:
    """Both versions."""
    yield Versions({"old": old_collections, "new": collections()})


def operations(info: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Return action, outcome and code of each operation, the oldest first."""
    return [(row["action"], row["outcome"], row["code"]) for row in reversed(info["operations"])]


@pytest.mark.long
@pytest.mark.parametrize(("first", "second"), [("old", "new"), ("new", "old")])
def test_old_and_new_modules_respect_each_others_lock_kill_and_journal(node: Node, versions: Versions, first: str, second: str) -> None:
    lobby = server("lobby", STOP_SECONDS=600)
    node.define(lobby)
    assert versions.act(first, node, lobby, "start", wait_for="running")["outcome"] == "done"

    restart = versions.begin(first, node, lobby, "restart", reason="evening")
    wait_until(lambda: phase_of(node, lobby) == "stop", "it is being stopped", 60)
    refused = versions.act(second, node, lobby, "stop", wait_seconds=0)
    assert (refused["outcome"], refused["code"]) == ("refused", "lock_timeout"), refused
    assert (refused["lock"]["holder"]["action"], refused["lock"]["holder"]["reason"]) == ("restart", "evening")
    assert versions.info(second, node, lobby)["state"] == "stopping"

    assert versions.act(second, node, lobby, "kill")["outcome"] == "done"
    cancelled = entry_of(restart)
    assert (cancelled["outcome"], cancelled["code"]) == ("cancelled", "cancelled_by_kill")
    assert not node.is_up(uuid_of(lobby))
    shown = [versions.info(each, node, lobby) for each in (first, second)]
    assert shown[0] == shown[1]
    assert shown[0]["intent"]["up"] is False
    assert sorted(operations(shown[0])[1:]) == [
        ("kill", "done", ""),
        ("restart", "cancelled", "cancelled_by_kill"),
        ("stop", "refused", "lock_timeout"),
    ]


@pytest.mark.long
@pytest.mark.parametrize(("first", "second"), [("old", "new"), ("new", "old")])
def test_what_a_killed_module_left_is_settled_by_the_other_version(node: Node, versions: Versions, first: str, second: str) -> None:
    lobby = server("lobby", STOP_SECONDS=4)
    node.define(lobby)
    assert versions.act(first, node, lobby, "start", wait_for="running", once="deployment 7")["outcome"] == "done"
    assert versions.act(second, node, lobby, "start", once="deployment 7")["outcome"] == "unchanged"
    stop = versions.begin(first, node, lobby, "stop")
    wait_until(lambda: phase_of(node, lobby) == "stop", "it is being stopped", 60)
    node.ssh(f"kill -9 {holder_of(node, lobby)['pid']}")
    stop.finish()
    assert versions.act(second, node, lobby, "restart", wait_for="running")["outcome"] == "done"
    shown = [versions.info(each, node, lobby) for each in (first, second)]
    assert shown[0] == shown[1]
    assert (shown[0]["state"], shown[0]["intent"]["up"]) == ("running", True)
    assert operations(shown[0])[2:] == [("stop", "failed", "interrupted"), ("restart", "done", "")]


@dataclass(frozen=True)
class Serving:
    """A node with the HTTP face, a server that is meant to be up, and two that are not."""

    node: Node
    up: dict[str, Any]
    stopped: dict[str, Any]
    killed: dict[str, Any]

    @classmethod
    def made(cls, node: Node) -> Serving:
        """Make it of this node, through the collection in use."""
        found = cls(node, server("up"), server("stopped"), server("killed"))
        installed(node, found.up, found.stopped, found.killed)
        for each in (found.up, found.stopped, found.killed):
            done(node, each, "start")
        done(node, found.stopped, "stop")
        done(node, found.killed, "kill")
        return found

    def cut_power(self) -> None:
        """Pull the plug, boot the node, and look that all is as it was meant to be."""
        before = self.node.started_at(uuid_of(self.up))
        self.node.faults.halt()
        self.node.faults.boot()
        assert restored(self.node) == "exited success"
        assert self.node.started_at(uuid_of(self.up)) != before
        self.is_well()

    def is_well(self) -> None:
        """Look that what is meant to be up is up, and nothing else, and that the HTTP face says so and acts."""
        assert [self.node.is_up(uuid_of(each)) for each in (self.up, self.stopped, self.killed)] == [True, False, False]
        wait_until(lambda: pid_of(self.node), "the service runs")
        assert ask(self.node, "/healthz", token="")[::2] == (200, {"status": "ok"})
        status, _unused, told = ask(self.node, "/api/servers")
        assert status == 200
        assert {each["configuration"]["uuid"]: each["state"] for each in told} == {
            uuid_of(self.up): "running",
            uuid_of(self.stopped): "offline",
            uuid_of(self.killed): "offline",
        }

    def library(self, path: str) -> set[str]:
        """Return which versions there are in a library of the node."""
        listed = self.node.ssh(f"python3 -m zipfile --list {path}")
        return {version for version, name in MOVED.items() if f"/{name} " in listed}


@pytest.fixture
def serving(node: Node, old_collections: Path) -> Serving:
    """Such a node, made by the roles of before."""
    with using(old_collections):
        return Serving.made(node)


#: The tasks by which an upgrade changes a node, in their order; any other leaves the node as the one before it did.
CHANGES = ("Copy the library", "Have a library that stays as it is", "Write the unit", "Have it restarted", "Remove them")


@pytest.mark.long
def test_an_upgrade_loses_nothing_that_was_accepted_before_and_survives_a_power_cut(serving: Serving) -> None:
    node = serving.node
    pid, old = pid_of(node), library_of(node)
    assert serving.library(old) == {"old"}

    # Somebody else has the server all the while: the old process accepts what the new one does.
    with held(node, serving.up):
        waiting = [accepted(node, serving.up, action) for action in ("restart", "stop", "start")]
        ran = made(playbook("shim", [node]))
        assert changes(ran) == sorted(CHANGES)
        assert pid_of(node) != pid
        assert '"actions": 3' in node.ssh(f"journalctl --unit {SERVICE} --output cat --grep resumed | tail -n 1")
    assert [end_of(node, each)["outcome"] for each in waiting] == ["done"] * 3
    assert serving.library(library_of(node)) == {"new"} and old not in node.ssh(f"ls {LIBRARIES}/*.zip")
    serving.cut_power()


@pytest.mark.long
@pytest.mark.parametrize("task", CHANGES)
def test_an_upgrade_that_is_cut_off_after_any_task_leaves_a_node_whose_next_boot_is_well(serving: Serving, task: str) -> None:
    cut_off("shim", serving.node, after=task)
    serving.is_well()
    done(serving.node, serving.up, "restart")
    serving.cut_power()


@pytest.mark.long
def test_an_upgrade_that_was_cut_off_before_the_service_was_restarted_is_finished_by_the_next_run(serving: Serving) -> None:
    node, pid = serving.node, pid_of(serving.node)
    cut_off("shim", node, after="Write the unit")
    made(playbook("shim", [node]))
    assert pid_of(node) != pid
    assert library_of(node) in node.ssh(f"grep PYTHONPATH {UNIT}")
    serving.is_well()


@pytest.mark.long
def test_a_node_that_was_upgraded_goes_all_the_way_back(serving: Serving, old_collections: Path) -> None:
    node = serving.node
    made(playbook("node", [node], "fleet.power.shim", node_check=False))
    assert serving.library(library_of(node)) == {"new"}
    with using(old_collections):
        made(playbook("node", [node], "fleet.power.shim", node_check=False))
    assert serving.library(library_of(node)) == {"old"}
    serving.is_well()
    serving.cut_power()
