# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The cost of results that survive a power cut: restarts with and without the journal's syncs, of at least 5 ms each."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import datetime, timezone

from ansible_collections.fleet.power.plugins.module_utils._power.actions.many.bulk import perform_each
from ansible_collections.fleet.power.plugins.module_utils._power.actions.node.limiter import Limiter
from ansible_collections.fleet.power.plugins.module_utils._power.call import open_call
from ansible_collections.fleet.power.plugins.module_utils._power.journal import journal_file
from ansible_collections.fleet.power.plugins.module_utils._power.model.request import PowerAction, Request
from ansible_collections.fleet.power.tests.bench.many import servers
from ansible_collections.fleet.power.tests.bench.measure import Row, Spread, difference, in_turn, ratio
from ansible_collections.fleet.power.tests.integration.lab import Lab

_COUNT, _ROUNDS, _ROUNDS_OF_MANY = 40, 25, 5
_SYNC_SECONDS = 0.005


def measure(lab: Lab) -> list[Row]:
    """Measure one server, and many servers in one call."""
    neighbour = lab.node().journal
    with servers(lab, _COUNT) as uuids, closing(neighbour):
        neighbour.store.rewrite()
        one, one_without, syncs = _compare(lab, uuids[:1], _ROUNDS)
        many, many_without, syncs_of_many = _compare(lab, uuids, _ROUNDS_OF_MANY)
    return [
        difference("restart, with a sync of 5 ms", one, one_without, "without", 10, [_note(syncs, _ROUNDS)]),
        ratio(f"{_COUNT} restarts, with syncs of 5 ms", many, many_without, "without", 1.05, [_note(syncs_of_many, _ROUNDS_OF_MANY)]),
    ]


def _note(syncs: int, rounds: int) -> str:
    return f"{syncs / (rounds + 2):.1f} syncs each time"


def _compare(lab: Lab, uuids: Sequence[str], rounds: int) -> tuple[Spread, Spread, int]:
    """Return the samples with syncs and without, and the number of all syncs."""
    real, count = journal_file.sync_log, 0

    def sync(state_directory: str) -> None:
        nonlocal count
        until = time.monotonic() + _SYNC_SECONDS
        real(state_directory)
        count += 1
        time.sleep(max(0.0, until - time.monotonic()))

    def timed(sync: Callable[[str], None]) -> float:
        with _syncing_by(sync):
            began = time.monotonic()
            _restart(lab, uuids)
            return time.monotonic() - began

    ours, other = in_turn(lambda: timed(sync), lambda: timed(lambda _state_directory: None), rounds)
    return ours, other, count


@contextmanager
def _syncing_by(sync: Callable[[str], None]) -> Iterator[None]:
    real, journal_file.sync_log = journal_file.sync_log, sync
    try:
        yield
    finally:
        journal_file.sync_log = real


def _restart(lab: Lab, uuids: Sequence[str]) -> None:
    asked = Request("", PowerAction.RESTART, "", datetime.now(timezone.utc))
    with closing(open_call({"config": str(lab.config), "docker_host": lab.docker_host})) as call:
        results = perform_each(call.targets(uuids, asked), call.act, Limiter(8))
    assert [each.outcome.value for each in results] == ["done"] * len(uuids), [each.msg for each in results]
