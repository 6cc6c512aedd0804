# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tasks on a host that is a server: they act on that server by default, and few run on one node at a time."""

from __future__ import annotations

import contextlib
import fcntl
import getpass
import hashlib
import json
import os
import socket
import time
from collections.abc import Iterator, Mapping
from typing import Any

from ansible import constants
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.fleet.power.plugins.module_utils import _core
from ansible_collections.fleet.power.plugins.module_utils._power.model.caller import AD_HOC

display = Display()
SOURCES = os.path.dirname(os.path.realpath(_core.__file__))
#: The hash of these sources. Ansible loads this file before it forks, so each command reads them once.
DIGEST = _core.digest_of(_core.sources(SOURCES))
#: The names of option server. Loading the declared options would take longer than all the rest here.
_SERVER_NAMES = ("server", "servers", "uuid")
#: Tasks at a time on the servers of one node, in one Ansible. They share a connection, on which sshd allows ten sessions by default. So two
#: Ansibles fit.
AT_ONCE = 5
_LOOK_AGAIN_SECONDS = 0.2
_AD_HOC_PLAY = "Ansible Ad-Hoc"


def controller_user() -> str:
    """Return the user who runs Ansible, and the machine. A user without a name (a container may run under any id) is shown by number."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"


class ServerAction(ActionBase):  # type: ignore[misc]
    """An action plugin that runs the module of its own name. A task that names no server gets the server of its host."""

    _supports_async = True
    #: The function of `_options` that is the module.
    _run: str
    #: Whether a task that gives no origin gets one.
    _adds_origin = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run the module with the task's arguments and the added ones."""
        variables = task_vars or {}
        result: dict[str, Any] = super().run(tmp, variables)
        arguments = dict(self._task.args)
        if variables.get("server_uuid") and all(arguments.get(name) is None for name in _SERVER_NAMES):
            # The module refuses an empty one.
            arguments["server"] = self._templar.template(variables["server_uuid"])
        if self._adds_origin and not arguments.get("origin"):
            arguments["origin"] = self._origin(variables)
        with _turn(self._node(variables)):
            result.update(self._executed(arguments, variables))
        _touch(_mark("reached", str(variables.get("inventory_hostname", ""))))
        return result

    def _executed(self, arguments: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        """Return the module's result. It runs from the node's core if possible, because its sources are large."""
        host = str(self._task.delegate_to or self._node(task_vars) or task_vars.get("inventory_hostname", ""))
        slow = _mark("slow", host)
        if not self._task.async_val and os.environ.get(_core.VARIABLE) != "0" and not os.path.exists(slow):
            answer = self._called(arguments, task_vars)
            if _core.NO_CORE not in answer:
                return answer
            if _touch(slow):
                display.v(f"fleet.power sends the whole module, which takes longer: {answer[_core.NO_CORE]}", host=host)
        whole: dict[str, Any] = self._execute_module(module_args=arguments, task_vars=task_vars, wrap_async=self._task.async_val)
        return whole

    def _called(self, arguments: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        asked: dict[str, Any] = {"run": self._run, "digest": DIGEST}
        if self._connection.transport == "local":
            asked.update(collection=SOURCES, keeps_bytecode=not self._task.check_mode)
        before = self._task.environment
        self._task.environment = [*(before or ()), {_core.VARIABLE: json.dumps(asked)}]
        try:
            answer: dict[str, Any] = self._execute_module("fleet.power.core_call", module_args=arguments, task_vars=task_vars)
        finally:
            self._task.environment = before
        return answer

    def _update_module_args(self, module_name: str, module_args: dict[str, Any], task_vars: dict[str, Any], **options: Any) -> None:
        super()._update_module_args(module_name, module_args, task_vars, **options)
        if module_name == "fleet.power.core_call":
            # Ansible's messages name the module that the task named.
            module_args["_ansible_module_name"] = self._task.action

    def _node(self, task_vars: Mapping[str, Any]) -> str | None:
        """Return the node whose connection several hosts share, None for a host that is no server."""
        if not task_vars.get("server_uuid") or task_vars.get("server_node") is None:
            return None
        return str(self._templar.template(task_vars["server_node"]))

    def _origin(self, task_vars: Mapping[str, Any]) -> str:
        play = task_vars.get("ansible_play_name")
        where = AD_HOC if play in (None, _AD_HOC_PLAY) else f"play {play}, task {self._task.get_name()}"
        return f"{controller_user()} ({where})"


def was_reached(host: str) -> bool:
    """Tell whether a task of this collection has reached a host earlier in this Ansible."""
    return os.path.exists(_mark("reached", host))


def forget_reached(host: str) -> None:
    """Let the next tasks fail at once if they cannot reach a host."""
    with contextlib.suppress(OSError):
        os.unlink(_mark("reached", host))


def _mark(what: str, host: str) -> str:
    """Return the path of a mark on a host, in the only directory that all forks share."""
    return os.path.join(constants.DEFAULT_LOCAL_TMP, f"fleet-power-{what}-{_short(host)}")


def _touch(mark: str) -> bool:
    """Make a mark; return whether it is new."""
    with contextlib.suppress(OSError):
        os.close(os.open(mark, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        return True
    return False


def _short(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:16]


@contextlib.contextmanager
def _turn(node: str | None, folder: str | None = None) -> Iterator[None]:
    """Wait to be one of `AT_ONCE` tasks of this Ansible on a node. A fork's lock ends with the fork. None does not wait."""
    if node is None:
        yield
        return
    places = [os.path.join(folder or constants.DEFAULT_LOCAL_TMP, f"fleet-power-{_short(node)}-{number}") for number in range(AT_ONCE)]
    with contextlib.ExitStack() as held:
        while not any(_take(place, held) for place in places):
            time.sleep(_LOOK_AGAIN_SECONDS)
        yield


def _take(place: str, held: contextlib.ExitStack) -> bool:
    descriptor = os.open(place, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return False
    held.callback(os.close, descriptor)
    return True
