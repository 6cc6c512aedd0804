# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stop the servers that are up before the machine or its engine stops: for the stop of a unit of systemd. Needs only the core.

``python3 -m ansible_collections.fleet.power.plugins.module_utils.node_stop [--config FILE] unit seconds``

``unit`` is the engine's. Each server stops by its own way, those with the highest priority number first. A file refuses starts until the
unit of this program removes it. Thirty seconds before the end, what is still up gets SIGKILL. The system log has a line for each stop. The
exit code is 0 if all servers are down or this is no stop of the node, 1 if not or unknown, 2 for wrong arguments.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import subprocess
from collections.abc import Sequence

from ._power.actions.many.bulk import all_of, perform_each
from ._power.actions.node.limiter import Limiter
from ._power.actions.node.node import Node, build_node, read_generations
from ._power.actions.turn.perform import perform
from ._power.definitions.definition import priority_of
from ._power.host.own_files import open_or_make
from ._power.host.pauses import NODE_STOPPING_FILE
from ._power.host.system_log import announce_line
from ._power.model.cancellation import Deadline
from ._power.model.errors import WingsUnknown
from ._power.model.request import PowerAction, Priorities, Request
from ._power.model.result import Phase
from ._power.model.server import Server
from ._power.model.supervision import NODE_STOP_ORIGIN
from ._service import run_program, service_options
from ._supervisor.connection_watch import beside_wings

_LAST_SECONDS = 30
_LIST_JOBS = ("systemctl", "list-jobs", "--no-legend", "--plain", "--full")
#: On a loaded machine.
_SYSTEMCTL_SECONDS = 30.0


def main(arguments: Sequence[str] | None = None) -> int:
    parser = service_options("node_stop", "Stop the servers of this node before the machine or its engine stops.")
    parser.add_argument("unit", help="the engine's unit of systemd")
    parser.add_argument("seconds", type=int, help="the longest time for all servers")
    given = parser.parse_args(arguments)
    return run_program(lambda: _stop_node(given))


def _stop_node(given: argparse.Namespace) -> bool:
    """Stop the servers, if this is a stop of the node; return True if one is left up. Raises `PowerError` for a general error."""
    node = build_node({"config": given.config})
    deadline = Deadline.after(node.clock, given.seconds - _LAST_SECONDS)
    with contextlib.closing(node.journal):
        why = _why_not(node, given.unit)
        if why:
            announce_line(f"no server is stopped: {why}")
            return False
        path = os.path.join(node.settings.lock_directory, NODE_STOPPING_FILE)
        try:
            os.close(open_or_make(path, os.O_RDWR, node.settings.group))
        except OSError as error:
            announce_line(f"Cannot refuse starts while the node stops: {path} cannot be made: {error.strerror}", warn=True)
        _stop_servers(node, deadline)
        return _end_left(node, deadline)


def _why_not(node: Node, unit: str) -> str:
    """Return why no server has to stop, as the end of a sentence; "" if this is a stop of the node."""
    # pylint: disable-next=ansible-bad-function
    jobs = subprocess.check_output(_LIST_JOBS, stdin=subprocess.DEVNULL, timeout=_SYSTEMCTL_SECONDS).decode()
    if not stops(unit, jobs):
        return f"neither the machine nor {unit} stops"
    if not node.engine.local:
        return "the engine is on another machine"
    # After a crash, systemd takes the requests, and answers none before the end of this stop.
    # pylint: disable-next=ansible-bad-function
    if subprocess.call(["systemctl", "is-active", "--quiet", unit], timeout=_SYSTEMCTL_SECONDS) != 0:
        return f"{unit} does not run"
    with contextlib.suppress(WingsUnknown):
        if beside_wings(node):
            return "Wings is alive on this node"
    keeps = not stops("basic.target", jobs) and node.engine.facts().get("LiveRestoreEnabled")
    return f"live-restore keeps them up without {unit}" if keeps else ""


def stops(unit: str, jobs: str) -> bool:
    """Tell if a unit is about to stop, by the jobs as systemctl lists them: number, unit, type and state; pure."""
    return re.search(rf"\s{re.escape(unit)}\s+(stop|restart)\s", jobs) is not None


def _stop_servers(node: Node, deadline: Deadline) -> None:
    # In this order: a start that has left its phase is a live container. Starts in an earlier phase are still refused.
    starting = {uuid for uuid, holder in node.locks.held().items() if holder.phase == Phase.START.value}
    uuids = sorted(starting | {each.server for each in node.engine.listed() if each.live})
    asked = Request(
        server="",
        action=PowerAction.STOP,
        operation="",
        generations=read_generations(uuids, node, PowerAction.STOP),
        requested_at=node.clock.now(),
        wait_seconds=int(deadline.left) + 1,
        stop_by=deadline,
        origin=NODE_STOP_ORIGIN,
    )
    servers, order = [Server(uuid) for uuid in uuids], Priorities.of(node.settings.priorities)
    ranks = [priority_of(server, node.sources.definition_for_stop(server.uuid), order) for server in servers]
    perform_each(all_of(asked, servers), lambda target, slot: perform(target.request, node, target.server, slot), Limiter(), ranks)


def _end_left(node: Node, deadline: Deadline) -> bool:
    """After the deadline, send SIGKILL to what is left, also without its lock; return True if anything was left.

    Before, only a server is left whose stop failed, and the engine tries again.
    """
    left = [each for each in node.engine.listed() if each.live]
    for each in left if deadline.is_over else ():
        node.engine.signal(each.id, "SIGKILL")
        announce_line(f"server {each.server} gets SIGKILL, because the time for the stop of the node is over", warn=True)
    return bool(left)


if __name__ == "__main__":
    raise SystemExit(main())
