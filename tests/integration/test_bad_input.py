# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bad input and secrets: one clear sentence, no traceback, no secret."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import sqlite3
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from .controller import INFO, MODULE, Controller, Run
from .lab import Lab, wait_until
from .private_syslog import PrivateSyslog

NOT_HERE = "00000000-0000-4000-8000-000000000000"
#: Wrong options, and words of their error message.
WRONG_OPTIONS: list[tuple[dict[str, object], str]] = [
    ({}, "no server is named"),
    ({"server": NOT_HERE, "action": "explode"}, "must be one of: start, stop, restart, kill, got: explode"),
    ({"server": NOT_HERE, "wait_seconds": "soon"}, "wait_seconds"),
    ({"server": NOT_HERE, "stop_timeout": 10**12}, "Cannot use stop_timeout=1000000000000"),
    ({"server": NOT_HERE, "action": "stop", "if_meant_up": True}, "Cannot stop with if_meant_up"),
    ({"server": NOT_HERE, "definitions": {"settings": {}}}, "definitions"),
    ({"server": NOT_HERE, "config": "/nowhere/config.yml"}, "Cannot read settings /nowhere/config.yml: No such file or directory"),
]


def refusal(result: dict[str, Any]) -> tuple[str, str]:
    """Outcome and code of the only server, which must be unchanged."""
    assert result["failed"] is True
    assert result["changed"] is False
    (entry,) = result["servers"]
    assert entry["changed"] is False
    assert entry["msg"] in result["msg"]
    return entry["outcome"], entry["code"]


@pytest.mark.parametrize("wrong, words", WRONG_OPTIONS, ids=[words for _wrong, words in WRONG_OPTIONS])
def test_wrong_options_give_one_sentence_and_leave_no_trace(lab: Lab, controller: Controller, wrong: dict[str, object], words: str) -> None:
    with controller.module(**{**controller.options(action="start"), "_ansible_verbosity": 4, **wrong}) as module:
        run = module.wait()
    assert run.code == 1
    assert words in run.output
    assert '"code": "settings_invalid"' in run.output
    assert "Traceback" not in run.output
    assert sorted(path.name for path in lab.root.iterdir()) == ["config.yml", "controller", "servers"]


@pytest.fixture
def powerless() -> list[str]:
    """A command that runs another one without root's rights on files."""
    if os.geteuid() != 0:
        return []
    return ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-all"]


def forbid(path: Path) -> None:
    """Give a file to another user and remove all other rights."""
    path.chmod(0o700 if path.is_dir() else 0o600)
    if os.geteuid() == 0:
        os.chown(path, 1, 1)
    else:
        path.chmod(0)


@contextlib.contextmanager
def forbidden_socket(path: Path) -> Iterator[None]:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        forbid(path)
        yield


def test_a_forbidden_socket_gives_permission_denied_and_advice(lab: Lab, controller: Controller, powerless: list[str]) -> None:
    uuid = lab.server()
    path = lab.root / "docker.sock"
    with forbidden_socket(path):
        result = controller.run_module(
            through=powerless, **{**controller.options(action="stop", server=uuid), "docker_host": f"unix://{path}"}
        )
    assert refusal(result) == ("failed", "engine_unreachable")
    assert "permission denied on its socket; become root, or join the group" in result["msg"]


def test_unreadable_definitions_give_source_unreachable(lab: Lab, controller: Controller, powerless: list[str]) -> None:
    # The engine has servers of other tests, too: a name without a definition is searched there.
    hidden = f"Hidden {secrets.token_hex(4)}"
    uuid = lab.server(name=hidden)
    forbid(lab.root / "servers")
    for name in (uuid, hidden):
        result = controller.run_module(through=powerless, **controller.options(action="start", server=name))
        assert refusal(result) == ("refused", "source_unreachable")
        assert f"{lab.root}/servers" in result["msg"]


def test_a_kill_without_lock_and_generation_kills_and_is_unguarded(lab: Lab, controller: Controller) -> None:
    uuid = lab.server()
    lab.power("start", uuid, wait_for="running")
    for name in ("run", "state"):
        (lab.root / name).rename(lab.root / f"{name}-before")
        (lab.root / name).write_text("in the way")
    result = controller.run_module(**controller.options(action="kill", server=uuid))
    (entry,) = result["servers"]
    assert (entry["outcome"], entry["code"], entry["state"], result["changed"]) == ("done", "unguarded", "offline", True)
    assert not lab.is_up(uuid)


def test_no_traceback_reaches_the_user_at_any_verbosity(lab: Lab, controller: Controller) -> None:
    broken, no_engine = lab.server(), f"unix://{lab.root}/none.sock"
    (lab.root / "servers" / f"{broken}.json").write_text("{")
    bad: list[dict[str, object]] = [
        {"server": NOT_HERE},
        {"server": NOT_HERE, "action": "explode"},
        {"server": broken},
        {"server": broken, "docker_host": no_engine},
        {"server": "x", "config": "/nowhere/config.yml"},
        {"server": ""},
    ]
    tasks = [{MODULE: controller.options(**{"action": "start", **options}), "ignore_errors": True} for options in bad]
    run = controller.play(tasks, "-vvvv")
    assert run.code == 0, run.output
    assert "Traceback" not in run.output
    assert [bool(result["msg"]) for result in run.results] == [True] * len(bad)
    codes = [result.get("code") or result["servers"][0]["code"] for result in run.results]
    assert codes == [
        "server_not_found",
        "settings_invalid",
        "definition_invalid",
        "engine_unreachable",
        "settings_invalid",
        "settings_invalid",
    ]


SECRET = "correct-horse-battery-staple"


def arguments_of_all_processes() -> Iterator[str]:
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            yield path.read_bytes().decode(errors="replace")


def run_watched(controller: Controller, tasks: list[Mapping[str, object]], *arguments: str) -> tuple[Run, set[str]]:
    """Run a playbook. Also return all command lines of processes with the secret."""
    betrayed: set[str] = set()
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(0.05):
            betrayed.update(line for line in arguments_of_all_processes() if SECRET in line)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        return controller.play(tasks, *arguments), betrayed
    finally:
        ended.set()
        watcher.join()


def files_with_the_secret(root: Path) -> list[str]:
    return [str(path.relative_to(root)) for path in sorted(root.rglob("*")) if path.is_file() and SECRET.encode() in path.read_bytes()]


def journal_text(lab: Lab) -> str:
    with contextlib.closing(sqlite3.connect(lab.root / "state" / "journal.sqlite")) as journal:
        return "\n".join(journal.iterdump())


@pytest.fixture
def planted(lab: Lab, controller: Controller) -> tuple[str, dict[str, object]]:
    """A server with a secret environment, defined in a file of variables only, and the options that name both."""
    uuid = lab.server(READY_LINE=f"ready, token {SECRET}", TOKEN=SECRET, STOP_SECONDS=1, MARK=1, done=("ready, token",))
    (controller.root / "secret.json").write_text(json.dumps({"secret": lab.definition(uuid)}))
    (lab.root / "servers" / f"{uuid}.json").unlink()
    return uuid, controller.options(server=uuid, definitions=["{{ secret }}"])


def test_a_secret_appears_nowhere_at_any_verbosity(
    lab: Lab, controller: Controller, planted: tuple[str, dict[str, object]], tmp_path: Path
) -> None:
    uuid, options = planted
    never = "'process_configuration': {'startup': {'done': ['never']}}"
    crashing = "{{ secret | combine({'settings': {'environment': {'CRASH_AFTER': 0.2}}, " + never + "}, recursive=true) }}"
    invalid = "{{ secret | combine({'settings': {'build': {'memory_limit': 'much'}}}, recursive=true) }}"
    tasks: list[Mapping[str, object]] = [
        {MODULE: {**options, "action": "start", "wait_for": "running"}},
        {INFO: {**options, "tail": 10}},
        {MODULE: {**options, "action": "stop"}},
        {MODULE: {**options, "action": "start", "wait_for": "running", "definitions": [crashing]}, "ignore_errors": True},
        {MODULE: {**options, "action": "start", "definitions": [invalid]}, "ignore_errors": True},
        # Mistakes with a definition in them: a wrong name, a wrong type, and a wrong value beside it.
        {MODULE: {**options, "action": "start", "definition": "{{ secret }}"}, "ignore_errors": True},
        {MODULE: {**options, "action": "start", "definitions": ["{{ secret | to_json }}!"]}, "ignore_errors": True},
        {MODULE: {**options, "action": "explode"}, "ignore_errors": True},
    ]
    with PrivateSyslog(tmp_path / "syslog") as syslog:
        controller.through = syslog.through
        # Newer versions of Ansible return a module's options only with this setting.
        controller.host_vars["ansible_inject_invocation"] = True
        run, betrayed = run_watched(controller, tasks, "-vvvv", "--diff", "-e", f"@{controller.root}/secret.json")
        logged = syslog.close()
    assert run.code == 0, run.output
    started, looked, stopped, crashed, *mistaken = run.results
    assert [result["servers"][0]["outcome"] for result in (started, stopped, crashed)] == ["done", "done", "failed"]
    assert looked["servers"][0]["log"] == ["********"]
    assert crashed["servers"][0]["log"] == ["********", "crashed"]
    assert all(result["msg"] for result in mistaken)
    assert all(result["invocation"]["module_args"]["server"] == [uuid] for result in run.results)
    assert not any("definitions" in result["invocation"]["module_args"] for result in run.results)
    assert SECRET not in run.output
    assert SECRET not in json.dumps(run.results)
    assert [line for line in logged if SECRET in line] == []
    assert [line for line in logged if "fleet-power" in line and uuid in line]
    assert betrayed == set()
    assert SECRET not in journal_text(lab) and uuid in journal_text(lab)
    # The node keeps the definition for later stops, in a file for the group only. The test wrote the other file.
    assert files_with_the_secret(lab.root) == ["controller/secret.json", f"state/definitions/{uuid}.json"]
    assert (lab.root / "state" / "definitions" / f"{uuid}.json").stat().st_mode & 0o007 == 0


@pytest.mark.long
def test_the_lock_record_has_no_secret(lab: Lab, controller: Controller, planted: tuple[str, dict[str, object]]) -> None:
    uuid, options = planted
    definition = json.loads((controller.root / "secret.json").read_text())["secret"]
    controller.run_module(**{**options, "definitions": [definition], "action": "start", "wait_for": "running"})
    with controller.module(**{**options, "definitions": [definition], "action": "stop"}) as stopping:
        lab.await_phase(uuid, "stop")
        record = (lab.root / "run" / f"{uuid}.lock").read_text()
        assert '"phase": "stop"' in record or '"phase":"stop"' in record
        assert SECRET not in record
        assert SECRET not in json.dumps(lab.container(uuid)["Config"]["Labels"])
        stopping.wait()


def test_a_failed_start_masks_only_the_secret_in_its_log(lab: Lab, controller: Controller) -> None:
    uuid = lab.server(READY_LINE=SECRET, CRASH_AFTER=0.5, done=("never",))
    result = controller.run_module(**controller.options(action="start", server=uuid, wait_for="running"))
    assert result["servers"][0]["log"] == ["********", "crashed"]
    wait_until(lambda: not lab.is_up(uuid), "the server ended")
