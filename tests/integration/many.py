# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Calls over many servers in this process, and look-ups of their progress and ends."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from typing import Any, TypeVar

from ansible_collections.fleet.power.plugins.module_utils._power.actions.many.bulk import perform_each
from ansible_collections.fleet.power.plugins.module_utils._power.actions.node.limiter import Limiter
from ansible_collections.fleet.power.plugins.module_utils._power.call import open_call
from ansible_collections.fleet.power.plugins.module_utils._power.journal.operations import OperationRow
from ansible_collections.fleet.power.plugins.module_utils._power.model.caller import Caller
from ansible_collections.fleet.power.plugins.module_utils._power.model.result import Result

from .lab import Lab, wait_until

#: A stop that lasts until the test calls `end`.
FOR_EVER = 3600
T = TypeVar("T")


def power_each(
    lab: Lab,
    action: str,
    names: Sequence[str],
    *,
    max_parallel: int = 0,
    max_failures: int | None = None,
    stagger: float = 0,
    priorities: Mapping[str, int] | None = None,
    interrupted: Callable[[], bool] = lambda: False,
    options: Mapping[str, Any] | None = None,
    **fields: Any,
) -> list[Result]:
    """One call as the module makes it. ``fields`` are of the request, ``options`` of the module. With ``priorities`` it is in order."""
    given = {"config": str(lab.config), "docker_host": lab.docker_host, **(options or {})}
    call = open_call(given, caller=Caller(interrupted), read_only=bool(fields.get("check")))
    try:
        # An empty name: the call resolves the names.
        asked = replace(lab.request(action, "", **fields), operation="")
        targets = call.targets(names, asked)
        order = None if priorities is None else call.priorities(targets, priorities)
        return perform_each(targets, call.act, Limiter(max_parallel, max_failures, stagger), order)
    finally:
        call.close()


def servers(lab: Lab, count: int, **environment: object) -> list[str]:
    return [lab.server(**environment) for _unused in range(count)]


def started(lab: Lab, count: int, **environment: object) -> list[str]:
    uuids = servers(lab, count, **environment)
    assert {result.outcome.value for result in power_each(lab, "start", uuids, wait_for="running")} == {"done"}
    return uuids


def end(lab: Lab, *uuids: str) -> None:
    """Kill servers at the engine; a server that is down already stays down."""
    import docker.errors

    for uuid in uuids:
        with contextlib.suppress(docker.errors.APIError):
            lab.client.kill(uuid)


@contextmanager
def beside(action: Callable[[], T], *let_go: Callable[[], object]) -> Iterator[Future[T]]:
    """Run ``action`` in a thread. The end of the block calls ``let_go``, even if the test fails."""
    with ThreadPoolExecutor(1) as pool:
        try:
            yield pool.submit(action)
        finally:
            for each in let_go:
                each()


def endings(results: Sequence[Result]) -> list[tuple[str, str]]:
    return [(result.outcome.value, result.code) for result in results]


def shown_endings(result: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(entry["outcome"], entry.get("code", "")) for entry in result["servers"]]


def phases(lab: Lab, uuids: Sequence[str]) -> list[str]:
    """The phase of the holder of each server's lock; empty for a free lock."""
    locks = lab.node().locks
    return ["" if (holder := locks.holder(uuid)) is None else holder.phase for uuid in uuids]


def await_phases(lab: Lab, uuids: Sequence[str], phase: str) -> None:
    """Wait until the holders of all these locks are in one phase at the same time."""
    wait_until(lambda: set(phases(lab, uuids)) == {phase}, f"all in phase {phase}", 60)


def starts(lab: Lab, uuids: Sequence[str]) -> dict[str, str]:
    """The last start of each server's container; empty without a container."""
    found = {uuid: lab.container(uuid) for uuid in uuids}
    return {uuid: "" if seen is None else str(seen["State"]["StartedAt"]) for uuid, seen in found.items()}


def last_operations(lab: Lab, uuids: Sequence[str]) -> dict[str, OperationRow]:
    journal = lab.node().journal
    try:
        return {uuid: found[0] for uuid, found in journal.operations.latest_of_each(uuids, 1).items()}
    finally:
        journal.close()


def await_ended(lab: Lab, action: str, uuids: Sequence[str]) -> None:
    """Wait until the last operation of each server is this action, and has ended."""

    def ended() -> bool:
        found = last_operations(lab, uuids)
        return len(found) == len(uuids) and all(row.action == action and row.outcome for row in found.values())

    wait_until(ended, f"the {action} of {len(uuids)} servers is in the journal", 60)


def seconds(text: str) -> float:
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def most_at_once(intervals: Sequence[tuple[float, float]]) -> int:
    """The highest number of intervals that overlap; touching ones do not overlap."""
    edges = sorted([(begin, 1) for begin, _end in intervals] + [(end_, -1) for _begin, end_ in intervals])
    most = now = 0
    for _moment, step in edges:
        now += step
        most = max(most, now)
    return most


def assert_all_free(lab: Lab, uuids: Sequence[str]) -> None:
    """Assert that each of these locks can be taken at the first try."""
    node = lab.node()
    for uuid in uuids:
        node.acquire(lab.request("stop", uuid, node), uuid, 0.0, lambda: None).release()
