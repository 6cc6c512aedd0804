# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the HTTP face shows of a server and of itself: no secrets, and the version of the collection."""

from __future__ import annotations

import json
from pathlib import Path

import yaml
from ansible_collections.fleet.power.plugins.module_utils._http_shim.servers.wings_view import (
    VERSION,
    ServerFlags,
    Utilization,
    server_entry,
)
from ansible_collections.fleet.power.plugins.module_utils._power.definitions.definition import parse_definition
from ansible_collections.fleet.power.plugins.module_utils._power.engine.engine_answers import use_of
from ansible_collections.fleet.power.plugins.module_utils._power.model.server import PowerState

FIXTURES = Path(__file__).parent / "fixtures" / "definitions"


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


def test_the_version_is_that_of_the_collection() -> None:
    galaxy = yaml.safe_load((Path(__file__).resolve().parents[2] / "galaxy.yml").read_text())
    assert galaxy["version"] == VERSION
