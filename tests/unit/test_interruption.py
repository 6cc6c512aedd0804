# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A worker that is ended tells its node first, and ends within seconds whatever that does: really started, really sent signals."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ansible_collections.fleet.power.tests.unit.forked_support import ForkedModule

pytest.importorskip("ansible.plugins.action")
#: As a worker of Ansible, its handlers end it; here with an exit code of their own.
PRELUDE = """
import os, signal, sys, threading, time
from ansible_collections.fleet.power.plugins.plugin_utils import _interruption as interrupted
from ansible_collections.fleet.power.plugins.plugin_utils._interruption import telling_when_ended

interrupted.TELL_SECONDS = 1.5

def note(text):
    with open(sys.argv[1], "a") as file:
        file.write(text + "\\n")

def before(number, frame):
    note(f"ended by {number}")
    os._exit(7)

def tell():
    note("told")

def rest():
    # Not in one piece: a signal that comes just before a sleep begins is seen when that ends.
    for _unused in range(300):
        time.sleep(0.1)

for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, before)
"""
WAITS = """
with telling_when_ended(tell):
    note("begun")
    rest()
"""
Run = Callable[[str], ForkedModule]
BOTH = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)


@pytest.fixture(name="run")
def start_worker(tmp_path: Path) -> Iterator[Run]:
    started: list[ForkedModule] = []

    def start(script: str) -> ForkedModule:
        started.append(ForkedModule(PRELUDE + script, tmp_path / "notes"))
        return started[-1]

    yield start
    for each in started:
        each.close()


@BOTH
def test_it_tells_and_ends_as_it_would_have_ended(run: Run, number: signal.Signals) -> None:
    worker = run(WAITS)
    worker.await_note("begun")
    worker.parent.send_signal(number)
    assert worker.end()[0] == 7
    assert worker.noted() == ["begun", "told", f"ended by {number.value}"]


def test_it_is_told_once_however_often_it_is_ended(run: Run) -> None:
    worker = run(WAITS.replace("tell)", "lambda: (tell(), time.sleep(1)))"))
    worker.await_note("begun")
    worker.parent.send_signal(signal.SIGINT)
    worker.await_note("told")
    worker.parent.send_signal(signal.SIGTERM)
    worker.parent.send_signal(signal.SIGINT)
    assert worker.end()[0] == 7
    assert worker.noted() == ["begun", "told", "ended by 2"]


@pytest.mark.parametrize(
    "script",
    [
        # The node does not answer.
        WAITS.replace("tell)", "lambda: time.sleep(30))"),
        # What is raised is lost.
        """
with telling_when_ended(tell):
    note("begun")
    while True:
        try:
            rest()
        except BaseException:
            pass
""",
    ],
    ids=["silent", "lost"],
)
def test_it_ends_within_seconds_whatever_happens(run: Run, script: str) -> None:
    worker = run(script)
    worker.await_note("begun")
    began = time.monotonic()
    worker.parent.send_signal(signal.SIGINT)
    assert worker.end()[0] == 7
    assert time.monotonic() - began < 12
    assert worker.noted()[-1] == "ended by 2"


@pytest.mark.parametrize(
    "body",
    [
        # What fails on the way out, what takes everything for its own, and what cannot be told.
        'try:\n        rest()\n    finally:\n        raise OSError("nobody listens")',
        "try:\n        rest()\n    except BaseException:\n        pass",
        "try:\n        rest()\n    except Exception:\n        rest()",
    ],
)
def test_it_is_told_whatever_is_on_the_way(run: Run, body: str) -> None:
    worker = run(f'with telling_when_ended(tell):\n    note("begun")\n    {body}\n')
    worker.await_note("begun")
    worker.parent.send_signal(signal.SIGINT)
    assert worker.end()[0] == 7
    assert worker.noted() == ["begun", "told", "ended by 2"]
