# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Starts and the runs they are asked for: a start of the supervisor answers one ended run, any start dates the run that it finds up."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import TypeVar

from ...host.library_faults import reason_of
from ...host.maintenance import maintenance_pause
from ...journal.intents import Intent
from ...journal.schema import JournalUnusable
from ...model.errors import IntentUnknown, NotSelected, UnderMaintenance
from ...model.request import PowerAction
from ...model.server import Run, Snapshot
from ...model.supervision import EndedRun, SeenRun
from .context import ActionContext
from .node import Observed

T = TypeVar("T")


def refuse_after_newer_run(context: ActionContext, snapshot: Snapshot | None) -> None:
    """Raise `NotSelected` if a start answers an ended run that another one followed, even one that is over as well.

    A container that was made anew and never ran is none. Raises `IntentUnknown` where the journal cannot be read, and `UnderMaintenance`:
    hundreds may have been waiting for their turn when one began. Certain under the lock, and right before the request.
    """
    answers = context.request.answers
    if answers is None:
        return
    _refuse_in_maintenance(context)
    newest = snapshot.run if snapshot is not None and snapshot.has_run else None
    if newest is None:
        seen = _known(context, lambda: context.node.journal.runs.known_of(context.uuid))
        newest = answers.run if seen is None else seen.run
    if newest != answers.run:
        raise NotSelected(f"Cannot {context.verb} server {context.uuid}: another run has followed the one that ended")


def known_intent(context: ActionContext) -> Intent | None:
    """Return the server's intent. Raises `IntentUnknown` where a start of the supervisor cannot know it; all others go on without."""
    if context.request.answers is None:
        return context.node.journal.intents.of(context.uuid)
    return _known(context, lambda: context.node.journal.intents.known_of(context.uuid))


def known_row(context: ActionContext, run: Run) -> EndedRun | None:
    """Return the row of an ended run. Raises `IntentUnknown` where the journal cannot be read."""
    return _known(context, lambda: context.node.journal.ended_runs.of_run(run))


def date_anew(context: ActionContext, seen: Observed) -> None:
    """Write that the run which a start finds up was asked for as late as this: what was killed before does not concern it."""
    request, snapshot, runs = context.request, seen.snapshot, context.node.journal.runs
    if request.action is not PowerAction.START or snapshot is None or not snapshot.live:
        return
    generation = request.generation(context.uuid)
    with contextlib.suppress(JournalUnusable, OSError):
        known = runs.known_of(context.uuid)
        # Hundreds are found up at once, and mostly there is nothing to write.
        if known is None or known.run != snapshot.run or known.generation < generation:
            runs.see(context.uuid, SeenRun(snapshot.run, generation=generation))


def _refuse_in_maintenance(context: ActionContext) -> None:
    if maintenance_pause(context.node.settings.state_directory):
        raise UnderMaintenance(f"Cannot {context.verb} server {context.uuid}: a maintenance goes on; it is started when that is over")


def _known(context: ActionContext, read: Callable[[], T]) -> T:
    try:
        return read()
    except (JournalUnusable, OSError) as error:
        raise IntentUnknown(
            f"Cannot {context.verb} server {context.uuid}: the journal cannot be read ({reason_of(error)}), "
            "so that nobody can tell whether it is meant to be up"
        ) from error
