# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The play of a rolling run: its nodes, and the results that tasks registered for each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleError
from ansible_collections.fleet.power.plugins.module_utils._fleet.rollout.values import RolloutError
from ansible_collections.fleet.power.plugins.plugin_utils._server_action import controller_user
from ansible_collections.fleet.power.plugins.plugin_utils._variables import given_fault, plain_value, raw_variables

_STRATEGIES = ("linear", "ansible.builtin.linear", "debug", "ansible.builtin.debug")
_NEEDED = ("servers", "complete", "code", "msg", "module_stderr", "unreachable", "before_batch_failed")


class RolloutPlay:
    """A play, read from a task's variables."""

    def __init__(self, task: Any, task_vars: Mapping[str, Any]) -> None:
        self._task = task
        self._vars = task_vars

    def nodes(self) -> list[str]:
        """Return all nodes of the play, including lost ones. Raises `RolloutError` for a play that cannot roll out."""
        everywhere, active = list(self._vars["ansible_play_hosts_all"]), set(self._vars["ansible_play_hosts"])
        if set(self._vars["ansible_play_batch"]) != active:
            raise RolloutError("Cannot roll out in a play that has serial: each part would be a run of its own; use rollout_serial")
        play = getattr(getattr(self._task, "_parent", None), "_play", None)
        strategy = getattr(play, "strategy", _STRATEGIES[0])
        if strategy not in _STRATEGIES:
            raise RolloutError(f"Cannot roll out with strategy {strategy}: its nodes do not wait for each other; use linear")
        return [str(node) for node in everywhere]

    @property
    def asked_by(self) -> str:
        play = self._vars.get("ansible_play_name")
        return f"{controller_user()} (play {play})" if play else controller_user()

    def here(self) -> str:
        return str(self._vars["inventory_hostname"])

    def left(self) -> list[str]:
        """Return the reachable nodes, in Ansible's order."""
        active = set(self._vars["ansible_play_hosts"])
        return [str(node) for node in self._vars["ansible_play_batch"] if node in active]

    def sets(self, name: str) -> bool:
        """Tell whether any node sets a variable. Its template is not evaluated, since it may need others."""
        if self._vars.get(name):
            return True
        return any(raw_variables(self._vars["hostvars"], node).get(name) for node in self.left())

    def variables_fault(self, loader: Any) -> str:
        """Return why extra variables are unusable, or an empty text. Other misspelt variables give a warning."""
        return given_fault(loader, self._vars, self._vars["ansible_play_hosts_all"])

    def value(self, name: str, templar: Any) -> Any:
        """Return the evaluated variable for the task's node, None if it is not set. Raises `RolloutError`."""
        if not self._vars.get(name):
            return None
        try:
            return plain_value(templar.template(self._vars[name]))
        except AnsibleError as error:
            raise RolloutError(f"Cannot use {name}: {error.message}") from error

    def answer(self, node: str, name: str) -> dict[str, Any] | None:
        """Return the registered result of a node, None without one. Results outlive plays, so a node outside this play has none."""
        if node not in self._vars["ansible_play_hosts"]:
            return None
        found = self._vars["hostvars"][node].get(name)
        if not isinstance(found, Mapping) or found.get("skipped"):
            return None
        return {key: plain_value(found[key]) for key in _NEEDED if key in found}
