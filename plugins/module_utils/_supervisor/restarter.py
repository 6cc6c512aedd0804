# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Restarts of servers that hang, and the record of those that are left up."""

from __future__ import annotations

import contextlib
import json
import threading
from collections import deque
from collections.abc import Callable, Iterable
from datetime import timedelta

from .._power.actions.node.context import frozen_fault
from .._power.actions.node.node import Node
from .._power.actions.turn.perform import perform
from .._power.definitions.supervision import Policy, policy_of
from .._power.host.system_log import announce_line
from .._power.journal.schema import JournalUnusable
from .._power.model.clock import engine_time
from .._power.model.records import dataclass
from .._power.model.request import PowerAction, Request, new_operation_id
from .._power.model.server import ListedContainer, Run, Server, Snapshot
from .._power.model.supervision import HANGS, ORIGIN, EndedRun, Hang, Verdict, wait_before
from .health import HOUR_SECONDS, MOST_IN_HOUR, NodeHealth, Step, Unhealthy, decide

_MOST_AT_ONCE = 32


@dataclass(frozen=True)
class _Known:
    """A server that hangs, with its crashes in a row, the kill generation of its run, and the facts of `decide`."""

    server: Server
    policy: Policy
    crashes: int
    generation: int
    allowed: bool
    in_hour: int
    wait: float


class Restarter:
    """Restarts servers that hang, each in a thread of its own. All other work is the caller's thread's."""

    def __init__(self, node: Callable[[], Node], on_trouble: Callable[[], None]) -> None:
        """``on_trouble`` is called when the journal is unusable. No restart may follow until it works again."""
        self._node = node
        self._on_trouble = on_trouble
        self.health = NodeHealth()
        self._threads: dict[str, threading.Thread] = {}
        #: Codes of restarts, and the back-off if the run is still up.
        self._results: deque[tuple[str, Run, str, float]] = deque()
        self._too_often: set[str] = set()
        self._recorded = ""

    @property
    def _is_on(self) -> bool:
        """True if any server may be restarted for a hang. Otherwise no look takes place for it, and nothing is reported."""
        settings = self._node().settings
        return settings.supervisor_restart_unhealthy or any(rule.restart_unhealthy for rule in settings.supervisor_rules)

    def saw(self, uuid: str, snapshot: Snapshot | None) -> None:
        if self._is_on:
            self.health.saw(uuid, snapshot, self._now)

    def changed(self, listed: Iterable[ListedContainer]) -> set[str]:
        """Return the servers whose health differs from that at the last look: events get lost."""
        unhealthy = self.health.unhealthy
        return {each.server for each in listed if each.unhealthy != (each.server in unhealthy)} if self._is_on else set()

    def to_look_at(self) -> list[str]:
        return self.health.to_look_at(self._now)

    def seconds_left(self) -> float | None:
        return self.health.seconds_left(self._now)

    @property
    def is_due(self) -> bool:
        return any(uuid not in self._threads for uuid, _hang in self.health.hanging())

    def note(self) -> None:
        """Take in the looks and restarts so far: report a suspect node, and record which servers are left up."""
        while self._results:
            uuid, run, code, wait = self._results.popleft()
            self.health.put_off(uuid, run, self._now + wait, code)
        self._threads = {uuid: thread for uuid, thread in self._threads.items() if thread.is_alive()}
        said = self.health.suspect(self._now)
        if said:
            announce_line(f"supervisor: {said}", warn=True)
        self._too_often &= set(self.health.unhealthy)
        left = {**dict.fromkeys(self._too_often, Hang.TOO_OFTEN.value), **dict.fromkeys(self.health.suspects, Hang.SUSPECT.value)}
        text = json.dumps(left, sort_keys=True)
        if text != self._recorded and self._node().journal.supervisor.set_values([(HANGS, text)]):
            self._recorded = text

    def begin(self) -> None:
        """Begin the restarts that are due, and put off the others. Raises `JournalUnusable`, OSError."""
        node = self._node()
        # Each restart must count, so that none is one too many.
        node.journal.store.rewrite()
        for uuid, hang in self.health.hanging():
            if uuid in self._threads or len(self._threads) >= _MOST_AT_ONCE:
                continue
            known = self._known(node, uuid, hang)
            step, at = decide(self._now, allowed=known.allowed, in_hour=known.in_hour, wait=known.wait)
            if step is Step.RESTART:
                self._restart(node, known, hang)
                continue
            self.health.put_off(uuid, hang.run, at)
            if step is Step.LEAVE and uuid not in self._too_often:
                self._too_often.add(uuid)
                named = f"{uuid} ({known.server.name})" if known.server.name else uuid
                announce_line(f"{named} hangs, and is left up: it was restarted for that {MOST_IN_HOUR} times within an hour", warn=True)

    def join(self) -> None:
        for thread in list(self._threads.values()):
            thread.join()

    @property
    def _now(self) -> float:
        return self._node().clock.monotonic()

    def _known(self, node: Node, uuid: str, hang: Unhealthy) -> _Known:
        definition = node.sources.definition_for_stop(uuid)
        server = Server(uuid) if definition is None else definition.server
        policy, journal, now = policy_of(node.settings, server, definition), node.journal, node.clock.now()
        seen = journal.runs.known_of(uuid)
        is_known = seen is not None and seen.run == hang.run
        is_free = node.locks.holder(uuid) is None and not frozen_fault(PowerAction.RESTART, uuid, node)
        before, began = journal.ended_runs.newest_of_each([uuid]).get(uuid), engine_time(hang.run.started_at)
        up = 0.0 if began is None else (now - began).total_seconds()
        counts_on = before is not None and before.next_run == hang.run and up < policy.limits.reset_after
        crashes = 1 + (before.consecutive_crashes if before is not None and counts_on else 0)
        in_hour = journal.ended_runs.hung_since(uuid, now - timedelta(seconds=HOUR_SECONDS))
        proof = journal.proofs.of(uuid)
        is_proved = proof is None or not proof.is_open
        allowed = policy.restart_unhealthy and is_known and is_free and is_proved
        wait = wait_before(crashes, 0, policy.limits) - up
        return _Known(server, policy, crashes, 0 if seen is None else seen.generation, allowed, in_hour, wait)

    def _restart(self, node: Node, known: _Known, hang: Unhealthy) -> None:
        uuid = known.server.uuid
        request = Request(
            server=uuid,
            action=PowerAction.RESTART,
            operation=new_operation_id(),
            requested_at=node.clock.now(),
            # A kill since the start of the run wants it down, also a kill that has just begun.
            generations={uuid: known.generation},
            stop_timeout=node.settings.supervisor_unhealthy_stop_timeout,
            should_be_up=frozenset(),
            ended_run=EndedRun(known.server, hang.run, Verdict.HUNG, code=hang.code),
            origin=ORIGIN,
            reason=f"unhealthy for {self._now - hang.since:.0f} s",
        )
        wait = wait_before(known.crashes, hang.tries + 1, known.policy.limits)

        def work() -> None:
            try:
                result = perform(request, node, known.server)
                self._results.append((uuid, hang.run, result.code, wait))
                if result.changed and node.journal.ended_runs.of_run(hang.run) is None:
                    self._on_trouble()
            except (JournalUnusable, OSError):
                self._on_trouble()

        thread = threading.Thread(target=work, name="restart")
        # If the system allows no more threads, the next turn tries again.
        with contextlib.suppress(RuntimeError):
            thread.start()
            self._threads[uuid] = thread
