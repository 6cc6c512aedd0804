# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""server_power_info: what it tells of servers, which ones it tells of, and that it neither waits, changes nor fails."""

from __future__ import annotations

import os
import re
import secrets
from typing import Any

import pytest

from .controller import Controller, warnings_of
from .engine_proxy import EngineProxy
from .lab import IMAGE, Lab, wait_until
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


def test_a_server_that_never_ran_has_no_container_intent_or_operation(lab: Lab, controller: Controller) -> None:
    entry = look_at(controller, lab.server(suspended=True))
    assert list(entry) == FIELDS
    assert entry["supervision"]["state"] == "ok"
    assert [entry[name] for name in FIELDS[3:-2]] == ["offline", "unknown", True, 100, None, {}, None, None, None, None, None, None]
    assert entry["players"] is None
    assert not (lab.root / "state").exists() and not (lab.root / "run").exists()


def test_what_places_a_server_among_others_and_its_last_operations_are_told(lab: Lab, controller: Controller) -> None:
    uuid = lab.up()
    lab.edit(uuid, meta={"name": "Proxy", "priority": 10}, egg={"id": "5d7b0c1e", "file_denylist": []}, labels={"tier": "front"})
    lab.power("stop", uuid)
    entry = look_at(controller, "Proxy", operations=2)
    assert (entry["priority"], entry["egg"], entry["labels"]) == (10, "5d7b0c1e", {"tier": "front"})
    assert [operation["action"] for operation in entry["operations"]] == ["stop", "start"]
    assert entry["operations"][0] == entry["last_operation"]
    assert look(controller, operations=101)["code"] == "settings_invalid"


def test_a_server_that_crashed_shows_its_exit(lab: Lab, controller: Controller) -> None:
    uuid = lab.up(CRASH_AFTER=0.2, EXIT_CODE=7)
    wait_until(lambda: not lab.is_up(uuid), "the crash")
    entry = look_at(controller, uuid)
    assert (entry["state"], entry["container"]["exit_code"], entry["container"]["oom_killed"]) == ("offline", 7, False)
    assert entry["container"]["finished_at"] > entry["container"]["started_at"]
    assert entry["intent"]["up"] is True


@pytest.mark.long
def test_a_server_that_became_ready_unwatched_is_running(lab: Lab, controller: Controller) -> None:
    uuid = lab.server(BOOT_SECONDS=3)
    lab.power("start", uuid)
    booting = look_at(controller, uuid)
    assert (booting["state"], booting["startup"]) == ("starting", "waiting")
    lab.await_ready(uuid)
    ready = look_at(controller, uuid)
    assert (ready["state"], ready["startup"]) == ("running", "matched")


@pytest.mark.long
def test_health_is_told_where_the_image_checks_it(lab: Lab, controller: Controller) -> None:
    uuid = lab.server(image="~fleet-power/testserver:health")
    assert lab.power("start", uuid, wait_for="healthy").outcome.value == "done"
    assert look_at(controller, uuid)["container"]["health"] == "healthy"


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


@pytest.mark.long
def test_tail_gives_the_end_of_the_log_with_secrets_masked(lab: Lab, controller: Controller) -> None:
    uuid = lab.up(TOKEN="hunter2-hunter2", MARK=1)
    lab.node().engine.write_stdin(uuid, "say hunter2-hunter2\n")
    wait_until(lambda: "got command" in lab.log(uuid), "the command arrived")
    assert look_at(controller, uuid, tail=1)["log"] == ["got command say ********, ignored"]
    assert look_at(controller, uuid, tail=10)["log"][0] == "ready"
    assert look_at(controller, lab.server(), tail=3)["log"] == []
    assert "log" not in look_at(controller, uuid)


def test_without_a_selection_all_that_is_defined_or_has_a_container_is_told(lab: Lab, controller: Controller) -> None:
    defined, up, by_task = lab.server(), lab.up(), lab.server()
    task_definition = lab.definition(by_task)
    for uuid in (up, by_task):
        (lab.root / "servers" / f"{uuid}.json").unlink()
    # On an engine shared with other tests there are more.
    told = {entry["server"]: entry["state"] for entry in look(controller, definitions=[task_definition])["servers"]}
    assert {uuid: told.get(uuid) for uuid in (defined, up, by_task)} == {defined: "offline", up: "running", by_task: "offline"}


def test_servers_are_asked_about_at_the_same_time_and_told_in_the_order_asked(lab: Lab, controller: Controller, proxy: EngineProxy) -> None:
    up = [lab.up() for _number in range(3)]
    never = [lab.server() for _number in range(13)]
    asked = [*never[:6], *up, *never[6:]]
    proxy.latency = lambda request: 0.25 if request.path.endswith("/json") else 0.0
    result = look(controller, server=asked, docker_host=proxy.host)
    assert [(entry["server"], entry["state"]) for entry in result["servers"]] == [
        (uuid, "running" if uuid in up else "offline") for uuid in asked
    ]
    inspects = [request for request in proxy.seen if re.search(r"/containers/[0-9a-f-]+/json", request.path)]
    assert len(inspects) == len(asked), "each once"
    under_way = [sum(1 for other in inspects if other.at <= each.at < (other.answered_at or 0.0)) for each in inspects]
    assert 2 <= max(under_way) <= 8


def test_a_server_named_twice_is_told_once_and_an_unknown_one_is_a_warning(lab: Lab, controller: Controller) -> None:
    first, second = lab.server(name="First"), lab.server(name="Second")
    result = look(controller, server=["Second", first, "Nobody", second[:8]])
    assert [entry["server"] for entry in result["servers"]] == [second, first]
    assert [warning for warning in warnings_of(result) if "Nobody" in warning]


def test_a_broken_definition_is_a_warning_and_what_it_would_have_told_is_null(lab: Lab, controller: Controller) -> None:
    uuid, whole = lab.server(), lab.server(name="Whole")
    (lab.root / "servers" / f"{uuid}.json").write_text("{")
    result = look(controller, server=[uuid, whole])
    broken, other = result["servers"]
    assert (broken["server"], broken["suspended"], broken["state"]) == (uuid, None, "offline")
    assert (other["name"], other["suspended"]) == ("Whole", False)
    assert len([warning for warning in warnings_of(result) if f"{uuid}.json" in warning]) == 1


def test_a_directory_of_definitions_that_is_none_is_a_warning(lab: Lab, controller: Controller) -> None:
    uuid = lab.up()
    (lab.root / "servers").rename(lab.root / "moved")
    (lab.root / "servers").write_text("in the way")
    result = look(controller)
    assert uuid in [entry["server"] for entry in result["servers"]]
    assert len([warning for warning in warnings_of(result) if f"{lab.root}/servers" in warning]) == 1


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


def test_a_lock_directory_that_is_none_holds_no_lock(lab: Lab, controller: Controller) -> None:
    uuid = lab.up()
    (lab.root / "run").rename(lab.root / "moved")
    (lab.root / "run").write_text("in the way")
    entry = look_at(controller, uuid)
    assert (entry["state"], entry["lock"]) == ("running", None)


def test_without_an_engine_it_fails_with_one_sentence(lab: Lab, controller: Controller) -> None:
    result = look(controller, docker_host=f"unix://{lab.root}/none.sock")
    assert (result["failed"], result["code"]) == (True, "engine_unreachable")
    assert os.linesep not in result["msg"]
    assert "servers" not in result


# ----- what is unknown is not absent


def test_a_server_that_cannot_be_inspected_is_told_as_one_that_could_not_be_seen(
    lab: Lab, controller: Controller, proxy: EngineProxy
) -> None:
    seen, hidden = lab.up(), lab.up(name="Hidden")
    proxy.fail("GET", rf"/containers/{hidden}/json")
    for named in ({}, {"server": [seen, "Hidden"]}):
        result = look(controller, docker_host=proxy.host, **named)
        entries = {entry["server"]: entry for entry in result["servers"]}
        assert (entries[seen]["state"], list(entries[seen])) == ("running", FIELDS)
        assert list(entries[hidden]) == [*FIELDS, "code", "msg"]
        known = {"server": hidden, "short_id": hidden[:8], "name": "Hidden", "code": "engine_error", "msg": entries[hidden]["msg"]}
        assert entries[hidden] == {**dict.fromkeys(FIELDS), **known}
        assert hidden in entries[hidden]["msg"] and "input/output error" in entries[hidden]["msg"]
        # The list itself is whole.
        assert (result["complete"], result.get("failed"), "msg" in result) == (True, None, False)


def test_a_server_for_which_the_engine_keeps_silent_hides_no_other(lab: Lab, controller: Controller, proxy: EngineProxy) -> None:
    seen, silent = lab.up(), lab.up()
    proxy.hold("GET", rf"/containers/{silent}/json")
    result = look(controller, docker_host=proxy.host, server=[silent, seen], timeout=2)
    assert [(entry["server"], entry["state"], entry.get("code")) for entry in result["servers"]] == [
        (silent, None, "engine_unreachable"),
        (seen, "running", None),
    ]
    # Alone, too: the engine's list works, so that it is this server.
    (entry,) = look(controller, docker_host=proxy.host, server=silent, timeout=2)["servers"]
    assert (entry["server"], entry["state"], entry["code"]) == (silent, None, "engine_unreachable")


def test_a_directory_that_cannot_be_listed_makes_all_incomplete_and_a_name_unknown(lab: Lab, controller: Controller) -> None:
    uuid = lab.up()
    (lab.root / "servers").rename(lab.root / "moved")
    (lab.root / "servers").write_text("in the way")
    result = look(controller)
    assert uuid in [entry["server"] for entry in result["servers"]]
    assert result["complete"] is False and f"{lab.root}/servers" in result["msg"]
    named = look(controller, server=[uuid, "Nobody"])
    assert named["complete"] is True
    assert [(entry["server"], entry["state"], entry.get("code")) for entry in named["servers"]] == [
        (uuid, "running", None),
        ("Nobody", None, "source_unreachable"),
    ]


def test_a_name_may_be_in_a_definition_that_nobody_can_read(lab: Lab, controller: Controller) -> None:
    # What is in no definition is looked for on the engine, which has servers of other tests, too.
    name = f"Lobby {secrets.token_hex(4)}"
    uuid = lab.server(name=name)
    (lab.root / "servers" / f"{uuid}.json").write_text("{")
    (entry,) = look(controller, server=name)["servers"]
    assert (entry["server"], entry["short_id"], entry["state"], entry["code"]) == (name, None, None, "definition_invalid")
