# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The action plugin adds who asks, and the server of a host that is one; nothing else."""

from __future__ import annotations

import contextlib
import getpass
import importlib
import multiprocessing
import socket
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.model.caller import is_ad_hoc

pytest.importorskip("ansible.plugins.action")
plugin = importlib.import_module("ansible_collections.fleet.power.plugins.action.server_power")
server_host = importlib.import_module("ansible_collections.fleet.power.plugins.plugin_utils._server_action")

WHO = f"{getpass.getuser()}@{socket.gethostname()}"
UUID = "566bf9d7-c55a-45f8-91a6-e55e9b9b1325"
Send = Callable[..., dict[str, Any]]


class Templar:
    def template(self, value: object) -> object:
        return UUID if value == "{{ mine }}" else value


@pytest.fixture
def send(monkeypatch: pytest.MonkeyPatch) -> Send:
    """What the module is given for a task's arguments and a host's variables."""

    def arguments_sent(given: dict[str, Any], variables: dict[str, Any] | None = None, *, asynchronous: int = 0) -> dict[str, Any]:
        task = SimpleNamespace(
            args=given, async_val=asynchronous, check_mode=False, environment=None, no_log=False, get_name=lambda: "bring it up"
        )
        action = plugin.ActionModule(task=task, connection=None, play_context=None, loader=None, templar=Templar(), shared_loader_obj=None)
        monkeypatch.setattr(server_host.ActionBase, "run", lambda self, tmp=None, task_vars=None: {})
        monkeypatch.setattr(plugin.ActionModule, "_execute_module", lambda self, **sent: sent)
        before = dict(given)
        sent = action.run(task_vars=variables)
        assert given == before
        assert sent["wrap_async"] == asynchronous
        arguments: dict[str, Any] = sent["module_args"]
        return arguments

    return arguments_sent


def test_play_and_task_are_named_as_the_origin(send: Send) -> None:
    sent = send({"action": "start", "server": ["a"]}, {"ansible_play_name": "Evening"})
    assert sent == {"action": "start", "server": ["a"], "origin": f"{WHO} (play Evening, task bring it up)"}
    assert not is_ad_hoc(sent["origin"])


@pytest.mark.parametrize("variables", [{"ansible_play_name": "Ansible Ad-Hoc"}, {}, None])
def test_an_ad_hoc_command_is_called_so(send: Send, variables: dict[str, Any] | None) -> None:
    origin = send({"action": "start", "server": "a"}, variables)["origin"]
    assert origin == f"{WHO} (ad hoc)" and is_ad_hoc(origin)


def test_a_host_that_is_a_server_is_the_server(send: Send) -> None:
    assert send({"action": "start"}, {"server_uuid": "{{ mine }}"})["server"] == UUID
    assert send({"action": "start", "server": None}, {"server_uuid": UUID})["server"] == UUID


def _at_once(folder: Path, nodes: list[str]) -> int:
    """How many of so many tasks, each a process, were ever at work at the same time."""
    context = multiprocessing.get_context("fork")
    now, most = context.Value("i", 0), context.Value("i", 0)

    def task(node: str) -> None:
        with server_host._turn(node, str(folder)):
            with now.get_lock():
                now.value += 1
                most.value = max(most.value, now.value)
            # Nobody leaves before another has come, and then only after a moment in which more could come than may.
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


def test_few_servers_of_a_node_are_acted_on_at_a_time_however_many_forks_there_are(tmp_path: Path) -> None:
    assert 1 < _at_once(tmp_path, ["node-1"] * 12) <= server_host.AT_ONCE


def test_servers_of_other_nodes_are_not_waited_for(tmp_path: Path) -> None:
    with server_host._turn("node-1", str(tmp_path)), contextlib.ExitStack() as others:
        for _unused in range(server_host.AT_ONCE):
            others.enter_context(server_host._turn("node-2", str(tmp_path)))


def test_a_task_that_is_killed_gives_up_its_turn(tmp_path: Path) -> None:
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
