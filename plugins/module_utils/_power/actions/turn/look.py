# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The server's present definition, container and state."""

from __future__ import annotations

import contextlib
from dataclasses import replace

from ...host.pauses import hook_runs
from ...locking.lock import PowerLock
from ...model.errors import (
    ENGINE_FAULTS,
    InterruptedBySignal,
    LockUnavailable,
    NotSelected,
    OnTrial,
    ServerNotFound,
    Superseded,
    WingsActive,
    WingsUnknown,
)
from ...model.request import PowerAction, Request
from ...model.server import PowerState, Server, Startup, parse_uuid
from ...model.supervision import Verdict
from ..node.context import ActionContext, fell_since, known, refuse_after_newer_run, require_hanging
from ..node.node import Observed
from ..node.run_end import recover_unfinished, unwritten_stop

_NOWHERE = "no definition and no container of this node has it; act on its own node, or look for it with server_power_info"


def identify(context: ActionContext) -> None:
    """Find the server. Raises `InterruptedBySignal`, `FailureBudget`, `ServerNotFound`, and errors of sources and engine."""
    request, node, progress = context.request, context.node, context.progress
    node.caller.hold()
    if node.caller.interrupted():
        raise InterruptedBySignal(f"Cannot {context.verb} server {request.server}: a signal came before its turn; nothing was done")
    context.slot.refuse_over_budget(request.server)
    server = progress.known or node.sources.search.identify(request.server, request.action)
    # A server just found by name exists; one found before its turn may be gone.
    is_certain = request.action.boots or (progress.known is None and parse_uuid(request.server) is None)
    progress.server = server if is_certain else _found_here(context, server)
    if node.settings.hooks and request.action is not PowerAction.KILL:
        from .hooks import refuse_inside

        refuse_inside(context)


def _found_here(context: ActionContext, server: Server) -> Server:
    """Return the server if the node has any trace of it: a kill goes on if the engine is silent, and a lock record is enough for it."""
    request, node = context.request, context.node
    killing = request.action is PowerAction.KILL and not request.check
    if request.action is PowerAction.KILL and node.locks.has_record(server.uuid):
        return server
    definition = node.sources.definition_for_stop(server.uuid)
    if definition is not None:
        return definition.server
    try:
        if node.engine.inspect(server.uuid) is not None:
            return server
    except ENGINE_FAULTS:
        if killing:
            return server
        raise
    if killing:
        # Its first start may still ask the Panel, without any other trace.
        with contextlib.suppress(LockUnavailable):
            node.generations.raise_for(server.uuid)
    raise ServerNotFound(f"Cannot {context.verb} server {server.uuid}: {_NOWHERE}")


#: Longest search for the readiness line of an unwatched server.
_UNWATCHED_SECONDS = 5.0
#: Intended ends, and their place. Without room for the intent the journal has only this.
_STOPPED = {Verdict.STOPPED: "", Verdict.STOPPED_EXTERNALLY: " at the engine"}


def look(context: ActionContext) -> Observed:
    """Look at the server before its lock. Raises `NotSelected` if its state is not selected."""
    seen = _as_chosen_by_state(context, context.node.observe(context.uuid))
    # Without the lock the record may change; the next lock holder copies it to the journal.
    return _require_chosen(context, seen, with_record=context.request.check and seen.holder is None)


def look_locked(context: ActionContext, lock: PowerLock) -> tuple[Observed, bool]:
    """Resolve what the last holder left unfinished, then look. The second value is True if a start was undone. Raises as `look`."""
    progress = context.progress
    if hook_runs(context.uuid):
        from .hooks import end_left_hook

        end_left_hook(context)
    fenced = recover_unfinished(context.node, progress.server, lock)
    progress.changed = progress.changed or fenced
    seen = _as_chosen_by_state(context, context.node.observe_held(context.uuid, lock.leftover))
    waited = progress.waited_run
    if waited is not None and seen.snapshot is not None and seen.live and seen.snapshot.run != waited:
        progress.saw(seen)
        raise Superseded(context.cannot("it was started again during the wait for its players"))
    progress.state_before = None
    return _require_chosen(context, seen, with_record=True), fenced


def look_again(context: ActionContext) -> None:
    """Look once more for the reported state; on failure there is none."""
    progress = context.progress
    if parse_uuid(context.uuid) is None:
        return
    try:
        progress.saw(context.node.observe(context.uuid), late=progress.changed)
    except Exception:
        # Not even a fault of ours may hide the ending.
        progress.state = None


def _as_chosen_by_state(context: ActionContext, seen: Observed) -> Observed:
    """Search the log of a starting server for at most 5 s: it may be ready unwatched. Remembers a readiness line."""
    snapshot, only = seen.snapshot, context.request.only
    if only is None or (PowerState.STARTING in only) is (PowerState.RUNNING in only):
        return seen
    if snapshot is None or seen.state is not PowerState.STARTING:
        return seen
    # Rarely needed, like all waits for ready.
    from ...host.concurrency import map_concurrently
    from ..boot.await_ready import seen_ready
    from ..boot.startup import matchers_of

    node = context.node
    matchers = matchers_of(node.sources.definition_for_stop(context.uuid))
    if not any(map_concurrently(lambda run: seen_ready(node, run, matchers, seen.startup), [snapshot], _UNWATCHED_SECONDS)):
        return seen
    node.journal.runs.record_match(context.uuid, snapshot.run)
    return replace(seen, state=PowerState.RUNNING, startup=Startup.MATCHED)


def _require_chosen(context: ActionContext, seen: Observed, *, with_record: bool) -> Observed:
    context.progress.saw(seen)
    if not fell_since(context, seen.state):
        require_selected(context.request, context.uuid, seen.state)
    _require_should_be_up(context, seen, with_record=with_record)
    refuse_after_newer_run(context, seen.snapshot)
    if context.request.follows_hang:
        require_hanging(context, seen.snapshot)
    _refuse_on_trial(context)
    if context.request.proof is not None:
        from .revert import require_failed

        require_failed(context, context.request.proof)
    return seen


def _refuse_on_trial(context: ActionContext) -> None:
    """Raise `OnTrial` if a start of the supervisor finds a new version on trial. Certain under the lock."""
    row = context.request.ended_run
    if row is None:
        return
    proof = known(context, lambda: context.node.journal.proofs.of(context.uuid))
    from ...model.proof import is_held_back

    if is_held_back(proof, row):
        raise OnTrial(context.cannot("its new version is on trial; the end of that comes first"))


def require_selected(request: Request, uuid: str, state: PowerState) -> None:
    if request.only is not None and state not in request.only:
        if not request.only:
            raise NotSelected(f"Cannot {request.action.value} server {uuid}: only names no state, so no server matches")
        wanted = ", ".join(each.value for each in PowerState if each in request.only)
        raise NotSelected(f"Cannot {request.action.value} server {uuid}: it is {state.value}, and only {wanted} is asked for")


def _require_should_be_up(context: ActionContext, seen: Observed, *, with_record: bool) -> None:
    """Raise `NotSelected` if the request selects servers that should be up, and this one should not.

    The same if it was seen stopped, without a start since; with ``with_record`` also if only the lock's record has the stop, because the
    journal could not be written. Certain only under the lock, because a stop or kill writes the intent there.
    """
    should_be_up, uuid = context.request.should_be_up, context.uuid
    if should_be_up is None:
        return
    intents = context.node.journal.intents
    # Only the supervisor must not continue without the intent.
    intent = intents.of(uuid) if context.request.ended_run is None else known(context, lambda: intents.known_of(uuid))
    if intent is not None and not intent.up:
        who = f" by {intent.origin}" if intent.origin else ""
        since = "should no longer be up" if uuid in should_be_up else "should be down"
        raise NotSelected(context.cannot(f"it {since}{who}"))
    stop = unwritten_stop(context.node, context.progress.server, seen.snapshot) if with_record else None
    if stop is not None:
        who = f" by {stop.origin}" if stop.origin else ""
        raise NotSelected(context.cannot(f"a {stop.action}{who} wants it down, and the journal does not have that yet"))
    run = None if seen.snapshot is None or seen.live else seen.snapshot.run
    if run is not None and context.request.ended_run is None:
        row = known(context, lambda: context.node.journal.ended_runs.of_run(run))
        if row is not None and row.verdict in _STOPPED and (with_record or row.verdict is Verdict.STOPPED_EXTERNALLY):
            raise NotSelected(context.cannot(f"somebody stopped it{_STOPPED[row.verdict]}"))
    # It should have been up at the request, so the journal was lost since.
    if intent is None and uuid not in should_be_up:
        raise NotSelected(context.cannot("no action in this node's journal says that it should be up"))


def check_wings(context: ActionContext) -> None:
    """Raise `WingsActive` if Wings is alive: it takes a stop for a crash, and starts the server again. A kill only gets a warning.

    Raise `WingsUnknown` if that is unknown. A stop and a kill only get a warning.
    """
    request, node = context.request, context.node
    try:
        pid = None if node.settings.allow_wings else node.wings_pid()
    except WingsUnknown as error:
        if request.action.boots:
            raise WingsUnknown(f"Cannot {context.verb} server {request.server}: {error}") from error
        context.warn(str(error))
        return
    if pid is None:
        return
    if request.action is PowerAction.KILL:
        context.warn(f"Wings (pid {pid}) is alive; it may take the kill for a crash and start it again")
        return
    why = f"while Wings runs (pid {pid}): Wings would take it for a crash"
    advice = "act through Wings' own HTTP endpoint (api_url), or stop Wings for good (system.allow_wings: true overrides)"
    raise WingsActive(f"Cannot {context.verb} server {request.server} {why}; {advice}", pid=pid)
