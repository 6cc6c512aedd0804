# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Several processes act on one server: pairs of actions, random moments, and the wait for the lock."""

from __future__ import annotations

import random
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.actions.turn.perform import perform
from ansible_collections.fleet.power.plugins.module_utils._power.locking.lock import PowerLock
from ansible_collections.fleet.power.plugins.module_utils._power.model.result import Phase, Result
from ansible_collections.fleet.power.tests.unit.lock_support import fill, small_disk

from .engine_proxy import EngineProxy, Seen, at_once
from .invariants import Act, Lives, lives_of, violations
from .lab import Actor, Lab, wait_until
from .phases import BOOTS, EVERY_PHASE, Kept, kept_in, meanwhile, named, start_of, starts_since, waiting_containers

#: Phases whose end another action can wait for. (A lost pull ends in a refusal.)
WAITED_FOR = [(action, phase) for action, phase in BOOTS if phase in ("prepare", "create", "preboot", "start", "observe")]
#: Phases of a restart in which the old process still runs.
BEFORE_THE_END_OF_THE_STOP = ("prepare", "pull", "create", "stop")
STOPPED = [*WAITED_FOR, ("restart", "stop")]


def results_of(lab: Lab, kept: Kept, action: str, **fields: Any) -> tuple[dict[str, Any], Result]:
    """Request an action that waits for a kept one; return the results of the kept action and of this one."""
    node, tries = lab.node(), threading.Event()
    acquire = node.locks.acquire

    def noted(*arguments: Any, **named_ones: Any) -> PowerLock:
        tries.set()
        return acquire(*arguments, **named_ones)

    node.locks.acquire = noted  # type: ignore[method-assign]
    with closing(node.journal), meanwhile(lambda: perform(lab.request(action, kept.uuid, node, **fields), node)) as waiting:
        assert tries.wait(30)
        time.sleep(0.2)
        assert not waiting.done()
        kept.let_go()
        second = waiting.result()
    assert second.waited_seconds > 0
    return kept.actor.result(), second


def assert_stays_down(lab: Lab, uuid: str, since: float, seconds: float = 0.5) -> None:
    """Assert that the server stays down, also after late requests."""
    time.sleep(seconds)
    assert not lab.is_up(uuid)
    assert starts_since(lab, uuid, since) == []


@pytest.mark.samples("start-create", "restart-stop", "restart-preboot", "restart-start", "restart-wait")
@pytest.mark.parametrize("action, phase", BOOTS, ids=named(BOOTS))
def test_a_kill_cancels_a_boot_in_every_phase_and_the_server_stays_down(lab: Lab, proxy: EngineProxy, action: str, phase: str) -> None:
    with kept_in(lab, proxy, action, phase) as kept:
        before = lab.generation(kept.uuid)
        with meanwhile(lambda: lab.power("kill", kept.uuid)) as killing:
            wait_until(lambda: lab.generation(kept.uuid) > before, "the kill has begun")
            # A pull is given up at once; other phases wait for the engine's answer.
            if phase != "pull":
                kept.let_go()
            kill = killing.result()
        ended = time.time()
        loser = kept.actor.result()
        kept.let_go(lost=True)
    assert (kill.outcome.value, kill.code, kill.state.value) == ("done", "", "offline")
    assert (None if kill.cancelled is None else kill.cancelled.value) == (None if phase == "wait" else action)
    assert (loser["outcome"], loser["code"]) == ("cancelled", "cancelled_by_kill")
    # It gives up as soon as it sees the request for a kill, perhaps before the process is dead.
    assert loser["state"] == "offline" or (action == "restart" and phase in BEFORE_THE_END_OF_THE_STOP)
    assert waiting_containers(lab, kept.uuid) == []
    assert_stays_down(lab, kept.uuid, ended)
    assert lab.node().journal.intents.of(kept.uuid).up is False
    assert not lab.node().locks.has_record(kept.uuid)


@pytest.mark.samples("stop")
@pytest.mark.parametrize("phase", ["prepare", "stop"])
def test_a_kill_ends_a_running_stop(lab: Lab, proxy: EngineProxy, phase: str) -> None:
    with kept_in(lab, proxy, "stop", phase) as kept:
        with meanwhile(lambda: lab.power("kill", kept.uuid)) as killing:
            wait_until(lambda: not lab.is_up(kept.uuid), "the process is dead")
            kept.let_go()
            kill = killing.result()
        stop = kept.actor.result()
    assert (kill.outcome.value, kill.changed, kill.cancelled, kill.state.value) == ("done", True, None, "offline")
    if phase == "stop":
        assert (stop["outcome"], stop["stop"]["forced"], stop["state"]) == ("done", True, "offline")
    else:
        assert (stop["outcome"], stop["changed"], stop["state"]) == ("unchanged", False, "offline")


@pytest.mark.parametrize("phase", ["prepare", "kill"])
def test_a_kill_waits_for_another_kill_and_both_results_are_true(lab: Lab, proxy: EngineProxy, phase: str) -> None:
    with kept_in(lab, proxy, "kill", phase) as kept:
        with meanwhile(lambda: lab.power("kill", kept.uuid)) as killing:
            wait_until(lambda: lab.generation(kept.uuid) > 1 and not lab.is_up(kept.uuid), "the second kill has killed")
            kept.let_go()
            second = killing.result()
        first = kept.actor.result()
    assert {first["state"], second.state.value} == {"offline"}
    assert (first["outcome"], first["changed"]) == (("done", True) if phase == "kill" else ("unchanged", False))
    assert (second.outcome.value, second.changed) == (("unchanged", False) if phase == "kill" else ("done", True))
    assert not lab.is_up(kept.uuid)


@pytest.mark.samples("start-create", "restart-start")
@pytest.mark.parametrize("action, phase", WAITED_FOR, ids=named(WAITED_FOR))
def test_a_start_waits_for_a_running_boot_and_changes_nothing(lab: Lab, proxy: EngineProxy, action: str, phase: str) -> None:
    began = time.time()
    with kept_in(lab, proxy, action, phase) as kept:
        first, rival = results_of(lab, kept, "start")
    assert (first["outcome"], first["changed"]) == ("done", True)
    assert (rival.outcome.value, rival.changed) == ("unchanged", False)
    assert len(starts_since(lab, kept.uuid, began)) == (1 if action == "start" else 2)


def test_a_start_that_waited_for_the_lock_still_waits_for_readiness(lab: Lab, proxy: EngineProxy) -> None:
    uuid = lab.server(BOOT_SECONDS=1.5)
    hold = proxy.hold("POST", start_of(uuid))
    with lab.at(proxy.host).actor("start", uuid) as first:
        hold.await_arrival()
        with meanwhile(lambda: lab.power("start", uuid, wait_for="running")) as starting:
            time.sleep(0.5)
            hold.release()
            rival = starting.result()
        assert "ready" in lab.log(uuid)
        assert first.result()["outcome"] == "done"
    assert (rival.outcome.value, rival.changed, rival.state.value) == ("unchanged", False, "running")


@pytest.mark.samples("start-start", "restart-stop")
@pytest.mark.parametrize("action, phase", STOPPED, ids=named(STOPPED))
def test_a_stop_waits_for_a_running_boot_and_then_stops(lab: Lab, proxy: EngineProxy, action: str, phase: str) -> None:
    with kept_in(lab, proxy, action, phase, **({"stop_timeout": 1} if phase == "stop" else {})) as kept:
        # The test server reads no stop command while it boots, so the stop timeout is short.
        first, rival = results_of(lab, kept, "stop", stop_timeout=1)
    assert (first["outcome"], first["changed"]) == ("done", True)
    assert (rival.outcome.value, rival.changed, rival.state.value) == ("done", True, "offline")
    assert not lab.is_up(kept.uuid)
    assert lab.node().journal.intents.of(kept.uuid).up is False


@pytest.mark.parametrize("phase", ["prepare", "stop"])
def test_a_start_waits_for_a_running_stop_and_boots(lab: Lab, proxy: EngineProxy, phase: str) -> None:
    with kept_in(lab, proxy, "stop", phase, stop_timeout=1) as kept:
        stop, rival = results_of(lab, kept, "restart" if phase == "prepare" else "start")
    assert (stop["outcome"], stop["changed"]) == ("done", True)
    assert (rival.outcome.value, rival.changed, rival.state_before.value) == ("done", True, "offline")
    assert lab.is_up(kept.uuid)
    assert lab.node().journal.intents.of(kept.uuid).up is True


@pytest.mark.samples("stop")
@pytest.mark.parametrize("phase", ["stop", "start", "observe"])
def test_two_restarts_run_one_after_the_other(lab: Lab, proxy: EngineProxy, phase: str) -> None:
    with kept_in(lab, proxy, "restart", phase, stop_timeout=1) as kept:
        began = time.time()
        first, second = results_of(lab, kept, "restart", stop_timeout=1)
    assert (first["outcome"], second.outcome.value) == ("done", "done")
    assert len(starts_since(lab, kept.uuid, began)) == (1 if phase == "observe" else 2)
    assert lab.is_up(kept.uuid)


def test_the_tests_cover_every_phase() -> None:
    # test_bulk covers the wait for a boot slot, test_container the limits, and tests of nodes the hooks, which need systemd.
    elsewhere = (Phase.QUEUE, Phase.LIMIT, Phase.HOOK)
    assert {phase for _action, phase in EVERY_PHASE} == {*(phase.value for phase in Phase if phase not in elsewhere), "create", "wait"}


_ACTIONS = ("start", "stop", "restart", "restart", "kill", "kill")
_LONGEST_DELAY = 0.4
#: The longest delay of a late start in seconds; the engine timeout is one second.
_LATE = 2.5


class Round:
    """Actions on one server, each in a process, at moments that ``seed`` decides. ``late``: some starts come after the timeout."""

    def __init__(self, lab: Lab, proxy: EngineProxy, uuid: str, seed: int, late: bool) -> None:
        self._lab, self._proxy, self._uuid, self._late = lab, proxy, uuid, late
        self._random = random.Random(seed)
        self.acts: list[Act] = []

    def play(self) -> None:
        """Prepare the server, act, and wait for all actions and for all requests of dead actors."""
        dice = self._random
        self._lab.edit(self._uuid, environment={"STOP_SECONDS": dice.choice((0, 0, 0.3)), "SEED": dice.choice((1, 2))})
        self._lab.power(dice.choice(("start", "kill")), self._uuid)
        self._proxy.latency = dice.choice((at_once, self._latency, self._latency))
        before = len(self._proxy.seen)
        with ExitStack() as stack:
            actions = [dice.choice(_ACTIONS) for _unused in range(dice.choice((2, 3, 3)))]
            through = self._lab.at(self._proxy.host)
            fields = {"gate": True, "stop_timeout": 2, "options": {"timeout": 1 if self._late else 10}}
            actors = [stack.enter_context(through.actor(action, self._uuid, **fields)) for action in actions]
            killed = self._let_them_go(actors)
            for action, actor in zip(actions, actors):
                self.acts.append(Act(action, actor.pid, None if actor in killed else actor.result()))
        self._proxy.latency = at_once
        wait_until(lambda: all(seen.status for seen in self._proxy.seen[before:]), "the engine has answered everything")
        for act in self.acts:
            act.requests = [seen for seen in self._proxy.seen[before:] if seen.pid == act.pid]

    def _latency(self, request: Seen) -> float:
        """Return the seconds until a request arrives. A start that arrives after the timeout must have no effect."""
        if request.path.endswith("/start") and self._random.random() < 0.4:
            return self._random.uniform(0, _LATE if self._late else 0.8)
        return self._random.uniform(0, 0.2) if self._random.random() < 0.1 else 0.0

    def _let_them_go(self, actors: list[Actor]) -> list[Actor]:
        dice = self._random
        for actor in actors:
            actor.await_gate()
        goes = {actor: dice.uniform(0, _LONGEST_DELAY) for actor in actors}
        deaths = {actor: moment + dice.uniform(0.01, 2 * _LONGEST_DELAY) for actor, moment in goes.items() if dice.random() < 0.2}
        moments = [(moment, actor.go) for actor, moment in goes.items()] + [(moment, actor.kill) for actor, moment in deaths.items()]
        timers = [threading.Timer(delay, step) for delay, step in moments]
        for timer in timers:
            timer.start()
        for timer in timers:
            timer.join()
        return list(deaths)


def race(lab: Lab, proxy: EngineProxy, seeds: range, *, late: bool = False) -> None:
    uuid = lab.server()
    # A first boot also changes the disk, and no request to the engine shows that.
    for action in ("start", "kill"):
        assert lab.power(action, uuid).outcome.value == "done"
    with lives_of(lab, uuid) as lives:
        for seed in seeds:
            began = time.time()
            round_ = Round(lab, proxy, uuid, seed, late)
            round_.play()
            _await_events(lab, lives, uuid)
            found = violations(round_.acts, lives.since(began, proxy.seen))
            assert not found, "\n".join([f"seed {seed}", *found, "of", *map(str, round_.acts), *map(str, lives.since(began, proxy.seen))])
            _settle(lab, lives, uuid, seed)


def _await_events(lab: Lab, lives: Lives, uuid: str) -> None:
    wait_until(lambda: lab.is_up(uuid) == bool(lives.runs and lives.runs[-1].ended == float("inf")), "the events are here")


def _settle(lab: Lab, lives: Lives, uuid: str, seed: int) -> None:
    kill = lab.power("kill", uuid, wait_seconds=0)
    assert kill.outcome.value in ("done", "unchanged"), f"seed {seed}: {kill}"
    time.sleep(0.1)
    assert not lab.is_up(uuid), f"seed {seed}"
    node = lab.node()
    assert not node.locks.has_record(uuid), f"seed {seed}"
    assert not [row for row in node.journal.operations.of(uuid) if row.under_way], f"seed {seed}"
    node.journal.close()
    wait_until(lambda: all(run.ended < float("inf") for run in lives.runs), f"seed {seed}: everything has ended")


@pytest.mark.long
@pytest.mark.samples("late")
@pytest.mark.parametrize("late", [False, True], ids=["", "late"])
def test_a_few_random_races_break_no_promise(lab: Lab, proxy: EngineProxy, late: bool) -> None:
    race(lab, proxy, range(4), late=late)


@pytest.mark.long
@pytest.mark.parametrize("late", [False, True], ids=["", "late"])
@pytest.mark.parametrize("hundred", range(100, 400, 100))
def test_hundreds_of_random_races_break_no_promise(lab: Lab, proxy: EngineProxy, hundred: int, late: bool) -> None:
    race(lab, proxy, range(hundred, hundred + 100), late=late)


def test_a_waiting_action_gets_the_lock_within_a_second_of_its_release(lab: Lab) -> None:
    uuid = lab.up(MARK=1, STOP_SECONDS=1)
    node = lab.node()
    request = lab.request("stop", uuid)
    holding = node.acquire(request, uuid, 0.0, lambda: None)
    with meanwhile(lambda: lab.power("stop", uuid)) as stopping:
        time.sleep(0.3)
        released = time.monotonic()
        holding.release()
        wait_until(lambda: node.locks.holder(uuid) is not None, "the waiting action has the lock")
        assert time.monotonic() - released < 1
        assert stopping.result().outcome.value == "done"


@pytest.fixture(params=["read-only disk", "full disk", "a file in its place"])
def unusable(request: pytest.FixtureRequest, lab: Lab) -> Iterator[Path]:
    directory = lab.root / "no-locks"
    if request.param == "a file in its place":
        directory.write_text("")
        yield directory
        return
    with small_disk(directory):
        if request.param == "full disk":
            fill(directory)
        else:
            subprocess.run(["mount", "-o", "remount,ro", str(directory)], check=True)
            with pytest.raises(OSError, match="Read-only"):
                (directory / "probe").touch()
        yield directory


@pytest.mark.samples("read-only disk-start", "full disk-restart", "a file in its place-stop")
@pytest.mark.parametrize("action", ["start", "stop", "restart"])
def test_an_action_without_a_lock_changes_nothing(lab: Lab, unusable: Path, action: str) -> None:
    uuid = lab.server()
    if action != "start":
        lab.power("start", uuid, wait_for="running")
    lab.write_settings(system={"lock_directory": str(unusable)})
    before = lab.container(uuid)
    result = lab.power(action, uuid)
    assert (result.outcome.value, result.code, result.changed) == ("refused", "lock_unavailable", False)
    assert str(unusable) in result.msg
    after = lab.container(uuid)
    assert (before and (before["Id"], before["State"])) == (after and (after["Id"], after["State"]))
