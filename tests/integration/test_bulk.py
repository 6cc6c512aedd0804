# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Many servers in one task: what becomes of one hides nothing of the others, and no more are acted on than asked for."""

from __future__ import annotations

import shutil
import uuid as uuid_module

import pytest

from .controller import Controller, result_of
from .lab import Lab
from .many import (
    FOR_EVER,
    await_ended,
    end,
    endings,
    last_operations,
    most_at_once,
    power_each,
    seconds,
    servers,
    shown_endings,
    started,
    starts,
)


def nine_bad_ones(lab: Lab) -> dict[str, str]:
    """Nine servers that cannot be restarted, as they are asked for, each for a reason of its own: with its code."""
    broken, foreign = lab.server(), lab.server()
    (lab.root / "servers" / f"{broken}.json").write_text('{"settings": ')
    lab.outsider(foreign)
    full = lab.server(build={"disk_space": 1})
    lab.volume(full).mkdir(parents=True)
    (lab.volume(full) / "world").write_bytes(b"w" * 2_000_000)
    bereft = lab.server()
    assert lab.power("start", bereft).outcome.value == "done"
    lab.power("kill", bereft)
    shutil.rmtree(lab.volume(bereft))
    for _unused in range(2):
        lab.server(name="Twin")
    return {
        str(uuid_module.uuid4()): "server_not_found",
        broken: "definition_invalid",
        lab.server(suspended=True): "suspended",
        foreign: "container_foreign",
        lab.server(image="~fleet-power/absent:1"): "image_unavailable",
        full: "disk_full",
        bereft: "volume_missing",
        lab.server(CRASH_AFTER=0, EXIT_CODE=3): "start_failed",
        "Twin": "ambiguous_server",
    }


@pytest.mark.parametrize("fine", [10, pytest.param(40, marks=pytest.mark.long)])
def test_of_many_servers_the_ten_bad_ones_fail_each_with_its_code_and_the_others_are_done(
    lab: Lab, controller: Controller, fine: int
) -> None:
    bad = nine_bad_ones(lab)
    good = started(lab, fine // 4) + servers(lab, fine - fine // 4)
    (locked,) = started(lab, 1, STOP_SECONDS=FOR_EVER)
    expected = {**bad, locked: "lock_timeout"}
    asked = [name for pair in zip(expected, good) for name in pair] + good[len(expected) :]
    name = lab.definition(good[0])["settings"]["meta"]["name"]
    # Twice by other names: once, where it was named first.
    asked += [good[0].upper(), good[0][:8], name]
    with lab.actor("stop", locked) as stop:
        lab.await_phase(locked, "stop")
        result = controller.run_module(
            **controller.options(action="restart", server=asked, wait_seconds=0, wait_for="running", timeout=120, wait_timeout=120)
        )
        end(lab, locked)
        assert stop.result()["outcome"] == "done"
    assert [entry["server"] for entry in result["servers"]] == asked[: 10 + fine]
    found = {entry["server"]: entry.get("code", "") for entry in result["servers"]}
    assert {server: code for server, code in found.items() if code} == expected
    assert result["summary"]["done"] == fine
    assert {entry["outcome"] for entry in result["servers"] if entry["server"] in bad} == {"refused", "failed"}
    assert result["failed"] and result["changed"] and len(result["summary"]["text"]) == 10
    assert all(lab.is_up(uuid) for uuid in good)


def test_past_the_budget_those_under_way_are_finished_and_no_other_is_touched(lab: Lab, controller: Controller) -> None:
    slow, *rest = started(lab, 5, STOP_SECONDS=FOR_EVER)
    bad = [lab.server(suspended=True) for _unused in range(2)]
    before = starts(lab, rest), last_operations(lab, rest)
    options = controller.options(action="restart", server=[slow, *bad, *rest], max_parallel=2, max_failures=1)
    with controller.module(**options) as module:
        lab.await_phase(slow, "stop")
        # Two failures are more than one: from now on nothing begins, although a slot is free.
        await_ended(lab, "restart", bad)
        end(lab, slow)
        result = result_of(module.wait())
    assert shown_endings(result) == [("done", ""), *[("refused", "suspended")] * 2, *[("skipped", "failure_budget")] * 4]
    assert result["failed"] and result["msg"].startswith("Cannot restart 6 of 7 servers")
    assert not any(entry["changed"] for entry in result["servers"][1:])
    assert (starts(lab, rest), last_operations(lab, rest)) == before


def test_max_parallel_bounds_servers_from_their_turn_to_the_end_of_their_wait(lab: Lab) -> None:
    uuids = servers(lab, 8, BOOT_SECONDS=0.5)
    assert set(endings(power_each(lab, "start", uuids, max_parallel=3, wait_for="running"))) == {("done", "")}
    turns = [(seconds(row.begun_at), seconds(row.ended_at)) for row in last_operations(lab, uuids).values()]
    assert most_at_once(turns) == 3
    assert min(ended - begun for begun, ended in turns) >= 0.5
