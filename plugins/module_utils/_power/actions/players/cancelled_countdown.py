# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Calling off what nobody goes on with: the countdown of a process that died after it had told players of an action."""

from __future__ import annotations

from ...host.concurrency import map_concurrently
from ...locking.countdown import Countdown
from ...model.errors import LockUnavailable, PowerError
from ...model.server import Server
from ..node.node import Node
from .countdown import called_off

#: So long after that moment the next process of the HTTP face may still come and go on with what was accepted.
_RESUMED_SECONDS = 30.0
#: Seconds for all servers together: games may be silent, and whoever calls this has other things to do. Who is left is so the next time.
_ALL_SECONDS = 4.0


def call_off_all_abandoned(node: Node) -> None:
    """Tell players of all servers of what does not come, but for what was accepted and is gone on with; see `call_off_abandoned`."""
    given_up = [Server(uuid) for uuid, found in node.countdowns.all_abandoned().items() if not _is_resumed(node, found)]
    map_concurrently(lambda server: call_off_abandoned(node, server), given_up, _ALL_SECONDS)


def _is_resumed(node: Node, found: Countdown) -> bool:
    """Tell if another process goes on with a countdown, or might: nobody is told that something does not come which does."""
    return node.journal.operations.waits(found.operation) is not False and found.seconds_left(node.clock.now()) > -_RESUMED_SECONDS


def call_off_abandoned(node: Node, server: Server) -> bool:
    """Tell players of a server that what they were told of does not come, where its process died; return whether it had.

    Its record is cleared, so that they are told once. Who was told nothing, is in another run by now, or was told long ago, hears nothing.
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
        # The engine cannot tell: whoever looks next may.
        held.release(keep=True)
        return False
    finally:
        held.release()
    return True
