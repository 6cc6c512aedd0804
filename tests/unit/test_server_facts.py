# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Facts about hundreds of servers, their ended runs and their supervisor."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
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
from ansible_collections.fleet.power.plugins.module_utils._power.container.container_labels import LABEL_PARTS
from ansible_collections.fleet.power.plugins.module_utils._power.definitions.definition import Definition
from ansible_collections.fleet.power.plugins.module_utils._power.host.machine import boot_id, boot_seconds
from ansible_collections.fleet.power.plugins.module_utils._power.host.supervisor_record import (
    SUPERVISOR_LOCK,
    SupervisorRecord,
    write_record,
)
from ansible_collections.fleet.power.plugins.module_utils._power.journal.journal import Journal
from ansible_collections.fleet.power.plugins.module_utils._power.model.clock import timestamp
from ansible_collections.fleet.power.plugins.module_utils._power.model.errors import INTERNAL_ERROR, EngineError, EngineUnreachable
from ansible_collections.fleet.power.plugins.module_utils._power.model.report import Described
from ansible_collections.fleet.power.plugins.module_utils._power.model.server import Run, Server, Snapshot
from ansible_collections.fleet.power.plugins.module_utils._power.model.supervision import HANGS, EndedRun, SeenRun, Verdict
from ansible_collections.fleet.power.tests.unit.fake_node import NO_GROUP, UUID, FakeGame, FakeNode


class Many:
    """Running servers that the task defines. They started at noon and are not seen ready yet."""

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
        found = self.describe((), tail, operations)
        return found.entries, list(found.warnings)

    def describe(self, names: Sequence[str] = (), tail: int = 0, operations: int = 0) -> Described:
        return describe(names, self.reader(), FactOptions(tail, operations), remember=self._remember)

    def _remember(self, uuid: str, run: Run) -> None:
        self.remembered.append(uuid)

    def logs(self, read: Callable[[str], bytes]) -> None:
        """Replace the reading of a run's log. The argument is the number of the container."""
        self.fake.engine.logs.of_run = lambda run: read(run.container)  # type: ignore[method-assign]

    def inspects(self, inspect: Callable[[str], Snapshot | None]) -> None:
        self.fake.engine.inspect = inspect  # type: ignore[method-assign]


@pytest.fixture(name="many")
def many_servers(fake: FakeNode) -> Iterator[Many]:
    many = Many(fake)
    yield many
    many.released.set()


def test_an_unreadable_server_is_reported_and_does_not_hide_other_servers(many: Many) -> None:
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


def test_a_silent_engine_is_not_asked_hundreds_of_times(many: Many) -> None:
    uuids = many.make(200)
    asked: list[str] = []

    def inspect(name: str) -> Snapshot | None:
        asked.append(name)
        raise EngineUnreachable("Cannot inspect: no answer")

    many.inspects(inspect)
    entries, _faults = many.look()
    assert len(asked) <= 15, "at most 7 requests are under way at the eighth failure"
    assert [(entry["server"], entry["state"], entry["code"]) for entry in entries] == [(uuid, None, "engine_unreachable") for uuid in uuids]


def test_an_unreachable_engine_gives_no_facts_about_named_servers(many: Many) -> None:
    uuids = many.make(3)

    def silent(*_unused: object) -> Any:
        raise EngineUnreachable("Cannot inspect: no answer")

    many.inspects(silent)
    many.fake.engine.servers = silent  # type: ignore[method-assign]
    with pytest.raises(EngineUnreachable):
        many.describe(uuids)


def test_an_unknown_name_is_absent_and_a_name_in_a_broken_source_is_an_entry(many: Many) -> None:
    (uuid,) = many.make(1)
    found = many.describe(["nobody", uuid[:-1] + "1"])
    assert (found.entries, found.complete) == ([], True)
    assert ["no definition and no container" in found.warnings[0], "no source, no container" in found.warnings[1]] == [True, True]
    broken = many.fake.root / "servers" / f"{uuid[:-1]}2.json"
    broken.write_text("{")
    (entry,) = many.describe(["nobody"]).entries
    assert (entry["server"], entry["short_id"], entry["state"], entry["code"]) == ("nobody", None, None, "definition_invalid")
    broken.unlink()
    directory = many.fake.root / "servers"
    directory.rmdir()
    directory.write_text("no directory")
    found = many.describe(["nobody", uuid, uuid[:-1] + "1"])
    assert [(entry["server"], entry["state"], entry.get("code")) for entry in found.entries] == [
        ("nobody", None, "source_unreachable"),
        (uuid, "starting", None),
        (uuid[:-1] + "1", None, "source_unreachable"),
    ]


def test_facts_of_a_node_with_an_unlisted_directory_are_incomplete(many: Many) -> None:
    uuids = many.make(2)
    assert many.describe().complete
    directory = many.fake.root / "servers"
    directory.rmdir()
    directory.write_text("no directory")
    found = many.describe()
    assert [entry["server"] for entry in found.entries] == uuids
    assert not found.complete and len(found.unlisted) == 1 and str(directory) in found.unlisted[0]
    assert many.describe(uuids).complete


def _broken(*_unused: object) -> Any:
    raise RecursionError("secret")


def _break_inspect(many: Many, uuid: str) -> None:
    find = many.fake.engine.find
    many.inspects(lambda name: _broken() if name == uuid else find(name))


def _break_log(many: Many, uuid: str) -> None:
    number = uuid[:8]
    many.logs(lambda container: _broken() if container.endswith(number) else b"ready\n")


def _break_entry(many: Many, uuid: str, monkeypatch: pytest.MonkeyPatch) -> None:
    container = server_facts._container
    monkeypatch.setattr(
        server_facts, "_container", lambda snapshot, subject: _broken() if snapshot.name == uuid else container(snapshot, subject)
    )


def _break_subject(many: Many, uuid: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen_as = Node.seen_as
    monkeypatch.setattr(Node, "seen_as", lambda node, name, snapshot: _broken() if name == uuid else seen_as(node, name, snapshot))


@pytest.mark.parametrize("part", ["inspect", "log", "entry", "subject"])
def test_a_fault_of_ours_in_one_server_leaves_the_others_readable(many: Many, monkeypatch: pytest.MonkeyPatch, part: str) -> None:
    uuids = many.make(20)
    breaks: dict[str, Callable[[], None]] = {
        "inspect": lambda: _break_inspect(many, uuids[7]),
        "log": lambda: _break_log(many, uuids[7]),
        "entry": lambda: _break_entry(many, uuids[7], monkeypatch),
        "subject": lambda: _break_subject(many, uuids[7], monkeypatch),
    }
    breaks[part]()
    entries, faults = many.look()
    assert [entry["server"] for entry in entries] == uuids
    assert [entry["server"] for entry in entries if entry["state"] is None] == [uuids[7]]
    assert entries[7]["code"] == INTERNAL_ERROR and faults == [entries[7]["msg"]]
    assert uuids[7] in faults[0] and "RecursionError at test_server_facts.py" in faults[0] and "secret" not in faults[0]


def test_a_fault_of_ours_in_an_optional_fact_is_its_reason(many: Many, monkeypatch: pytest.MonkeyPatch) -> None:
    uuids = many.make(20)
    compare = server_facts.outdated
    monkeypatch.setattr(
        server_facts,
        "outdated",
        lambda node, definition, *rest: _broken() if definition.server.uuid == uuids[7] else compare(node, definition, *rest),
    )
    facts = FactOptions(count_players=lambda uuid, game: _broken() if uuid == uuids[7] else ask_players(uuid, game))
    many.fake.games.of = lambda server, *_unused: _broken() if server.uuid == uuids[8] else FakeGame()  # type: ignore[method-assign]
    entries = describe((), many.reader(), facts, remember=many._remember).entries
    assert all(entry["state"] for entry in entries)
    outdated = [entry["outdated"]["why"] or "" for entry in entries]
    assert [number for number, why in enumerate(outdated) if "RecursionError" in why] == [7]
    reasons = [entry["players"]["unknown_reason"] or "" for entry in entries]
    assert [number for number, why in enumerate(reasons) if "RecursionError" in why] == [7, 8]
    assert "secret" not in "".join(outdated + reasons)


def test_an_image_with_a_hostile_label_does_not_hide_its_node(many: Many) -> None:
    uuids = many.make(3)
    containers = many.fake.engine.containers
    hostile, *_others = containers
    containers[hostile] = replace(containers[hostile], labels={LABEL_PARTS: "[" * 100_000})
    entries, _faults = many.look()
    assert [entry["server"] for entry in entries if entry["state"]] == uuids


def test_slow_logs_do_not_delay_the_facts(many: Many, monkeypatch: pytest.MonkeyPatch) -> None:
    # Enough time for the fast logs on a busy machine.
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


class GameOfEach:
    def __init__(self, **games: FakeGame) -> None:
        self.games = games

    def of(self, server: Server, snapshot: Snapshot, definition: Definition | None) -> FakeGame | None:
        assert definition is not None and definition.server == server and snapshot.live
        return self.games.get(server.uuid)


def played(many: Many, *, ask: AskPlayers | None = ask_players, **games: FakeGame) -> dict[str, Any]:
    node = replace(many.reader(), games=GameOfEach(**games))
    found = describe((), node, FactOptions(count_players=ask), remember=lambda *_unused: None)
    return {entry["server"]: entry.get("players", "absent") for entry in found.entries}


def test_players_are_counted_on_running_servers_with_a_known_game(many: Many) -> None:
    uuids = many.make(4)
    down = next(each for each in many.fake.engine.containers.values() if each.name == uuids[3])
    many.fake.engine.containers[down.id] = replace(down, live=False)
    games = {uuid: FakeGame() for uuid in uuids if uuid != uuids[2]}
    games[uuids[0]].online, games[uuids[1]].online = 3, None
    assert list(played(many, **games).values()) == [
        {"online": 3, "max": 20, "unknown_reason": None},
        {"online": None, "max": None, "unknown_reason": "no answer"},
        None,
        None,
    ]
    assert [game.looks for game in games.values()] == [1, 1, 0]


SINCE = "2026-03-01T11:00:00.000Z"


def look(fake: FakeNode, crashes: int = 0) -> Described:
    settings = fake.node.settings
    journal = Journal(settings.state_directory, settings.lock_directory, NO_GROUP, fake.clock, read_only=True)
    return describe((UUID,), replace(fake.build(), journal=journal), FactOptions(crashes=crashes), remember=lambda uuid, run: None)


def supervision_of(fake: FakeNode) -> dict[str, Any]:
    return look(fake).entries[0]["supervision"]  # type: ignore[no-any-return]


@contextmanager
def supervisor(fake: FakeNode, paused: str = "") -> Iterator[None]:
    path = os.path.join(fake.node.settings.lock_directory, SUPERVISOR_LOCK)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o660)
    try:
        write_record(descriptor, SupervisorRecord.of_this_process(SINCE, paused))
        yield
    finally:
        os.close(descriptor)


def crashed(fake: FakeNode, **fields: Any) -> EndedRun:
    snapshot = fake.engine.find(UUID)
    run = Run("gone", "2026-03-01T10:00:00Z") if snapshot is None else snapshot.run
    row = EndedRun(
        Server(UUID, "Cobalt"),
        run,
        Verdict.CRASHED,
        ended_at="2026-03-01T11:59:00.5Z",
        exit_code=3,
        at=timestamp(fake.clock.now()),
        due=True,
        boot=boot_id(),
        next_at=boot_seconds() + 60,
    )
    row = replace(row, **fields)
    assert fake.node.journal.ended_runs.write(row)
    return row


@pytest.mark.parametrize("paused", [None, "wings", "maintenance", "journal"])
def test_the_next_attempt_is_unknown_without_an_active_supervisor(fake: FakeNode, paused: str | None) -> None:
    fake.down()
    crashed(fake)
    if paused is None:
        state = supervision_of(fake)
    else:
        with supervisor(fake, paused):
            state = supervision_of(fake)
    assert (state["state"], state["next_at"]) == ("backoff", None)
    assert (state["running"], state["paused"]) == (paused is not None, paused)


def test_facts_show_a_crash_loop_and_flapping(fake: FakeNode) -> None:
    fake.down()
    run = fake.seen().run
    for number in range(11):
        before = replace(run, started_at=f"2026-03-01T10:00:{number:02d}Z") if number < 10 else run
        row = crashed(fake, run=before)
        following = run if number == 9 else replace(run, started_at=f"2026-03-01T10:00:{number + 1:02d}Z")
        written = fake.node.journal.ended_runs.of_run(row.run)
        assert written is not None
        if number < 10:
            fake.node.journal.runs.see(UUID, SeenRun(following, matchers=False, answers=written.number))
    state = supervision_of(fake)
    assert (state["state"], state["consecutive_crashes"], state["crashes_today"]) == ("crash_loop", 11, 11)
    fake.engine.calls.clear()
    fake.perform("start")
    assert (supervision_of(fake)["state"], supervision_of(fake)["verdict"]) == ("flapping", None)


def test_facts_say_why_a_server_that_hangs_is_left_up(fake: FakeNode) -> None:
    fake.up(health="unhealthy")
    fake.node.journal.supervisor.set_values([(HANGS, f'{{"{UUID}": "suspect"}}')])
    assert supervision_of(fake)["hang"] is None
    with supervisor(fake):
        assert supervision_of(fake)["hang"] == "suspect"
        fake.engine.change(UUID, health="healthy")
        assert supervision_of(fake)["hang"] is None


@pytest.mark.parametrize("verdict", ["stopped_externally", "ended", "ended_unobserved", "initially_down"])
def test_a_server_that_stays_down_is_shown_with_its_verdict(fake: FakeNode, verdict: str) -> None:
    fake.down()
    crashed(fake, verdict=Verdict(verdict), due=False)
    state = supervision_of(fake)
    assert (state["state"], state["verdict"], state["next_at"], state["crashes_today"]) == ("stays_down", verdict, None, 0)


def test_the_last_ended_runs_are_listed_newest_first(fake: FakeNode) -> None:
    fake.up()
    fake.perform("stop")
    for number in range(3):
        crashed(fake, run=Run("gone", f"2026-03-01T10:00:0{number}Z"), log=("bang", "***"), seconds=12.5, exit_code=number)
    found = look(fake, crashes=2).entries[0]["crashes"]
    assert [each["exit_code"] for each in found] == [2, 1]
    assert (found[0]["log"], found[0]["seconds"], found[0]["started_at"]) == (["bang", "***"], 12.5, "2026-03-01T10:00:02Z")
    oldest = look(fake, crashes=100).entries[0]["crashes"][-1]
    assert (oldest["verdict"], oldest["origin"], bool(oldest["operation"])) == ("stopped", "alice@web1", True)


def test_a_damaged_journal_makes_supervision_and_crashes_unknown(fake: FakeNode) -> None:
    fake.down()
    crashed(fake)
    fake.node.journal.close()
    path = os.path.join(fake.node.settings.state_directory, "journal.sqlite")
    with open(path, "r+b") as file:
        file.write(b"no journal" * 200)
    found = look(fake, crashes=3)
    assert (found.entries[0]["supervision"], found.entries[0]["crashes"]) == (None, None)


def test_ended_runs_are_counted_permanently_and_once_each(fake: FakeNode) -> None:
    fake.up()
    journal = fake.node.journal
    assert set((journal.ended_runs.totals() or {}).values()) == {0}
    for number in range(120):
        crashed(fake, run=Run("gone", f"2026-03-01T10:00:{number}Z"), due=False)
    row = crashed(fake, run=Run("gone", "late"), verdict=Verdict.PENDING, due=False)
    totals = journal.ended_runs.totals()
    assert totals is not None and totals[Verdict.CRASHED] == 120, "the journal prunes rows, but keeps the counts"
    assert Verdict.PENDING not in totals
    for _again in range(2):
        journal.ended_runs.write(replace(row, verdict=Verdict.STOPPED_EXTERNALLY))
    totals = journal.ended_runs.totals()
    assert totals is not None and (totals[Verdict.STOPPED_EXTERNALLY], sum(totals.values())) == (1, 121)
