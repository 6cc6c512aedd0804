# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Cancels countdowns of processes that died after a warning to players."""

from __future__ import annotations

from ...host.concurrency import map_concurrently
from ...locking.countdown import Countdown
from ...model.errors import LockUnavailable, PowerError
from ...model.server import Server
from ..node.node import Node
from .countdown import called_off

#: The next process of the HTTP shim may resume an accepted action so many seconds after its moment.
_RESUMED_SECONDS = 30.0
#: Seconds for all servers together, because games may be silent. The next call handles the rest.
_ALL_SECONDS = 4.0


def call_off_all_abandoned(node: Node) -> None:
    """Tell players of all servers about actions that do not come, except those that another process resumes; see `call_off_abandoned`."""
    given_up = [Server(uuid) for uuid, found in node.countdowns.all_abandoned().items() if not _is_resumed(node, found)]
    map_concurrently(lambda server: call_off_abandoned(node, server), given_up, _ALL_SECONDS)


def _is_resumed(node: Node, found: Countdown) -> bool:
    """Return True if another process resumes a countdown, or might: then players get no cancellation."""
    return node.journal.operations.waits(found.operation) is not False and found.seconds_left(node.clock.now()) > -_RESUMED_SECONDS


def call_off_abandoned(node: Node, server: Server) -> bool:
    """Tell players that an announced action does not come, if its process died; return whether it had.

    The record is cleared, so that this happens once. Players without a warning, in another run, or warned long ago hear nothing.
    """
    try:
        held = node.countdowns.take_abandoned(server.uuid)
    except LockUnavailable:
        return False
    if held is None:
        return False
    try:
        found = held.record
        if found.is_remembered(node.clock.now()):
            snapshot = node.engine.inspect(server.uuid)
            if snapshot is not None and snapshot.live and snapshot.run == found.run:
                game = node.games.of(server, snapshot, node.sources.definition_for_stop(server.uuid))
                if game is not None:
                    game.announce(called_off(found.action))
    except PowerError:
        # The engine is silent: the next look may succeed.
        held.release(keep=True)
        return False
    finally:
        held.release()
    return True
