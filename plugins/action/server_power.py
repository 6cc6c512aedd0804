# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Adds the origin to a server_power task, and the server if the host is one; follows a job to its end."""

from __future__ import annotations

import contextlib
import os
from typing import Any

from ansible.errors import AnsibleConnectionFailure, AnsibleError
from ansible_collections.fleet.power.plugins.module_utils._job import FOLLOW, UNFOLLOWED, asking, give_up_command
from ansible_collections.fleet.power.plugins.plugin_utils._interruption import telling_when_ended
from ansible_collections.fleet.power.plugins.plugin_utils._job_follower import (
    AFTER_SECONDS,
    Elapsed,
    JobFollower,
    NodeOfTask,
    asking_to_follow,
    new_job,
    was_lost,
)
from ansible_collections.fleet.power.plugins.plugin_utils._progress import TaskProgress
from ansible_collections.fleet.power.plugins.plugin_utils._server_action import ServerAction, forget_reached, was_reached


class ActionModule(ServerAction):
    _adds_origin = True
    _run = "run_power_module"

    def _executed(self, arguments: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        """Return the module's result. An action that takes longer than `AFTER_SECONDS` becomes a job, and this waits for its end."""
        if self._task.async_val or self._task.check_mode or os.environ.get("FLEET_POWER_FOLLOW") == "0":
            return super()._executed(arguments, task_vars)
        environment = list(self._task.environment or ())
        self._task.environment = environment
        answer = self._followed(arguments, task_vars, environment)
        # The node has no directory for the files of a job, so the action has not begun.
        return super()._executed(arguments, task_vars) if UNFOLLOWED in answer else answer

    def _followed(self, arguments: dict[str, Any], task_vars: dict[str, Any], environment: list[Any]) -> dict[str, Any]:
        """Return the final result, or the module's answer that its node cannot run jobs."""
        job, elapsed, may_have_begun = new_job(), Elapsed(), None
        lost, run_of_ansible, host = None, os.getppid(), str(task_vars.get("inventory_hostname", ""))
        node = self._node_of_task(task_vars, arguments, environment)
        with telling_when_ended(lambda: node.give_up(job)), asking_to_follow(environment, asking(job, AFTER_SECONDS)):
            try:
                answer = super()._executed(arguments, task_vars)
                if answer.get("module_stdout") == "" and int(answer.get("rc") or 0) < 0:
                    # The process that makes the connection was killed, for example for want of memory.
                    raise AnsibleConnectionFailure(str(answer.get("msg")))
            except AnsibleConnectionFailure as error:
                if not (was_lost(error) or was_reached(host)):
                    raise
                lost, answer = error, {}
                may_have_begun = elapsed if was_lost(error) or self._ssh_tries_again() else None
            if lost is None and FOLLOW not in answer:
                return answer
            is_secret = bool(self._task.no_log)
            mute = is_secret or os.environ.get("FLEET_POWER_PROGRESS") == "0"
            with TaskProgress(host, mute=mute, reports=not is_secret) as progress:
                follower = JobFollower(node, job, progress, run_of_ansible)
                try:
                    ended = follower.result(answer.pop(FOLLOW)) if lost is None else follower.rejoined(lost, may_have_begun)
                except AnsibleConnectionFailure:
                    forget_reached(host)
                    raise
        # The first answer has more keys, such as the discovered interpreter.
        return {**answer, **ended}

    def _ssh_tries_again(self) -> bool:
        """Tell whether SSH repeats a command by itself: then an error describes the last try only."""
        try:
            return int(self._connection.get_option("reconnection_retries")) > 0
        except (AttributeError, KeyError, TypeError, ValueError):
            return False

    def _node_of_task(self, task_vars: dict[str, Any], arguments: dict[str, Any], environment: list[Any]) -> NodeOfTask:
        execute = super()._executed

        def begin(text: str) -> dict[str, Any]:
            with asking_to_follow(environment, text):
                return execute(arguments, task_vars)

        def run(command: str) -> str:
            return str(self._low_level_execute_command(command)["stdout"])

        def fetch(job: str) -> dict[str, Any]:
            found: dict[str, Any] = self._execute_module("fleet.power.server_power_job", module_args={"job": job}, task_vars=task_vars)
            if "module_stdout" in found:
                # The module could not start, for example because sudo failed. The action may still have run.
                raise AnsibleError(str(found.get("msg")))
            return found

        def disconnect() -> None:
            if self._connection.transport == "ssh":
                # Otherwise the next command uses the same shared connection, which hangs.
                with contextlib.suppress(AnsibleError):
                    self._connection.reset()
            self._connection.close()

        return NodeOfTask(run, fetch, begin, disconnect, lambda job: run(give_up_command(job)))
