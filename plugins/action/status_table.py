# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Prints what server_power_info returned on all nodes of the play as one table; nothing is sent to a node.

It reads the hosts' variables itself: templates over hundreds of servers would take longer than looking at them.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime, timezone
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.fleet.power.plugins.module_utils.fleet.status import NodeSeen, failure, node_seen, snapshot, status_lines

_STATES = ["offline", "starting", "running", "stopping"]


class ActionModule(ActionBase):
    """The whole of fleet.power.status_table."""

    _supports_check_mode = True
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Print the table, write the snapshot where one is wanted, and fail if a node could not be looked at."""
        variables: dict[str, Any] = task_vars or {}
        result: dict[str, Any] = super().run(tmp, variables)
        _unused, options = self.validate_argument_spec(
            {
                "seen": {"type": "str", "required": True},
                "states": {"type": "list", "elements": "str", "choices": _STATES, "default": []},
                "snapshot": {"type": "path"},
            }
        )
        hosts: Mapping[str, Any] = variables["hostvars"]
        nodes = [self._look(host, hosts[host], options["seen"]) for host in sorted(variables["ansible_play_hosts_all"])]
        Display().display("\n".join(["", *status_lines(nodes, options["states"])]))
        wanted = options["snapshot"] is not None and not self._task.check_mode
        if wanted:
            _write(options["snapshot"], nodes)
        message = failure(nodes)
        return {**result, "changed": wanted, **({} if message is None else {"failed": True, "msg": message})}

    def _look(self, host: str, variables: Mapping[str, Any], name: str) -> NodeSeen:
        return node_seen(host, variables, variables.get(name))


def _write(path: str, nodes: list[NodeSeen]) -> None:
    """Write the snapshot in one piece: a reader finds the old one or the new one."""
    text = json.dumps(snapshot(nodes, datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")))
    fresh = None
    try:
        # A file of mkstemp is its owner's alone.
        descriptor, fresh = tempfile.mkstemp(prefix=".fleet-power-", dir=os.path.dirname(os.path.abspath(path)))
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(fresh, path)
    except OSError as error:
        if fresh is not None:
            with suppress(OSError):
                os.unlink(fresh)
        raise AnsibleActionFail(
            f"Cannot write the snapshot {path}: {error.strerror}; name a file in a directory you may write to"
        ) from None
