# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A module in a session of its own that outlives its login."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ansible_collections.fleet.power.plugins.module_utils import _own_session as login
from ansible_collections.fleet.power.tests.unit.forked_support import AT_THE_LIMIT, ForkedModule, environment

PRELUDE = """
import atexit, json, os, signal, sys, time
from ansible_collections.fleet.power.plugins.module_utils._own_session import Interruption, in_own_session

def note(text):
    with open(sys.argv[1], "a") as file:
        file.write(text + "\\n")

def await_end(interrupted):
    deadline = time.monotonic() + 20
    while not interrupted():
        if time.monotonic() > deadline:
            note("never interrupted")
            return
        time.sleep(0.01)
    note("interrupted")
"""
FINISHES = """
def main(interrupted):
    note(f"begun {os.getpid()} {os.getsid(0)}")
    await_end(interrupted)
    time.sleep(0.1)
    note("finished")
    print(json.dumps({"changed": True}), flush=True)

in_own_session(main)
"""


@pytest.fixture(name="run")
def start_module(tmp_path: Path) -> Iterator[Callable[[str], ForkedModule]]:
    started: list[ForkedModule] = []

    def start(script: str) -> ForkedModule:
        started.append(ForkedModule(PRELUDE + script, tmp_path / "notes"))
        return started[-1]

    yield start
    for module in started:
        module.close()


@pytest.mark.parametrize("code", [0, 1, 3])
def test_the_result_and_the_exit_code_are_the_childs(run: Callable[[str], ForkedModule], code: int) -> None:
    module = run(f"def main(interrupted):\n    print('the result', flush=True)\n    sys.exit({code})\nin_own_session(main)")
    assert module.end() == (code, "the result\n", "")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT], ids=lambda number: number.name)
def test_a_signal_to_the_parent_is_seen_by_the_child_and_ends_neither(run: Callable[[str], ForkedModule], number: signal.Signals) -> None:
    module = run(FINISHES)
    module.await_note("begun")
    module.parent.send_signal(number)
    assert module.end() == (0, '{"changed": true}\n', "")
    assert module.noted()[1:] == ["interrupted", "finished"]


@pytest.mark.parametrize("side", ["after_in_parent", "after_in_child"])
def test_a_signal_in_the_very_first_moment_is_not_lost(run: Callable[[str], ForkedModule], side: str) -> None:
    module = run(f"os.register_at_fork({side}=lambda: os.kill(os.getpid(), signal.SIGTERM))\n" + FINISHES)
    assert module.end() == (0, '{"changed": true}\n', "")
    assert module.noted()[1:] == ["interrupted", "finished"]


def test_the_child_is_out_of_reach_of_the_parents_process_group(run: Callable[[str], ForkedModule]) -> None:
    module = run(FINISHES)
    _begun, child, session = module.await_note("begun").split()
    assert child == session
    assert os.getpgid(int(child)) == int(child) != os.getpgid(module.parent.pid)
    module.parent.terminate()
    module.end()


def test_a_parent_that_is_killed_leaves_a_child_that_finishes(run: Callable[[str], ForkedModule]) -> None:
    module = run(FINISHES)
    module.await_note("begun")
    module.parent.kill()
    module.parent.wait()
    module.await_note("finished")
    assert module.noted()[1] == "interrupted"


def test_a_reader_that_goes_away_is_seen_and_the_child_finishes(run: Callable[[str], ForkedModule]) -> None:
    module = run(FINISHES)
    module.await_note("begun")
    module.stop_reading()
    module.await_note("finished")
    assert module.noted()[1] == "interrupted"
    assert module.parent.wait(20) == 1
    assert module.parent.stderr is not None
    assert module.parent.stderr.read() == ""


def test_a_child_that_is_killed_is_one_failure_that_says_where_to_look(run: Callable[[str], ForkedModule]) -> None:
    module = run(FINISHES)
    os.kill(module.child(), signal.SIGKILL)
    code, output, errors = module.end()
    assert (code, errors) == (1, "")
    result = json.loads(output)
    assert (result["failed"], result["code"]) == (True, "interrupted")
    assert "ended by signal 9" in result["msg"]


@pytest.mark.parametrize("leads_its_group", [False, True])
@pytest.mark.parametrize("code", [0, 3])
def test_without_another_process_it_is_done_in_this_one_and_finished_all_the_same(leads_its_group: bool, code: int) -> None:
    script = f"""
def main(interrupted):
    before = interrupted()
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        os.kill(os.getpid(), number)
    print(json.dumps([before, interrupted(), os.getpid() == parent, os.getsid(0) == parent]))
    if {code}:
        sys.exit({code})

parent = os.getpid()
in_own_session(main)
"""
    command = [sys.executable, "-c", PRELUDE + AT_THE_LIMIT + script]
    done = subprocess.run(
        command, env=environment(), capture_output=True, text=True, start_new_session=leads_its_group, timeout=30, check=False
    )
    assert (done.returncode, json.loads(done.stdout), done.stderr) == (code, [False, True, True, True], "")


SERVICE = "0::/system.slice/ssh.service\n"
LOGIN = "9:name=systemd:/\n0::/user.slice/user-1000.slice/session-3.scope\n"
COMMAND = "0::/system.slice/run-u12.service\n"


class Bus:
    """A ``busctl`` that answers as it is told, and keeps what it was asked."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def answers(self, kills: str, code: int = 0) -> None:
        program = self.directory / "busctl"
        program.write_text(
            f'#!/bin/sh\necho "$*" >> {self.directory}/asked\ncase "$*" in *KillUserProcesses*) echo "{kills}";; esac\nexit {code}\n'
        )
        program.chmod(0o755)

    @property
    def started(self) -> str:
        asked = self.directory / "asked"
        lines = asked.read_text().splitlines() if asked.exists() else []
        return next((line for line in lines if "StartTransientUnit" in line), "")


@pytest.fixture
def bus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bus:
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}/bin{os.pathsep}/usr/bin")
    return Bus(tmp_path)


@pytest.mark.parametrize(
    "units, kills, uid, outlives, moves",
    [
        (SERVICE, "b true", 1000, True, False),
        (LOGIN, "b false", 1000, True, False),
        (LOGIN, "b true", 1000, False, False),
        (LOGIN, "b true", 0, True, True),
        (COMMAND, "b false", 1000, False, False),
        (COMMAND, "b false", 0, True, True),
    ],
)
def test_a_process_is_moved_where_it_would_end_with_its_unit_and_may_be(
    bus: Bus, monkeypatch: pytest.MonkeyPatch, units: str, kills: str, uid: int, outlives: bool, moves: bool
) -> None:
    bus.answers(kills)
    monkeypatch.setattr(login, "_units_of", lambda pid: units)
    monkeypatch.setattr(login.os, "geteuid", lambda: uid)
    assert login.outlive_login(4711, "fleet-power-job-1") is outlives
    assert ("fleet-power-job-1.scope fail" in bus.started and bus.started.endswith("PIDs au 1 4711 0")) is moves


@pytest.mark.parametrize("code", [1, 127])
def test_a_bus_that_does_not_answer_is_no(bus: Bus, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    bus.answers("", code)
    monkeypatch.setattr(login, "_units_of", lambda pid: LOGIN)
    assert not login.outlive_login(4711, "fleet-power-job-1")


def test_a_process_that_is_no_more_does_not_outlive_anything() -> None:
    assert not login.outlive_login(1 << 30, "fleet-power-job-1")
