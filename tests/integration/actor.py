# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One power action in a process of its own: ``actor.py CONFIG DOCKER_HOST ACTION SERVER FIELDS`` prints the result as JSON."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from typing import Any

from ansible_collections.fleet.power.plugins.module_utils._own_session import Interruptions
from ansible_collections.fleet.power.plugins.module_utils._power.actions.node.node import Node, build_node, read_generations
from ansible_collections.fleet.power.plugins.module_utils._power.actions.turn.perform import perform
from ansible_collections.fleet.power.plugins.module_utils._power.engine.connection import load_sdk
from ansible_collections.fleet.power.plugins.module_utils._power.model.caller import Caller
from ansible_collections.fleet.power.plugins.module_utils._power.model.players import read_policy
from ansible_collections.fleet.power.plugins.module_utils._power.model.report import entry
from ansible_collections.fleet.power.plugins.module_utils._power.model.request import (
    OnFailedStart,
    PowerAction,
    Request,
    WaitFor,
    new_operation_id,
)


def main(config: str, docker_host: str, action: str, server: str, given: str) -> None:
    fields: dict[str, Any] = json.loads(given)
    if fields.pop("gate", False):
        _await_go()
    options = {"config": config, "docker_host": docker_host, **fields.pop("options", {})}
    node = build_node(options, caller=Caller(Interruptions(os.getppid())))
    request = request_on(node, action, server, **{"origin": "actor", **fields})
    result = perform(request, node)
    node.journal.close()
    print(json.dumps({**entry(result, check=request.check, all_steps=True), "warnings": list(result.warnings)}))


def request_on(node: Node, action: str, server: str, **fields: Any) -> Request:
    """A request made now, with the kill generations of this moment."""
    if "wait_for" in fields:
        fields["wait_for"] = WaitFor(fields["wait_for"])
    if fields.get("on_failed_start"):
        fields["on_failed_start"] = OnFailedStart(fields["on_failed_start"])
    if "players" in fields:
        fields["players"] = read_policy(action, True, fields["players"])
    # Read before the clock: a request older than a kill then has the generation from before the kill.
    generations = read_generations([server], node, PowerAction(action))
    request = Request(
        server=server,
        action=PowerAction(action),
        operation=new_operation_id(),
        requested_at=node.clock.now(),
        generations=generations,
        origin="test",
    )
    return replace(request, **fields)


def _await_go() -> None:
    """Load all that an action needs, print `ready`, and wait for a line."""
    load_sdk()
    print("ready", flush=True)
    sys.stdin.readline()


if __name__ == "__main__":
    main(*sys.argv[1:])
