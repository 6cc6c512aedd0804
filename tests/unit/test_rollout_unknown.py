# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What could not be seen is never taken for absent: a run does not begin, or counts each as unknown, also when it is taken up."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.fleet.power.plugins.module_utils._fleet.rollout.record import Record, from_json, to_json
from ansible_collections.fleet.power.plugins.module_utils._fleet.rollout.run import begin, count
from ansible_collections.fleet.power.plugins.module_utils._fleet.rollout.values import RolloutError
from ansible_collections.fleet.power.tests.unit.rollout_support import LOST, all_done, ended, info, opened, part, told, unseen, uuid

ALLOWED: dict[str, Any] = {"allow_unknown": True, "max_failures": 9}


def outcomes(record: Record) -> dict[str, str]:
    """How each server ended by its name, or its node's where it has none, with its code."""
    return {row.name or row.server or str(row.node): f"{row.outcome} {row.code}".strip() for row in record.rows}


def kept(record: Record) -> Record:
    return from_json(to_json(record), "the file")


@pytest.mark.parametrize("action", ["start", "stop", "restart", "kill"])
def test_no_run_of_all_begins_while_a_server_cannot_be_seen(action: str) -> None:
    record = opened({"node-1": told(info(1), unseen(2))}, action=action, on_failure="continue", max_failures=9)
    assert record.stopped == (
        "Cannot see 1 server (node-1 Server 2: engine_error): nothing is begun; "
        "see to it, or give rollout_allow_unknown=true, and each of them counts as failed"
    )
    assert outcomes(record) == {"Server 1": "not_done", "Server 2": "unknown engine_error"}
    assert not record.is_good


def test_no_run_begins_while_a_list_is_not_whole() -> None:
    record = opened({"node-1": part(info(1)), "node-2": told(info(2))}, on_failure="continue", max_failures=9)
    assert record.stopped.startswith("Cannot list all servers of 1 node (node-1: incomplete): nothing is begun; see to it, or give")
    assert outcomes(record)["node-1"] == "unknown incomplete"


def test_where_it_is_allowed_each_is_unknown_uses_up_the_budget_and_is_left() -> None:
    seen = {"node-1": told(info(1), unseen(2)), "node-2": part(info(3))}
    record = opened(seen, **ALLOWED)
    assert not record.stopped
    all_done(record, 1)
    assert outcomes(record) == {
        "Server 1": "done",
        "Server 2": "unknown engine_error",
        "node-2": "unknown incomplete",
        "Server 3": "done",
    }
    assert (record.failures, record.is_good, len(record.left)) == (2, False, 2)
    assert opened(seen, allow_unknown=True, max_failures=1).stopped == "2 failed, 1 allowed"


@pytest.mark.parametrize("name", [uuid(2), "00000002", "Server 2"])
def test_a_named_server_that_cannot_be_seen_keeps_the_run_from_beginning(name: str) -> None:
    record = opened({"node-1": told(info(1), unseen(2))}, servers=["Server 1", name])
    assert "Server 2: engine_error" in record.stopped


def test_a_name_that_may_be_that_of_a_server_without_one_is_not_called_absent() -> None:
    nameless = {"node-1": told(info(1), unseen(2, name=""))}
    record = opened(nameless, servers=["Lobby"])
    assert record.stopped.startswith("Cannot see 1 server")
    with pytest.raises(RolloutError, match="Cannot find 00000003-"):
        opened(nameless, servers=[uuid(3)])
    with pytest.raises(RolloutError, match="Cannot find Lobby"):
        opened({"node-1": told(info(1), unseen(2))}, servers=["Lobby"])


def soaked(before: dict[str, Any], after: dict[str, Any]) -> str:
    """How a server ends that its node told of like this, right after its start and at the end of its soak."""
    record = opened({"node-1": told(info(1))})
    begin(record, 1)
    count(record, 1, {"node-1": ended([uuid(1)])}, ({"node-1": told(before)}, {"node-1": told(after)}))
    return outcomes(record)["Server 1"]


def test_a_server_that_cannot_be_seen_in_its_soak_is_unknown() -> None:
    assert soaked(info(1), info(1)) == "done"
    assert soaked(info(1), unseen(1)) == soaked(unseen(1), info(1)) == soaked(unseen(1), unseen(1)) == "unknown engine_error"


def test_a_server_that_was_to_come_and_cannot_be_seen_is_unknown_and_not_gone() -> None:
    old = kept(opened({"node-1": told(info(1), info(2)), "node-2": LOST}))
    assert old.stopped
    resumed = opened({"node-1": told(info(1), unseen(2)), "node-2": told()}, old)
    assert outcomes(resumed)["Server 2"] == "unknown engine_error"
    assert resumed.stopped.startswith("Cannot see 1 server")
    lacking = opened({"node-1": part(info(1)), "node-2": told()}, old)
    assert outcomes(lacking)["Server 2"] == "unknown incomplete"
    gone = opened({"node-1": told(info(1)), "node-2": told()}, old)
    assert outcomes(gone)["Server 2"] == "failed server_not_found"
