# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The action plugin adds who asks, and the server of a host that is one; nothing else."""

from __future__ import annotations

import getpass
import importlib
import socket
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("ansible.plugins.action")
plugin = importlib.import_module("ansible_collections.fleet.power.plugins.action.server_power")

WHO = f"{getpass.getuser()}@{socket.gethostname()}"
UUID = "566bf9d7-c55a-45f8-91a6-e55e9b9b1325"
Send = Callable[..., dict[str, Any]]


class Templar:
    """Fills in nothing but one variable."""

    def template(self, value: object) -> object:
        return UUID if value == "{{ mine }}" else value


@pytest.fixture
def send(monkeypatch: pytest.MonkeyPatch) -> Send:
    """What the module is given for a task's arguments and a host's variables."""

    def arguments_sent(given: dict[str, Any], variables: dict[str, Any] | None = None, *, asynchronous: int = 0) -> dict[str, Any]:
        task = SimpleNamespace(args=given, async_val=asynchronous, get_name=lambda: "bring it up")
        action = plugin.ActionModule(task=task, connection=None, play_context=None, loader=None, templar=Templar(), shared_loader_obj=None)
        monkeypatch.setattr(plugin.ActionBase, "run", lambda self, tmp=None, task_vars=None: {})
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


@pytest.mark.parametrize("variables", [{"ansible_play_name": "Ansible Ad-Hoc"}, {}, None])
def test_an_ad_hoc_command_is_called_so(send: Send, variables: dict[str, Any] | None) -> None:
    assert send({"action": "start", "server": "a"}, variables)["origin"] == f"{WHO} (ad hoc)"


def test_an_origin_that_is_given_stays(send: Send) -> None:
    assert send({"action": "start", "server": "a", "origin": "ticket 4711"})["origin"] == "ticket 4711"


@pytest.mark.parametrize("name", ["server", "servers", "uuid"])
@pytest.mark.parametrize("value", ["other", ["other"], "", []])
def test_a_server_that_is_given_stays_even_if_it_is_empty(send: Send, name: str, value: object) -> None:
    sent = send({"action": "start", name: value}, {"server_uuid": UUID})
    assert sent[name] == value
    assert {"server", "servers", "uuid"} & set(sent) == {name}


def test_a_host_that_is_a_server_is_the_server(send: Send) -> None:
    assert send({"action": "start"}, {"server_uuid": "{{ mine }}"})["server"] == UUID
    assert send({"action": "start", "server": None}, {"server_uuid": UUID})["server"] == UUID


def test_without_either_there_is_none_and_the_module_says_so(send: Send) -> None:
    assert "server" not in send({"action": "start"}, {})


def test_an_asynchronous_task_is_run_so(send: Send) -> None:
    send({"action": "start", "server": "a"}, asynchronous=60)
