# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""server_power_info: what it tells of servers, which ones it tells of, and that it neither waits, changes nor fails."""

from __future__ import annotations

from typing import Any

import pytest

from .controller import Controller, warnings_of
from .lab import IMAGE, Lab
from .test_check_mode import trace

FIELDS = [
    *("server", "short_id", "name", "state", "startup", "suspended", "priority", "egg", "labels"),
    *("container", "outdated", "lock", "countdown", "intent", "last_operation", "supervision", "players"),
]


def look(controller: Controller, **options: object) -> dict[str, Any]:
    """The module's result, run as on a node."""
    return controller.run_module("server_power_info", **controller.options(**options))


def look_at(controller: Controller, server: str, **options: object) -> dict[str, Any]:
    """The entry of one server."""
    (entry,) = look(controller, server=server, **options)["servers"]
    assert isinstance(entry, dict)
    return entry


def test_a_running_server_is_told_whole(lab: Lab, controller: Controller) -> None:
    uuid = lab.up(name="Cobalt")
    run = controller.info(server="Cobalt")
    assert run.code == 0, run.output
    assert run.result["changed"] is False
    entry, container = run.server, lab.container(uuid)
    assert container is not None
    assert list(entry) == FIELDS
    assert [entry[name] for name in FIELDS[:6]] == [uuid, uuid[:8], "Cobalt", "running", "matched", False]
    assert entry["container"] == {
        "id": container["Id"],
        "image": IMAGE.lstrip("~"),
        "started_at": container["State"]["StartedAt"],
        "finished_at": None,
        "exit_code": None,
        "oom_killed": False,
        "health": None,
        "paused": False,
    }
    assert entry["lock"] is None
    assert (entry["intent"]["up"], entry["intent"]["origin"]) == (True, "test")
    operation = entry["last_operation"]
    assert [operation[name] for name in ("action", "origin", "outcome", "code")] == ["start", "test", "done", ""]
    assert operation["requested_at"] < operation["ended_at"]


def test_a_holder_is_named_and_never_waited_for(lab: Lab, controller: Controller) -> None:
    uuid = lab.up(STOP_SECONDS=60)
    with lab.actor("stop", uuid, reason="maintenance") as stop:
        lab.await_phase(uuid, "stop")
        entry = look_at(controller, uuid)
        assert (entry["state"], entry["lock"]["pid"], entry["lock"]["reason"]) == ("stopping", stop.pid, "maintenance")
        assert (entry["last_operation"]["action"], entry["last_operation"]["outcome"]) == ("stop", "")
        stop.kill()
    entry = look_at(controller, uuid)
    assert (entry["state"], entry["lock"]) == ("stopping", None)
    assert (entry["last_operation"]["outcome"], entry["last_operation"]["code"]) == ("failed", "interrupted")


def test_looking_takes_no_lock_and_changes_nothing(lab: Lab, controller: Controller) -> None:
    uuid = lab.up()
    traces = trace(lab)
    look_at(controller, uuid, tail=5)
    assert trace(lab) == traces


@pytest.mark.samples("garbage")
@pytest.mark.parametrize("garbage", [b"no database", None], ids=["garbage", "a directory"])
def test_a_broken_journal_is_one_warning_and_what_it_would_have_told_is_null(
    lab: Lab, controller: Controller, garbage: bytes | None
) -> None:
    uuid, other = lab.up(), lab.up()
    journal = lab.root / "state" / "journal.sqlite"
    journal.unlink()
    if garbage is None:
        journal.mkdir()
    else:
        journal.write_bytes(garbage * 1000)
    traces = trace(lab)
    result = look(controller, server=[uuid, other], crashes=1)
    names = ("state", "intent", "last_operation", "supervision", "crashes")
    assert [[entry[name] for name in names] for entry in result["servers"]] == [["running", *[None] * 4]] * 2
    assert len([warning for warning in warnings_of(result) if "journal" in warning]) == 1
    assert trace(lab) == traces
