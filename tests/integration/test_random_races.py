# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Races of several processes at one server, at random moments, some of them killed, on an engine that is now and then slow."""

from __future__ import annotations

import random
import threading
import time
from contextlib import ExitStack

import pytest

from .engine_proxy import EngineProxy, Seen, at_once
from .invariants import Act, Lives, lives_of, violations
from .lab import Actor, Lab, wait_until

_ACTIONS = ("start", "stop", "restart", "restart", "kill", "kill")
_LONGEST_DELAY = 0.4
#: How long a late start may take, in seconds; the engine is given one.
_LATE = 2.5


class Round:
    """One round: some actions on one server, each in a process of its own, at moments that ``seed`` alone decides.

    ``late``: now and then a start takes longer than the engine is given to answer, and arrives all the same.
    """

    def __init__(self, lab: Lab, proxy: EngineProxy, uuid: str, seed: int, late: bool) -> None:
        self._lab, self._proxy, self._uuid, self._late = lab, proxy, uuid, late
        self._random = random.Random(seed)
        self.acts: list[Act] = []

    def play(self) -> None:
        """Set the scene, act, and wait for the end of everything, also of what the dead have left on its way to the engine."""
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
        """Most requests arrive at once, some a little later; of those to start, which must not have an effect then, many much later."""
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
    """Play a round for each seed; a failure names its seed."""
    uuid = lab.server()
    # What a first boot makes on the disk is a change, too, and no request to the engine tells of it.
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
    """The engine's events come a moment later than what they tell of."""
    wait_until(lambda: lab.is_up(uuid) == bool(lives.runs and lives.runs[-1].ended == float("inf")), "the events are here")


def _settle(lab: Lab, lives: Lives, uuid: str, seed: int) -> None:
    """Whatever was left, a kill ends it for good."""
    kill = lab.power("kill", uuid, wait_seconds=0)
    assert kill.outcome.value in ("done", "unchanged"), f"seed {seed}: {kill}"
    time.sleep(0.1)
    assert not lab.is_up(uuid), f"seed {seed}"
    node = lab.node()
    assert not node.locks.has_record(uuid), f"seed {seed}"
    assert not [row for row in node.journal.operations.of(uuid) if row.under_way], f"seed {seed}"
    node.journal.close()
    wait_until(lambda: all(run.ended < float("inf") for run in lives.runs), f"seed {seed}: everything has ended")


@pytest.mark.samples("late")
@pytest.mark.parametrize("late", [False, True], ids=["", "late"])
def test_a_few_random_races_break_no_promise(lab: Lab, proxy: EngineProxy, late: bool) -> None:
    race(lab, proxy, range(4), late=late)


@pytest.mark.long
@pytest.mark.parametrize("late", [False, True], ids=["", "late"])
@pytest.mark.parametrize("hundred", range(100, 400, 100))
def test_hundreds_of_random_races_break_no_promise(lab: Lab, proxy: EngineProxy, hundred: int, late: bool) -> None:
    race(lab, proxy, range(hundred, hundred + 100), late=late)
