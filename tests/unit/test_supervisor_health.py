# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which servers count as hanging, and which of them are restarted: single rules, and random schedules of failing checks."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.model.server import Run, Snapshot
from ansible_collections.fleet.power.plugins.module_utils._supervisor.health import NodeHealth, Step, Unhealthy, decide

RUN = Run("c1", "s1")


def seen(health: str | None = "unhealthy", *, run: Run = RUN, paused: bool = False, live: bool = True, interval: float = 10.0) -> Snapshot:
    return Snapshot(run.container, "a", live, run.started_at, paused=paused, health=health, health_seconds=interval)


class TestOneServer:
    def test_a_server_hangs_at_the_second_look_after_the_next_check(self) -> None:
        health = NodeHealth()
        health.saw("a", seen(), 100.0)
        assert (health.seconds_left(104.0), health.to_look_at(109.0), health.hanging()) == (6.0, [], [])
        assert health.to_look_at(110.0) == ["a"] and not health.hanging()
        health.saw("a", seen(), 110.0)
        assert [(uuid, hang.run, hang.since) for uuid, hang in health.hanging()] == [("a", RUN, 100.0)]
        assert health.to_look_at(120.0) == [] and health.seconds_left(120.0) is None

    @pytest.mark.parametrize(
        "between",
        [
            seen("healthy"),
            seen("starting"),
            seen(None),
            seen(paused=True),
            seen(live=False),
            seen(run=Run("c1", "s2")),
            seen(run=Run("c2", "s1")),
            None,
        ],
        ids=["healthy", "starting", "no check", "paused", "down", "started again", "another container", "gone"],
    )
    def test_any_other_look_in_between_begins_the_wait_again(self, between: Snapshot | None) -> None:
        health = NodeHealth()
        health.saw("a", seen(), 100.0)
        health.saw("a", between, 105.0)
        health.saw("a", seen(), 111.0)
        assert health.hanging() == []

    def test_an_early_look_does_not_count_as_the_second(self) -> None:
        health = NodeHealth()
        health.saw("a", seen(), 100.0)
        health.saw("a", seen(), 109.9)
        assert not health.hanging() and health.to_look_at(110.0) == ["a"]

    def test_a_run_that_was_put_off_is_looked_at_again_before_its_restart(self) -> None:
        health = NodeHealth()
        for at in (100.0, 110.0):
            health.saw("a", seen(), at)
        health.put_off("a", RUN, 170.0, "suspended")
        assert not health.hanging() and health.to_look_at(170.0) == ["a"]
        health.saw("a", seen(), 170.0)
        ((_uuid, hang),) = health.hanging()
        assert (hang.tries, hang.code) == (1, "suspended")
        health.put_off("a", Run("c1", "s2"), 999.0)
        assert health.hanging()


class TestNode:
    def turn(self, health: NodeHealth, *names: str, at: float) -> str:
        for name in names:
            health.saw(name, seen(run=Run(name, "s1")), at)
        return health.suspect(at)

    def of(self, count: int) -> NodeHealth:
        health = NodeHealth()
        for name in "abcdefgh"[:count]:
            health.saw(name, seen("healthy"), 0.0)
        return health

    def test_more_than_half_within_a_minute_are_suspect_and_none_is_restarted(self) -> None:
        health = self.of(4)
        assert self.turn(health, "a", "b", at=100.0) == "" and not health.suspects
        assert "3 of 4 servers" in self.turn(health, "c", at=160.0)
        assert health.suspects == {"a", "b", "c"}
        self.turn(health, "a", "b", "c", at=300.0)
        assert (health.hanging(), health.to_look_at(300.0), health.seconds_left(300.0)) == ([], [], None)

    def test_after_a_minute_a_turn_no_longer_counts(self) -> None:
        health = self.of(4)
        self.turn(health, "a", "b", at=100.0)
        assert self.turn(health, "c", at=160.1) == "" and not health.suspects

    def test_a_server_alone_on_its_node_is_not_suspect(self) -> None:
        health = self.of(1)
        assert self.turn(health, "a", at=100.0) == "" and not health.suspects

    def test_a_server_without_a_check_or_down_or_paused_counts_for_neither_side(self) -> None:
        health = self.of(2)
        for name, other in (("d", seen(None)), ("e", seen(live=False)), ("f", seen(paused=True))):
            health.saw(name, other, 50.0)
        assert "2 of 2 servers" in self.turn(health, "a", "b", at=100.0)

    def test_a_server_that_was_restarted_in_between_still_counts(self) -> None:
        health = self.of(3)
        self.turn(health, "a", at=100.0)
        health.saw("a", seen(live=False), 120.0)
        assert "2 of 3" in self.turn(health, "b", at=130.0) and health.suspects == {"b"}

    def test_a_suspect_stays_one_until_it_was_healthy(self) -> None:
        health = self.of(2)
        self.turn(health, "a", "b", at=100.0)
        for other in (seen("starting"), seen(live=False), seen(None)):
            health.saw("a", other, 110.0)
            assert "a" in health.suspects
        health.saw("a", seen("healthy"), 120.0)
        health.saw("b", None, 120.0)
        assert not health.suspects

    def test_an_episode_is_reported_once_and_takes_in_those_that_follow_within_the_minute(self) -> None:
        health = self.of(5)
        assert self.turn(health, "a", "b", "c", at=100.0)
        assert self.turn(health, "d", at=160.0) == "" and health.suspects == {"a", "b", "c", "d"}
        assert self.turn(health, "e", at=161.0) == "" and health.suspects == {"a", "b", "c", "d"}
        # A suspect of long ago is no part of the next episode.
        for name in "bcde":
            health.saw(name, seen("healthy"), 400.0)
        assert "3 of 5" in self.turn(health, "b", "c", "d", at=500.0)

    def flap(self, health: NodeHealth, name: str, *moments: float) -> None:
        """Let a server turn unhealthy at each moment, and be healthy 30 seconds later."""
        for at in moments:
            self.turn(health, name, at=at)
            health.saw(name, seen("healthy"), at + 30)

    def test_a_flapping_server_turns_together_with_no_neighbour(self) -> None:
        health = self.of(2)
        self.flap(health, "a", 100, 200, 300)
        assert self.turn(health, "b", at=310) == "" and not health.suspects

    def test_ten_minutes_after_its_turns_a_server_counts_again(self) -> None:
        health = self.of(2)
        self.flap(health, "a", 100, 200, 300)
        self.turn(health, "a", at=810)
        assert "2 of 2" in self.turn(health, "b", at=820)

    def test_a_suspicion_ends_when_its_other_server_turns_out_to_flap(self) -> None:
        health = self.of(3)
        self.turn(health, "b", at=95)
        self.flap(health, "a", 100, 200, 300)
        assert health.suspects == {"b"}
        self.turn(health, "a", at=400)
        assert not health.suspects

    def test_servers_that_flap_together_are_suspect_each_time(self) -> None:
        health = self.of(3)
        for at in (100.0, 280.0, 460.0, 640.0):
            self.turn(health, "a", at=at)
            self.turn(health, "b", at=at + 20)
            assert health.suspects == {"a", "b"}
            self.turn(health, "c", at=at + 40)
            assert health.suspects == {"a", "b", "c"}
            for name in "abc":
                health.saw(name, seen("healthy"), at + 90)

    def test_a_flapping_server_is_suspect_with_all_others(self) -> None:
        health = self.of(4)
        self.flap(health, "a", 100, 200, 300)
        self.turn(health, "a", at=400)
        assert "2 of 3" in self.turn(health, "b", "c", at=410)
        assert health.suspects == {"a", "b", "c"}

    def test_within_30_minutes_a_hung_neighbour_of_a_flapping_server_is_restarted(self) -> None:
        health, restarted = self.of(3), None
        for now in range(0, 1800, 5):
            flaps, hangs = now % 100 < 40, now >= 110
            health.saw("a", seen("unhealthy" if flaps else "healthy", run=Run("a", f"s{now // 100}"), interval=60), now)
            health.saw("b", seen("unhealthy" if hangs else "healthy", run=Run("b", "s1"), interval=60), now)
            health.saw("c", seen("healthy"), now)
            health.suspect(now)
            if restarted is None and any(uuid == "b" for uuid, _hang in health.hanging()):
                restarted = now
        assert restarted is not None and restarted <= 700


@pytest.mark.parametrize(
    "allowed, in_hour, wait, decided",
    [
        (True, 0, 0.0, (Step.RESTART, 130.0)),
        (True, 2, -30.0, (Step.RESTART, 130.0)),
        (True, 0, 0.1, (Step.WAIT, 130.1)),
        (True, 3, 0.0, (Step.LEAVE, 190.0)),
        (False, 3, 0.0, (Step.WAIT, 190.0)),
        (False, 0, 0.0, (Step.WAIT, 190.0)),
    ],
)
def test_the_next_step(allowed: bool, in_hour: int, wait: float, decided: tuple[Step, float]) -> None:
    assert decide(130.0, allowed=allowed, in_hour=in_hour, wait=wait) == decided


@dataclass
class Simulated:
    """A server of a schedule, and its history: looks, and moments of restarts."""

    name: str
    interval: float
    allowed: bool
    status: str = "healthy"
    paused: bool = False
    number: int = 0
    #: The moments at which it became as it is, and at which its run began.
    since: float = 0.0
    started: float = 0.0
    looks: list[tuple[float, Snapshot]] = field(default_factory=list)
    restarts: list[float] = field(default_factory=list)

    @property
    def snapshot(self) -> Snapshot:
        run = Run(self.name, str(self.number))
        return seen(
            None if self.status == "down" else self.status, run=run, paused=self.paused, live=self.status != "down", interval=self.interval
        )

    def series(self) -> Iterator[float]:
        """The moments of the looks that found the present run unhealthy, the newest first, without another look between them."""
        for at, look in reversed(self.looks):
            if look.health != "unhealthy" or look.paused or look.run != self.snapshot.run:
                return
            yield at

    def turns(self) -> list[float]:
        """The moments of the looks that first found a run unhealthy."""
        found, before = [], None
        for at, look in self.looks:
            run = look.run if look.health == "unhealthy" and not look.paused else None
            if run is not None and run != before:
                found.append(at)
            before = run
        return found


class Schedule:
    """A random schedule: states change, some events are lost, and looks follow as in `EngineWatch`."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.health = NodeHealth()
        self.now = 0.0
        self.back_off = self.dice.choice((0.0, 0.0, 0.0, 20.0, 300.0))
        #: The chance that a server changes in a step.
        self.changes = self.dice.choice((0.01, 0.03, 0.1, 0.3))
        self.left = 0
        self.servers = [
            Simulated(str(number), self.dice.choice((1.0, 5.0, 30.0, 60.0)), self.dice.random() < 0.8)
            for number in range(self.dice.randint(1, 7))
        ]
        #: The servers that turned unhealthy with most others: when, and with which.
        self.suspected: dict[str, tuple[float, set[str]]] = {}
        #: When each server was last suspected, or turned out to have turned with a flapping one only.
        self.judged: dict[str, float] = {}
        self.flapping: set[str] = set()

    def run(self) -> None:
        for server in self.servers:
            self.look(server)
        listed = 60.0
        for _step in range(80):
            self.now += self.dice.choice((0.5, 5.0, 15.0, 40.0))
            heard = [server for server in self.servers if self.change(server) and self.dice.random() < 0.8]
            if self.now >= listed:
                listed = self.now + 60.0
                heard += [
                    server for server in self.servers if (server.snapshot.health == "unhealthy") != (server.name in self.health.unhealthy)
                ]
            for server in self.servers:
                if server in heard or server.name in self.health.to_look_at(self.now):
                    self.look(server)
            self.note_together()
            self.health.suspect(self.now)
            for name, hang in self.health.hanging():
                self.consider(self.servers[int(name)], hang)
            for server in self.servers:
                self.check_patience(server)

    def change(self, server: Simulated) -> bool:
        if self.dice.random() >= self.changes:
            return False
        before = server.snapshot
        if self.dice.random() < 0.15:
            server.paused = not server.paused and server.status != "down"
        elif self.dice.random() < 0.1:
            server.allowed = not server.allowed
        else:
            server.status = self.dice.choice(("healthy", "unhealthy", "unhealthy", "starting", "down"))
            if server.status in ("starting", "down"):
                server.number, server.paused, server.started = server.number + 1, False, self.now
        server.since = self.now
        return server.snapshot != before

    def look(self, server: Simulated) -> None:
        server.looks.append((self.now, server.snapshot))
        self.health.saw(server.name, server.snapshot, self.now)

    def note_together(self) -> None:
        """Find the servers that turned unhealthy within a minute, from all looks so far and without the code under test."""
        turns = {each.name: [at for at in each.turns()[-10:] if self.now - at <= 600.0] for each in self.servers}
        turned = {name for name, moments in turns.items() if any(self.now - at <= 60.0 for at in moments)}
        last = {each.name: each.looks[-1][1] for each in self.servers}
        checked = {name for name, look in last.items() if look.live and not look.paused and look.health is not None}
        self.flapping = {name for name in turns if self.flaps(name, turns, checked)}
        counted = (checked | turned) - self.flapping
        for name, (_moment, group) in list(self.suspected.items()):
            if group & self.flapping and (len(group - self.flapping) < 2 or len(group - self.flapping) <= len(counted) / 2):
                del self.suspected[name]
                self.judged[name] = self.now
        together = turned - self.flapping
        if len(together) > 1 and len(together) > len(counted) / 2:
            for name in turned:
                if last[name].health == "unhealthy" and not last[name].paused:
                    self.suspected[name] = (self.now, together)
                    self.judged[name] = self.now

    def flaps(self, name: str, turns: dict[str, list[float]], checked: set[str]) -> bool:
        others = (checked | {other for other, moments in turns.items() if moments}) - {name}
        alone = 0
        for at in turns[name]:
            near = [other for other in others if any(-60.0 <= moment - at <= 60.0 for moment in turns[other])]
            alone += len(near) < len(others) / 2
        return len(turns[name]) >= 3 and (name in self.flapping or alone >= 3)

    def consider(self, server: Simulated, hang: Unhealthy) -> None:
        in_hour = sum(self.now - at < 3600.0 for at in server.restarts)
        wait = self.back_off - (self.now - server.started)
        step, until = decide(self.now, allowed=server.allowed, in_hour=in_hour, wait=wait)
        self.left += step is Step.LEAVE
        if step is not Step.RESTART:
            self.health.put_off(server.name, hang.run, until)
            return
        self.health.put_off(server.name, hang.run, self.now + 10.0, "")
        now = server.snapshot
        if now.health != "unhealthy" or now.paused or now.run != hang.run:
            # The action looks again under the lock.
            return
        self.check(server, in_hour)
        server.restarts.append(self.now)
        server.number, server.status = server.number + 1, self.dice.choice(("healthy", "unhealthy"))
        server.since = server.started = self.now

    def check(self, server: Simulated, in_hour: int) -> None:
        """Check each rule that forbids a restart."""
        first = min(server.series(), default=self.now)
        assert self.now - first >= server.interval, "within its interval"
        assert self.now - server.started >= self.back_off, "within its back-off"
        assert server.allowed and in_hour < 3
        assert not self.is_suspect(server), "the node is suspect"

    def is_suspect(self, server: Simulated) -> bool:
        if server.name not in self.suspected:
            return False
        moment, _group = self.suspected[server.name]
        return not any(moment <= at and look.health == "healthy" and not look.paused for at, look in server.looks)

    def check_patience(self, server: Simulated) -> None:
        """A server that hangs alone, and that may be restarted, does not wait for long: a minute for a lost event, and one more."""
        if server.status != "unhealthy" or server.paused or not server.allowed or self.is_suspect(server):
            return
        since = max(server.since, self.judged.get(server.name, 0.0))
        is_free = sum(self.now - at < 3600.0 for at in server.restarts) < 3
        assert not is_free or self.now - since <= max(server.interval, self.back_off) + 150.0, "hangs for good"


@pytest.mark.parametrize("schedules", [300, pytest.param(10_000, marks=pytest.mark.long)])
def test_no_schedule_of_failing_checks_causes_a_restart_that_no_rule_allows(schedules: int) -> None:
    restarts, left, suspects, flapping = 0, 0, 0, 0
    for seed in range(schedules):
        schedule = Schedule(seed)
        try:
            schedule.run()
        except AssertionError as error:
            raise AssertionError(f"schedule {seed} at {schedule.now} s: {error}") from error
        restarts += sum(len(server.restarts) for server in schedule.servers)
        left, suspects = left + bool(schedule.left), suspects + bool(schedule.judged)
        flapping += bool(schedule.flapping)
    assert restarts > schedules and min(left, suspects, flapping) > schedules / 20
