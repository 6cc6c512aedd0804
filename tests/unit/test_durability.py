# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rows of the journal are on the disk before they are reported."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import yaml
from ansible_collections.fleet.power.plugins.module_utils._events import delivery_worker
from ansible_collections.fleet.power.plugins.module_utils._http_shim.acceptance.shared_node import RetryingJournal
from ansible_collections.fleet.power.plugins.module_utils._http_shim.routes.event_followers import Cursor, EventFollowers, Place
from ansible_collections.fleet.power.plugins.module_utils._power.actions.many.server_facts import FactOptions, describe
from ansible_collections.fleet.power.plugins.module_utils._power.actions.node.context import keyed
from ansible_collections.fleet.power.plugins.module_utils._power.actions.turn import perform as perform_module
from ansible_collections.fleet.power.plugins.module_utils._power.call import _OnNode
from ansible_collections.fleet.power.plugins.module_utils._power.events.event import Event, EventType
from ansible_collections.fleet.power.plugins.module_utils._power.journal import journal_file, store
from ansible_collections.fleet.power.plugins.module_utils._power.journal.journal import Intent, Intents
from ansible_collections.fleet.power.plugins.module_utils._power.journal.journal_file import JournalFile
from ansible_collections.fleet.power.plugins.module_utils._power.model.clock import SYSTEM_CLOCK, timestamp
from ansible_collections.fleet.power.plugins.module_utils._power.model.server import Run, Server
from ansible_collections.fleet.power.plugins.module_utils._power.model.supervision import EndedRun, Verdict
from ansible_collections.fleet.power.plugins.module_utils._power.receivers.receiver import Posted, Receiver, Taking
from ansible_collections.fleet.power.plugins.module_utils._supervisor import connection_watch
from ansible_collections.fleet.power.tests.unit.fake_node import UUID, FakeNode
from ansible_collections.fleet.power.tests.unit.journal_support import ALPHA, FixedClock, Node, perform
from ansible_collections.fleet.power.tests.unit.trace_support import Answers, answers_in, files_below, traced

_WRITE, _SYNC, _REPORT = "write", "sync", "report"


@dataclass
class Recorder:
    """The order of events: writes of any journal, successful syncs, and reports."""

    events: list[str] = field(default_factory=list)
    error: OSError | None = None

    def reports(self, *_given: object, **_options: object) -> None:
        self.events.append(_REPORT)

    @property
    def is_synced(self) -> bool:
        return _SYNC in self.events and self.events[::-1].index(_SYNC) < [*self.events[::-1], _WRITE].index(_WRITE)

    def assert_synced_before_reports(self) -> None:
        assert _REPORT in self.events and _WRITE in self.events
        for index, event in enumerate(self.events):
            before = self.events[:index]
            if event == _REPORT and _WRITE in before:
                last = len(before) - 1 - before[::-1].index(_WRITE)
                assert _SYNC in before[last:], self.events


@pytest.fixture(name="recorder")
def recorder_of_the_test(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    recorder = Recorder()
    write, sync = JournalFile.write, journal_file.sync_log

    def recorded_write(self: JournalFile, *given: Any, **options: Any) -> None:
        write(self, *given, **options)
        recorder.events.append(_WRITE)

    def recorded_sync(state_directory: str) -> None:
        sync(state_directory)
        if recorder.error is not None:
            raise recorder.error
        recorder.events.append(_SYNC)

    monkeypatch.setattr(JournalFile, "write", recorded_write)
    monkeypatch.setattr(journal_file, "sync_log", recorded_sync)
    monkeypatch.setattr(store, "_APART_SECONDS", 0.0)
    return recorder


@pytest.mark.parametrize(("action", "was_up"), [("start", False), ("stop", True), ("restart", True), ("kill", True), ("start", True)])
def test_an_end_is_synced_before_the_system_log_and_the_caller_see_it(
    fake: FakeNode, recorder: Recorder, monkeypatch: pytest.MonkeyPatch, action: str, was_up: bool
) -> None:
    if was_up:
        fake.up()
    monkeypatch.setattr(perform_module, "announce", recorder.reports)
    del recorder.events[:]
    result = fake.perform(action)
    assert result.outcome.value in ("done", "unchanged") and result.code == ""
    recorder.assert_synced_before_reports()
    assert recorder.is_synced


def test_a_repeated_action_syncs_the_first_result_before_it_reports_it(fake: FakeNode, recorder: Recorder) -> None:
    fake.up()
    asked = {"idempotency_key": "key", "reason": keyed("key", "")}
    assert fake.perform("restart", **asked).outcome.value == "done"
    other = fake.build()
    again = other.journal.operations.under("key", UUID, fake.request("restart").action, but="")
    assert again and other.journal.sync() == ""
    del recorder.events[:]
    assert fake.perform("restart", **asked).outcome.value == "unchanged"
    assert recorder.is_synced


def test_a_journal_of_another_version_stops_no_action_and_the_result_reports_it(fake: FakeNode) -> None:
    fake.perform("start")
    assert fake.node.journal.store.write(lambda connection: connection.execute("PRAGMA user_version = 99"))
    fake.node.journal.close()
    again = fake.perform("restart")
    assert (again.outcome.value, again.code, fake.live) == ("done", "not_durable", True)
    assert any("its schema 99 is newer than" in warning for warning in fake.node.journal.warnings)


@pytest.mark.parametrize("action", ["start", "restart", "stop", "kill"])
@pytest.mark.parametrize("fault", ["another version", "damage"])
def test_an_action_with_a_key_is_refused_if_the_journal_cannot_be_read(fake: FakeNode, action: str, fault: str) -> None:
    asked = {"idempotency_key": "key", "reason": keyed("key", "")}
    fake.perform("start")
    assert fake.perform(action, **asked).outcome.value in ("done", "unchanged")
    if fault == "another version":
        assert fake.node.journal.store.write(lambda connection: connection.execute("PRAGMA user_version = 99"))
    fake.node.journal.close()
    if fault == "damage":
        Path(fake.node.settings.state_directory, "journal.sqlite").write_bytes(b"no journal" * 1000)
    del fake.engine.calls[:]
    again = fake.perform(action, **asked)
    assert (again.outcome.value, again.code, again.changed, fake.engine.calls) == ("refused", "intent_unknown", False, [])
    assert "it may have been done under key key; make the journal readable, or send the action without a key" in again.msg
    assert fake.perform(action).outcome.value in ("done", "unchanged")


class Disk:
    """Refuses the writes of any journal while it is full."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.is_full = False
        self._monkeypatch = monkeypatch
        write = JournalFile.write

        def refused(file: JournalFile, *given: Any, **options: Any) -> None:
            if self.is_full:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            write(file, *given, **options)

        monkeypatch.setattr(JournalFile, "write", refused)

    def fill_at_the_intent(self, *, before: bool) -> None:
        set_by_action = Intents.set_by_action

        def filling(intents: Intents, *given: Any, **options: Any) -> bool:
            self.is_full = self.is_full or before
            is_set = set_by_action(intents, *given, **options)
            self.is_full = True
            return is_set

        self._monkeypatch.setattr(Intents, "set_by_action", filling)


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("action", ["restart", "stop"])
def test_intent_and_end_are_written_once_the_disk_has_room(
    fake: FakeNode, monkeypatch: pytest.MonkeyPatch, action: str, before: bool
) -> None:
    asked = {"idempotency_key": "key", "reason": keyed("key", "")}
    fake.perform("start")
    fake.clock.sleep(5)
    disk = Disk(monkeypatch)
    disk.fill_at_the_intent(before=before)
    result = fake.perform(action, **asked)
    assert (result.outcome.value, result.code) == ("done", "not_durable")
    assert disk.is_full
    disk.is_full = False
    fake.node.journal.close()
    monkeypatch.undo()
    row = fake.build().journal.operations.last(UUID)
    intent = fake.build().journal.intents.of(UUID)
    assert row is not None and (row.id, row.outcome, row.code) == (result.operation, "done", "")
    assert intent is not None and (intent.up, intent.operation) == (action == "restart", result.operation)
    assert fake.perform(action, **asked).outcome.value == "unchanged"


def test_a_late_intent_replaces_no_newer_one(fake: FakeNode, monkeypatch: pytest.MonkeyPatch) -> None:
    fake.perform("start")
    fake.clock.sleep(5)
    disk = Disk(monkeypatch)
    disk.fill_at_the_intent(before=True)
    fake.perform("stop")
    monkeypatch.undo()
    fake.clock.sleep(5)
    other = fake.build()
    newer = Intent(True, "newer", "", timestamp(fake.clock.now()))
    assert other.journal.intents.set(Server(UUID), newer)
    fake.node.journal.close()
    assert fake.build().journal.intents.of(UUID) == newer


def test_a_failed_sync_keeps_the_outcome_and_adds_a_code_and_a_warning(
    fake: FakeNode, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    announced: list[Any] = []
    monkeypatch.setattr(perform_module, "announce", lambda result, _request: announced.append(result))
    recorder.error = OSError(errno.EIO, os.strerror(errno.EIO))
    started = fake.perform("start")
    assert (started.outcome.value, started.code, started.changed, fake.live) == ("done", "not_durable", True, True)
    assert len(started.warnings) == 1 and "power cut" in started.warnings[0] and "power cut" in started.msg
    assert announced == [started]
    again = fake.perform("restart")
    assert (again.outcome.value, again.code) == ("done", "not_durable")
    # A task of many servers reports the warning once.
    assert set(again.warnings) == set(started.warnings) == set(fake.node.journal.warnings)
    recorder.error = None
    assert fake.perform("restart").code == ""


def test_a_closed_call_has_synced_all_rows_that_it_wrote_and_read(fake: FakeNode, recorder: Recorder) -> None:
    # Modules report after the close.
    call = _OnNode(fake.node)
    perform(fake.node.journal, "op", Server(UUID, "Cobalt"))
    neighbour = fake.build()
    assert neighbour.journal.operations.last(UUID) is not None
    call.close()
    assert recorder.is_synced


def test_facts_of_servers_are_synced_before_they_are_reported(fake: FakeNode, recorder: Recorder) -> None:
    fake.up()
    perform(fake.node.journal, "op", Server(UUID, "Cobalt"))
    reader = fake.build(read_only=True)
    assert not recorder.is_synced
    del recorder.events[:]
    found = describe((UUID,), reader, FactOptions(), remember=lambda _uuid, _run: None)
    assert found.entries[0]["last_operation"]["id"] == "op" and recorder.is_synced
    reader.journal.close()
    assert recorder.events == [_SYNC]
    recorder.error = OSError(errno.EIO, os.strerror(errno.EIO))
    perform(fake.node.journal, "op-2", Server(UUID, "Cobalt"))
    for _look in range(2):
        describe((UUID,), reader, FactOptions(), remember=lambda _uuid, _run: None)
    # Modules show the warning once, and the HTTP shim logs it once.
    assert len(reader.journal.warnings) == 1 and "power cut" in reader.journal.warnings[0]


@pytest.mark.parametrize("ask", [lambda found: found.recorded(ALPHA.uuid, 5)[0], lambda found: found.recorded_one(ALPHA.uuid, "op-1")])
def test_an_operation_of_the_journal_is_synced_before_it_is_reported(node: Node, recorder: Recorder, ask: Callable[[Any], Any]) -> None:
    perform(node.journal())
    retrying = RetryingJournal(str(node.state), str(node.locks), "no-such-group", FixedClock())
    node.opened.append(retrying)
    assert not recorder.is_synced
    assert ask(retrying.operations).outcome == "done" and recorder.is_synced
    recorder.error = OSError(errno.EIO, os.strerror(errno.EIO))
    perform(node.opened[0], "op-2")
    operation = ask(retrying.operations)
    assert (operation.outcome, operation.code, len(retrying.warnings)) == ("done", "not_durable", 1)


def test_events_are_synced_before_a_reader_gets_them(node: Node, recorder: Recorder) -> None:
    writer, reader = node.journal(), node.journal()
    writer.events.open()
    writer.events.write(Event(EventType.SERVER_CRASHED, "2026-03-01T12:00:00.000Z", {}, ALPHA))
    assert not recorder.is_synced
    followers = EventFollowers(lambda: reader.events, lambda event: {"number": event.number})
    found = asyncio.run(followers.read(Place(Cursor(), 10), 0))
    assert found is not None and found.page.count == 1 and recorder.is_synced


def test_an_event_is_synced_before_it_is_sent(node: Node, recorder: Recorder) -> None:
    writer, journal = node.journal(), node.journal()
    journal.events.open()

    class Client:
        def post(self, *_given: object, **_options: object) -> Posted:
            recorder.reports()
            return Posted(Taking.TAKEN)

        def close(self) -> None:
            pass

    around = delivery_worker.Surroundings(journal, delivery_worker.OutboxWatch(), lambda _server: None, "node-1", SYSTEM_CLOCK)
    worker = delivery_worker.DeliveryWorker(Receiver("pager", "http://127.0.0.1:9/"), around, cast("Any", Client()))
    worker.turn(delivery_worker.OutboxSight(journal.events.state(), 0))
    for _unused in range(2):
        writer.events.write(Event(EventType.SERVER_CRASHED, "2026-03-01T12:00:00.000Z", {}, ALPHA))
        worker.turn(delivery_worker.OutboxSight(journal.events.state(), 0))
    assert recorder.events.count(_REPORT) == 2
    recorder.assert_synced_before_reports()


def test_the_supervisor_syncs_a_verdict_before_it_reports_it(fake: FakeNode, recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_watch, "announce_line", recorder.reports)
    watch: Any = SimpleNamespace(_node=lambda: fake.node)
    assert fake.node.journal.ended_runs.write(_crash())
    connection_watch.EngineWatch._say(watch, [_crash()])
    recorder.assert_synced_before_reports()


def _crash() -> EndedRun:
    return EndedRun(Server(UUID, "Cobalt"), Run("c" * 64, "2026-03-01T12:00:00Z"), Verdict.CRASHED, at="2026-03-01T12:00:01.000Z")


UTILS = "ansible_collections.fleet.power.plugins.module_utils"
ROLES = Path(__file__).resolve().parents[2] / "roles"


def is_output(descriptor: int, _open_on: str, _call: str) -> bool:
    return descriptor == 1


def trace_of(tmp_path: Path, script: str, *roots: Path) -> Answers:
    """Run a Python script that prints its answer. Returns the data that was not on the disk at that time."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    output, there = tmp_path / "trace", files_below(*roots)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([*traced(output), sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    answers = answers_in(output.read_text(), roots, there, is_output)
    assert answers.written and answers.not_synced
    return answers


def test_the_record_of_a_rolling_run_is_on_the_disk_before_a_request_to_a_node(tmp_path: Path) -> None:
    script = f"""
import os
from {UTILS}._fleet.rollout import run_files as files
path = {str(tmp_path / "runs" / "resume-1.json")!r}
for batch in range(3):
    files.write(path, {{"batch": batch}})
    os.write(1, b"asked")
files.write({str(tmp_path / "runs" / "rollout-1.json")!r}, {{}})
files.point({str(tmp_path / "runs" / "rollout.json")!r}, "rollout-1.json")
os.write(1, b"ended")
"""
    answers = trace_of(tmp_path, script, tmp_path / "runs")
    assert answers.not_synced == [()] * 4


def test_a_kept_definition_is_on_the_disk_before_it_is_reported(tmp_path: Path) -> None:
    state = tmp_path / "state"
    script = f"""
import os
from {UTILS}._power.definitions.definition_files import KeptDefinitions
files = KeptDefinitions({str(state)!r}, "no-such-group")
for number in range(2):
    files.keep_list("https://panel.example.com", ["aaaaaaaa-0000-4000-8000-00000000000%d" % number])
    os.write(1, b"kept")
"""
    assert trace_of(tmp_path, script, state).not_synced == [()] * 2


@pytest.mark.parametrize("others", [0, 1], ids=["alone", "beside another process"])
def test_a_synced_journal_is_on_the_disk_with_and_without_another_process(node: Node, tmp_path: Path, others: int) -> None:
    for _unused in range(others):
        perform(node.journal())
        assert node.opened[-1].sync() == ""
    script = f"""
import os
from pathlib import Path
from ansible_collections.fleet.power.tests.unit.journal_support import ALPHA, Node, act
journal = Node(Path({str(tmp_path)!r})).journal()
for number in range(3):
    act(journal, str(number), ALPHA)
    assert journal.sync() == ""
    os.write(1, b"synced")
act(journal, "last", ALPHA)
journal.close()
os.write(1, b"closed")
"""
    assert trace_of(tmp_path, script, node.state).not_synced == [()] * 4
    row = node.journal().operations.last(ALPHA.uuid)
    assert row is not None and row.id == "last"


def test_a_maintenance_uses_its_record_only_after_the_sync() -> None:
    tasks = yaml.safe_load((ROLES / "maintenance" / "tasks" / "write_record.yml").read_text())
    written, synced, *others = tasks
    record = written["ansible.builtin.copy"]["dest"]
    assert synced["ansible.builtin.command"]["argv"] == ["sync", record, record.replace(" }}", " | dirname }}")]
    assert [name for each in others for name in each if name.startswith("ansible.")] == ["ansible.builtin.set_fact"]
