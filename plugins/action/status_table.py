# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Prints the results of server_power_info on all nodes of the play as one table, without a connection to a node.

It reads the hosts' variables itself, because templates over hundreds of servers take long.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from typing import Any

from ansible.errors import AnsibleActionFail, AnsibleError
from ansible.plugins.action import ActionBase
from ansible_collections.fleet.power.plugins.module_utils._fleet.rollout.run_files import write_json
from ansible_collections.fleet.power.plugins.module_utils._fleet.status import (
    CONNECTION,
    failure,
    faults,
    node_seen,
    snapshot,
    status_lines,
)
from ansible_collections.fleet.power.plugins.module_utils._power.model.schema import joined
from ansible_collections.fleet.power.plugins.module_utils._power.model.server import PowerState
from ansible_collections.fleet.power.plugins.plugin_utils._output import speak, terminal_width

_STATES = tuple(state.value for state in PowerState)


class ActionModule(ActionBase):
    _supports_check_mode = True
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Print the table, write the snapshot if the task asks for one, and fail if a node or a server could not be read."""
        variables: dict[str, Any] = task_vars or {}
        result: dict[str, Any] = super().run(tmp, variables)
        _unused, options = self.validate_argument_spec(
            {
                "seen": {"type": "str", "required": True},
                "states": {"type": "list", "elements": "str", "default": []},
                "snapshot": {"type": "path"},
            }
        )
        unknown = [state for state in options["states"] if state not in _STATES]
        if unknown:
            # Ansible's own check would name the option, which only the playbook sets.
            raise AnsibleActionFail(f"Cannot use status_states={','.join(unknown)}: expected {joined(_STATES)}")
        hosts: Mapping[str, Mapping[str, Any]] = variables["hostvars"]
        # Registered results outlive a play: those of a host outside this play are from an earlier one.
        active = set(variables["ansible_play_hosts"])
        nodes = [
            node_seen(host, dict(_connection(hosts[host])), hosts[host].get(options["seen"]) if host in active else None)
            for host in sorted(variables["ansible_play_hosts_all"])
        ]
        now = datetime.now(timezone.utc)
        speak("\n".join(["", *status_lines(nodes, options["states"], now=now, width=terminal_width())]))
        wanted = options["snapshot"] is not None and not self._task.check_mode
        if wanted:
            _write(options["snapshot"], snapshot(nodes, now))
        message = failure(nodes)
        facts = {"changed": wanted, "unseen": faults(nodes)}
        return {**result, **facts, **({} if message is None else {"failed": True, "msg": message})}


def _connection(variables: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the connection variables of a host. It skips a template that fails: Ansible did not use it to connect."""
    for name in CONNECTION:
        try:
            value = variables.get(name)
        except AnsibleError:
            continue
        if isinstance(value, (str, int)):
            yield name, value


def _write(path: str, content: Mapping[str, Any]) -> None:
    try:
        write_json(path, content)
    except OSError as error:
        raise AnsibleActionFail(
            f"Cannot write the snapshot {path}: {error.strerror}; name a file in a directory you may write to"
        ) from None
