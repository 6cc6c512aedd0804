# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Threads of four processes write five hundred restarts to one journal at once. The row counts lost and refused writes."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

from ansible_collections.fleet.power.plugins.module_utils._power.model.server import Server
from ansible_collections.fleet.power.tests.bench.measure import Row, Spread
from ansible_collections.fleet.power.tests.unit.journal_support import FORK, Node, act

_ROUNDS, _PROCESSES, _THREADS = 5, 4, 125


def measure(root: Path) -> Row:
    """Count missing rows and warnings in all rounds together."""
    times, amiss = [], 0
    for number in range(_ROUNDS):
        node = Node(root / f"journal-{number}")
        seconds, warnings = _write(node)
        times.append(seconds)
        amiss += warnings + _PROCESSES * _THREADS - node.count()
    note = "from the first begin to the last end; each restart writes begin, run, intent, match and end"
    return Row("500 writers of one journal", Spread(tuple(times)), None, "", amiss, 0, "lost or refused", (note,))


def _write(node: Node) -> tuple[float, int]:
    barrier = FORK.Barrier(_PROCESSES + 1)
    answers = FORK.SimpleQueue()
    processes = [FORK.Process(target=_writers, args=(node, number, barrier, answers), daemon=True) for number in range(_PROCESSES)]
    for process in processes:
        process.start()
    barrier.wait(30)
    began = time.monotonic()
    warnings = sum(answers.get() for _process in processes)
    seconds = time.monotonic() - began
    for process in processes:
        process.join()
    return seconds, warnings


def _writers(node: Node, number: int, barrier: Any, answers: Any) -> None:
    journal = node.journal()
    together = threading.Barrier(_THREADS + 1)

    def write(thread: int) -> None:
        together.wait()
        act(journal, f"{number}-{thread}", Server(f"{number:04x}{thread:04x}-0000-4000-8000-000000000000", f"server {number}-{thread}"))

    threads = [threading.Thread(target=write, args=(thread,)) for thread in range(_THREADS)]
    for thread in threads:
        thread.start()
    barrier.wait(30)
    together.wait()
    for thread in threads:
        thread.join()
    journal.close()
    answers.put(len(journal.warnings))
