# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command ``fleet-power``: actions, exit codes, signals, lists, logs and freezes on a real engine."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone

import pytest

from .command import argv, environment, fleet_power, with_config
from .engine_proxy import EngineProxy
from .lab import Lab, wait_until

FOR_EVER = 600


def tomorrow() -> str:
    return (datetime.now(timezone.utc) + timedelta(hours=20)).isoformat(timespec="seconds")


@contextmanager
def running(lab: Lab, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    command = argv(*with_config(lab, arguments))
    with subprocess.Popen(
        command, env=environment(lab), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as child:
        try:
            yield child
        finally:
            child.kill()


def operations(lab: Lab, uuid: str) -> list[tuple[str, str, str]]:
    return [(row.action, row.outcome, row.reason) for row in lab.operations(uuid)]


def test_the_actions_do_what_the_module_does_and_name_their_reason(lab: Lab) -> None:
    uuid = lab.server(name="Lobby")
    for action, state in (("start", True), ("restart", True), ("stop", False), ("start", True), ("kill", False)):
        seen = fleet_power(lab, action, "Lobby", "--reason", f"{action} it")
        assert (seen.code, seen.out.startswith(f"Lobby: {action} done"), lab.is_up(uuid)) == (0, True, state), seen
    assert operations(lab, uuid)[:2] == [("kill", "done", "kill it"), ("start", "done", "start it")]


def test_check_mode_shows_the_plan_and_leaves_no_trace(lab: Lab) -> None:
    uuid = lab.server(name="Lobby")
    seen = fleet_power(lab, "start", "Lobby", "--check")
    assert (seen.code, seen.out) == (0, "Lobby: start would be done\n")
    assert (lab.container(uuid), (lab.root / "state").exists()) == (None, False)


def test_the_exit_code_is_that_of_the_worst_outcome(lab: Lab, proxy: EngineProxy) -> None:
    lab.server(name="Good")
    lab.server(name="Shut", suspended=True)
    assert fleet_power(lab, "start", "Good").code == 0
    assert fleet_power(lab, "start", "Good").code == 0
    assert fleet_power(lab, "start", "Good", "--only", "offline").code == 0
    assert fleet_power(lab, "start", "Shut").code == 3
    assert fleet_power(lab, "start", "Good", "Shut").code == 3
    assert fleet_power(lab, "start", "Nowhere").code == 3
    assert fleet_power(lab, "start").code == 2
    assert fleet_power(lab, "restart", "Good", "--wait-for", "nothing").code == 2
    lab.server(name="Broken", EXIT_AT_START=1, image="~fleet-power/no-such-image:1")
    proxy.vanish()
    assert fleet_power(lab.at(proxy.host), "stop", "Good").code == 4
    assert fleet_power(lab.at(proxy.host), "status").code == 4


def test_a_kill_cancels_a_waiting_restart_and_its_command_exits_with_5(lab: Lab) -> None:
    uuid = lab.up(name="Lobby", STOP_SECONDS=FOR_EVER, MARK=1)
    with running(lab, "restart", "Lobby") as restart:
        lab.await_phase(uuid, "stop")
        assert fleet_power(lab, "kill", "Lobby").code == 0
        out, err = restart.communicate(timeout=60)
    assert restart.returncode == 5, (out, err)
    assert "cancelled_by_kill" in out
    assert not lab.is_up(uuid)


@pytest.mark.samples("2")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_a_signal_begins_nothing_new_and_finishes_a_stop_that_has_begun(lab: Lab, number: signal.Signals) -> None:
    uuid = lab.up(name="Lobby", STOP_SECONDS=2, MARK=1)
    with running(lab, "stop", "Lobby") as stop:
        lab.await_phase(uuid, "stop")
        stop.send_signal(number)
        out, err = stop.communicate(timeout=60)
    assert (stop.returncode, lab.is_up(uuid)) == (0, False), (out, err)
    assert operations(lab, uuid)[0][:2] == ("stop", "done")


def test_a_signal_during_the_wait_for_a_lock_ends_the_command_with_5(lab: Lab) -> None:
    uuid = lab.up(name="Lobby", STOP_SECONDS=FOR_EVER, MARK=1)
    with lab.actor("stop", uuid) as stop:
        lab.await_phase(uuid, "stop")
        with running(lab, "restart", "Lobby", "--wait-seconds", "300") as restart:
            time.sleep(1.5)
            restart.send_signal(signal.SIGINT)
            out, err = restart.communicate(timeout=60)
        assert restart.returncode == 5, (out, err)
        stop.kill()


def test_a_stop_goes_on_if_the_command_is_killed_with_its_terminal(lab: Lab) -> None:
    uuid = lab.up(name="Lobby", STOP_SECONDS=2, MARK=1)
    with running(lab, "stop", "Lobby") as stop:
        lab.await_phase(uuid, "stop")
        os.killpg(stop.pid, signal.SIGKILL)
    wait_until(lambda: operations(lab, uuid)[0][:2] == ("stop", "done"), "the journal has the end")
    assert not lab.is_up(uuid)


def test_json_is_the_only_output_and_has_the_fields_of_the_modules(lab: Lab) -> None:
    uuid = lab.server(name="Lobby")
    seen = fleet_power(lab, "start", "Lobby", "--json")
    assert [entry["outcome"] for entry in json.loads(seen.out)["servers"]] == ["done"]
    status = json.loads(fleet_power(lab, "status", "--json").out)
    # Other tests have containers on this engine, too.
    assert (status["complete"], status["freeze"], uuid in [entry["server"] for entry in status["servers"]]) == (True, None, True)
    frozen = json.loads(fleet_power(lab, "freeze", "Lobby", "--until", tomorrow(), "--reason", "final", "--json").out)
    assert (frozen["changed"], frozen["freezes"][0]["server"]) == (True, uuid)
    assert json.loads(fleet_power(lab, "thaw", "--json").out)["changed"] is True
    assert json.loads(fleet_power(lab, "thaw", "--json").out)["changed"] is False


def test_the_status_has_the_columns_of_the_playbook_and_a_form_for_screen_readers(lab: Lab) -> None:
    short = lab.up(name="Lobby")[:8]
    table = fleet_power(lab, "status", "Lobby").out.splitlines()
    assert table[0].split()[:4] == ["NODE", "SERVER", "NAME", "STATE"]
    assert table[1].split()[1:4] == [short, "Lobby", "running"]
    assert f"server {short}, name Lobby, state running" in fleet_power(lab, "status", "--plain").out
    assert fleet_power(lab, "status", "--names").out == "Lobby\n"
    assert fleet_power(lab, "status", "Nowhere").code == 3


@pytest.mark.long
def test_the_status_is_shown_again_until_a_signal(lab: Lab) -> None:
    uuid = lab.up(name="Lobby")
    with running(lab, "status", "Lobby", "--watch") as watch:
        assert watch.stdout is not None
        while "Lobby" not in (line := watch.stdout.readline()):
            assert line
        assert "running" in line
        lab.power("stop", uuid)
        while "Lobby" not in (line := watch.stdout.readline()) or "running" in line:
            assert line
        watch.send_signal(signal.SIGINT)
        watch.communicate(timeout=60)
    assert watch.returncode == 0


def test_a_log_is_masked_and_followed_to_the_end_of_the_run(lab: Lab) -> None:
    uuid = lab.up(name="Lobby", API_TOKEN="hunter2hunter2")
    assert fleet_power(lab, "log", "Lobby").out == "ready\n"
    with running(lab, "log", "Lobby", "-f") as log:
        assert log.stdout is not None
        assert log.stdout.readline() == "ready\n"
        lab.power("stop", uuid)
        out, err = log.communicate(timeout=60)
    assert (log.returncode, "The run has ended" in err, "hunter2" in out) == (0, True, False), (out, err)
    lab.client.remove_container(uuid)
    gone = fleet_power(lab, "log", "Lobby")
    assert (gone.code, gone.out, "the journal keeps no lines of its run" in gone.err) == (0, "", True)


@pytest.mark.samples("True")
@pytest.mark.parametrize("tty", [True, False])
def test_a_log_is_followed_as_fast_as_a_busy_server_writes(lab: Lab, tty: bool) -> None:
    uuid = lab.server(name="Busy")
    wait = "trap go=1 USR1; echo ready; until [ $go ]; do sleep 0.1; done"
    busy = f"{wait}; line=$(printf %04000d 0); for each in $(seq 1000); do echo $line; done; echo end; sleep 1"
    lab.outsider(uuid, Entrypoint=["sh", "-c", busy], Tty=tty)
    with running(lab, "log", "Busy", "-f") as log:
        assert log.stdout is not None
        assert log.stdout.readline() == "ready\n"
        lab.client.kill(uuid, "USR1")
        out, err = log.communicate(timeout=20)
    assert (log.returncode, out.count("\n"), out.splitlines()[-1]) == (0, 1001, "end"), err


def test_a_log_without_a_container_tells_unknown_from_none(lab: Lab) -> None:
    lab.server(name="Lobby")
    none = fleet_power(lab, "log", "Lobby")
    assert (none.code, "no ended run here" in none.err) == (3, True)
    (lab.root / "state" / "journal.sqlite").mkdir(parents=True)
    unknown = fleet_power(lab, "log", "Lobby")
    assert (unknown.code, "its ended runs are unknown" in unknown.err) == (4, True)


def test_a_freeze_refuses_starts_and_restarts_until_it_is_ended(lab: Lab) -> None:
    uuid = lab.up(name="Lobby")
    other = lab.server(name="Arena")
    assert fleet_power(lab, "freeze", "Lobby", "--until", tomorrow(), "--reason", "final of the cup").code == 0
    refused = fleet_power(lab, "restart", "Lobby")
    assert (refused.code, "frozen" in refused.out, "final of the cup" in refused.out) == (3, True, True)
    assert lab.is_up(uuid)
    assert fleet_power(lab, "start", "Arena").code == 0
    assert fleet_power(lab, "stop", "Lobby", "Arena").code == 0
    assert fleet_power(lab, "freeze", "--until", tomorrow(), "--reason", "night").code == 0
    assert fleet_power(lab, "start", "Arena").code == 3
    assert fleet_power(lab, "thaw", "Arena").code == 3
    assert fleet_power(lab, "thaw").code == 0
    assert fleet_power(lab, "start", "Lobby", "Arena").code == 0
    assert lab.is_up(uuid) and lab.is_up(other)


@pytest.mark.parametrize(
    "until, code, words",
    [("yesterday", 2, "expected a time of day"), ("2020-01-01T00:00", 3, "in the past"), ("2999-01-01T00:00", 3, "more than a week")],
)
def test_a_wrong_end_of_a_freeze_freezes_nothing(lab: Lab, until: str, code: int, words: str) -> None:
    seen = fleet_power(lab, "freeze", "--until", until, "--reason", "final")
    assert (seen.code, words in seen.err, "Traceback" in seen.err) == (code, True, False), seen
    assert fleet_power(lab, "thaw").out == "Nothing was frozen.\n"


@pytest.mark.long
def test_freezes_and_thaws_of_many_processes_leave_what_the_last_one_said(lab: Lab) -> None:
    names = [lab.server(name=f"S{number}") for number in range(4)]
    children = [
        subprocess.Popen(argv(*with_config(lab, words)), env=environment(lab), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        for number in range(4)
        for words in (["freeze", f"S{number}", "--until", tomorrow(), "--reason", "x"], ["thaw", f"S{number}"])
    ]
    for child in children:
        child.communicate(timeout=120)
    for number in range(4):
        assert fleet_power(lab, "freeze", f"S{number}", "--until", tomorrow(), "--reason", "x").code == 0
    assert [each.uuid for each in lab.node().journal.freezes.current()] == sorted(names)
    assert fleet_power(lab, "thaw").code == 0
    assert (lab.node().journal.freezes.current(), (lab.root / "state" / "frozen").exists()) == ([], False)


def test_a_closed_pipe_ends_the_output_without_a_traceback(lab: Lab) -> None:
    lab.server(name="Lobby")
    command = " ".join(argv(*with_config(lab, ["status"])))
    ended = subprocess.run(["sh", "-c", f"{command} | true"], env=environment(lab), capture_output=True, text=True, timeout=60, check=False)
    assert "Traceback" not in ended.stderr
    assert "Exception" not in ended.stderr


def test_a_kill_works_without_standard_streams(lab: Lab) -> None:
    uuid = lab.up()
    command = " ".join(argv(*with_config(lab, ["kill", uuid])))
    ended = subprocess.run(["sh", "-c", f"{command} <&- >&- 2>&-"], env=environment(lab), timeout=60, check=False)
    assert (ended.returncode, lab.is_up(uuid)) == (0, False)


def test_a_kill_of_all_without_the_engine_ends_known_servers_and_reports_the_missing_list(lab: Lab, proxy: EngineProxy) -> None:
    defined, undefined, down = lab.up(), lab.up(), lab.server(name="down")
    (lab.root / "servers" / f"{undefined}.json").unlink()
    proxy.vanish()
    seen = fleet_power(lab.at(proxy.host), "kill", "all", "--json")
    outcomes = {each["server"]: (each["outcome"], each["code"]) for each in json.loads(seen.out)["servers"]}
    assert outcomes == {
        **dict.fromkeys((defined, undefined), ("done", "unguarded")),
        down: ("failed", "engine_unreachable"),
    }
    assert seen.code == 4 and "Cannot kill all servers: Cannot reach the engine at" in seen.err
    wait_until(lambda: not lab.is_up(defined) and not lab.is_up(undefined), "both are down")


def test_bytes_that_are_not_utf_8_stop_no_action(lab: Lab) -> None:
    uuid = lab.server()
    ended = subprocess.run(
        [*argv(*with_config(lab, ["start", uuid])), "--reason", b"caf\xe9"], env=environment(lab), timeout=60, check=False
    )
    assert (ended.returncode, operations(lab, uuid)) == (0, [("start", "done", "caf?")])


@pytest.mark.parametrize("action", ["start", "stop", "restart", "kill"])
def test_a_list_with_a_bad_name_changes_nothing_and_says_the_whole_name(lab: Lab, action: str) -> None:
    up, down = lab.up(name="Lobby"), lab.server(name="Borealis")
    lab.server(name="Twin")
    lab.server(name="Twin")
    before = operations(lab, up), lab.container(up)["Id"]
    for bad, words in (("Atlas,Borealis", 'Cannot find server "Atlas,Borealis": '), ("Twin", 'Cannot tell which server "Twin" is: ')):
        seen = fleet_power(lab, action, "Lobby", bad, "Borealis")
        assert (seen.code, seen.out, seen.err.startswith(words)) == (3, "", True), seen
        assert seen.err.count("nothing was done") == 1
    assert (operations(lab, up), lab.container(up)["Id"], operations(lab, down)) == (*before, [])


def test_a_misspelt_name_of_a_server_leads_to_the_right_one(lab: Lab) -> None:
    lab.server(name="Borealis")
    for words in (["restart", "borealys"], ["why", "borealys"], ["status", "borealys"], ["log", "borealys"], ["thaw", "borealys"]):
        seen = fleet_power(lab, *words)
        assert "(did you mean Borealis?)" in seen.out + seen.err, seen
    assert fleet_power(lab, "start", "Atlas,Borealis").out.startswith("Atlas,Borealis: start refused, server_not_found: ")
    assert "give each server alone, without commas" in fleet_power(lab, "start", "Atlas,Borealis").out


def test_broken_settings_are_one_sentence(lab: Lab) -> None:
    lab.config.write_text("{")
    for command in ("status", "why", "kill", "log"):
        seen = fleet_power(lab, command, *([] if command == "status" else ["Lobby"]))
        assert (seen.code, len(seen.err.splitlines()), "settings_invalid" in seen.err) == (3, 1, True), seen
