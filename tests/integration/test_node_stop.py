# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The stop of all servers before their engine stops, on an engine of its own; only systemd's queue is played."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.host.pauses import NODE_STOPPING_FILE
from ansible_collections.fleet.power.plugins.module_utils._power.host.supervisor_record import supervisor_facts
from ansible_collections.fleet.power.plugins.module_utils._power.model.clock import engine_time

from .lab import Lab, ended, lab_on, wait_until
from .own_engine import OwnEngine, own_engine
from .supervisors import PACKAGE, Supervising, verdicts

UNIT = "docker.service"
SAVE_SECONDS = 3
#: The longest time until the supervisor has started a due server.
BACK_SECONDS = 60.0


def begin(lab: Lab, *, seconds: int = 660) -> subprocess.Popen[str]:
    """Begin the stop, with a restart of the engine in the queue of systemd."""
    programs = lab.root / "programs"
    programs.mkdir(exist_ok=True)
    (programs / "systemctl").write_text(f"#!/bin/sh\necho '  1 {UNIT} restart waiting'\n")
    (programs / "systemctl").chmod(0o755)
    command = [sys.executable, "-m", f"{PACKAGE}.node_stop", "--config", str(lab.config), UNIT, str(seconds)]
    environment = {**os.environ, "DOCKER_HOST": lab.docker_host, "PATH": f"{programs}:{os.environ['PATH']}"}
    return subprocess.Popen(command, env=environment, cwd="/", stderr=subprocess.PIPE, text=True)


def stop(lab: Lab, *, seconds: int = 660) -> int:
    with begin(lab, seconds=seconds) as child:
        _output, errors = child.communicate(timeout=120)
    assert errors == ""
    return child.returncode


def end_of(lab: Lab, uuid: str) -> tuple[float, int]:
    """Return when the last run ended, and its exit code."""
    state = lab.client.inspect_container(uuid)["State"]
    moment = engine_time(state["FinishedAt"])
    assert moment is not None
    return moment.timestamp(), int(state["ExitCode"])


def intents_of(lab: Lab, *uuids: str) -> list[bool]:
    found = [lab.node().journal.intents.of(uuid) for uuid in uuids]
    return [intent is not None and intent.up for intent in found]


def prioritised(lab: Lab, priority: int) -> str:
    uuid = lab.server(STOP_SECONDS=SAVE_SECONDS)
    lab.edit(uuid, meta={"name": f"server-{uuid[:8]}", "priority": priority})
    assert ended(lab.power("start", uuid, wait_for="running")) == ("done", "")
    return uuid


@pytest.fixture(name="own")
def start_engine(docker_host: str) -> Iterator[OwnEngine]:
    yield from own_engine(docker_host)


@pytest.fixture(name="node")
def node_on_it(tmp_path: Path, own: OwnEngine) -> Iterator[Lab]:
    yield from lab_on(tmp_path, own.host)


def test_servers_stop_cleanly_in_parallel_and_in_order_and_come_back_with_the_engine(node: Lab, own: OwnEngine, tmp_path: Path) -> None:
    with ThreadPoolExecutor(6) as pool:
        by_priority = pool.map(lambda priority: prioritised(node, priority), (10, 20, 20, 20))
        down = list(pool.map(lambda _number: node.up(), range(2)))
        first, *others = list(by_priority)
    for uuid in down:
        assert ended(node.power("stop", uuid)) == ("done", "")
    with Supervising(node) as supervising:
        supervising.await_ready()
        began = time.monotonic()
        assert stop(node) == 0
        assert time.monotonic() - began < 4 * SAVE_SECONDS, "servers of one priority stop in parallel"
        ends = [end_of(node, uuid) for uuid in (first, *others)]
        assert {code for _moment, code in ends} == {0}
        assert ends[0][0] > max(moment for moment, _code in ends[1:]), "the server that starts first stops last"

        refused = node.power("start", down[0])
        assert (refused.outcome.value, refused.code) == ("refused", "node_stopping")
        wait_until(lambda: supervisor_facts(node.node().settings.record_directories)[0]["paused"] == "node_stopping", "it is paused")
        own.shut_down()
        own.start()
        time.sleep(3.0)
        assert not any(node.is_up(uuid) for uuid in (first, *others))
        (tmp_path / "run" / NODE_STOPPING_FILE).unlink()
        wait_until(lambda: all(node.is_up(uuid) for uuid in (first, *others)), "all that were up are up", BACK_SECONDS)
        assert [verdicts(node, uuid) for uuid in (first, *others)] == [["engine_stopped"]] * 4
    assert not any(node.is_up(uuid) for uuid in down)
    assert ended(node.power("start", down[0])) == ("done", "")


def test_a_kill_works_during_the_stop_and_the_killed_server_stays_down(node: Lab) -> None:
    uuid, other = node.up(STOP_SECONDS=3600), node.up(STOP_SECONDS=SAVE_SECONDS)
    with begin(node) as stopping:
        node.await_phase(uuid, "stop")
        began = time.monotonic()
        assert ended(node.power("kill", uuid)) == ("done", "")
        assert time.monotonic() - began < 10
        assert stopping.wait(60) == 0
    assert intents_of(node, uuid, other) == [False, True]
    assert verdicts(node, uuid) == ["stopped"]


def test_in_the_end_a_server_gets_sigkill_although_another_action_holds_its_lock(node: Lab) -> None:
    slow, held = node.up(STOP_SECONDS=3600), node.up(STOP_SECONDS=3600)
    with node.actor("stop", held, stop_timeout=3600) as other:
        node.await_phase(held, "stop")
        began = time.monotonic()
        assert stop(node, seconds=40) == 1
        assert 9 < time.monotonic() - began < 30
        assert other.result()["outcome"] == "done"
    assert not node.is_up(slow) and not node.is_up(held)
    assert intents_of(node, slow, held) == [True, False]
