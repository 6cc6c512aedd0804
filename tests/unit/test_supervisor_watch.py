# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One connection of the supervisor: whom it looks at, what it leaves, and that nobody keeps the others from being started."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.engine.event_stream import ContainerEvent
from ansible_collections.fleet.power.plugins.module_utils._power.model.errors import EngineError, EngineUnreachable
from ansible_collections.fleet.power.plugins.module_utils._power.model.server import Snapshot
from ansible_collections.fleet.power.plugins.module_utils._power.model.supervision import SeenRun, Verdict
from ansible_collections.fleet.power.plugins.module_utils._supervisor import connection_watch
from ansible_collections.fleet.power.plugins.module_utils._supervisor.connection_watch import LOOKED, EngineWatch
from ansible_collections.fleet.power.plugins.module_utils._supervisor.engine_link import EngineLink, EventReader
from ansible_collections.fleet.power.tests.unit.fake_node import UUID
from ansible_collections.fleet.power.tests.unit.watched_support import Watched

OTHER = "11111111-1111-4111-8111-111111111111"
_LIFE = "00000000-0000-4000-8000-000000000000/1/1"


class NoEvents:
    """A reader of an engine that tells nothing but what a test puts in."""

    def __init__(self) -> None:
        self.events: list[ContainerEvent] = []
        self.waited: list[float] = []

    def next(self, seconds: float) -> ContainerEvent | None:
        self.waited.append(seconds)
        return self.events.pop(0) if self.events else None

    def close(self) -> None:
        pass


@pytest.fixture(name="watched")
def make_watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Watched:
    return Watched(tmp_path, monkeypatch)


def connect(watched: Watched, reader: NoEvents | None = None) -> EngineWatch:
    """Connect, and look at all for the first time."""
    read: EventReader = cast("EventReader", reader or NoEvents())
    watch = EngineWatch(
        lambda: watched.fake.node,
        EngineLink(_LIFE),
        read,
        watched.reports,
        watched.starter,
        lambda _why: None,
    )
    watch.first_look()
    return watch


def looked(watched: Watched) -> str | None:
    return watched.fake.node.journal.supervisor.value(LOOKED)


def test_what_is_down_at_the_first_look_is_left_and_what_goes_down_later_not(watched: Watched) -> None:
    watched.up()
    watched.fake.engine.end(UUID, 3)
    connect(watched)
    assert watched.row.verdict is Verdict.INITIALLY_DOWN and looked(watched) == "yes"
    watched.up()
    watched.fake.engine.end(UUID, 3)
    connect(watched)
    assert (watched.row.verdict, watched.row.due) == (Verdict.CRASHED, True)


def test_one_that_cannot_be_looked_at_does_not_make_the_next_look_of_all_the_first(watched: Watched) -> None:
    watched.up()
    watched.fake.node.journal.runs.see(OTHER, seen_of(watched))
    fail_for(watched, OTHER)
    connect(watched)
    assert looked(watched) == f"yes {OTHER}"
    watched.fake.engine.end(UUID, 3)
    connect(watched)
    assert watched.row.verdict is Verdict.CRASHED
    # Once it can be seen it is at its first look still.
    watched.begin_anew()
    fail_for(watched, None)
    connect(watched)
    assert looked(watched) == "yes"
    other = watched.fake.node.journal.ended_runs.newest_of_each([OTHER])[OTHER]
    assert other.verdict is Verdict.INITIALLY_DOWN


def test_one_that_the_engine_does_not_answer_for_keeps_no_other_from_being_started(watched: Watched) -> None:
    watched.up()
    connect(watched)
    watched.fake.node.journal.runs.see(OTHER, seen_of(watched))
    watched.fake.engine.end(UUID, 3)
    fail_for(watched, OTHER, silent=True)
    watch = connect(watched)
    watch.turn()
    watched.starter.join()
    assert watched.fake.live


def test_beside_wings_it_waits_and_after_it_what_is_down_and_was_due_is_left(watched: Watched) -> None:
    watched.up()
    connect(watched)
    row = watched.end()
    assert row.due
    watched.fake.wings = 7
    reader = NoEvents()
    watch = connect(watched, reader)
    for _number in range(5):
        watch.turn()
    assert watch.paused == "wings" and min(reader.waited) >= 1.0
    watched.fake.wings = None
    watched.begin_anew()
    watch = connect(watched)
    watch.turn()
    watched.starter.join()
    assert not watched.fake.live and not watched.row.due


def seen_of(watched: Watched) -> SeenRun:
    seen = watched.fake.node.journal.runs.known_of(UUID)
    assert seen is not None
    return replace(seen, run=replace(seen.run, container="d" * 64))


def fail_for(watched: Watched, uuid: str | None, *, silent: bool = False) -> None:
    engine = watched.fake.engine
    inspect = type(engine).inspect

    def answer(name: str) -> Snapshot | None:
        if name == uuid:
            raise EngineUnreachable("it does not answer") if silent else EngineError("input/output error")
        return inspect(engine, name)

    engine.inspect = answer  # type: ignore[method-assign]


def stop_of(seconds: int | None) -> dict[str, object]:
    return {"process": {"stop": {"type": "command", "value": "stop", "timeout": seconds}}}


@pytest.mark.parametrize(
    "own, of_node, after, verdict",
    [
        (1800, 600, 900, "stopped"),
        (1800, 30, 1800, "stopped"),
        (1800, 600, 1900, "crashed"),
        (30, 600, 60, "crashed"),
        (None, 60, 59, "stopped"),
    ],
)
def test_an_end_after_a_stop_command_is_a_stop_within_the_servers_own_time(
    watched: Watched, own: int | None, of_node: int, after: int, verdict: str
) -> None:
    """As its container was made to be stopped, whatever its definition says by now."""
    watched.fake.configure(system={"stop_timeout": of_node})
    watched.fake.define(**stop_of(own))
    watched.begin_anew()
    watched.up()
    watched.fake.define(**stop_of(7))
    assert watched.fake.node.journal.runs.stop_by_console(UUID, watched.fake.seen().run, watched.fake.clock.now())
    assert watched.end(1, after=after).verdict.value == verdict


@pytest.mark.parametrize("own, verdict", [(1800, "stopped_externally"), (600, "crashed")])
def test_a_stop_at_the_engine_is_awaited_as_long_as_the_servers_own(
    watched: Watched, monkeypatch: pytest.MonkeyPatch, own: int, verdict: str
) -> None:
    """It was sent, and obeyed a quarter of an hour later with an exit code of its own; all were looked at in between."""
    watched.fake.define(**stop_of(own))
    watched.up()
    watch = connect(watched)
    monkeypatch.setattr(EngineLink, "mark_of", lambda *_run: True)
    watched.pass_seconds(1)
    sent = int(watched.fake.clock.now().timestamp() * 10**9)
    watched.reports.add(ContainerEvent(sent, "kill", watched.fake.seen().id, UUID, signal=15))
    watched.pass_seconds(700)
    monkeypatch.setattr(connection_watch.time, "time_ns", lambda: sent + 700 * 10**9)
    watch._look_at_all()
    assert watched.end(1, after=200).verdict.value == verdict
