# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When nothing is judged or started: beside Wings, in a maintenance, after too many crashes; and what ends it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.host.supervisor_record import read_record
from ansible_collections.fleet.power.plugins.module_utils._supervisor import connection_watch, service

from .lab import Lab, ended, wait_until
from .supervisors import Supervising, SupervisingHere, await_run_after, await_verdicts, crash, rows_of, run_of, state_directory, verdicts


def paused(lab: Lab) -> str | None:
    record = read_record(str(state_directory(lab)))
    return None if record is None else record.paused


def await_paused(lab: Lab, why: str) -> None:
    wait_until(lambda: paused(lab) == why, f"paused: {why!r}")


MEMORIES = {
    "one that goes on": (json.dumps({"phase": "stopping"}), "maintenance"),
    "one of another version": (json.dumps({"stage": 3}), "maintenance_unreadable"),
    "broken": ('{"phase": ', "maintenance_unreadable"),
    "nested": ("[" * 100_000, "maintenance_unreadable"),
}


@pytest.mark.samples("one that goes on")
@pytest.mark.parametrize("memory", MEMORIES)
def test_in_a_maintenance_nothing_is_started_and_what_is_due_is_made_up_for(lab: Lab, memory: str) -> None:
    uuid, file = lab.up(), state_directory(lab) / "maintenance.json"
    with Supervising(lab):
        text, why = MEMORIES[memory]
        file.write_text(text)
        # It is looked for before a start, if that was not done just now.
        time.sleep(connection_watch._DUE_PAUSE_SECONDS)
        before = crash(lab, uuid)
        (row,) = await_verdicts(lab, uuid, "crashed")
        await_paused(lab, why)
        time.sleep(1.0)
        assert (row.due, lab.is_up(uuid)) == (True, False)
        file.unlink()
        await_run_after(lab, uuid, before)
        await_paused(lab, "")


@pytest.fixture(name="wings")
def wings_at_will(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """The pid of Wings for supervisors of this process, if one is in the list; what they look for comes sooner."""
    found: list[int] = []
    build = service.build_node
    monkeypatch.setattr(
        service, "build_node", lambda *given, **named: replace(build(*given, **named), wings_pid=lambda: found[0] if found else None)
    )
    monkeypatch.setattr(connection_watch, "_PAUSE_SECONDS", 0.2)
    return found


def test_beside_wings_nothing_is_judged_or_started_and_after_it_what_is_down_is_left(lab: Lab, wings: list[int]) -> None:
    first, second = lab.up(), lab.up()
    with SupervisingHere(lab):
        wings.append(4321)
        await_paused(lab, "wings")
        crash(lab, first)
        time.sleep(1.0)
        assert (lab.is_up(first), verdicts(lab, first)) == (False, [])
        wings.clear()
        await_verdicts(lab, first, "initially_down")
        await_paused(lab, "")
        time.sleep(0.5)
        assert not lab.is_up(first)
        await_run_after(lab, second, crash(lab, second))
        assert ended(lab.power("start", first)) == ("done", "")
        await_run_after(lab, first, crash(lab, first))


def test_who_has_given_up_is_set_free_by_a_start_and_by_a_changed_definition(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_watch, "_ALL_SECONDS", 0.5)
    lab.write_settings(supervisor={"max_restarts": 0})
    uuid = lab.up()
    with SupervisingHere(lab):
        before = crash(lab, uuid)
        (row,) = await_verdicts(lab, uuid, "crashed")
        time.sleep(1.5)
        assert (lab.is_up(uuid), row.due, row.consecutive_crashes) == (False, True, 1)
        lab.edit(uuid, environment={"FIXED": "yes"})
        await_run_after(lab, uuid, before)
        wait_until(lambda: rows_of(lab, uuid)[0].next_run == run_of(lab, uuid), "the row says what answered it")
        crash(lab, uuid)
        assert (await_verdicts(lab, uuid, "crashed", "crashed"))[0].consecutive_crashes == 1
        assert ended(lab.power("start", uuid)) == ("done", "")
        wait_until(lambda: not any(row.due for row in rows_of(lab, uuid)), "no start is due")
