# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Answers survive a power cut, and the syslog has a line for each result."""

from __future__ import annotations

import contextlib
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.model.request import PowerAction
from ansible_collections.fleet.power.tests.unit.lock_support import acquire
from ansible_collections.fleet.power.tests.unit.trace_support import Answers, answers_in, files_below, traced

from .controller import Controller
from .lab import Lab, wait_until
from .private_syslog import PrivateSyslog
from .shim import Shim, shim_on


class Traces:
    """Traces of processes that write to the node's state directory."""

    def __init__(self, lab: Lab) -> None:
        self.state = lab.root / "state"
        self.output = lab.root / "trace"
        self.there = files_below(self.state)

    def answers(self, is_answer: Callable[[int, str, str], bool]) -> Answers:
        """Return the unsynced files at each answer of a process that has ended."""
        return answers_in(self.output.read_text(), [self.state], self.there, is_answer)


def is_result(descriptor: int, _open_on: str, call: str) -> bool:
    return descriptor == 1 and "{" in call


def is_http(_descriptor: int, open_on: str, call: str) -> bool:
    return open_on.startswith("TCP") and '"HTTP/1.1 2' in call


@pytest.fixture(params=["beside another process", pytest.param("alone", marks=pytest.mark.long)])
def neighbour(request: pytest.FixtureRequest, lab: Lab) -> Iterator[None]:
    """Another process keeps the journal open, so SQLite does not sync when a module ends."""
    node = lab.node()
    if request.param != "alone":
        node.journal.operations.last("0f4c5ad2-9a1b-4c39-8a6e-3f2b7d10c001")
        node.journal.store.rewrite()
    yield
    node.journal.close()


def traced_module(lab: Lab, controller: Controller, name: str, **options: object) -> tuple[str, Answers]:
    """Run a module on one server; return its outcome and the unsynced files at the answer."""
    traces = Traces(lab)
    result = controller.run_module(name, through=traced(traces.output), **controller.options(**options))
    return str(result["servers"][0].get("outcome", "")), traces.answers(is_result)


@pytest.mark.usefixtures("neighbour")
def test_a_module_answers_only_after_all_its_writes_are_on_the_disk(lab: Lab, controller: Controller) -> None:
    uuid = lab.server(build={"memory_limit": 100})
    written: set[str] = set()
    for action in ("start", "limits", "restart", "stop", "start", "kill"):
        if action == "limits":
            lab.edit(uuid, build={"memory_limit": 200})
            outcome, found = traced_module(lab, controller, "server_limits", server=uuid)
        else:
            outcome, found = traced_module(lab, controller, "server_power", server=uuid, action=action)
        assert outcome == "done", action
        assert found.not_synced == [()], action
        assert str(lab.root / "state" / "journal.sqlite-wal") in found.written
        written |= found.written
    # Beside the journal, actions write the kill generation and the last used definition.
    names = {Path(path).parent.name + "/" + Path(path).name.rpartition(".")[2] for path in written}
    assert "state/kills" in names and any(name.startswith("definitions/") for name in names)


def test_a_job_reports_a_server_as_done_only_after_the_record_is_on_the_disk(lab: Lab, controller: Controller) -> None:
    uuids = [lab.server() for _unused in range(2)]
    traces = Traces(lab)

    def found() -> Answers:
        return traces.answers(lambda _number, open_on, call: open_on.endswith("/lines") and "outcome" in call)

    job = {"FLEET_POWER_JOB": f"{uuid4().hex}:60"}
    options = controller.options(server=uuids, action="start", max_parallel=1)
    with controller.module(through=traced(traces.output), environment=job, **options) as running:
        wait_until(lambda: traces.output.exists() and len(found().not_synced) == 2, "both servers are reported as done", 60)
        # The process that removes the job's files lives for minutes: end it now.
        running.signal(signal.SIGTERM)
        assert running.wait().code in (0, -signal.SIGTERM)
    assert found().not_synced == [()] * 2


@pytest.mark.usefixtures("neighbour")
def test_facts_are_returned_only_after_writes_of_another_process_are_on_the_disk(lab: Lab, controller: Controller) -> None:
    uuid = lab.up()
    traces = Traces(lab)
    result = controller.run_module("server_power_info", through=traced(traces.output), **controller.options(server=[uuid]))
    assert result["servers"][0]["last_operation"]["outcome"] == "done"
    log = lab.root / "state" / "journal.sqlite-wal"
    trace = traces.output.read_text()
    # The other process has no trace and did not sync its writes.
    assert not log.exists() or re.search(rf"fdatasync\(\d+<{log}>\) += 0", trace)
    assert [each for each in traces.answers(is_result).not_synced if each] == []


def is_traced(pid: int, *, by: int) -> bool:
    """Tell if each thread of a process has stopped for its tracer. Until then its calls are missing in the trace."""
    with contextlib.suppress(FileNotFoundError):
        statuses = [(thread / "status").read_text() for thread in Path(f"/proc/{pid}/task").iterdir()]
        return all(f"TracerPid:\t{by}\n" in status for status in statuses)
    return False


@contextlib.contextmanager
def traced_shim(lab: Lab, traces: Traces) -> Iterator[Shim]:
    with shim_on(lab) as shim:
        command = [*traced(traces.output), "-p", str(shim.child.pid)]
        with subprocess.Popen(command) as tracer:
            try:
                # strace says "attached" before it has stopped each thread.
                wait_until(lambda: is_traced(shim.child.pid, by=tracer.pid), "each thread of the shim is traced")
                yield shim
            finally:
                shim.child.send_signal(signal.SIGTERM)
                tracer.wait(timeout=30)


def test_the_http_shim_shows_an_operation_only_after_its_writes_are_on_the_disk(lab: Lab) -> None:
    uuid = lab.server()
    traces = Traces(lab)
    with traced_shim(lab, traces) as shim:
        for action in ("start", "restart", "kill", "stop"):
            assert shim.done(uuid, action)["outcome"] in ("done", "unchanged")
        assert len(shim.ask("GET", f"/api/servers/{uuid}/operations").json) == 4
    found = traces.answers(lambda number, open_on, call: is_http(number, open_on, call) and "200 OK" in call)
    assert found.not_synced == [()] * 5
    assert str(lab.root / "state" / "journal.sqlite-wal") in found.written


def test_the_http_shim_accepts_an_action_only_after_the_record_is_on_the_disk(lab: Lab) -> None:
    uuid = lab.server()
    traces = Traces(lab)
    # The held lock prevents other writes of the action before its acceptance.
    with traced_shim(lab, traces) as shim, acquire(lab.node().locks, uuid, action=PowerAction.STOP):
        location = shim.took(uuid, "start")
        assert shim.operation(location)["outcome"] is None
    found = traces.answers(is_http)
    assert found.not_synced == [()] * 2
    # The log, or the database if SQLite has copied the log into it.
    assert any(path.startswith(str(lab.root / "state" / "journal.sqlite")) for path in found.written)


# Facility daemon (3); severity informational (6) or warning (4).
INFORMATIONAL, WARNING = 3 * 8 + 6, 3 * 8 + 4
LINE = re.compile(r"<(?P<priority>\d+)>fleet-power\[\d+\]: (?P<text>.*)")


@pytest.fixture
def syslog(tmp_path: Path) -> Iterator[PrivateSyslog]:
    with PrivateSyslog(tmp_path / "syslog") as private:
        yield private


def lines_of(syslog: PrivateSyslog) -> list[tuple[int, str]]:
    found = [LINE.fullmatch(line.rstrip("\0\n")) for line in syslog.close()]
    return [(int(match["priority"]), match["text"]) for match in found if match is not None]


def test_the_syslog_has_a_line_with_the_outcome_of_each_server(lab: Lab, controller: Controller, syslog: PrivateSyslog) -> None:
    up, overdue = lab.server(name="Cobalt"), lab.server(name="Overdue", suspended=True)
    controller.run_module(
        through=syslog.through,
        **controller.options(action="start", server=[up, overdue, "Nobody"], origin="alice@web1", reason="the players wait"),
    )
    found = {text.split()[1]: (priority, text) for priority, text in lines_of(syslog)}
    (first, done), (second, refused), (third, unknown) = found[up], found[overdue], found["Nobody"]
    assert (first, second, third) == (INFORMATIONAL, WARNING, WARNING)
    origin = r"in \d+\.\d s by alice@web1 for 'the players wait' operation [-0-9a-f]{36}"
    assert re.fullmatch(rf"start {up} \(Cobalt\) done {origin}", done)
    assert re.fullmatch(rf"start {overdue} \(Overdue\) refused suspended {origin}: Cannot start server .*", refused)
    assert re.match(r"start Nobody refused server_not_found in \d+\.\d s", unknown)


def test_check_mode_writes_no_syslog_line(lab: Lab, controller: Controller, syslog: PrivateSyslog) -> None:
    controller.run_module(through=syslog.through, **controller.options(action="start", server=lab.server(), _ansible_check_mode=True))
    assert lines_of(syslog) == []
