# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A kill while another process holds the lock beside the engine's plain kill: from the request to the process's death."""

from __future__ import annotations

import contextlib
import os
import select
import threading
import time
from collections.abc import Callable

from ansible_collections.fleet.power.plugins.module_utils._power.actions.turn.perform import perform
from ansible_collections.fleet.power.tests.bench.measure import Row, Spread, difference, in_turn
from ansible_collections.fleet.power.tests.integration.lab import Lab

_ROUNDS = 12


def measure(lab: Lab) -> Row:
    """The row of the table. The holder is a restart in its stop: the server ignores the signal, so that only the kill can end it."""
    uuid = lab.server(stop={"type": "signal", "value": "SIGTERM"}, done=(), IGNORE_SIGNALS="TERM")
    certain: list[float] = []

    def ours() -> float:
        _start(lab, uuid)
        with lab.actor("restart", uuid) as holder:
            lab.await_phase(uuid, "stop")
            node = lab.node()
            request = lab.request("kill", uuid, node)
            began = time.monotonic()
            died = _seconds_to_death(lab, uuid, lambda: perform(request, node))
            certain.append(time.monotonic() - began)
            node.journal.close()
            assert holder.result()["code"] == "cancelled_by_kill"
        return died

    def plain() -> float:
        _start(lab, uuid)
        return _seconds_to_death(lab, uuid, lambda: lab.client.kill(uuid))

    mine, other = in_turn(ours, plain, _ROUNDS)
    note = f"until it is certain that the server stays down: {Spread(tuple(certain[-_ROUNDS:])).text()}"
    return difference("kill under a held lock", mine, other, "plain kill", 150, [note])


def _start(lab: Lab, uuid: str) -> None:
    result = lab.power("start", uuid)
    assert result.outcome.value == "done", result.msg
    assert lab.is_up(uuid)


def _seconds_to_death(lab: Lab, uuid: str, kill: Callable[[], object]) -> float:
    """Seconds from calling ``kill`` to the end of the server's process, which the kernel tells."""
    container = lab.container(uuid)
    assert container is not None
    descriptor = os.pidfd_open(container["State"]["Pid"])
    died_at: list[float] = []

    def watch() -> None:
        select.select([descriptor], [], [], 60)
        died_at.append(time.monotonic())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        began = time.monotonic()
        kill()
        watcher.join()
    finally:
        with contextlib.suppress(OSError):
            os.close(descriptor)
    return died_at[0] - began
