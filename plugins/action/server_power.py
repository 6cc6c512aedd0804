# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Adds to a server_power task who asks, and the server of a host that is one, and follows what takes longer than a moment."""

from __future__ import annotations

import getpass
import os
import socket
from collections.abc import Mapping
from typing import Any

from ansible_collections.fleet.power.plugins.module_utils._own_session import FOLLOW
from ansible_collections.fleet.power.plugins.plugin_utils.following import Follower, asking_to_follow, is_wanted
from ansible_collections.fleet.power.plugins.plugin_utils.progress import Progress
from ansible_collections.fleet.power.plugins.plugin_utils.server_host import ServerAction

_AD_HOC_PLAY = "Ansible Ad-Hoc"


class ActionModule(ServerAction):
    """The action plugin that runs before the module of the same name."""

    def _executed(self, arguments: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        if self._task.async_val or self._task.check_mode or not is_wanted():
            return super()._executed(arguments, task_vars)
        environment = self._task.environment = list(self._task.environment or ())
        with asking_to_follow(environment):
            answer = super()._executed(arguments, task_vars)
        followed = answer.pop(FOLLOW, None)
        if not isinstance(followed, dict):
            return answer

        def ask(**asked: Any) -> dict[str, Any]:
            found: dict[str, Any] = self._execute_module("fleet.power.server_power_follow", module_args=asked, task_vars=task_vars)
            return found

        return Follower(ask, self._connection, Progress(str(task_vars.get("inventory_hostname", "")))).result_of(str(followed["job"]))

    def _completed(self, arguments: dict[str, Any], task_vars: Mapping[str, Any]) -> dict[str, Any]:
        return arguments if arguments.get("origin") else {**arguments, "origin": self._origin(task_vars)}

    def _origin(self, task_vars: Mapping[str, Any]) -> str:
        who = f"{_user()}@{socket.gethostname()}"
        play = task_vars.get("ansible_play_name")
        where = "ad hoc" if play in (None, _AD_HOC_PLAY) else f"play {play}, task {self._task.get_name()}"
        return f"{who} ({where})"


def _user() -> str:
    """Return the user that runs this, by number where it has no name: a container may be given an id that no user has."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())
