# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The supervisor's verdict on an end, and its connection to the engine."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast
from unittest.mock import MagicMock, Mock

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.actions.boot import startup
from ansible_collections.fleet.power.plugins.module_utils._power.engine.event_stream import ContainerEvent
from ansible_collections.fleet.power.plugins.module_utils._power.host.machine import boot_id, start_of
from ansible_collections.fleet.power.plugins.module_utils._power.model.cancellation import Deadline
from ansible_collections.fleet.power.plugins.module_utils._power.model.clock import SYSTEM_CLOCK
from ansible_collections.fleet.power.plugins.module_utils._power.model.errors import EngineError, EngineUnreachable
from ansible_collections.fleet.power.plugins.module_utils._power.model.server import Run, Server, Snapshot
from ansible_collections.fleet.power.plugins.module_utils._power.model.supervision import EndedRun, Limits, SeenRun, Verdict
from ansible_collections.fleet.power.plugins.module_utils._supervisor import connection_watch, engine_link, observer, service
from ansible_collections.fleet.power.plugins.module_utils._supervisor.connection_watch import LOOKED, EngineWatch, line_of
from ansible_collections.fleet.power.plugins.module_utils._supervisor.end_reports import OBEY_SECONDS, EndReports, ReportedEnd
from ansible_collections.fleet.power.plugins.module_utils._supervisor.engine_link import EngineLink, EventReader, StreamEnded
from ansible_collections.fleet.power.plugins.module_utils._supervisor.service import Supervisor
from ansible_collections.fleet.power.plugins.module_utils._supervisor.verdict import Evidence, awaits_shutdown, judge
from ansible_collections.fleet.power.tests.unit.fake_node import UUID
from ansible_collections.fleet.power.tests.unit.watched_support import Watched

CRASH = ReportedEnd(1, 3, signalled=False)
STOP = ReportedEnd(1, 143, signalled=True)


@pytest.mark.parametrize(
    "evidence, verdict",
    [
        # An action of this node explains the end.
        (Evidence(heard=CRASH, exit_code=3, ended_here=Verdict.STOPPED), "stopped"),
        (Evidence(heard=CRASH, exit_code=3, ended_here=Verdict.RESTARTING), "restarting"),
        (Evidence(heard=CRASH, exit_code=3, ended_here=Verdict.HUNG), "hung"),
        (Evidence(heard=CRASH, exit_code=3, console_stop=True), "stopped"),
        # The end was heard, and no signal was sent.
        (Evidence(heard=CRASH, exit_code=3), "crashed"),
        (Evidence(heard=CRASH, exit_code=137, killed=True, marked=False, another_engine=True), "crashed"),
        (Evidence(heard=CRASH, exit_code=137), "crashed"),
        (Evidence(heard=CRASH, exit_code=3, marked=True), "crashed"),
        # The stop was requested long before, or by a signal that was not heard.
        (Evidence(heard=ReportedEnd(1, 143, signalled=False, warned=True), exit_code=143), "stopped_externally"),
        (Evidence(heard=ReportedEnd(1, 3, signalled=False, warned=True), exit_code=3), "crashed"),
        (Evidence(heard=ReportedEnd(1, 1, signalled=False, warned=True), exit_code=1, marked=True), "stopped_externally"),
        (Evidence(heard=ReportedEnd(1, 0, signalled=False, warned=True), exit_code=0), "stopped_externally"),
        (Evidence(heard=CRASH, exit_code=143, marked=True), "stopped_externally"),
        (Evidence(heard=CRASH, exit_code=0), "ended"),
        # The kernel killed another process of the container for memory, perhaps long ago.
        # A kill explains the end, unless the end contradicts that.
        (Evidence(heard=STOP, exit_code=137, killed=True), "stopped"),
        (Evidence(exit_code=137, killed=True, marked=True), "stopped"),
        (Evidence(exit_code=3, killed=True, marked=False), "crashed"),
        (Evidence(exit_code=137, oom_killed=True, killed=True), "crashed"),
        # The engine's shutdown also sends signals, but sets no mark of a manual stop.
        (Evidence(heard=STOP, exit_code=0, another_engine=True, marked=False), "engine_stopped"),
        (Evidence(heard=STOP, exit_code=0, another_engine=True, marked=None), "engine_stopped"),
        (Evidence(exit_code=1, another_engine=True, marked=False), "engine_stopped"),
        (Evidence(heard=STOP, exit_code=0, another_engine=True, marked=True), "stopped_externally"),
        (Evidence(exit_code=0, another_engine=True, marked=True), "ended_unobserved"),
        # An engine that starts after its own kill stops all containers and marks that as manual stops.
        (Evidence(exit_code=0, another_engine=True, marked=True, in_startup=True), "engine_stopped"),
        (Evidence(heard=STOP, exit_code=0, another_engine=True, marked=True, in_startup=True), "engine_stopped"),
        (Evidence(heard=STOP, exit_code=0, marked=True, in_startup=True), "stopped_externally"),
        # A user stopped the container at the engine.
        (Evidence(heard=STOP, exit_code=0, marked=True), "stopped_externally"),
        (Evidence(heard=STOP, exit_code=1), "stopped_externally"),
        # The end was not heard: the engine's mark counts, then the exit code.
        (Evidence(exit_code=3, marked=True), "ended_unobserved"),
        (Evidence(exit_code=3), "crashed"),
        (Evidence(exit_code=3, marked=False), "crashed"),
        (Evidence(exit_code=137, oom_killed=True), "crashed"),
        *((Evidence(exit_code=code), "ended_unobserved") for code in (0, 130, 137, 143)),
        *((Evidence(exit_code=code, marked=False), "crashed") for code in (130, 137, 143)),
        (Evidence(exit_code=0, marked=False), "ended"),
        (Evidence(), "ended_unobserved"),
        # The container is gone.
        (Evidence(is_there=False, exit_code=3), "ended_unobserved"),
        (Evidence(is_there=False, heard=CRASH, exit_code=3), "crashed"),
        # A power cut took the engine's record of it.
        (Evidence(is_there=False, forgotten=True, another_engine=True), "engine_stopped"),
        (Evidence(is_there=False, forgotten=True, another_engine=True, killed=True), "stopped"),
        (Evidence(is_there=False, forgotten=True), "ended_unobserved"),
    ],
)
def test_the_evidence_decides_the_verdict(evidence: Evidence, verdict: str) -> None:
    assert judge(evidence).value == verdict


@pytest.mark.parametrize(
    "evidence, awaits",
    [
        (Evidence(heard=STOP, exit_code=0), True),
        (Evidence(heard=STOP, exit_code=3, killed=True), True),
        (Evidence(heard=STOP, exit_code=0, ended_here=Verdict.STOPPED), False),
        (Evidence(heard=STOP, exit_code=0, console_stop=True), False),
        (Evidence(heard=STOP, exit_code=137, killed=True), False),
        (Evidence(heard=STOP, exit_code=0, another_engine=True), False),
        (Evidence(heard=CRASH, exit_code=3), False),
        (Evidence(exit_code=0), False),
    ],
)
def test_only_an_unexplained_stop_signal_may_be_a_shutdown_of_the_engine(evidence: Evidence, awaits: bool) -> None:
    assert awaits_shutdown(evidence) is awaits


@pytest.mark.parametrize(
    "verdict, crashes, words",
    [
        ("crashed", 1, "started in 0 s"),
        ("ended", 3, "started in 20 s"),
        ("crashed", 11, "11 in a row, given up: tried once an hour"),
        ("hung", 2, "started in 10 s"),
        # These start at once, whatever came before.
        ("engine_stopped", 3, "started in 0 s"),
        ("restarting", 3, "started in 0 s"),
        ("restarting", 11, "started in 0 s"),
    ],
)
def test_the_log_line_of_an_end_names_the_wait_before_the_next_start(verdict: str, crashes: int, words: str) -> None:
    row = EndedRun(Server(UUID), Run("c", ""), Verdict(verdict), due=True, consecutive_crashes=crashes)
    assert line_of(row, Limits()).endswith(f", {words}")


SECOND = 10**9
#: 2026-01-01T00:00:00Z
BEGAN = 1767225600 * SECOND
FIRST = Run("c", "2026-01-01T00:00:00.5Z")
SECOND_RUN = Run("c", "2026-01-01T00:01:00.000000001Z")


def event(action: str, seconds: float, container: str = "c", **fields: int) -> ContainerEvent:
    return ContainerEvent(BEGAN + int(seconds * SECOND), action, container, **fields)


def end_of(
    reports: EndReports,
    run: Run,
    stop_signal: int | None,
    before: Run | None = None,
    obeys_within: float | None = OBEY_SECONDS,
    *,
    is_only: bool = True,
) -> ReportedEnd | None:
    return reports.end_of(run, stop_signal, before=before, obeys_within=obeys_within, is_only=is_only)


def heard(*events: ContainerEvent) -> EndReports:
    reports = EndReports()
    for each in events:
        reports.add(each)
    return reports


def test_a_stop_signal_counts_only_shortly_before_the_end() -> None:
    for signal, seconds, expected in ((15, 4, True), (9, 4, True), (2, 4, True), (1, 4, False), (15, 6, False), (15, 0.1, False)):
        found = end_of(heard(event("kill", seconds, signal=signal), event("die", 5, exit_code=0)), FIRST, 15)
        assert found is not None and found.signalled is expected, (signal, seconds)
    old = end_of(heard(event("kill", 4, signal=15), event("die", 60, exit_code=0)), FIRST, 15)
    assert old is not None and not old.signalled


def test_a_signal_that_a_run_survived_does_not_explain_its_end() -> None:
    reports = heard(
        event("kill", 4, signal=15),
        event("kill", 500, signal=15, container="d"),
        event("kill", 4, signal=15, container="e"),
        event("die", 5, container="e"),
    )
    moment = BEGAN + 5 * SECOND
    assert reports.signalled_before(moment) == ["c"]
    assert [reports.disobeyed(each, moment) for each in ("c", "d", "e", "unheard of")] == [BEGAN + 4 * SECOND, None, None, None]
    assert reports.signalled_before(moment) == []
    reports.add(event("die", 606, exit_code=137))
    found = end_of(reports, FIRST, 15)
    assert found is not None and not found.warned
    for seconds, warned in ((590, True), (610, False)):
        late = end_of(heard(event("kill", 4, signal=15), event("die", seconds, exit_code=143)), FIRST, 15)
        assert late is not None and (late.signalled, late.warned) == (False, warned)
    slow = end_of(heard(event("kill", 4, signal=15), event("die", 1500, exit_code=1)), FIRST, 15, obeys_within=1800)
    assert slow is not None and slow.warned


def test_any_stop_signal_of_the_container_counts_as_a_stop() -> None:
    found = end_of(heard(event("kill", 4, signal=37), event("die", 5)), FIRST, 37)
    assert found is not None and found.signalled


def test_without_a_known_stop_signal_and_timeout_any_earlier_signal_may_be_the_stop() -> None:
    reports = heard(event("kill", 4, signal=37), event("die", 5000, exit_code=0))
    for signal, seconds, warned in ((None, None, True), (37, None, True), (None, 600, False), (15, None, False)):
        found = end_of(reports, FIRST, signal, obeys_within=seconds)
        assert found is not None and (found.signalled, found.warned) == (False, warned), (signal, seconds)


def test_an_end_belongs_to_the_run_before_it() -> None:
    reports = heard(event("die", 61, exit_code=3))
    assert end_of(reports, FIRST, None, before=SECOND_RUN) is None
    assert end_of(reports, SECOND_RUN, None) is not None
    assert end_of(reports, Run("other", FIRST.started_at), None) is None
    assert end_of(heard(event("die", 0.2)), FIRST, None, is_only=False) is None
    assert end_of(heard(event("die", 0.2), event("start", 0.5)), FIRST, None) is None


def test_an_end_and_its_signal_count_after_the_clock_was_set_back() -> None:
    reports = heard(event("start", 0.5), event("kill", -3600, signal=15), event("die", -3599, exit_code=0))
    found = end_of(reports, FIRST, 15)
    assert found == ReportedEnd(BEGAN - 3599 * SECOND, 0, signalled=True, warned=True)
    assert reports.earliest() == BEGAN - 3629 * SECOND
    assert end_of(reports, FIRST, 15, is_only=False) is None
    reports.forget("c", found.at)
    assert end_of(reports, FIRST, 15) is None and reports.earliest() == BEGAN - 3629 * SECOND


def test_repeated_events_count_once_and_judged_ends_are_forgotten() -> None:
    reports = heard(*[event("kill", 4, signal=15), event("die", 5, exit_code=0)] * 2, event("die", 65, exit_code=1))
    assert reports.earliest() == BEGAN - 25 * SECOND
    reports.forget("c", BEGAN + 5 * SECOND)
    assert end_of(reports, FIRST, None, before=SECOND_RUN) is None
    found = end_of(reports, SECOND_RUN, None)
    assert found is not None and found.exit_code == 1 and not found.signalled
    reports.forget("c", BEGAN + 65 * SECOND)
    assert (reports.earliest(), reports.latest) == (BEGAN + 35 * SECOND, BEGAN + 65 * SECOND)


def test_the_number_of_stored_ends_is_bounded() -> None:
    reports = heard(*(event("die", 5, container=str(number)) for number in range(10_050)))
    assert end_of(reports, Run("0", FIRST.started_at), None) is None
    assert end_of(reports, Run("10049", FIRST.started_at), None) is not None


#: This process plays the engine.
LIFE = f"{boot_id()}/{os.getpid()}/{start_of(os.getpid())}"
OTHER = f"{boot_id()}/1/1"


@pytest.mark.parametrize(
    ("heard_by", "link", "expected"),
    [
        (LIFE, EngineLink(LIFE), True),
        (OTHER, EngineLink(LIFE, before=OTHER), False),
        ("", EngineLink(LIFE, before=OTHER), True),
        # Before the stop, the engine of that life may have stopped it for somebody.
        ("", EngineLink(LIFE), False),
        ("", EngineLink(LIFE, before="another-boot/1/1"), False),
        # With live restore the run continues, so a user may have stopped it at any time.
        (LIFE, EngineLink(LIFE, live_restore=True, before=OTHER), False),
        (f"{boot_id()}/", EngineLink(f"{boot_id()}/"), False),
    ],
    ids=["reports it", "the earlier one reports it", "followed", "not followed", "another followed", "live restore", "unknown"],
)
def test_an_engine_stops_runs_of_an_earlier_engine_at_its_startup(heard_by: str, link: EngineLink, expected: bool) -> None:
    end = ReportedEnd(1, 0, signalled=True, engine=heard_by) if heard_by else None
    assert link.stopped_in_startup(SeenRun(FIRST, engine=OTHER), end) is expected
    assert not link.stopped_in_startup(None, end)


@pytest.mark.parametrize(
    "life, seen_by, another",
    [
        (LIFE, LIFE, False),
        (LIFE, OTHER, True),
        # Without a known process, the boot identifies the engine.
        (f"{boot_id()}/", OTHER, False),
        (f"{boot_id()}/", "another-boot/1/1", True),
        (LIFE, "", False),
    ],
    # Each test process has its own values, so ids name the cases.
    ids=["itself", "another process", "the boot", "another boot", "unknown"],
)
def test_a_run_belongs_to_the_engine_process_that_saw_it_last(life: str, seen_by: str, another: bool) -> None:
    assert EngineLink(life).is_another(SeenRun(FIRST, engine=seen_by), FIRST) is another
    assert not EngineLink(life).is_another(None, FIRST) and not EngineLink(life).is_another(SeenRun(SECOND_RUN, engine=OTHER), FIRST)


BOOT = "49ddf5a0-6669-4709-a518-23fee45e03fc"
OLD, NEW = f"{BOOT}/169/316", f"{BOOT}/3127/19904"


@pytest.mark.parametrize(
    ("linked", "answers", "over"),
    [
        (OLD, OLD, False),
        (OLD, NEW, True),
        (OLD, "", False),
        (f"{BOOT}/", NEW, False),
        (f"{BOOT}/?2", NEW, False),
        (f"{BOOT}/?2", "", False),
    ],
)
def test_a_link_is_over_only_if_another_known_process_answers(
    monkeypatch: pytest.MonkeyPatch, linked: str, answers: str, over: bool
) -> None:
    monkeypatch.setattr(engine_link, "engine_life", lambda _host: answers)
    assert EngineLink(linked, host="unix:///run/docker.sock").is_over() is over


WATCH_OTHER = "11111111-1111-4111-8111-111111111111"
_LIFE, _NEXT_LIFE = (f"00000000-0000-4000-8000-000000000000/{number}/{number}" for number in (1, 2))


class NoEvents:
    """A reader that returns only the events that a test adds."""

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


def connect(watched: Watched, reader: NoEvents | None = None, link: EngineLink | None = None) -> EngineWatch:
    """Connect, and do the first look at all servers."""
    read: EventReader = cast("EventReader", reader or NoEvents())
    watch = EngineWatch(
        lambda: watched.fake.node,
        link or EngineLink(_LIFE),
        read,
        watched.reports,
        watched.starter,
        watched.restarter,
        watched.prover,
        lambda _why: None,
    )
    watch.first_look()
    return watch


def looked(watched: Watched) -> str | None:
    return watched.fake.node.journal.supervisor.value(LOOKED)


def test_a_server_that_is_down_at_the_first_look_stays_down(watched: Watched) -> None:
    watched.up()
    watched.fake.engine.end(UUID, 3)
    connect(watched)
    assert watched.row.verdict is Verdict.INITIALLY_DOWN and looked(watched) == "yes"
    watched.up()
    watched.fake.engine.end(UUID, 3)
    connect(watched)
    assert (watched.row.verdict, watched.row.due) == (Verdict.CRASHED, True)


@pytest.mark.parametrize(
    ("reported_by", "marked", "followed", "verdict"),
    [
        (_NEXT_LIFE, True, "", "engine_stopped"),
        ("", True, _LIFE, "engine_stopped"),
        (_LIFE, False, _LIFE, "engine_stopped"),
        (_LIFE, True, _LIFE, "stopped_externally"),
        ("", True, "", "ended_unobserved"),
    ],
    ids=["SIGKILL", "SIGKILL, its event is lost", "shutdown", "a stop before it", "unknown"],
)
def test_after_a_clock_is_set_back_only_servers_that_the_engine_stopped_are_due(
    watched: Watched, monkeypatch: pytest.MonkeyPatch, reported_by: str, marked: bool, followed: str, verdict: str
) -> None:
    watched.up()
    connect(watched)
    monkeypatch.setattr(observer, "manual_stop_mark", lambda *_run: marked)
    container, at = watched.fake.seen().id, int(watched.fake.clock.now().timestamp() - 3600) * SECOND
    watched.fake.engine.end(UUID, 0)
    watched.fake.engine.change(UUID, finished_at=ReportedEnd(at, 0, signalled=True).ended_at)
    if reported_by:
        watched.reports.add(ContainerEvent(at - SECOND, "kill", container, UUID, signal=15), reported_by)
        watched.reports.add(ContainerEvent(at, "die", container, UUID, exit_code=0), reported_by)
    connect(watched, link=EngineLink(_NEXT_LIFE, before=followed))
    assert (watched.row.verdict.value, watched.row.due) == (verdict, verdict == "engine_stopped")


def test_a_start_records_the_life_of_the_engine_and_the_stop_signal(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(startup, "engine_life", lambda host: f"life at {host}")
    watched.fake.engine.host = "unix:///run/docker.sock"
    assert watched.fake.perform("start").outcome.value == "done"
    seen = watched.fake.node.journal.runs.known_of(UUID)
    assert seen is not None and (seen.engine, seen.stop_signal) == ("life at unix:///run/docker.sock", 15)


@pytest.mark.parametrize("closes", [False, True])
def test_the_supervisor_has_followed_an_engine_unless_it_closed_the_stream_itself(monkeypatch: pytest.MonkeyPatch, closes: bool) -> None:
    supervisor: Any = Supervisor.__new__(Supervisor)
    supervisor._node, supervisor._followed, supervisor._starter = Mock(), "life before", Mock()
    supervisor._node.now().journal.supervisor.value.return_value = None
    supervisor._node.now().engine.version().warnings.return_value = []
    monkeypatch.setattr(service, "link_to", lambda *_unused: EngineLink("life"))

    def first_look() -> None:
        if closes:
            follow.call_args.args[2].close()
        raise StreamEnded

    follow = Mock()
    follow().first_look = first_look
    monkeypatch.setattr(service, "EngineWatch", follow)
    supervisor._reports = supervisor._restarter = supervisor._prover = supervisor._lock = Mock()
    supervisor._node.now().engine.events.follow.return_value = MagicMock()
    supervisor._connect()
    assert supervisor._followed == ("" if closes else "life")
    supervisor._node.now().engine.events.follow.assert_called_once_with(0)


def test_a_failed_look_at_one_server_leaves_the_first_look_of_others_done(watched: Watched) -> None:
    watched.up()
    watched.fake.node.journal.runs.see(WATCH_OTHER, seen_of(watched))
    fail_for(watched, WATCH_OTHER)
    connect(watched)
    assert looked(watched) == f"yes {WATCH_OTHER}"
    watched.fake.engine.end(UUID, 3)
    connect(watched)
    assert watched.row.verdict is Verdict.CRASHED
    # The next look at that server is still its first.
    watched.begin_anew()
    fail_for(watched, None)
    connect(watched)
    assert looked(watched) == "yes"
    other = watched.fake.node.journal.ended_runs.newest_of_each([WATCH_OTHER])[WATCH_OTHER]
    assert other.verdict is Verdict.INITIALLY_DOWN


def test_a_fault_of_ours_at_one_server_is_said_once_and_leaves_the_others_watched(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched.up()
    watched.fake.node.journal.runs.see(WATCH_OTHER, seen_of(watched))
    lines = announced(monkeypatch)
    fail_for(watched, WATCH_OTHER, RecursionError("secret"))
    watch = connect(watched)
    for _number in range(3):
        watch._dirty[WATCH_OTHER] = connection_watch._NOW
        watch._look()
    assert [line.split(", please")[0] for line in lines] == [
        f"supervisor: Cannot look at server {WATCH_OTHER}: an error that should not happen"
    ]
    assert WATCH_OTHER in watch._dirty and "secret" not in lines[0]
    watched.fake.engine.end(UUID, 3)
    watch._dirty[UUID] = connection_watch._NOW
    watch._look()
    assert "crashed, exit code 3" in lines[1]


def test_the_results_of_other_looks_stay_if_one_look_ends_the_connection(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    watched.up()
    watched.fake.node.journal.runs.see(WATCH_OTHER, seen_of(watched))
    begun = threading.Event()
    fail_for(watched, WATCH_OTHER, SILENT, before=lambda name: begun.set() if name == UUID else begun.wait(5))
    watched.fake.engine.events.serving = False
    lines = announced(monkeypatch)
    with pytest.raises(EngineUnreachable):
        connect(watched)
    assert looked(watched) == f"yes {WATCH_OTHER}"
    watched.fake.engine.end(UUID, 3)
    begun.clear()
    with pytest.raises(EngineUnreachable):
        connect(watched)
    assert watched.row.verdict is Verdict.CRASHED and watched.starter.seconds_left() == 0
    assert len(lines) == 1 and "crashed, exit code 3" in lines[0]


def test_the_result_of_a_slow_look_comes_with_a_later_look(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    watched.up()
    watch, lines, answers = connect(watched), announced(monkeypatch), threading.Event()
    fail_for(watched, None, before=lambda _name: answers.wait(5))
    monkeypatch.setattr(connection_watch, "_LOOK_SECONDS", 0.1)
    watched.fake.engine.end(UUID, 3)
    watch._dirty[UUID] = connection_watch._NOW
    watch._look()
    assert not lines
    answers.set()
    deadline = Deadline.after(SYSTEM_CLOCK, 5)
    while not lines and not deadline.is_over:
        watch._look()
    assert "crashed, exit code 3" in lines[0] and watched.starter.seconds_left() == 0


def announced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list that gets each later line of the system log."""
    lines: list[str] = []
    monkeypatch.setattr(connection_watch, "announce_line", lambda line, **_options: lines.append(line))
    return lines


def test_an_engine_fault_for_one_server_blocks_no_start_of_another(watched: Watched) -> None:
    watched.up()
    connect(watched)
    watched.fake.node.journal.runs.see(WATCH_OTHER, seen_of(watched))
    watched.fake.engine.end(UUID, 3)
    fail_for(watched, WATCH_OTHER, SILENT)
    watch = connect(watched)
    watch.turn()
    watched.starter.join()
    assert watched.fake.live


def test_the_supervisor_pauses_beside_wings_and_then_drops_due_starts(watched: Watched) -> None:
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


def test_the_supervisor_waits_while_it_cannot_tell_whether_wings_runs(watched: Watched) -> None:
    watched.up()
    watch = connect(watched)
    watched.fake.wings_unknown = True
    row = watched.end()
    watch._next_pause = connection_watch._NOW
    watch.turn()
    assert row.due and watch.paused == "wings_unknown" and not watched.fake.live
    watched.fake.wings_unknown = False
    watched.fake.clock.sleep(60)
    watch = connect(watched)
    watch.turn()
    watched.starter.join()
    assert watch.paused == "" and watched.fake.live


def test_wings_that_was_seen_counts_until_it_is_known_to_be_gone(watched: Watched) -> None:
    watched.fake.wings = 7
    watch = connect(watched)
    watched.fake.wings_unknown = True
    watch._next_pause = connection_watch._NOW
    watch.turn()
    assert watch.paused == "wings"


def seen_of(watched: Watched) -> SeenRun:
    seen = watched.fake.node.journal.runs.known_of(UUID)
    assert seen is not None
    return replace(seen, run=replace(seen.run, container="d" * 64))


UNREADABLE = EngineError("input/output error")
SILENT = EngineUnreachable("it does not answer")


def fail_for(
    watched: Watched, uuid: str | None, error: Exception = UNREADABLE, *, before: Callable[[str], object] = lambda _name: None
) -> None:
    """Let the engine inspect all servers except ``uuid``, each after ``before``."""
    engine = watched.fake.engine
    inspect = type(engine).inspect

    def answer(name: str) -> Snapshot | None:
        before(name)
        if name == uuid:
            raise error
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
def test_an_end_within_the_stop_timeout_after_a_stop_command_is_a_stop(
    watched: Watched, own: int | None, of_node: int, after: int, verdict: str
) -> None:
    watched.fake.configure(system={"stop_timeout": of_node})
    watched.fake.define(**stop_of(own))
    watched.begin_anew()
    watched.up()
    watched.fake.define(**stop_of(7))
    assert watched.fake.node.journal.runs.stop_by_console(UUID, watched.fake.seen().run, watched.fake.clock.now())
    assert watched.end(1, after=after).verdict.value == verdict


@pytest.mark.parametrize("own, verdict", [(1800, "stopped_externally"), (600, "crashed")])
def test_a_stop_at_the_engine_counts_within_the_stop_timeout_of_the_server(
    watched: Watched, monkeypatch: pytest.MonkeyPatch, own: int, verdict: str
) -> None:
    watched.fake.define(**stop_of(own))
    watched.up()
    watch = connect(watched)
    monkeypatch.setattr(observer, "manual_stop_mark", lambda *_run: True)
    watched.pass_seconds(1)
    sent = int(watched.fake.clock.now().timestamp() * 10**9)
    watched.reports.add(ContainerEvent(sent, "kill", watched.fake.seen().id, UUID, signal=15))
    watched.pass_seconds(700)
    monkeypatch.setattr(connection_watch.time, "time_ns", lambda: sent + 700 * 10**9)
    watch._look_at_all()
    assert watched.end(1, after=200).verdict.value == verdict


@pytest.mark.parametrize("seen_signal", [37, None])
@pytest.mark.parametrize(
    "signal, console, after, verdict",
    [
        (37, False, 20, "stopped_externally"),
        (15, False, 900, "stopped_externally"),
        (None, True, 900, "stopped"),
        (None, False, 20, "crashed"),
    ],
)
def test_a_newer_container_says_nothing_about_the_stop_of_an_older_run(
    watched: Watched, seen_signal: int | None, signal: int | None, console: bool, after: int, verdict: str
) -> None:
    """The older container had another stop signal and a longer timeout."""
    watched.fake.define(**stop_of(1800))
    watched.up()
    run, journal = watched.fake.seen().run, watched.fake.node.journal
    journal.store.execute("UPDATE runs SET stop_signal = :signal", {"signal": seen_signal})
    watched.pass_seconds(1)
    at = int(watched.fake.clock.now().timestamp() * 10**9)
    if signal is not None:
        watched.reports.add(ContainerEvent(at, "kill", run.container, UUID, signal=signal))
    if console:
        assert journal.runs.stop_by_console(UUID, run, watched.fake.clock.now())
    watched.pass_seconds(after)
    watched.fake.engine.end(UUID, 143)
    watched.reports.add(ContainerEvent(at + after * 10**9, "die", run.container, UUID, exit_code=143))
    # A user's start creates a new container, and then fails.
    watched.fake.define(environment={"CHANGED": "1"}, **stop_of(30))
    watched.fake.engine.refuse("start")
    assert watched.fake.perform("start").outcome.value == "failed"
    watched.observer.look(UUID)
    assert (watched.row.run, watched.row.verdict.value) == (run, verdict)
