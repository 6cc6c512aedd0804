# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Supervised nodes, and changes from and to a node without supervisor."""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.fleet.power.tests.integration.event_sending import EventReceiver
from ansible_collections.fleet.power.tests.integration.panel_server import FakePanel

from .lab import Node, cut_off, playbook, restored, server, uuid_of, wait_until
from .maintenance import MARK, RECORD, text_of, work
from .ran import changes, made, refusal
from .shim import cores, pid_of, shown
from .supervised import (
    BACK_SECONDS,
    EVENTS,
    RESTORE,
    SECRET,
    SHORT,
    SUPERVISOR,
    act,
    began,
    crash,
    facts,
    is_back,
    starts,
    supervised,
    units,
    verdicts,
)

STAGGER = 2


@pytest.mark.long
def test_the_role_keeps_receivers_secret_and_reports_their_faults(node: Node) -> None:
    with closing(EventReceiver()) as received, node.reaching(received.port):
        pager = {"name": "pager", "url": f"{received.url}/PlantedToken", "secret": SECRET}
        short = {"node_supervise": False, "node_restore_on_boot": False}
        supervised(node, **short, node_event_receivers=[pager])
        assert units(node) == {EVENTS: "enabled active"}
        pid = pid_of(node, EVENTS)
        modes = node.ssh("cd /etc/fleet-power; stat -c '%U %a %n' receivers receivers/*").splitlines()
        assert modes == ["root 700 receivers", "root 600 receivers/pager.secret", "root 600 receivers/pager.url"]
        settings = node.ssh("cat /etc/fleet-power/config.yml")
        assert "Planted" not in settings and SECRET not in settings

        chat = {"name": "chat", "url": f"{received.url}/chat", "format": "discord", "types": ["server.crash_loop"]}
        ran = supervised(node, **short, node_event_receivers=[pager, chat])
        assert "Planted" not in ran.output and SECRET not in ran.output
        assert pid_of(node, EVENTS) != pid

        said = refusal(playbook("node", [node], **SHORT, **short, node_event_receivers=[{**pager, "secret": "whsec_short"}]))
        assert said.startswith("Cannot send events to receiver pager: its secret is no secret for signatures")

        # Without receivers the service still keeps events, and does not look for removed files.
        ran = supervised(node, **short, node_event_receivers=[], node_events=True)
        assert units(node) == {EVENTS: "enabled active"}
        assert "receivers" not in node.ssh("cat /etc/fleet-power/config.yml")

        supervised(node, **short, node_event_receivers=[])
        assert units(node) == {}
        assert node.ssh("ls /etc/fleet-power/receivers").split() == []


@pytest.mark.long
def test_the_supervisor_is_restarted_only_for_a_new_unit_or_new_settings(node: Node) -> None:
    supervised(node)
    pids = [pid_of(node, SUPERVISOR)]
    staggered = {"node_restore_stagger": 7}
    assert changes(made(playbook("node", [node], "--check", **SHORT, **staggered))) == ["Write the unit of the supervisor"]
    for variables in (staggered, {**staggered, "node_settings": {"system": {"stop_timeout": 30}}}):
        supervised(node, **variables)
        pids.append(pid_of(node, SUPERVISOR))
    assert "--stagger 7" in node.ssh(f"tr '\\0' ' ' </proc/{pids[-1]}/cmdline")

    node.ssh("echo '# by hand' >>/etc/fleet-power/config.yml")
    supervised(node, **staggered)
    pids.append(pid_of(node, SUPERVISOR))
    assert changes(supervised(node, **staggered)) == []
    assert [*pids, pids[-1]] == [*dict.fromkeys(pids), pid_of(node, SUPERVISOR)]


@pytest.mark.long
def test_the_role_reports_a_failed_supervisor_and_keeps_the_boot_unit(node: Node) -> None:
    supervised(node, node_supervise=False)
    assert changes(supervised(node, node_supervise=False)) == []
    node.ssh("echo 'system: {stop_timeout: soon}' >/etc/fleet-power/config.yml")
    said = refusal(playbook("node", [node], **SHORT))
    assert "stop_timeout" in said
    assert units(node)[RESTORE] == "enabled inactive"

    node.ssh("echo >/etc/fleet-power/config.yml")
    supervised(node)
    assert units(node) == {SUPERVISOR: "enabled active"}


@pytest.mark.long
def test_after_a_power_cut_only_servers_that_should_be_up_start(node: Node) -> None:
    proxy, lobby, game = server("proxy", priority=10), server("lobby", priority=50), server("game")
    stopped, killed, overdue, never = server("stopped"), server("killed"), server("overdue", priority=1), server("never")
    should_be_up = (proxy, lobby, game)
    supervised(node, *should_be_up, stopped, killed, overdue, never, node_restore_stagger=STAGGER)
    act(node, "start", *should_be_up, stopped, killed, overdue)
    act(node, "stop", stopped)
    act(node, "kill", killed)
    overdue["settings"]["suspended"] = True
    node.define(overdue)
    node.ssh("sync")

    node.faults.halt()
    node.faults.boot()

    wait_until(lambda: all(node.is_up(uuid_of(each)) for each in should_be_up), "all are back", BACK_SECONDS)
    times = [began(node, each) for each in should_be_up]
    assert times == sorted(times)
    # The stagger separates the turns. From its turn to the engine's start, the first server may need more time than the last.
    assert (times[-1] - times[0]).total_seconds() >= STAGGER * (len(times) - 1) - STAGGER
    assert [node.is_up(uuid_of(each)) for each in (stopped, killed, overdue, never)] == [False] * 4
    assert [each[1:] for each in starts(node, *should_be_up)] == [["supervisor"]] * 3


@pytest.mark.long
@pytest.mark.parametrize("how", ["restart", "stop and start"])
def test_servers_return_after_an_engine_restart_and_do_not_count_as_crashed(node: Node, how: str) -> None:
    proxy, game, stopped = server("proxy", priority=10), server("game"), server("stopped")
    supervised(node, proxy, game, stopped, node_restore_stagger=STAGGER)
    act(node, "start")
    act(node, "stop", stopped)
    before, pid = {uuid_of(each): node.started_at(uuid_of(each)) for each in (proxy, game)}, pid_of(node, SUPERVISOR)

    if how == "restart":
        node.ssh("systemctl restart docker")
    else:
        node.faults.stop_engine()
        node.ssh("sleep 5")
        node.faults.start_engine()

    wait_until(lambda: all(is_back(node, each, before[uuid_of(each)]) for each in (proxy, game)), "both are back", BACK_SECONDS)
    assert began(node, proxy) < began(node, game)
    assert not node.is_up(uuid_of(stopped))
    assert pid_of(node, SUPERVISOR) == pid
    assert [each[1:] for each in starts(node, proxy, game)] == [["supervisor"]] * 2
    assert verdicts(node, proxy, game) == [["engine_stopped"]] * 2


@pytest.mark.long
def test_a_killed_supervisor_returns_and_starts_a_crashed_server_once(node: Node) -> None:
    lobby, untouched = server("lobby"), server("untouched")
    supervised(node, lobby, untouched, node_events=True, node_memory_max="900M")
    # The kernel kills a service beyond this limit, as the test does below.
    assert {shown(node, "MemoryMax", service=each)["MemoryMax"] for each in (SUPERVISOR, EVENTS)} == {str(900 * 2**20)}
    act(node, "start")
    before, other, pid = node.started_at(uuid_of(lobby)), node.started_at(uuid_of(untouched)), pid_of(node, SUPERVISOR)
    found = node.container(uuid_of(lobby))
    assert found is not None

    node.ssh(f"kill -9 {pid} {found['State']['Pid']}")

    wait_until(lambda: is_back(node, lobby, before), "the server was started again", BACK_SECONDS)
    assert pid_of(node, SUPERVISOR) not in (0, pid)
    # The new supervisor checks again, and finds nothing to do.
    node.ssh("sleep 3")
    assert starts(node, lobby, untouched)[0][1:] == ["supervisor"]
    assert verdicts(node, lobby, untouched) == [["crashed"], []]
    assert node.started_at(uuid_of(untouched)) == other


@pytest.mark.long
def test_the_supervisor_does_not_interfere_with_a_maintenance_and_its_reboot(node: Node, tmp_path: Path) -> None:
    proxy, game, late = server("proxy", priority=10), server("game"), server("late")
    supervised(node, proxy, game, late)
    act(node, "start")
    node.write("/var/lib/fleet-power/late.json", json.dumps(late))
    late["settings"]["suspended"] = True
    node.define(late)
    crash(node, late)
    wait_until(lambda: facts(node, late)[0]["last_operation"]["code"] == "suspended", "the start was refused", BACK_SECONDS)

    # Now only the maintenance prevents the start.
    todo = f"cp /var/lib/fleet-power/late.json /etc/fleet-power/servers/{uuid_of(late)}.json; sleep 25; docker ps -q >/{MARK}"
    ran = playbook("maintenance", [node], maintenance_reboot=True, maintenance_tasks=work(tmp_path, todo))

    made(ran)
    assert "2 of 2 servers are back" in ran.stdout
    assert (text_of(node, MARK), text_of(node, RECORD)) == ("", "")
    wait_until(lambda: node.is_up(uuid_of(late)), "the server is started", BACK_SECONDS)
    assert [[each.rpartition("(maintenance)")[1] for each in row[1:]] for row in starts(node, proxy, game)] == [["(maintenance)"]] * 2
    assert starts(node, late)[0][1:] == ["supervisor"]


@pytest.mark.long
def test_the_supervisor_starts_a_server_as_soon_as_the_panel_is_back_after_a_boot(node: Node) -> None:
    lobby = server("lobby")
    with closing(FakePanel(lobby)) as panel, node.reaching(panel.port):
        supervised(node, node_settings=panel.settings)
        act(node, "start")
    node.faults.halt()
    node.faults.boot()
    said = "journalctl --boot --output cat | grep '^start .*source_'"
    wait_until(lambda: node.ssh(said, check=False), "the supervisor has tried the start", BACK_SECONDS)
    assert not node.is_up(uuid_of(lobby))
    with closing(FakePanel(lobby, port=panel.port)), node.reaching(panel.port):
        wait_until(lambda: node.is_up(uuid_of(lobby)), "the server is up", 2 * BACK_SECONDS)


@dataclass(frozen=True)
class Grown:
    """A node with a running server, a crashed server, and two servers that should be down."""

    node: Node
    up: dict[str, Any]
    crashed: dict[str, Any]
    stopped: dict[str, Any]
    killed: dict[str, Any]

    @classmethod
    def made(cls, node: Node, **variables: object) -> Grown:
        found = cls(node, server("up"), server("crashed"), server("stopped"), server("killed"))
        made(playbook("node", [node], **{**SHORT, "node_definitions": found.servers, **variables}))
        act(node, "start")
        act(node, "stop", found.stopped)
        act(node, "kill", found.killed)
        return found

    @property
    def servers(self) -> list[dict[str, Any]]:
        return [self.up, self.crashed, self.stopped, self.killed]

    def are_up(self) -> list[bool]:
        return [self.node.is_up(uuid_of(each)) for each in self.servers]

    def cut_power(self) -> None:
        """Cut the power and boot the node. Exactly the servers that should be up must start, once each."""
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
    found = Grown.made(node, node_supervise=False)
    crash(node, found.crashed)
    wait_until(lambda: not node.is_up(uuid_of(found.crashed)), "the server has crashed")
    return found


#: The tasks that add a supervisor, in order. Other tasks do not change the node.
CHANGES = (
    "Write the unit of the supervisor",
    "Have the supervisor started",
    "Disable the unit",
    "Remove the unit",
)


@pytest.mark.long
def test_a_new_supervisor_restarts_only_servers_that_crash_after_its_start(grown: Grown) -> None:
    node, began = grown.node, grown.node.started_at(uuid_of(grown.up))
    assert changes(supervised(node)) == sorted(CHANGES)
    assert units(node) == {SUPERVISOR: "enabled active"}

    crash(node, grown.up)
    wait_until(lambda: is_back(node, grown.up, began), "the server was started again", BACK_SECONDS)
    assert grown.are_up() == [True, False, False, False]
    assert [each["intent"]["up"] for each in facts(node, *grown.servers)] == [True, True, False, False]
    assert verdicts(node, grown.up, grown.crashed) == [["crashed"], ["initially_down"]]
    grown.cut_power()


@pytest.mark.long
@pytest.mark.parametrize("task", CHANGES)
def test_a_node_boots_correctly_after_an_interrupted_change_to_a_supervisor(grown: Grown, task: str) -> None:
    cut_off("node", grown.node, after=task, **SHORT)
    assert grown.are_up() == [True, False, False, False]
    grown.cut_power()
    supervised(grown.node)
    assert units(grown.node) == {SUPERVISOR: "enabled active"}
    assert grown.are_up() == [True, True, False, False]


#: The tasks that remove the supervisor.
REMOVALS = (
    "Write the unit",
    "Enable the unit",
    "Disable and stop the supervisor",
    "Remove the unit of the supervisor",
)


@pytest.mark.long
@pytest.mark.parametrize("task", REMOVALS)
def test_a_node_boots_correctly_after_an_interrupted_removal_of_the_supervisor(node: Node, task: str) -> None:
    grown = Grown.made(node)
    cut_off("node", node, after=task, **SHORT, node_supervise=False)
    grown.cut_power()
    supervised(node, node_supervise=False)
    assert units(node)[RESTORE].startswith("enabled") and SUPERVISOR not in units(node)
    assert len(cores(node)) == 1
    assert grown.are_up() == [True, True, False, False]
