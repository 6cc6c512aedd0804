# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Looks at many things: in order, several at a time, and with as many threads as are to be had, none included."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.host.concurrency import map_concurrently
from ansible_collections.fleet.power.tests.unit.forked_support import AT_THE_LIMIT
from ansible_collections.fleet.power.tests.unit.thread_support import few_threads

BARE = f"""
import json, os, threading, time
from ansible_collections.fleet.power.plugins.module_utils._power.host.concurrency import map_concurrently
{AT_THE_LIMIT}
"""


def told(script: str) -> object:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", BARE + script], env=environment, capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


def test_those_threads_that_there_are_do_it_all(monkeypatch: pytest.MonkeyPatch) -> None:
    few_threads(monkeypatch, 2)
    names = map_concurrently(lambda _number: threading.current_thread().name, range(50))
    assert None not in names
    assert threading.current_thread().name not in names


def test_without_a_thread_it_is_done_by_the_one_who_asks() -> None:
    script = "print(json.dumps(map_concurrently(lambda each: (each, threading.current_thread() is threading.main_thread()), range(20))))"
    assert told(script) == [[number, True] for number in range(20)]


def test_without_a_thread_nothing_more_is_begun_when_the_time_is_up() -> None:
    script = """
begun = []
def look(number):
    begun.append(number)
    time.sleep(0.05)
    return number
found = map_concurrently(look, range(1000), 0.2)
print(json.dumps([begun == list(range(len(begun))), len(begun) < 1000, found[: len(begun)] == begun, set(found[len(begun) :]) == {None}]))
"""
    assert told(script) == [True] * 4
