# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What comes back after a boot of the machine: all that is meant to be up and began before it, whatever its end was taken for then."""

from __future__ import annotations

import time
from dataclasses import replace

from .._power.actions.node.node import Node
from .._power.host.liveness import boot_id, boot_seconds
from .._power.journal.journal_rows import Intent, JournalUnusable
from .._power.model.clock import engine_time, timestamp
from .._power.model.server import Run, Server
from .._power.model.supervision import EndedRun, Verdict

#: What somebody wanted down stays down.
_STAYS = (Verdict.STOPPED, Verdict.STOPPED_EXTERNALLY)


def due_after_boot(node: Node) -> list[EndedRun]:
    """Make a start due after the newest run of each server that is meant to be up, and down since before this boot; return those rows.

    What was due already goes on being so, at once. A server that a kill had ended when the power went, before the kill could write its
    intent, is meant to be down from now on. Raises `JournalUnusable` and OSError.
    """
    meant = node.journal.intents.meant_up()
    if meant is None:
        raise JournalUnusable("it does not tell what is meant to be up")
    now, revived = time.time(), []
    newest = node.journal.ended_runs.newest_of_each([server.uuid for server in meant])
    for server in meant:
        row = newest.get(server.uuid) or _unknown(node, server)
        # Only an end that was judged after the boot: one from before it may be a stop through the console, which writes no intent.
        if row is not None and row.verdict is Verdict.STOPPED and row.boot == boot_id() and _began_before_boot(row, now):
            node.journal.intents.set(server, Intent(False, row.operation, row.origin, row.at), only_if_newer=node.clock.now())
        if row is None or row.due or row.next_run is not None or row.verdict in _STAYS or not _began_before_boot(row, now):
            continue
        again = replace(row, due=True, boot=boot_id(), next_at=boot_seconds(), code="", msg="")
        if not node.journal.ended_runs.revive(again):
            raise JournalUnusable("it cannot be written")
        revived.append(again)
    return revived


def _unknown(node: Node, server: Server) -> EndedRun | None:
    """Write a row for a server of which no run is known, because its container is gone or never ran; None if it has one after all.

    The run that it names has no start, and the server's name for a container.
    """
    snapshot = node.engine.inspect(server.uuid)
    if snapshot is not None and snapshot.has_run:
        return None
    run = Run(server.uuid, "")
    at = timestamp(node.clock.now())
    if not node.journal.ended_runs.write(EndedRun(server, run, Verdict.ENDED_UNOBSERVED, at=at, boot=boot_id(), next_at=boot_seconds())):
        raise JournalUnusable("it cannot be written")
    return node.journal.ended_runs.of_run(run)


def _began_before_boot(row: EndedRun, now: float) -> bool:
    if row.boot != boot_id():
        # Whatever a clock says that was lost with the power.
        return True
    began = engine_time(row.run.started_at)
    return not row.run.started_at or (began is not None and began.timestamp() < now - boot_seconds())
