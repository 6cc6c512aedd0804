# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading hundreds of servers: in order, each asked about once, one's trouble its own, and none of them long waited for."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.actions.many import server_facts
from ansible_collections.fleet.power.plugins.module_utils._power.actions.many.server_facts import (
    AskPlayers,
    FactOptions,
    ask_players,
    describe,
)
from ansible_collections.fleet.power.plugins.module_utils._power.actions.node.node import Node
from ansible_collections.fleet.power.plugins.module_utils._power.definitions.definition import Definition
from ansible_collections.fleet.power.plugins.module_utils._power.journal.journal import Journal
from ansible_collections.fleet.power.plugins.module_utils._power.model.errors import EngineError, EngineUnreachable
from ansible_collections.fleet.power.plugins.module_utils._power.model.report import Described
from ansible_collections.fleet.power.plugins.module_utils._power.model.server import Run, Server, Snapshot
from ansible_collections.fleet.power.plugins.module_utils._power.model.supervision import SeenRun
from ansible_collections.fleet.power.tests.unit.fake_node import NO_GROUP, FakeGame, FakeNode


class Many:
    """Servers that are up, defined by the task, started by us at noon and not seen ready yet."""

    def __init__(self, fake: FakeNode) -> None:
        self.fake = fake
        fake.file.unlink()
        self.remembered: list[str] = []
        self.released = threading.Event()

    def make(self, count: int) -> list[str]:
        uuids = [f"{number:08x}-0000-4000-8000-000000000000" for number in range(count)]
        for number, uuid in enumerate(uuids):
            process = {"startup": {"done": ["ready"]}}
            self.fake.task.append(self.fake.definition(process=process, uuid=uuid, meta={"name": f"Cobalt Survival {number}"}))
            snapshot = Snapshot(id=f"{number:064x}", name=uuid, live=True, started_at="2026-03-01T12:00:00.123456789Z", image="game:1")
            self.fake.engine.containers[snapshot.id] = snapshot
            self.fake.node.journal.runs.see(uuid, SeenRun(snapshot.run, matchers=True))
        self.fake.node = self.fake.build()
        return uuids

    def reader(self) -> Node:
        settings = self.fake.node.settings
        journal = Journal(settings.state_directory, settings.lock_directory, NO_GROUP, self.fake.clock, read_only=True)
        return replace(self.fake.build(), journal=journal)

    def look(self, tail: int = 0, operations: int = 0) -> tuple[list[dict[str, Any]], list[str]]:
        told = self.describe((), tail, operations)
        return told.entries, list(told.warnings)

    def describe(self, names: Sequence[str] = (), tail: int = 0, operations: int = 0) -> Described:
        return describe(names, self.reader(), FactOptions(tail, operations), remember=self._remember)

    def _remember(self, uuid: str, run: Run) -> None:
        self.remembered.append(uuid)

    def logs(self, read: Callable[[str], bytes]) -> None:
        """Have the log of a run be read so, by the number of its container."""
        self.fake.engine.logs.of_run = lambda run: read(run.container)  # type: ignore[method-assign]

    def inspects(self, inspect: Callable[[str], Snapshot | None]) -> None:
        self.fake.engine.inspect = inspect  # type: ignore[method-assign]


@pytest.fixture(name="many")
def many_servers(fake: FakeNode) -> Iterator[Many]:
    many = Many(fake)
    yield many
    many.released.set()


def test_one_that_cannot_be_read_is_a_sentence_and_hides_no_other(many: Many) -> None:
    uuids = many.make(20)

    def inspect(name: str) -> Snapshot | None:
        if name == uuids[7]:
            raise EngineError("Cannot inspect number seven", status=500)
        return many.fake.engine.find(name)

    many.inspects(inspect)
    entries, faults = many.look(tail=3, operations=2)
    assert [entry["server"] for entry in entries] == uuids and len({tuple(entry) for entry in entries} - {tuple(entries[7])}) == 1
    known = {"server": uuids[7], "short_id": uuids[7][:8], "name": "Cobalt Survival 7"}
    why = {"code": "engine_error", "msg": "Cannot inspect number seven"}
    assert entries[7] == {**dict.fromkeys(entries[0]), **known, **why}
    assert [entry["state"] for entry in entries].count(None) == 1
    assert faults == ["Cannot inspect number seven"]


def test_an_engine_that_keeps_silent_for_servers_is_not_asked_hundreds_of_times(many: Many) -> None:
    uuids = many.make(200)
    asked: list[str] = []

    def inspect(name: str) -> Snapshot | None:
        asked.append(name)
        raise EngineUnreachable("Cannot inspect: no answer")

    many.inspects(inspect)
    entries, _faults = many.look()
    assert len(asked) <= 15, "those under way when the eighth was given up, too"
    assert [(entry["server"], entry["state"], entry["code"]) for entry in entries] == [(uuid, None, "engine_unreachable") for uuid in uuids]


def test_an_engine_out_of_reach_tells_nothing_of_servers_that_are_named(many: Many) -> None:
    uuids = many.make(3)

    def silent(*_unused: object) -> Any:
        raise EngineUnreachable("Cannot inspect: no answer")

    many.inspects(silent)
    many.fake.engine.servers = silent  # type: ignore[method-assign]
    with pytest.raises(EngineUnreachable):
        many.describe(uuids)


def test_a_name_that_nobody_has_is_absent_and_one_that_nobody_could_look_for_is_not(many: Many) -> None:
    (uuid,) = many.make(1)
    told = many.describe(["nobody", uuid[:-1] + "1"])
    assert (told.entries, told.complete) == ([], True)
    assert ["no definition and no container" in told.warnings[0], "no source, no container" in told.warnings[1]] == [True, True]
    broken = many.fake.root / "servers" / f"{uuid[:-1]}2.json"
    broken.write_text("{")
    (entry,) = many.describe(["nobody"]).entries
    assert (entry["server"], entry["short_id"], entry["state"], entry["code"]) == ("nobody", None, None, "definition_invalid")
    broken.unlink()
    directory = many.fake.root / "servers"
    directory.rmdir()
    directory.write_text("no directory")
    told = many.describe(["nobody", uuid, uuid[:-1] + "1"])
    assert [(entry["server"], entry["state"], entry.get("code")) for entry in told.entries] == [
        ("nobody", None, "source_unreachable"),
        (uuid, "starting", None),
        (uuid[:-1] + "1", None, "source_unreachable"),
    ]


def test_all_of_a_node_with_a_directory_that_cannot_be_listed_is_not_told_as_whole(many: Many) -> None:
    uuids = many.make(2)
    assert many.describe().complete
    directory = many.fake.root / "servers"
    directory.rmdir()
    directory.write_text("no directory")
    told = many.describe()
    assert [entry["server"] for entry in told.entries] == uuids
    assert not told.complete and len(told.unlisted) == 1 and str(directory) in told.unlisted[0]
    assert many.describe(uuids).complete


def test_a_fault_of_ours_in_one_thread_is_not_swallowed(many: Many) -> None:
    many.make(20)

    def inspect(name: str) -> Snapshot | None:
        raise KeyError(name)

    many.inspects(inspect)
    with pytest.raises(KeyError):
        many.look()


def test_logs_that_take_long_are_not_waited_for(many: Many, monkeypatch: pytest.MonkeyPatch) -> None:
    # Time enough for those that do not, on a busy machine, too.
    monkeypatch.setattr(server_facts, "_READINESS_SECONDS", 2.0)
    uuids = many.make(100)

    def read(container: str) -> bytes:
        if int(container, 16) % 10:
            return b"ready\n"
        many.released.wait(30)
        return b"ready\n"

    many.logs(read)
    began = time.monotonic()
    entries, faults = many.look()
    assert time.monotonic() - began < 10
    states = {entry["server"]: entry["state"] for entry in entries}
    assert list(states) == uuids and faults == []
    assert {states[uuid] for uuid in uuids[::10]} == {"starting"}
    assert [uuid for uuid, state in states.items() if state == "running"] == many.remembered


# ----- players


class GameOfEach:
    def __init__(self, **games: FakeGame) -> None:
        self.games = games

    def of(self, server: Server, snapshot: Snapshot, definition: Definition | None) -> FakeGame | None:
        assert definition is not None and definition.server == server and snapshot.live
        return self.games.get(server.uuid)


def played(many: Many, *, ask: AskPlayers | None = ask_players, **games: FakeGame) -> dict[str, Any]:
    node = replace(many.reader(), games=GameOfEach(**games))
    told = describe((), node, FactOptions(count_players=ask), remember=lambda *_unused: None)
    return {entry["server"]: entry.get("players", "not told") for entry in told.entries}


def test_players_are_told_of_what_is_up_and_plays_a_game_that_is_known(many: Many) -> None:
    uuids = many.make(4)
    down = next(each for each in many.fake.engine.containers.values() if each.name == uuids[3])
    many.fake.engine.containers[down.id] = replace(down, live=False)
    games = {uuid: FakeGame() for uuid in uuids if uuid != uuids[2]}
    games[uuids[0]].online, games[uuids[1]].online = 3, None
    assert list(played(many, **games).values()) == [
        {"online": 3, "max": 20, "why_unknown": None},
        {"online": None, "max": None, "why_unknown": "no answer"},
        None,
        None,
    ]
    assert [game.looks for game in games.values()] == [1, 1, 0]
