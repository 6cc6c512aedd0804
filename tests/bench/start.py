# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A start with nothing to change beside the engine's plain start of an equal container, answer to answer."""

from __future__ import annotations

import time

from ansible_collections.fleet.power.plugins.module_utils._power.actions.turn.perform import perform
from ansible_collections.fleet.power.tests.bench.measure import Row, difference, in_turn
from ansible_collections.fleet.power.tests.integration.lab import Lab, wait_until

_ROUNDS = 25
_FILES = 500


def measure(lab: Lab) -> Row:
    """The row of the table. Ours includes all that a front door does after its options are read: connection, lock, journal, pre-boot."""
    uuid = lab.server(done=(), build={"disk_space": 1024})
    assert lab.power("start", uuid).outcome.value == "done"
    for number in range(_FILES):
        (lab.volume(uuid) / f"region-{number}").write_bytes(b"x" * 1000)
    _end(lab, uuid)
    assert lab.power("start", uuid).outcome.value == "done"

    def ours() -> float:
        _end(lab, uuid)
        node = lab.node()
        request = lab.request("start", uuid, node)
        began = time.monotonic()
        result = perform(request, node)
        seconds = time.monotonic() - began
        node.journal.close()
        assert (result.outcome.value, [step.step for step in result.preboot if step.changed]) == ("done", [])
        return seconds

    def plain() -> float:
        _end(lab, uuid)
        began = time.monotonic()
        lab.client.start(uuid)
        return time.monotonic() - began

    mine, other = in_turn(ours, plain, _ROUNDS)
    note = f"its data directory has {_FILES} files, whose owner and size are looked at twice"
    return difference("start, nothing to change", mine, other, "plain start", 60, [note])


def _end(lab: Lab, uuid: str) -> None:
    """Have the server offline, whoever started it."""
    if lab.is_up(uuid):
        lab.client.kill(uuid)
    wait_until(lambda: not lab.is_up(uuid), "the end of the server")
