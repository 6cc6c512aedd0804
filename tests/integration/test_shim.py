# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The HTTP shim on a real engine does accepted actions in order, even after its process was killed."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import signal
import socket
import sqlite3
from datetime import datetime, timedelta, timezone

import pytest

from .lab import Lab, wait_until
from .many import FOR_EVER, end
from .shim import TOKEN, Shim, again, configure, shim_on


def outcome(entry: dict[str, object]) -> tuple[object, object]:
    return entry["outcome"], entry.get("code", "")


def stopping(lab: Lab, shim: Shim, server: str, wait_seconds: int | None = None) -> str:
    """Start a server and begin to stop it; return the location of the stop's operation."""
    shim.done(server, "start")
    lab.await_ready(server)
    location = shim.took(server, "stop", wait_seconds)
    lab.await_phase(server, "stop")
    return location


def test_the_operation_of_each_action_reports_its_outcome(lab: Lab, shim: Shim) -> None:
    server = lab.server(name="Cobalt")
    start = shim.done(server, "start")
    assert (outcome(start), start["state_before"], start["state"]) == (("done", ""), "offline", "starting")
    assert (start["server"], start["name"], start["action"], start["changed"]) == (server, "Cobalt", "start", True)
    first = lab.container(server)
    restart = shim.done(server, "restart")
    assert (outcome(restart), restart["stop"]["forced"]) == (("done", ""), False)
    second = lab.container(server)
    assert first is not None and second is not None
    assert first["State"]["StartedAt"] != second["State"]["StartedAt"]
    assert outcome(shim.done(server, "start")) == ("unchanged", "")
    assert outcome(shim.done(server, "stop")) == ("done", "")
    assert outcome(shim.done(server, "stop")) == ("unchanged", "")
    shim.done(server, "start")
    killed = shim.done(server, "kill")
    assert (outcome(killed), killed["state"], lab.is_up(server)) == (("done", ""), "offline", False)


def test_actions_run_in_the_order_accepted(lab: Lab, shim: Shim) -> None:
    server = lab.server()
    actions = ["start", "stop", "start", "restart", "stop"]
    locations = [shim.took(server, action, 60) for action in actions]
    ended = [shim.operation(location, wait=60) for location in locations]
    assert [outcome(each) for each in ended] == [("done", "")] * 5
    assert [each["state"] for each in ended] == ["starting", "offline", "starting", "starting", "offline"]


def test_the_queue_takes_sixteen_actions_and_then_only_kills(lab: Lab, shim: Shim) -> None:
    server = lab.server(STOP_SECONDS=60, IGNORE_SIGNALS="all")
    stopping(lab, shim, server, 300)
    for _unused in range(16):
        shim.took(server, "start", 300)
    answer = shim.power(server, "start", 300)
    assert answer.status == 503
    assert "error" in answer.json
    # An action with `wait_seconds` 0 needs no place in the queue.
    assert outcome(shim.done(server, "restart", 0)) == ("refused", "lock_timeout")
    assert shim.power(server, "start", 300).status == 503
    assert outcome(shim.done(server, "kill")) == ("done", "")
    assert outcome(shim.done(server, "start")) == ("done", "")


def test_a_kill_overtakes_and_cancels_earlier_actions(lab: Lab, shim: Shim) -> None:
    server = lab.server(STOP_SECONDS=60, IGNORE_SIGNALS="all")
    stop = stopping(lab, shim, server, 60)
    waiting = [shim.took(server, action, 60) for action in ("start", "restart", "stop")]
    kill = shim.done(server, "kill")
    assert (outcome(kill), kill["state"]) == (("done", ""), "offline")
    assert [outcome(shim.operation(each, wait=10)) for each in waiting] == [("cancelled", "cancelled_by_kill")] * 3
    assert shim.operation(stop, wait=10)["stop"]["forced"] is True
    assert not lab.is_up(server)


def test_a_start_accepted_after_a_kill_runs_after_the_kill(lab: Lab, shim: Shim) -> None:
    server = lab.server()
    shim.done(server, "start")
    for _round in range(5):
        locations = [shim.took(server, action) for action in ("kill", "start")]
        assert [outcome(shim.operation(location, wait=30)) for location in locations] == [("done", ""), ("done", "")]
        assert lab.is_up(server)


@pytest.mark.long
def test_another_process_and_the_http_shim_take_turns(lab: Lab, shim: Shim) -> None:
    server = lab.server()
    with lab.actor("restart", server, wait_seconds=60, gate=True) as actor:
        actor.await_gate()
        actor.go()
        locations = [shim.took(server, action, 60) for action in ("restart", "stop", "start")]
        assert actor.result()["outcome"] == "done"
    assert {shim.operation(each, wait=60)["outcome"] for each in locations} <= {"done", "unchanged"}
    assert lab.is_up(server)
    assert not lab.node().locks.has_record(server)


def test_the_next_process_does_the_actions_that_a_killed_process_accepted(lab: Lab) -> None:
    server = lab.server(STOP_SECONDS=FOR_EVER)
    lab.power("start", server)
    lab.await_ready(server)
    with lab.actor("stop", server) as actor:
        lab.await_phase(server, "stop")
        with shim_on(lab) as shim:
            locations = [shim.took(server, action, 60) for action in ("start", "restart")]
            shim.kill()
        assert [row.outcome for row in lab.node().journal.operations.of(server)[:2]] == ["", ""]
        with again(lab) as shim:
            assert shim.events("resumed")[0]["actions"] == 2
            end(lab, server)
            # The started server stops as slowly.
            assert outcome(shim.operation(locations[0], wait=60)) == ("done", "")
            lab.await_phase(server, "stop")
            end(lab, server)
            assert outcome(shim.operation(locations[1], wait=60)) == ("done", "")
        actor.result()
    assert lab.is_up(server)


def test_the_next_process_does_an_accepted_kill_and_cancels_earlier_actions(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    server = lab.server()
    lab.power("start", server)
    configure(lab)
    with shim_on(lab) as shim:
        ids = [shim.done(server, "start")["id"], shim.done(server, "start")["id"], shim.done(server, "start")["id"]]
    unbegun(lab, {ids[0]: "restart", ids[1]: "kill", ids[2]: "start"})
    with again(lab) as shim:
        ended = [shim.operation(f"/api/servers/{server}/operations/{each}", wait=30) for each in ids]
    assert [(each["action"], *outcome(each)) for each in ended] == [
        ("restart", "cancelled", "cancelled_by_kill"),
        ("kill", "done", ""),
        ("start", "done", ""),
    ]
    assert lab.is_up(server)


def unbegun(lab: Lab, operations: dict[str, str], age: timedelta = timedelta()) -> None:
    """Change operations of the journal to accepted ones that have not begun; ``age`` is the time since the 202."""
    at = datetime.now(timezone.utc) - age
    generation = {"generation": None}
    with sqlite3.connect(lab.root / "state" / "journal.sqlite") as connection:
        for operation, action in operations.items():
            connection.execute(
                "UPDATE operations SET action = ?, mark = '', begun_at = NULL, ended_at = NULL, outcome = NULL, code = NULL WHERE id = ?",
                (action, operation),
            )
            generation["generation"] = None if action == "kill" else 0
            deadline = (at + timedelta(seconds=30)).isoformat().replace("+00:00", "Z")
            connection.execute(
                """INSERT OR REPLACE INTO acceptances (id, wait_seconds, deadline, generation, boot, boot_seconds, wait_for, wait_timeout)
                VALUES (?, 30, ?, ?, '', 0, 'container', 300)""",
                (operation, deadline, generation["generation"]),
            )


def test_an_action_of_a_killed_process_becomes_interrupted_and_does_not_run_again(lab: Lab) -> None:
    server = lab.server(STOP_SECONDS=60, IGNORE_SIGNALS="all")
    with shim_on(lab) as shim:
        location = stopping(lab, shim, server)
        shim.kill()
    with again(lab) as shim:
        assert outcome(shim.operation(location)) == ("failed", "interrupted")
        assert shim.events("resumed")[0]["actions"] == 0
        assert outcome(shim.done(server, "kill")) == ("done", "")


def test_the_ending_shim_finishes_begun_actions_and_leaves_the_rest_to_the_next(lab: Lab) -> None:
    server = lab.server(STOP_SECONDS=FOR_EVER)
    with shim_on(lab) as shim, contextlib.closing(http.client.HTTPConnection(*shim.address, timeout=20.0)) as kept:
        shim.done(server, "start")
        lab.await_ready(server)
        stop, start = shim.took(server, "stop", 60), shim.took(server, "start", 60)
        lab.await_phase(server, "stop")
        kept.request("GET", "/healthz")
        assert kept.getresponse().read() == b'{"status":"ok"}'
        shim.signal(signal.SIGTERM)
        wait_until(lambda: shim.events("ending"), "the HTTP shim ends")
        kept.request("POST", f"/api/servers/{server}/power", b'{"action":"restart"}', {"Authorization": f"Bearer {TOKEN}"})
        refused = kept.getresponse()
        assert (refused.status, refused.headers["Connection"], "X-Operation-Id" in refused.headers) == (503, "close", False)
        assert b"this service is ending" in refused.read()
        end(lab, server)
        assert shim.child.wait(90.0) == 0
    assert not lab.is_up(server)
    assert [row.action for row in lab.node().journal.operations.of(server)] == ["start", "stop", "start"]
    rows = {row.action: row for row in lab.node().journal.operations.of(server)[:2]}
    assert (rows["stop"].outcome, rows["start"].outcome) == ("done", "")
    with again(lab) as shim:
        assert outcome(shim.operation(stop)) == ("done", "")
        assert outcome(shim.operation(start, wait=30)) == ("done", "")


def test_a_waiting_client_that_hangs_up_frees_its_place_and_the_action_goes_on(lab: Lab, shim: Shim) -> None:
    server = lab.server(STOP_SECONDS=FOR_EVER)
    location = stopping(lab, shim, server, 60)
    asked = f"GET {location}?wait=300 HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {TOKEN}\r\n\r\n".encode()
    waiting = [socket.create_connection(shim.address) for _unused in range(30)]
    for each in waiting:
        each.sendall(asked)
    wait_until(lambda: connections(shim) > 30, "all of them wait")
    for each in waiting:
        each.close()
    # Only the connection of this request is left.
    wait_until(lambda: connections(shim) == 1, "all places are free")
    assert outcome(shim.operation(location)) == (None, "")
    end(lab, server)
    assert outcome(shim.operation(location, wait=30)) == ("done", "")
    assert not lab.is_up(server)


def connections(shim: Shim) -> int:
    (value,) = re.findall(r"^fleet_power_connections (\d+)", shim.ask("GET", "/metrics").body.decode(), re.MULTILINE)
    return int(value)


def test_without_a_journal_the_shim_accepts_only_a_kill_and_does_it(lab: Lab, shim: Shim) -> None:
    server = lab.server()
    shim.done(server, "start")
    journal = lab.root / "state" / "journal.sqlite"
    aside = journal.with_name("aside")
    journal.rename(aside)
    with sqlite3.connect(journal) as newer:
        newer.execute("PRAGMA user_version = 99")
    try:
        for action in ("start", "stop", "restart"):
            answer = shim.power(server, action)
            assert (answer.status, "x-operation-id" in answer.headers, "location" in answer.headers) == (503, False, False)
        assert shim.ask("GET", "/healthz", token=None).status == 503
        for path in ("", "/unknown?wait=1"):
            assert shim.ask("GET", f"/api/servers/{server}/operations{path}").status == 500
        for path in ("operations", "operations/11111111-0000-4000-8000-000000000001"):
            assert shim.ask("GET", f"/api/servers/{server}/{path}").status == 500
        wait_until(lambda: shim.events("journal_unreadable"), "the log says why")
        assert lab.is_up(server)
        answer = shim.power(server, "kill")
        assert (answer.status, answer.body) == (202, b"")
        assert ("x-operation-id" in answer.headers, "location" in answer.headers) == (False, False)
        wait_until(lambda: not lab.is_up(server), "the kill is done")
    finally:
        os.replace(aside, journal)
    assert outcome(shim.done(server, "start")) == ("done", "")


def test_a_second_process_on_one_lock_directory_is_refused(lab: Lab, shim: Shim) -> None:
    del shim
    with pytest.raises(AssertionError, match="another process already does so"):
        again(lab)
