# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tries of a way back, and faults that must not end a proof."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.journal.schema import JournalUnusable
from ansible_collections.fleet.power.plugins.module_utils._power.model.errors import EngineUnreachable
from ansible_collections.fleet.power.plugins.module_utils._power.model.proof import Proof, ProofEnd, ProofFacts
from ansible_collections.fleet.power.plugins.module_utils._power.model.records import replace
from ansible_collections.fleet.power.plugins.module_utils._power.model.result import Outcome, Result
from ansible_collections.fleet.power.plugins.module_utils._power.model.server import Run, Server
from ansible_collections.fleet.power.plugins.module_utils._power.model.supervision import Verdict
from ansible_collections.fleet.power.plugins.module_utils._supervisor import prover
from ansible_collections.fleet.power.plugins.module_utils._supervisor.prover import Prover
from ansible_collections.fleet.power.tests.unit.fake_node import UUID, FakeNode
from ansible_collections.fleet.power.tests.unit.forked_support import wait_for
from ansible_collections.fleet.power.tests.unit.thread_support import few_threads

NEW, BACK = Run("new", "t2"), Run("back", "t3")
FAILED = ProofFacts("boot", 101.0, intent="mine t2", run=NEW, live=False, verdict=Verdict.CRASHED)
REVERTED = replace(FAILED, run=BACK, live=True)


class World:
    """An open proof of a new version that failed. ``ends`` are the results of the next ways back, or their faults; the last one repeats."""

    def __init__(self, fake: FakeNode, monkeypatch: pytest.MonkeyPatch) -> None:
        self.fake = fake
        self.facts: list[Any] = [FAILED]
        self.ends: list[str] = ["done"]
        self.looks = self.tries = self.troubles = 0
        self.asked: set[str] = set()
        self.said: list[str] = []
        old = fake.down().id
        proof = Proof(UUID, "Cobalt", "mine", "now", present=old, present_started_at="t1", previous=old).on_trial(NEW, "boot", 0.0)
        fake.node.journal.proofs.begin(proof)
        monkeypatch.setattr(prover, "facts_of", lambda _node, _proof: self._look())
        monkeypatch.setattr(prover, "perform", self._perform)
        monkeypatch.setattr(prover, "_log", lambda _node, _proof: ())
        monkeypatch.setattr(prover, "wait_until", lambda *_arguments, **_fields: None)
        monkeypatch.setattr(prover, "announce_line", lambda line, warn: self.said.append(line))
        self.prover = Prover(lambda: fake.node, lambda: True, self._trouble)

    def _next(self, faked: list[Any]) -> Any:
        found = faked.pop(0) if len(faked) > 1 else faked[0]
        if isinstance(found, Exception):
            raise found
        return found

    def _look(self) -> Any:
        self.looks += 1
        return self._next(self.facts)

    def _trouble(self) -> None:
        self.troubles += 1

    def _perform(self, request: Any, _node: Any, server: Server) -> Result:
        self.tries += 1
        self.asked.add(request.action.value)
        code = self._next(self.ends)
        at, outcome = self.fake.clock.now(), Outcome.DONE if code == "done" else Outcome.FAILED
        if outcome is Outcome.DONE:
            self.facts = [REVERTED]
        back = replace(request.proof, back=BACK.container) if outcome is Outcome.DONE else None
        return Result(server, request.action, outcome, request.operation, at, at, code=code, msg=f"Cannot: {code}", proof=back)

    def end(self) -> Proof:
        """Return the proof when the prover has ended it."""
        self.prover.begin()
        self.prover.join()
        found = self.fake.node.journal.proofs.of(UUID)
        assert found is not None
        return found


@pytest.fixture
def world(fake: FakeNode, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    made = World(fake, monkeypatch)
    yield made
    fake.interrupted = True
    made.prover.join()


def test_a_way_back_is_given_up_after_five_tries_with_the_last_reason(world: World) -> None:
    world.ends = ["start_failed", "start_failed", "start_failed", "start_failed", "image_missing"]
    found = world.end()
    assert (found.ended, found.tries, world.tries) == (ProofEnd.FAILED, 5, 5)
    assert found.msg.endswith("and the way back failed 5 times: Cannot: image_missing")


def test_a_way_back_without_its_container_is_given_up_at_once(world: World) -> None:
    world.fake.engine.containers.clear()
    world.ends = ["start_failed"]
    found = world.end()
    assert (found.ended, world.tries) == (ProofEnd.FAILED, 1)
    assert found.msg.endswith("and the way back failed: Cannot: start_failed")


@pytest.mark.parametrize("code", ["lock_timeout", "lock_unavailable", "frozen", "maintenance", "engine_unreachable", "wings_active"])
def test_an_obstacle_that_passes_is_no_try(world: World, code: str) -> None:
    world.ends = [*[code] * 7, "done"]
    found = world.end()
    assert (found.ended, found.tries, world.tries) == (ProofEnd.REVERTED, 0, 8)


@pytest.mark.parametrize(
    "fault", [JournalUnusable("it is damaged"), OSError("full"), EngineUnreachable("gone"), ValueError("a bug")], ids=repr
)
def test_a_fault_of_a_look_does_not_end_a_proof(world: World, fault: Exception) -> None:
    world.facts = [fault, fault, FAILED]
    assert world.end().ended is ProofEnd.REVERTED
    assert world.troubles == (2 if isinstance(fault, (JournalUnusable, OSError)) else 0)
    assert sum(f"proof of {UUID}: " in line for line in world.said) == (2 if isinstance(fault, ValueError) else 0)


def test_a_rule_that_is_newer_than_the_proof_leaves_the_server_down(world: World) -> None:
    world.fake.configure(revert={"rules": [{"server": UUID, "revertible": False}]})
    world.ends = ["start_failed"]
    found = world.end()
    assert found.forbids == "rule 1 of revert.rules" and world.asked == {"stop"}


def test_the_way_back_waits_for_the_end_of_a_suspension(world: World) -> None:
    world.fake.define(suspended=True)
    world.prover.begin()
    wait_for(lambda: world.looks > 3, "it has looked")
    assert world.tries == 0
    world.fake.define()
    assert world.end().ended is ProofEnd.REVERTED


def test_without_a_thread_the_next_turn_begins(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        few_threads(patch)
        world.prover.begin()
    assert world.tries == 0
    assert world.end().ended is ProofEnd.REVERTED


def test_the_end_waits_for_the_holder_of_the_lock(world: World) -> None:
    # Another run has the server's name.
    world.facts = [REVERTED]
    with world.fake.lock():
        world.prover.begin()
        wait_for(lambda: world.looks > 3, "it has looked")
        found = world.fake.node.journal.proofs.of(UUID)
        assert found is not None and found.is_open
    assert world.end().ended is ProofEnd.VOID


def test_a_proof_that_another_update_replaced_is_left_alone(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    other = Proof(UUID, "Cobalt", "another", "later", present="new", previous="new")

    def replaced(_node: Any, _proof: Proof) -> ProofFacts:
        world.fake.node.journal.proofs.begin(other)
        world.fake.interrupted = True
        return REVERTED

    monkeypatch.setattr(prover, "facts_of", replaced)
    found = world.end()
    assert (found.operation, found.is_open) == ("another", True)
