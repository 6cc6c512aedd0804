# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the engine's words on use mean, what operations and servers look like, and what a request's id is made of."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone

from ansible_collections.fleet.power.plugins.module_utils.http_shim.operation_view import of_acceptance, of_result, of_row
from ansible_collections.fleet.power.plugins.module_utils.http_shim.request_id import RequestIds
from ansible_collections.fleet.power.plugins.module_utils.power.acceptance import Acceptance
from ansible_collections.fleet.power.plugins.module_utils.power.endpoint.seen import read_operation
from ansible_collections.fleet.power.plugins.module_utils.power.engine_use import use_of
from ansible_collections.fleet.power.plugins.module_utils.power.journal_rows import OperationRow
from ansible_collections.fleet.power.plugins.module_utils.power.model import Outcome, PowerAction, PowerState, Result, Server, StopReport

NOON = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)
SERVER = Server("aaaaaaaa-0000-4000-8000-000000000001", "alpha")
TAKEN = Acceptance("op-1", SERVER, PowerAction.STOP, "somebody", NOON, NOON, 30, NOON + timedelta(seconds=30), 0)


def stats(**fields: object) -> dict[str, object]:
    return {
        "read": "2026-03-01T12:00:00.5Z",
        "cpu_stats": {"cpu_usage": {"total_usage": 2_500_000_000}},
        "memory_stats": {"usage": 1000, "limit": 5000, "stats": {"inactive_file": 100}},
        "networks": {"eth0": {"rx_bytes": 1, "tx_bytes": 2}, "eth1": {"rx_bytes": 10, "tx_bytes": 20}},
        **fields,
    }


def test_use_is_read_from_either_version_of_control_groups() -> None:
    use = use_of(stats())
    assert use is not None
    assert (use.memory, use.memory_limit, use.cpu_seconds, use.received, use.sent) == (900, 5000, 2.5, 11, 22)
    old = use_of(stats(memory_stats={"usage": 1000, "limit": 5000, "stats": {"total_inactive_file": 300, "inactive_file": 1}}))
    assert old is not None
    assert old.memory == 700


def test_a_container_that_does_not_run_uses_nothing() -> None:
    assert use_of(stats(memory_stats={})) is None
    assert use_of(stats(read="0001-01-01T00:00:00Z")) is None
    assert use_of({}) is None


def test_the_cpu_is_what_was_used_between_two_looks_in_percent_of_a_core() -> None:
    before, now = use_of(stats()), use_of(stats(read="2026-03-01T12:00:02.5Z", cpu_stats={"cpu_usage": {"total_usage": 5_500_000_000}}))
    assert before is not None and now is not None
    assert now.cpu_percent_since(before) == 150.0
    assert before.cpu_percent_since(before) == before.cpu_percent_since(now) == 0.0


def test_our_own_client_understands_an_operation_in_each_of_its_forms() -> None:
    waits = read_operation(of_acceptance(TAKEN, begun=False))
    assert (waits.outcome, waits.is_of("op-1", SERVER.uuid, PowerAction.STOP)) == (None, True)
    result = Result(
        SERVER,
        PowerAction.STOP,
        Outcome.DONE,
        "op-1",
        NOON,
        NOON,
        changed=True,
        state_before=PowerState.RUNNING,
        state=PowerState.OFFLINE,
        stop=StopReport("command", True, 2.0),
        waited_seconds=1.5,
    )
    row = OperationRow(
        id="op-1",
        server=SERVER,
        action="stop",
        begun_at="x",
        outcome="done",
        changed=True,
        state_before="running",
        state="offline",
        stop_how="command",
        forced=True,
        stop_seconds=2.0,
        waited_seconds=1.5,
    )
    for shown in (of_result(TAKEN, result), of_row(row)):
        read = read_operation(shown)
        assert (read.outcome, read.changed, read.state_before, read.state) == (Outcome.DONE, True, PowerState.RUNNING, PowerState.OFFLINE)
        assert (read.stop, read.waited_seconds) == (StopReport("command", True, 2.0), 1.5)
        assert read.is_of("op-1", SERVER.uuid, PowerAction.STOP)
    assert read_operation(of_row(OperationRow(id="op-1", server=SERVER, action="stop"))).outcome is None


def test_ids_of_requests_are_uuids_of_version_4_and_all_different() -> None:
    ids = RequestIds()
    made = [ids.new() for _unused in range(2000)]
    assert len(set(made)) == len(made)
    pattern = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
    assert [each for each in made if not pattern.fullmatch(each)] == []
    assert {each[19] for each in made} == set("89ab")
