# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The action plugin, its output, and a worker that is interrupted."""

from __future__ import annotations

import contextlib
import getpass
import importlib
import json
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.model.caller import is_ad_hoc
from ansible_collections.fleet.power.tests.unit.forked_support import ForkedModule

pytest.importorskip("ansible.plugins.action")
plugin = importlib.import_module("ansible_collections.fleet.power.plugins.action.server_power")
server_host = importlib.import_module("ansible_collections.fleet.power.plugins.plugin_utils._server_action")

info = importlib.import_module("ansible_collections.fleet.power.plugins.action.server_power_info")
INFO = "fleet.power.server_power_info"

WHO = f"{getpass.getuser()}@{socket.gethostname()}"
UUID = "566bf9d7-c55a-45f8-91a6-e55e9b9b1325"
Send = Callable[..., dict[str, Any]]


class Templar:
    def template(self, value: object) -> object:
        return UUID if value == "{{ mine }}" else value


def executed(_self: object, module_name: str = "", **sent: Any) -> dict[str, Any]:
    """The node has no core, so the whole module follows."""
    return {"fleet_core": "there is none"} if module_name == "fleet.power.core_call" else sent


@pytest.fixture
def send(monkeypatch: pytest.MonkeyPatch) -> Send:
    """The module arguments for a task's arguments and a host's variables."""

    def arguments_sent(given: dict[str, Any], variables: dict[str, Any] | None = None, *, asynchronous: int = 0) -> dict[str, Any]:
        task = SimpleNamespace(
            args=given,
            async_val=asynchronous,
            check_mode=False,
            environment=None,
            no_log=False,
            delegate_to=None,
            get_name=lambda: "bring it up",
        )
        connection = SimpleNamespace(transport="ssh")
        action = plugin.ActionModule(
            task=task, connection=connection, play_context=None, loader=None, templar=Templar(), shared_loader_obj=None
        )
        monkeypatch.setattr(server_host.ActionBase, "run", lambda self, tmp=None, task_vars=None: {})
        monkeypatch.setattr(plugin.ActionModule, "_execute_module", executed)
        before = dict(given)
        sent = action.run(task_vars=variables)
        assert given == before
        assert sent["wrap_async"] == asynchronous
        arguments: dict[str, Any] = sent["module_args"]
        return arguments

    return arguments_sent


def test_the_origin_names_the_play_and_the_task(send: Send) -> None:
    sent = send({"action": "start", "server": ["a"]}, {"ansible_play_name": "Evening"})
    assert sent == {"action": "start", "server": ["a"], "origin": f"{WHO} (play Evening, task bring it up)"}
    assert not is_ad_hoc(sent["origin"])


@pytest.mark.parametrize("variables", [{"ansible_play_name": "Ansible Ad-Hoc"}, {}, None])
def test_the_origin_of_an_ad_hoc_command_says_ad_hoc(send: Send, variables: dict[str, Any] | None) -> None:
    origin = send({"action": "start", "server": "a"}, variables)["origin"]
    assert origin == f"{WHO} (ad hoc)" and is_ad_hoc(origin)


def test_a_host_with_a_server_uuid_is_the_default_server(send: Send) -> None:
    assert send({"action": "start"}, {"server_uuid": "{{ mine }}"})["server"] == UUID
    assert send({"action": "start", "server": None}, {"server_uuid": UUID})["server"] == UUID


class Node:
    """Records the modules that a task runs on its node. ``has_core``: the node has the core."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path, *, has_core: bool, transport: str = "ssh") -> None:
        self.has_core, self.transport, self.ran = has_core, transport, []
        monkeypatch.setattr(server_host.constants, "DEFAULT_LOCAL_TMP", str(folder))
        monkeypatch.setattr(server_host.ActionBase, "run", lambda self, tmp=None, task_vars=None: {})
        monkeypatch.setattr(info.ActionModule, "_execute_module", lambda action, name=None, **sent: self.run(action, name))

    def task(self, *, asynchronous: int = 0) -> dict[str, Any]:
        fields = {"args": {}, "async_val": asynchronous, "check_mode": False, "environment": [{"TMPDIR": "/x"}]}
        task = SimpleNamespace(action=INFO, delegate_to=None, **fields)
        connection = SimpleNamespace(transport=self.transport)
        action = info.ActionModule(task=task, connection=connection, play_context=None, loader=None, templar=None, shared_loader_obj=None)
        result: dict[str, Any] = action.run(task_vars={"inventory_hostname": "node-1"})
        assert task.environment == [{"TMPDIR": "/x"}]
        return result

    def run(self, action: Any, name: str | None) -> dict[str, Any]:
        asked = json.loads(action._task.environment[-1]["FLEET_POWER_CORE"]) if name else {}
        self.ran.append((name and name.rpartition(".")[2]) or "whole")
        if name is None or self.has_core or "collection" in asked:
            return {"servers": [], "run": asked.get("run")}
        return {"changed": False, "fleet_core": f"there is no core {asked['digest']}"}


def test_a_module_runs_from_the_core_of_its_node(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    node = Node(monkeypatch, tmp_path, has_core=True)
    assert [node.task()["run"], node.task()["run"]] == ["run_info_module"] * 2
    assert node.ran == ["core_call"] * 2


def test_a_node_without_the_core_is_asked_once_and_gets_the_whole_module(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    node = Node(monkeypatch, tmp_path, has_core=False)
    assert node.task() == node.task() == {"servers": [], "run": None}
    assert node.ran == ["core_call", "whole", "whole"]


def test_an_asynchronous_task_gets_the_whole_module(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    node = Node(monkeypatch, tmp_path, has_core=True)
    node.task(asynchronous=60)
    assert node.ran == ["whole"]


def test_a_local_connection_imports_the_installed_collection(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    node = Node(monkeypatch, tmp_path, has_core=False, transport="local")
    assert node.task()["run"] == "run_info_module"


def _at_once(folder: Path, nodes: list[str]) -> int:
    """The highest number of tasks, each a process, that worked at the same time."""
    context = multiprocessing.get_context("fork")
    now, most = context.Value("i", 0), context.Value("i", 0)

    def task(node: str) -> None:
        with server_host._turn(node, str(folder)):
            with now.get_lock():
                now.value += 1
                most.value = max(most.value, now.value)
            # Each task waits for a second task, and then long enough for further tasks to arrive.
            until = time.monotonic() + 10
            while most.value < 2 and time.monotonic() < until:
                time.sleep(0.01)
            time.sleep(0.2)
            with now.get_lock():
                now.value -= 1

    children = [context.Process(target=task, args=(node,)) for node in nodes]
    for child in children:
        child.start()
    for child in children:
        child.join(20)
    assert [child.exitcode for child in children] == [0] * len(children)
    return int(most.value)


def test_tasks_of_a_node_work_a_few_at_a_time(tmp_path: Path) -> None:
    assert 1 < _at_once(tmp_path, ["node-1"] * 12) <= server_host.AT_ONCE


def test_a_task_does_not_wait_for_tasks_of_other_nodes(tmp_path: Path) -> None:
    with server_host._turn("node-1", str(tmp_path)), contextlib.ExitStack() as others:
        for _unused in range(server_host.AT_ONCE):
            others.enter_context(server_host._turn("node-2", str(tmp_path)))


def test_a_killed_task_frees_its_turn(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")

    def hang(ready: Any) -> None:
        with contextlib.ExitStack() as turns:
            for _unused in range(server_host.AT_ONCE):
                turns.enter_context(server_host._turn("node-1", str(tmp_path)))
            ready.set()
            time.sleep(60)

    ready = context.Event()
    child = context.Process(target=hang, args=(ready,))
    child.start()
    assert ready.wait(20)
    child.kill()
    child.join(20)
    with server_host._turn("node-1", str(tmp_path)):
        pass


#: Like a worker of Ansible: its signal handlers end it, here with exit code 7.
PRELUDE = """
import os, signal, sys, threading, time
from ansible_collections.fleet.power.plugins.plugin_utils import _interruption as interrupted
from ansible_collections.fleet.power.plugins.plugin_utils._interruption import telling_when_ended

interrupted.TELL_SECONDS = 1.5

def note(text):
    with open(sys.argv[1], "a") as file:
        file.write(text + "\\n")

def before(number, frame):
    note(f"ended by {number}")
    os._exit(7)

def report():
    note("reported")

def rest():
    # In short sleeps: a signal right before a sleep is handled only after it.
    for _unused in range(300):
        time.sleep(0.1)

for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, before)
"""
WAITS = """
with telling_when_ended(report):
    note("begun")
    rest()
"""
Run = Callable[[str], ForkedModule]
BOTH = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)


@pytest.fixture(name="run")
def start_worker(tmp_path: Path) -> Iterator[Run]:
    with ExitStack() as started:
        yield lambda script: started.enter_context(closing(ForkedModule(PRELUDE + script, tmp_path / "notes")))


@BOTH
def test_a_signalled_worker_reports_and_then_runs_its_own_handler(run: Run, number: signal.Signals) -> None:
    worker = run(WAITS)
    worker.await_note("begun")
    worker.parent.send_signal(number)
    assert worker.end()[0] == 7
    assert worker.noted() == ["begun", "reported", f"ended by {number.value}"]


def test_repeated_signals_cause_a_single_report(run: Run) -> None:
    worker = run(WAITS.replace("report)", "lambda: (report(), time.sleep(1)))"))
    worker.await_note("begun")
    worker.parent.send_signal(signal.SIGINT)
    worker.await_note("reported")
    worker.parent.send_signal(signal.SIGTERM)
    worker.parent.send_signal(signal.SIGINT)
    assert worker.end()[0] == 7
    assert worker.noted() == ["begun", "reported", "ended by 2"]


@pytest.mark.parametrize(
    "script",
    [
        # The node does not answer.
        WAITS.replace("report)", "lambda: time.sleep(30))"),
        # The body swallows the exception.
        """
with telling_when_ended(report):
    note("begun")
    while True:
        try:
            rest()
        except BaseException:
            pass
""",
    ],
    ids=["silent", "lost"],
)
def test_a_signalled_worker_ends_within_seconds(run: Run, script: str) -> None:
    worker = run(script)
    worker.await_note("begun")
    began = time.monotonic()
    worker.parent.send_signal(signal.SIGINT)
    assert worker.end()[0] == 7
    assert time.monotonic() - began < 12
    assert worker.noted()[-1] == "ended by 2"


@pytest.mark.parametrize(
    "body",
    [
        # A body that fails at its end, a body that catches everything, and a body that restarts.
        'try:\n        rest()\n    finally:\n        raise OSError("no listener")',
        "try:\n        rest()\n    except BaseException:\n        pass",
        "try:\n        rest()\n    except Exception:\n        rest()",
    ],
)
def test_a_signalled_worker_reports_although_its_body_hides_the_signal(run: Run, body: str) -> None:
    worker = run(f'with telling_when_ended(report):\n    note("begun")\n    {body}\n')
    worker.await_note("begun")
    worker.parent.send_signal(signal.SIGINT)
    assert worker.end()[0] == 7
    assert worker.noted() == ["begun", "reported", "ended by 2"]


is_read_by_people = importlib.import_module("ansible_collections.fleet.power.plugins.plugin_utils._output").is_read_by_people


@pytest.mark.parametrize("callback", ["default", "minimal", "debug", "tree"])
def test_callbacks_for_people_are_recognised(callback: str) -> None:
    assert is_read_by_people(callback)


@pytest.mark.parametrize("callback", ["json", "ansible.posix.json", "ansible.posix.jsonl", "null", "", None])
def test_other_callbacks_are_recognised(callback: object) -> None:
    assert not is_read_by_people(callback)


SPEAKER = """
import sys, time
from ansible_collections.fleet.power.plugins.plugin_utils import _output as spoken
for number in range(3):
    sys.stdout.write(f"line {number}\\n")
    time.sleep(0.3)
sys.stderr.write("to the end\\n")
"""


def spoken_in(environment: dict[str, str]) -> subprocess.Popen[str]:
    surroundings = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **environment}
    return subprocess.Popen([sys.executable, "-c", SPEAKER], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=surroundings)


@pytest.mark.parametrize("environment", [{}, {"PYTHONUNBUFFERED": "1"}])
def test_a_pipe_gets_each_line_at_once_and_may_close(environment: dict[str, str]) -> None:
    speaking = spoken_in(environment)
    assert speaking.stdout is not None and speaking.stderr is not None
    assert speaking.stdout.readline() == "line 0\n"
    assert speaking.poll() is None, "the line came only at the end of the process"
    speaking.stdout.close()
    assert (speaking.wait(20), speaking.stderr.read()) == (0, "to the end\n")
    speaking.stderr.close()
