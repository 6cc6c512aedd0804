# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Servers that stop with the engine start with it, in order; the verdict is neither a crash nor an external stop."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.model.clock import engine_time

from .lab import Lab, ended, lab_on, wait_until
from .own_engine import OwnEngine, own_engine
from .supervisors import Supervising, await_verdicts, crash, rows_of, run_of, verdicts

#: After SIGKILL, a new engine waits some seconds for its containers.
BACK_SECONDS = 60.0
#: The back-off after the second consecutive crash, and the pause between starts after an end of the engine.
BACK_OFF_SECONDS, STAGGER_SECONDS = 10.0, 1


@dataclass
class Fleet:
    """A node with its own engine: three servers that are up (the last starts first), two that stay down, one in a back-off."""

    lab: Lab
    own: OwnEngine
    up: list[str]
    stopped: str
    stopped_externally: str
    looping: str

    @property
    def down(self) -> tuple[str, ...]:
        return self.stopped, self.stopped_externally


@pytest.fixture(name="own")
def start_engine(docker_host: str) -> Iterator[OwnEngine]:
    yield from own_engine(docker_host)


@pytest.fixture(name="node")
def node_on_it(tmp_path: Path, own: OwnEngine) -> Iterator[Lab]:
    """A node on the test's own engine, which runs again before the cleanup."""
    yield from lab_on(tmp_path, own.host)


def prioritised(lab: Lab, priority: int) -> str:
    uuid = lab.server()
    lab.edit(uuid, meta={"name": f"server-{uuid[:8]}", "priority": priority})
    assert ended(lab.power("start", uuid, wait_for="running")) == ("done", "")
    return uuid


def mixed(lab: Lab, own: OwnEngine) -> Fleet:
    """Make servers with different kinds of ends. The looping server is in its back-off."""
    with ThreadPoolExecutor(3) as pool:
        by_priority = pool.map(lambda priority: prioritised(lab, priority), (30, 20, 10))
        up, (stopped, at_engine, looping) = list(by_priority), list(pool.map(lambda _number: lab.up(), range(3)))
    assert ended(lab.power("stop", stopped)) == ("done", "")
    own.client.stop(at_engine, timeout=1)
    await_verdicts(lab, at_engine, "stopped_externally")
    before = crash(lab, looping)
    wait_until(lambda: lab.is_up(looping) and run_of(lab, looping) != before, "the server is up again")
    await_verdicts(lab, looping, "crashed")
    crash(lab, looping)
    await_verdicts(lab, looping, "crashed", "crashed")
    return Fleet(lab, own, up, stopped, at_engine, looping)


def began(lab: Lab, uuid: str) -> float:
    """Return when the supervisor began the start. The engine may take long for one start, and not for the next."""
    found = engine_time(lab.node().journal.operations.of(uuid, 1)[0].begun_at)
    assert found is not None
    return found.timestamp()


def assert_all_is_back(found: Fleet) -> None:
    """Assert that only the servers that were up are up, and started in order, a second apart."""
    lab = found.lab
    wait_until(lambda: all(lab.is_up(uuid) for uuid in (*found.up, found.looping)), "all servers are up again", BACK_SECONDS)
    for uuid in found.up:
        assert verdicts(lab, uuid) == ["engine_stopped"]
    wait_until(lambda: not lab.node().journal.ended_runs.due(), "no start is due")
    starts = [began(lab, uuid) for uuid in reversed(found.up)]
    assert all(later - earlier > STAGGER_SECONDS / 2 for earlier, later in itertools.pairwise(starts)), starts
    assert verdicts(lab, found.looping) == ["crashed", "crashed"]
    over = engine_time(rows_of(lab, found.looping)[0].ended_at)
    assert over is not None and began(lab, found.looping) - over.timestamp() > BACK_OFF_SECONDS - 0.5, "its back-off went on"
    assert not any(lab.is_up(uuid) for uuid in found.down)
    assert (verdicts(lab, found.stopped), verdicts(lab, found.stopped_externally)) == (["stopped"], ["stopped_externally"])


def test_only_servers_that_stop_with_the_engine_start_again_in_order(node: Lab, own: OwnEngine) -> None:
    with Supervising(node, "--stagger", str(STAGGER_SECONDS)) as supervising:
        found = mixed(node, own)
        at = time.monotonic()
        own.shut_down()
        assert time.monotonic() - at < 5, "the open event stream delayed the shutdown"
        time.sleep(1.0)
        own.start()
        assert_all_is_back(found)
        assert supervising.child.poll() is None


@pytest.mark.long
@pytest.mark.parametrize("ends", ["SIGKILL of the engine", "shutdown, supervisor dead", "SIGKILL of the engine, supervisor dead"])
def test_servers_come_back_after_each_end_of_the_engine_and_supervisor(node: Lab, own: OwnEngine, ends: str) -> None:
    with Supervising(node, "--stagger", str(STAGGER_SECONDS)) as supervising:
        found = mixed(node, own)
        if "dead" in ends:
            supervising.kill()
        (own.kill if "SIGKILL" in ends else own.shut_down)()
        own.start()
        if "dead" in ends:
            supervising.begin_again()
        assert_all_is_back(found)


@pytest.mark.long
def test_an_engine_with_live_restore_ends_without_its_servers(tmp_path: Path, docker_host: str) -> None:
    for own in own_engine(docker_host, configuration={"live-restore": True}):
        for lab in lab_on(tmp_path, own.host):
            with Supervising(lab):
                live_on(lab, own)


def live_on(lab: Lab, own: OwnEngine) -> None:
    first, second = lab.up(), lab.up()
    before = [run_of(lab, uuid) for uuid in (first, second)]
    own.shut_down()
    own.start()
    wait_until(lambda: lab.is_up(first) and lab.is_up(second), "both servers are up", BACK_SECONDS)
    assert [run_of(lab, uuid) for uuid in (first, second)] == before
    seen = lab.node().journal.runs
    wait_until(lambda: str(own.pid) in seen.of(first).engine.split("/"), "the supervisor has seen the run at this engine")
    crash(lab, first)
    await_verdicts(lab, first, "crashed")
    wait_until(lambda: lab.is_up(first), "the server is up again")
    assert verdicts(lab, second) == []
