# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Patterns of readiness lines: a hostile one costs a run a second once, others pay nothing, and no output switches one off for others."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.engine.ready_patterns import NotTried, ReadyPatterns
from ansible_collections.fleet.power.plugins.module_utils._power.host import regex_sandbox
from ansible_collections.fleet.power.plugins.module_utils._power.model.cancellation import Deadline
from ansible_collections.fleet.power.plugins.module_utils._power.model.clock import SYSTEM_CLOCK
from ansible_collections.fleet.power.plugins.module_utils._power.model.server import Run
from ansible_collections.fleet.power.tests.unit.thread_support import block_until

POWER = "ansible_collections.fleet.power.plugins.module_utils._power.engine"
HOSTILE, TRIGGER = "(a+)+$", ["a" * 40 + "b"]
TENANT, OTHER = Run("a" * 64, "2026-03-01T12:00:00Z"), Run("b" * 64, "2026-03-01T12:00:00Z")
#: Takes a while for each of these lines, and is none the worse for it.
SLOW, LONG_LINES = ".*Done.*For help", ["a" * 4096] * 400


@pytest.fixture(name="patterns")
def patterns_of_a_test() -> Iterator[ReadyPatterns]:
    patterns = ReadyPatterns()
    yield patterns
    for seat in (patterns._seat, patterns._slow_seat):
        if seat.child is not None:
            seat.child.end()


def child_of(patterns: ReadyPatterns) -> int:
    assert patterns._seat.child is not None
    return patterns._seat.child._running.pid


def gone(pid: int) -> bool:
    """Whether a process has ended, and nobody has to take its leave any more."""
    return not Path(f"/proc/{pid}").exists()


def run(script: str, ends: int = 0) -> str:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    child = subprocess.run([sys.executable, "-c", script], env=environment, check=False, capture_output=True, text=True, timeout=60)
    assert child.returncode == ends, child.stderr
    return child.stdout


def test_a_hostile_pattern_is_given_up_after_a_second_of_cpu(patterns: ReadyPatterns) -> None:
    assert patterns.find("b$", TRIGGER)
    child, began = child_of(patterns), time.monotonic()
    with pytest.raises(NotTried, match="takes too long"):
        patterns.find(HOSTILE, TRIGGER, TENANT)
    # On a machine that has no processor to spare it is ten of the clock.
    assert time.monotonic() - began < 15
    assert gone(child)
    began = time.monotonic()
    with pytest.raises(NotTried, match="takes too long"):
        patterns.find(HOSTILE, ["a"], TENANT)
    assert time.monotonic() - began < 0.5
    assert patterns.find("b$", TRIGGER)


def test_while_a_hostile_pattern_is_tried_every_other_thread_goes_on(patterns: ReadyPatterns) -> None:
    def hostile() -> None:
        with pytest.raises(NotTried):
            patterns.find(HOSTILE, TRIGGER)

    thread = threading.Thread(target=hostile)
    thread.start()
    pause, last = 0.0, time.monotonic()
    while thread.is_alive():
        time.sleep(0.01)
        pause, last = max(pause, time.monotonic() - last), time.monotonic()
    assert pause < 0.9


def test_all_threads_share_one_child_and_each_gets_its_own_answers(patterns: ReadyPatterns) -> None:
    wrong: list[int] = []

    def ask(number: int) -> None:
        for _unused in range(20):
            if not patterns.find(f"^x{number}$", ["y", f"x{number}"]) or patterns.find(f"^x{number}$", [f"x{number + 1}"]):
                wrong.append(number)

    assert patterns.find("a", ["a"])
    pid = child_of(patterns)
    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert child_of(patterns) == pid


def test_an_answer_that_nobody_waited_for_is_not_taken_for_the_next_one(patterns: ReadyPatterns, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not patterns.find("a", ["b"])
    with monkeypatch.context() as patched:
        patched.setattr(regex_sandbox.select, "POLLIN", None)
        with pytest.raises(TypeError):
            patterns.find("a", ["a"])
    assert not patterns.find("a", ["b"])


def test_where_no_child_can_be_started_it_is_said_and_tried_again_later(patterns: ReadyPatterns, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(sys, "executable", "/nowhere/python")
        with pytest.raises(NotTried, match="cannot be started"):
            patterns.find("a", ["a"])
    with pytest.raises(NotTried, match="cannot be started"):
        patterns.find("a", ["a"])
    patterns._seat._next_start = Deadline(SYSTEM_CLOCK, 0.0)
    assert patterns.find("a", ["a"])


def test_ctrl_c_of_a_terminal_is_not_for_the_child(patterns: ReadyPatterns) -> None:
    patterns.find("a", ["a"])
    assert os.getsid(child_of(patterns)) != os.getsid(0)


ASKED = f"""
import os, threading, time
from {POWER}.ready_patterns import ready_patterns
ready_patterns.find("a", ["a"])
print(ready_patterns._seat.child._running.pid, flush=True)
"""


def test_nothing_is_left_of_a_process_that_ends() -> None:
    assert gone(int(run(ASKED)))


def test_nothing_is_left_of_a_process_that_ends_in_the_middle_of_a_question() -> None:
    question = f"threading.Thread(target=ready_patterns.find, args=({HOSTILE!r}, {TRIGGER!r}), daemon=True).start()\ntime.sleep(0.3)"
    assert gone(int(run(ASKED + question)))


def test_nothing_is_left_of_a_process_that_is_killed() -> None:
    child = int(run(f"{ASKED}os.kill(os.getpid(), 9)", ends=-9))
    block_until(lambda: gone(child))
