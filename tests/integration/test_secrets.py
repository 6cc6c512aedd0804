# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A secret in a server's environment shows up nowhere but where it belongs, and hiding it hides nothing else."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from .controller import INFO, MODULE, Controller, Run
from .lab import Lab, wait_until
from .private_syslog import PrivateSyslog

SECRET = "correct-horse-battery-staple"


def arguments_of_all_processes() -> Iterator[str]:
    """The command line of every process of this machine."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            yield path.read_bytes().decode(errors="replace")


def run_watched(controller: Controller, tasks: list[Mapping[str, object]], *arguments: str) -> tuple[Run, set[str]]:
    """Run a playbook; also the command lines with the secret in them that any process had meanwhile."""
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
    """The files below a directory that hold the secret."""
    return [str(path.relative_to(root)) for path in sorted(root.rglob("*")) if path.is_file() and SECRET.encode() in path.read_bytes()]


def journal_text(lab: Lab) -> str:
    """Everything that the journal has, as text."""
    with contextlib.closing(sqlite3.connect(lab.root / "state" / "journal.sqlite")) as journal:
        return "\n".join(journal.iterdump())


@pytest.fixture
def planted(lab: Lab, controller: Controller) -> tuple[str, dict[str, object]]:
    """A server that only the task defines, its environment being secret, in a file of variables; and the options that name both."""
    uuid = lab.server(READY_LINE=f"ready, token {SECRET}", TOKEN=SECRET, STOP_SECONDS=1, MARK=1, done=("ready, token",))
    (controller.root / "secret.json").write_text(json.dumps({"secret": lab.definition(uuid)}))
    (lab.root / "servers" / f"{uuid}.json").unlink()
    return uuid, controller.options(server=uuid, definitions=["{{ secret }}"])


def test_a_secret_shows_up_nowhere_however_verbose(
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
        # Newer versions of Ansible return how a module was called only if they are told to.
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
    # It is kept for later stops, in a file that none but the group may read, and where the test itself has written it.
    assert files_with_the_secret(lab.root) == ["controller/secret.json", f"state/definitions/{uuid}.json"]
    assert (lab.root / "state" / "definitions" / f"{uuid}.json").stat().st_mode & 0o007 == 0


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


def test_the_log_of_a_failed_start_is_masked_and_the_rest_of_it_is_not(lab: Lab, controller: Controller) -> None:
    uuid = lab.server(READY_LINE=SECRET, CRASH_AFTER=0.5, done=("never",))
    result = controller.run_module(**controller.options(action="start", server=uuid, wait_for="running"))
    assert result["servers"][0]["log"] == ["********", "crashed"]
    wait_until(lambda: not lab.is_up(uuid), "it ended")
