# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command ``fleet-power``: its help, its files, its exit codes and the sentences of ``why``."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.fleet.power.plugins.module_utils import command
from ansible_collections.fleet.power.plugins.module_utils._command import run
from ansible_collections.fleet.power.plugins.module_utils._command.arguments import ACT_HELP, COMMANDS, parser
from ansible_collections.fleet.power.plugins.module_utils._command.why import Known, why_lines
from ansible_collections.fleet.power.plugins.module_utils._power.engine.engine_version import EngineVersion
from ansible_collections.fleet.power.plugins.module_utils._power.model import errors
from ansible_collections.fleet.power.plugins.module_utils._power.model.request import PowerAction
from ansible_collections.fleet.power.plugins.module_utils._power.model.result import Outcome, Result
from ansible_collections.fleet.power.plugins.module_utils._power.model.server import Server
from ansible_collections.fleet.power.plugins.module_utils._power.options import POWER_OPTIONS
from ansible_collections.fleet.power.tests.unit.command_docs import FILES, completion, manual

NOW = datetime(2026, 1, 31, 3, 0, tzinfo=timezone.utc)
UUID = "566bf9d7-c55a-45f8-91a6-e55e9b9b1325"
#: Options of the module that make no sense on the node itself, or for people.
_NOT_HERE = {
    *("action", "server", "priorities", "phases", "definitions", "api_url", "api_token"),
    *("docker_host", "tls", "validate_certs", "ca_path", "client_cert", "client_key", "tls_hostname", "api_version", "timeout"),
}


def test_the_command_has_every_option_of_the_module() -> None:
    assert set(POWER_OPTIONS) - set(ACT_HELP) == _NOT_HERE


@pytest.mark.parametrize("words", [[], *([each] for each in COMMANDS)], ids=lambda words: " ".join(words) or "itself")
def test_each_help_fits_a_screen(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parser().parse_args([*words, "--help"])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 80


def test_the_manual_has_nothing_that_only_the_module_can_do() -> None:
    text = manual()
    assert [word for word in ("api_url", "action=", "task", "controller", "_max_", "wait_for") if word in text] == []
    assert "\n.B \\-\\-only offline|starting|running|stopping\n" in text


def test_manual_and_completion_are_up_to_date() -> None:
    texts = {name: (FILES / f"fleet-power.{name}").read_text() for name in ("1", "bash")}
    assert texts == {"1": manual(), "bash": completion()}, "run python -m ansible_collections.fleet.power.tests.unit.command_docs"


@pytest.mark.parametrize(
    "line, expected",
    [
        ("fleet-power st", ["status", "start", "stop"]),
        ("fleet-power restart --pl", ["--players-at-most"]),
        ("fleet-power why Ar", ["Arena", r"Arena\ Two"]),
    ],
)
def test_the_completion_knows_commands_options_and_servers(line: str, expected: list[str]) -> None:
    words = line.split(" ")
    script = f"""source {FILES}/fleet-power.bash
        fleet-power() {{ printf '%s\\n' Arena 'Arena Two' Lobby; }}
        COMP_WORDS=({" ".join(words)}); COMP_CWORD={len(words) - 1}; _fleet_power; printf '%s\\n' "${{COMPREPLY[@]}}" """
    found = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert (found.stdout.splitlines(), found.stderr) == (expected, "")


def result(outcome: Outcome, code: str = "", msg: str = "", action: PowerAction = PowerAction.START) -> Result:
    return Result(Server(UUID, "Lobby"), action, outcome, "", NOW, NOW, code=code, msg=msg)


FAILED, REFUSED, CANCELLED = result(Outcome.FAILED), result(Outcome.REFUSED), result(Outcome.CANCELLED)
GOOD = [result(Outcome.DONE), result(Outcome.UNCHANGED), result(Outcome.SKIPPED, "not_selected")]


@pytest.mark.parametrize(
    "results, code",
    [
        (GOOD, 0),
        ([], 0),
        ([*GOOD, CANCELLED], 5),
        ([CANCELLED, REFUSED], 3),
        ([CANCELLED, REFUSED, FAILED], 4),
        ([result(Outcome.SKIPPED, errors.InterruptedBySignal.code)], 5),
    ],
)
def test_the_exit_code_is_the_first_of_failed_refused_cancelled(results: list[Result], code: int) -> None:
    assert run.exit_code(results) == code


@pytest.mark.parametrize(
    "error, code", [(errors.AmbiguousServer(""), 3), (errors.EngineUnreachable(""), 4), (errors.CancelledByKill(""), 5)]
)
def test_an_error_of_the_whole_command_has_the_same_codes(error: errors.PowerError, code: int) -> None:
    assert run.code_of(error) == code


def test_a_fault_of_ours_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(run, "status", lambda _given: 1 // 0)
    assert command.main(["status"]) == 4
    monkeypatch.setattr(run, "_perform", lambda *_given: 1 // 0)
    monkeypatch.setattr(run, "in_own_session", lambda work, _killed: work(bool))
    monkeypatch.setattr(run, "outlive_login", lambda *_given: pytest.fail("it asked"))
    with pytest.raises(SystemExit) as left:
        # A kill does not ask the system bus.
        command.main(["kill", "Lobby"])
    lines = capsys.readouterr().err.splitlines()
    assert (left.value.code, [line.startswith("Cannot go on: an error that should not happen") for line in lines]) == (4, [True, True])


@pytest.mark.parametrize("name", [name for name, (_summary, number) in COMMANDS.items() if number != 1])
def test_no_subcommand_accepts_all_beside_a_name(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--until", "06:00", "--reason", "release"] if name == "freeze" else []
    assert command.main([name, "all", "Lobby", *options]) == 3
    said = "Cannot tell which servers to act on: server=all stands alone; leave out the other names (settings_invalid)\n"
    assert capsys.readouterr() == ("", said)


def test_an_unknown_option_leads_to_the_help_of_its_subcommand(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        command.main(["restart", "Lobby", "--wait-fro", "running", "--colour", "--stop-timout=5"])
    said = capsys.readouterr().err.splitlines()[-1]
    assert (left.value.code, said) == (
        2,
        "fleet-power: error: restart does not accept --wait-fro (did you mean --wait-for?) running --colour "
        "--stop-timout=5 (did you mean --stop-timeout?); see fleet-power restart --help",
    )


def test_a_killed_process_of_an_action_is_a_failure(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(run, "in_own_session", lambda _work, killed: killed(9))
    with pytest.raises(SystemExit) as left:
        command.main(["start", "Lobby"])
    assert (left.value.code, "ended by signal 9; see fleet-power why" in capsys.readouterr().err) == (4, True)


def test_a_thaw_also_reports_the_end_of_a_freeze_that_the_journal_does_not_show(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config, state = tmp_path / "config.yml", tmp_path / "state"
    config.write_text(
        json.dumps({"system": {"definitions": str(tmp_path), "lock_directory": str(tmp_path), "state_directory": str(state)}})
    )
    state.mkdir()
    for options, texts in (
        ([], ("Thawed: a freeze that the journal does not show.\n", "Nothing was frozen.\n")),
        (["--json"], ('{"changed": true, "freezes": []}\n', '{"changed": false, "freezes": []}\n')),
    ):
        (state / "frozen").touch()
        for text in texts:
            assert run.thaw(parser().parse_args(["thaw", "--config", str(config), *options])) == 0
            assert capsys.readouterr().out == text


def test_a_full_disk_behind_the_output_is_one_sentence(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with open("/dev/full", "w") as full, monkeypatch.context() as patched:
        patched.setattr(run, "status", lambda _given: run.out("text", to=full))
        patched.setattr(run.os, "dup2", lambda *_given: None)
        assert command.main(["status"]) == 4
        with pytest.raises(OSError, match="No space"):
            full.close()
    assert capsys.readouterr().err == "Cannot write the output: No space left on device\n"


@pytest.mark.parametrize(
    "states, complete, warnings, code",
    [
        (["running", "offline"], True, ["Cannot count players"], 0),
        ([], True, [], 0),
        (["running"], True, ['Cannot find server "Nowhere": no definition'], 3),
        (["running", None], True, ['Cannot find server "Nowhere": no definition'], 4),
        (["running"], False, [], 4),
    ],
)
def test_the_status_tells_by_its_exit_code_if_it_is_whole(
    monkeypatch: pytest.MonkeyPatch, states: list[str | None], complete: bool, warnings: list[str], code: int
) -> None:
    facts = {"complete": complete, "servers": [{"state": state} for state in states], "warnings": warnings}
    monkeypatch.setattr(run, "_facts", lambda _given, _names: facts)
    assert command.main(["status", "Lobby", "Lobby", "Nowhere", "--json"]) == code
    # A server that is gone since the list of all was read is not missed.
    assert command.main(["status", "--json"]) == (0 if code == 3 else code)


@pytest.mark.parametrize(
    "words", ["log Lobby -n -1", "freeze --until noon --reason x", "start", "start Lobby --wait-seconds 301", "stop x --adopt"]
)
def test_wrong_usage_is_one_sentence_below_the_usage(capsys: pytest.CaptureFixture[str], words: str) -> None:
    with pytest.raises(SystemExit) as left:
        command.main(words.split())
    usage, sentence = capsys.readouterr().err.splitlines()
    assert (left.value.code, usage.startswith("usage: "), sentence.startswith("fleet-power")) == (2, True, True)
    assert "COMMAND" not in sentence


def known(**entry: Any) -> Known:
    return Known("Lobby", {"server": UUID, "state": "running", "container": {"started_at": "2026-01-31T02:00:00Z"}, **entry}, NOW)


def test_a_paused_supervisor_and_a_missing_one_have_different_sentences() -> None:
    down: dict[str, Any] = {"state": "offline", "container": None, "intent": {"up": True, "origin": "alice", "at": "2026-01-31T02:00:00Z"}}
    texts = {
        name: "\n".join(why_lines(known(**down, supervision=supervision)))
        for name, supervision in {
            "missing": {"running": False},
            "paused": {"running": True, "paused": "wings"},
            "off": {"running": True, "why": "supervisor.enabled"},
        }.items()
    }
    assert "No supervisor runs on this node" in texts["missing"]
    assert "is paused (wings)" in texts["paused"]
    assert "because of supervisor.enabled" in texts["off"]


@pytest.mark.parametrize("hang, words", [("suspect", "the node is suspect"), ("too_often", "three times within an hour")])
def test_why_says_why_a_server_that_hangs_is_left_up(hang: str, words: str) -> None:
    text = "\n".join(why_lines(known(supervision={"running": True, "state": "ok", "hang": hang})))
    assert "The supervisor leaves it up although it hangs" in text and words in text


def test_why_says_that_a_server_that_hangs_is_restarted_soon() -> None:
    entry: dict[str, Any] = {
        "container": {"health": "unhealthy", "health_output": ["connection refused"]},
        "intent": {"up": True, "at": "2026-01-31T02:00:00Z"},
        "supervision": {"running": True, "restarts_unhealthy": True},
    }
    lines = why_lines(known(**entry))
    assert lines[1] == "  connection refused"
    assert "The supervisor restarts it soon, unless its health check passes again." in lines
    assert lines[-1] == "Do: wait for the supervisor; fleet-power restart Lobby acts at once instead."


@pytest.mark.parametrize(
    "entry",
    [
        {"intent": {"up": False, "at": "2026-01-31T02:00:00Z"}},
        {"maintenance": "it cannot be read"},
        {"proof": {"ended": "open"}},
        *({"supervision": {"running": True, "restarts_unhealthy": True, **odd}} for odd in ({"hang": "suspect"}, {"paused": "frozen"})),
        *({"supervision": odd} for odd in ({"running": False, "restarts_unhealthy": True}, {"running": True, "restarts_unhealthy": False})),
    ],
)
def test_why_announces_only_a_restart_that_comes(entry: dict[str, Any]) -> None:
    unhealthy: dict[str, Any] = {
        "container": {"health": "unhealthy"},
        "intent": {"up": True, "at": "2026-01-31T02:00:00Z"},
        "supervision": {"running": True, "restarts_unhealthy": True},
        **entry,
    }
    maintenance = unhealthy.pop("maintenance", None)
    lines = why_lines(replace(known(**unhealthy), maintenance=maintenance))
    assert not any("restarts it soon" in line for line in lines)
    assert lines[-1].startswith("Do: read fleet-power log Lobby; if the server hangs, fleet-power restart Lobby")


def test_the_guide_shows_what_why_prints() -> None:
    guide = (Path(__file__).parents[2] / "docs" / "docsite" / "rst" / "command_guide.rst").read_text()
    sample = guide.partition("$ fleet-power why Dune\n")[2].partition("\n\n")[0]
    crash = {"verdict": "crashed", "exit_code": 137, "oom_killed": True, "ended_at": "2026-01-31T02:51:07Z"}
    deploy = {"action": "restart", "outcome": "done", "origin": "ci@build", "reason": "deploy 7", "ended_at": "2026-01-30T18:20:00Z"}
    loop = {"state": "crash_loop", "next_at": "2026-01-31T03:51:07Z", "consecutive_crashes": 11, "crashes_today": 11}
    entry = {
        "state": "offline",
        "container": {"finished_at": crash["ended_at"], **crash},
        "intent": {"up": True, "origin": "ci@build", "at": deploy["ended_at"]},
        "supervision": {**crash, **loop},
        "operations": [deploy],
    }
    start = Result(Server(UUID), PowerAction.START, Outcome.DONE, "", NOW, NOW)
    dune = Known("Dune", {"server": UUID, **entry}, NOW, start, engine=EngineVersion("28.5.2", "1.52", "1.51"))
    assert why_lines(dune) == [line[3:] for line in sample.splitlines()]


def test_why_warns_of_an_engine_that_speaks_no_tested_version() -> None:
    lines = why_lines(replace(known(), engine=EngineVersion("40.1.0", "1.90", "1.80")))
    assert "The engine is Docker 40.1.0, asked by API 1.80." in lines
    assert any(line.startswith("Docker 40.1.0 is asked by API 1.80, but ") for line in lines)


def test_why_warns_of_an_engine_that_kills_after_a_hang_up() -> None:
    lines = why_lines(replace(known(), engine=EngineVersion("24.0.2", "1.43", "1.43")))
    assert any(line.startswith("Docker 24.0.2 sends SIGKILL at once if the client of a docker stop hangs up; ") for line in lines)


def test_long_reasons_leave_the_screen_to_the_rest() -> None:
    rows = [{"action": "stop", "outcome": "done", "reason": "word " * 400}] * 5
    assert max(map(len, why_lines(known(operations=rows)))) <= 142


def test_why_tells_of_a_new_version_on_trial_and_of_a_failed_update() -> None:
    proof = {"at": "2026-01-31T02:55:00Z", "msg": "its process ended"}
    outdated = {"is_outdated": True, "differs": ["image"], "failed": False}
    on_trial = why_lines(known(outdated=outdated, proof={**proof, "ended": "open"}))
    assert any(each.startswith("A new version is on trial, since 02:55:00 UTC (5 min ago):") for each in on_trial)
    failed = why_lines(known(outdated={**outdated, "failed": True}, proof={**proof, "ended": "reverted"}))
    assert any("at 02:55:00 UTC (5 min ago) to this definition with this image failed (its process ended)" in each for each in failed)
    assert failed[-1].startswith("Do: correct the definition or the image, because this update failed; then fleet-power restart Lobby")
    left_down = why_lines(known(state="offline", outdated={"failed": True}, proof={**proof, "ended": "left_down"}))
    assert left_down[-1] == "Do: correct the definition or the image, or restore a backup of the data; then fleet-power start Lobby."


def test_an_outdated_server_is_restarted_after_the_freeze() -> None:
    entry = known(outdated={"is_outdated": True, "differs": ["image"]}).entry
    frozen = Known("Lobby", entry, NOW, result(Outcome.REFUSED, "frozen", "it is frozen; wait", PowerAction.RESTART))
    assert why_lines(frozen)[-1] == "Do: fleet-power restart Lobby, after the freeze."


@pytest.mark.parametrize(
    "state, adopted, advice",
    [
        ("offline", "", "fleet-power start Lobby --adopt replaces its container by one of the definition."),
        ("running", "", "nothing now; fleet-power restart Lobby --adopt replaces its container by one of the definition."),
        ("offline", "volume_missing", "mount it; then fleet-power start Lobby --adopt."),
        ("running", "volume_missing", "nothing now; before the next restart with --adopt, mount it."),
    ],
)
def test_a_container_of_another_program_is_adopted_after_its_other_faults(state: str, adopted: str, advice: str) -> None:
    foreign = result(Outcome.REFUSED, "container_foreign", "it exists; rename it")
    tried = result(Outcome.REFUSED, adopted, "its data is gone; mount it") if adopted else result(Outcome.DONE)
    assert why_lines(Known("Lobby", known(state=state).entry, NOW, foreign, tried))[-1] == f"Do: {advice}"


def test_a_run_that_a_restart_ended_is_named_so() -> None:
    ends = [{"verdict": "restarting", "seconds": 4, "ended_at": "2026-01-31T02:59:00Z"}]
    assert "Before: stopped by a restart after 4 s at 02:59:00 UTC (60 s ago)." in why_lines(known(crashes=ends))


def test_the_last_end_is_shown_once_also_if_the_server_is_up_again() -> None:
    crash = {"verdict": "crashed", "exit_code": 1, "seconds": 2, "ended_at": "2026-01-31T02:59:00Z", "log": ["no such world"]}
    before = "Before: crashed with exit code 1 after 2 s at 02:59:00 UTC (60 s ago); last output: no such world"
    assert before in why_lines(known(crashes=[crash], supervision={}))
    assert not any(line.startswith("Before") for line in why_lines(known(state="offline", crashes=[crash], supervision=crash)))


@pytest.mark.parametrize("since, waits", [("2026-01-31T02:30:00Z", True), ("2026-01-31T01:30:00Z", False), (None, True)])
def test_a_newer_run_has_ended_the_countdown(since: str | None, waits: bool) -> None:
    countdown = {"action": "restart", "phase": "waiting", "due": "2026-01-31T04:00:00Z", "origin": "ci", "since": since}
    lines = why_lines(known(countdown=countdown))
    assert (any("waits for its players" in line for line in lines), "Do: wait; " in lines[-1]) == (waits, waits)


@pytest.mark.parametrize(
    "lock, since",
    [
        ({"action": "restart", "phase": "stop", "phase_since": "2026-01-31T02:58:00Z"}, " since 02:58:00 UTC (2 min ago)"),
        ({"action": "start", "phase": "prepare", "phase_since": "2026-01-31T02:58:00Z"}, ""),
        (None, ""),
    ],
)
def test_a_stop_begins_with_its_phase_and_not_with_the_run(lock: dict[str, Any] | None, since: str) -> None:
    stopping = known(state="stopping", lock=lock)
    assert why_lines(stopping)[0] == f"Lobby is stopping{since}."


@pytest.mark.parametrize("action, words", [("stop", "stop done, ended by SIGKILL, by ci"), ("kill", "kill done, by ci")])
def test_why_tells_of_a_sigkill_at_the_end_of_a_stop(action: str, words: str) -> None:
    row = {"action": action, "outcome": "done", "forced": True, "ended_at": "2026-01-31T02:30:00Z", "origin": "ci"}
    assert words in why_lines(known(operations=[row]))[-2]


def test_an_unknown_freeze_stays_unknown() -> None:
    lines = why_lines(known(freeze=dict.fromkeys(("is_frozen", "until", "node"))))
    assert "Whether it is frozen is unknown: the journal does not tell." in lines


def test_a_person_without_rights_is_not_sent_to_the_engine() -> None:
    entry = {"state": None, "code": "engine_unreachable", "msg": "Cannot reach the engine: permission denied on its socket; become root"}
    assert why_lines(known(**entry))[-1] == "Do: become root."


def test_an_unknown_state_stays_unknown() -> None:
    lines = why_lines(Known("Lobby", {"server": UUID, "state": None, "code": "engine_error", "msg": "the engine is broken"}, NOW))
    assert lines[0] == "Lobby: its state is unknown: the engine is broken"
    assert lines[-1] == "Do: correct the cause above, and look again."


def test_the_advice_for_a_refused_start_is_the_last_part_of_its_message() -> None:
    refused = result(Outcome.REFUSED, "disk_full", f"Cannot start server {UUID}: it uses 2 of 1 MiB; free some space")
    lines = why_lines(Known("Lobby", {"server": UUID, "state": "offline"}, NOW, refused))
    assert "A start now would be refused, code disk_full: it uses 2 of 1 MiB; free some space" in lines
    assert lines[-1] == "Do: free some space; then fleet-power start Lobby."
