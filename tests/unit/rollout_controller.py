# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A controller of a rolling run for tests: it runs the steps as Ansible does, in a play without nodes."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("ansible.plugins.action")
DataLoader = importlib.import_module("ansible.parsing.dataloader").DataLoader
plugin = importlib.import_module("ansible_collections.fleet.power.plugins.action.rollout_step")
steps = importlib.import_module("ansible_collections.fleet.power.plugins.plugin_utils._rollout_step")
reports = importlib.import_module("ansible_collections.fleet.power.plugins.plugin_utils._rollout_report")


class Clock:
    def __init__(self) -> None:
        self.now = 1_769_860_800.0
        self.slept = 0.0

    def time(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.slept

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.slept += seconds


class Controller:
    """A play with its output. The test sets the registered answers of the nodes."""

    def __init__(self, tmp_path: Path) -> None:
        self.hostvars: dict[str, dict[str, Any]] = {}
        self.vars: dict[str, Any] = {}
        self.shown: list[str] = []
        #: The warnings that a test keeps.
        self.warned: list[str] = []
        self.clock = Clock()
        self.check = False
        self.strategy = "linear"
        self.active: list[str] | None = None
        self.lost: set[str] = set()
        self.result_file = tmp_path / "result.json"
        self.run = ""

    def nodes(self, seen: dict[str, Any]) -> None:
        self.hostvars = {node: {"__rollout_seen": answer} for node, answer in seen.items()}

    def answers(self, answers: dict[str, Any], name: str = "__rollout_answer") -> None:
        for node, answer in answers.items():
            self.hostvars[node][name] = answer

    def step(self, name: str, here: str = "", **arguments: Any) -> dict[str, Any]:
        """Take a step, for the first node or the node ``here``."""
        if "file" in arguments:
            arguments.setdefault("run", self.run)
        play = SimpleNamespace(strategy=self.strategy)
        task = SimpleNamespace(
            args={"step": name, **arguments}, check_mode=self.check, _parent=SimpleNamespace(_play=play), get_search_path=list
        )
        templar = SimpleNamespace(template=lambda value: value)
        action = plugin.ActionModule(
            task=task,
            connection=None,
            play_context=None,
            loader=DataLoader(),
            templar=templar,
            shared_loader_obj=None,
        )
        nodes = list(self.hostvars)
        result: dict[str, Any] = action.run(
            task_vars={
                **self.vars,
                "hostvars": self.hostvars,
                "inventory_hostname": here or next(iter(nodes), ""),
                "ansible_play_hosts_all": nodes,
                "ansible_play_hosts": [node for node in nodes if node not in self.lost],
                "ansible_play_batch": [node for node in (nodes if self.active is None else self.active) if node not in self.lost],
            }
        )
        self.run = result.get("run", self.run)
        return result

    def plan(self, **given: Any) -> dict[str, Any]:
        files = {name: given.pop(name, "") for name in ("resume", "resume_file")}
        asked = {"action": "restart", "servers": ["all"], **given}
        return self.step("plan", given=asked, **files, result_file=str(self.result_file))

    def begin(self, file: str, number: int, **more: Any) -> dict[str, Any]:
        """Count the previous batch and begin one. Its answer is for all nodes, until a node gives its own."""
        begun = self.step("next", file=file, batch=number, result_file=str(self.result_file), **more)
        self.answers(dict.fromkeys(self.hostvars, begun))
        return begun

    def report(self, file: str, **more: Any) -> dict[str, Any]:
        return self.step("next", file=file, result_file=str(self.result_file), **more)

    @property
    def result(self) -> dict[str, Any]:
        read: dict[str, Any] = json.loads(self.result_file.read_text())
        return read


def new_controller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Controller:
    made = Controller(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr(plugin.constants, "DEFAULT_LOCAL_TMP", str(tmp_path / "local"))
    monkeypatch.setattr(plugin.ActionBase, "run", lambda self, tmp=None, task_vars=None: {})
    for module in (plugin, steps, reports):
        monkeypatch.setattr(module, "speak", made.shown.append)
        monkeypatch.setattr(module, "time", made.clock)
    return made
