# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the engine's words on use mean, what operations and servers look like, and what a request's id is made of."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from pathlib import Path

from ansible_collections.fleet.power.plugins.module_utils._http_shim.acceptance.operation_view import of_result, of_row, of_ticket
from ansible_collections.fleet.power.plugins.module_utils._http_shim.acceptance.queue import Ticket
from ansible_collections.fleet.power.plugins.module_utils._http_shim.servers.server_view import ServerFlags, Utilization, server_entry
from ansible_collections.fleet.power.plugins.module_utils._power.definitions.definition import parse_definition
from ansible_collections.fleet.power.plugins.module_utils._power.endpoint.operation import read_operation
from ansible_collections.fleet.power.plugins.module_utils._power.engine.engine_use import use_of
from ansible_collections.fleet.power.plugins.module_utils._power.journal.acceptance import Acceptance
from ansible_collections.fleet.power.plugins.module_utils._power.journal.operations import OperationRow
from ansible_collections.fleet.power.plugins.module_utils._power.model.request import PowerAction
from ansible_collections.fleet.power.plugins.module_utils._power.model.result import Outcome, Result, StopReport
from ansible_collections.fleet.power.plugins.module_utils._power.model.server import PowerState, Server

FIXTURES = Path(__file__).parent / "fixtures" / "definitions"
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


def test_a_container_that_does_not_run_uses_nothing() -> None:
    assert use_of(stats(memory_stats={})) is None
    assert use_of(stats(read="0001-01-01T00:00:00Z")) is None
    assert use_of({}) is None


def test_the_cpu_is_what_was_used_between_two_looks_in_percent_of_a_core() -> None:
    before, now = use_of(stats()), use_of(stats(read="2026-03-01T12:00:02.5Z", cpu_stats={"cpu_usage": {"total_usage": 5_500_000_000}}))
    assert before is not None and now is not None
    assert now.cpu_percent_since(before) == 150.0
    assert before.cpu_percent_since(before) == before.cpu_percent_since(now) == 0.0


def test_secrets_of_a_start_command_are_shown_with_the_environment_alone() -> None:
    raw = json.loads((FIXTURES / "paper.json").read_text())
    raw["settings"].update(invocation="./serve --token=hunter2-token \\\nswordfish\n{{PORT}}", environment={"RCON": "swordfish"})
    definition = parse_definition(raw, where="paper.json")
    shown = [
        server_entry(definition.server, PowerState.OFFLINE, definition, Utilization(), ServerFlags(environment=environment))
        for environment in (False, True)
    ]
    assert shown[0]["configuration"]["invocation"] == "./serve --token=******** \\\n********\n{{PORT}}"
    assert shown[1]["configuration"]["invocation"] == definition.invocation


def test_our_own_client_understands_an_operation_in_each_of_its_forms() -> None:
    waits = read_operation(of_ticket(Ticket(TAKEN, 0.0)))
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
