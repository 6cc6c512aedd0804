# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One power action on one server, from the request to the result: the story. Its chapters are files of their own.

identify -> sync and suspension -> the server's turn (turn.py): lock, plan, stop, pre-boot, start, release, wait -> report
"""

from __future__ import annotations

import contextlib

from ...engine.readiness import Matchers
from ...host.announce import announce
from ...journal.journal_rows import Intent
from ...model.errors import (
    INTERNAL_ERROR,
    EngineError,
    EngineUnreachable,
    FailureBudget,
    InterruptedBySignal,
    LockUnavailable,
    NotSelected,
    PowerError,
    ServerNotFound,
    internal_error,
)
from ...model.model import Outcome, PowerAction, Request, Result, Server, WaitFor, parse_uuid, timestamp
from ...model.plan import plan, planned_state
from ..boot.await_ready import as_chosen_by_state, await_ready
from ..boot.container import Boot
from ..node.idempotency import done_before, fell_since, same_action
from ..node.limiter import Slot
from ..node.node import KillWatch, Node, Observed
from ..node.progress import Ending, Progress
from .kill import kill
from .turn import Turn, refuse_beside_wings, require_meant_up, require_selected

_NOWHERE = "no definition and no container of this node has it; act on its own node, or look for it with server_power_info"

#: Who only was not meant, or came too late to be acted on, leaves no trace on the node, unless that was seen under the lock alone.
UNREPORTED_CODES = (NotSelected.code, FailureBudget.code)


def perform(request: Request, node: Node, server: Server | None = None, place: Slot | None = None) -> Result:
    """Perform one power action on one server. Raises no `PowerError`: whatever happens is in the result, the journal and the syslog.

    ``server`` is the one meant, where the caller has identified it already; ``place`` its place among others, which it keeps.
    """
    progress = Progress(request, node.clock, server)
    try:
        ending = _act(request, node, progress, place or Slot())
        # A start looks at what it started; that is not to be asked for again at once.
        again = progress.begun and (progress.is_outdated or not request.action.boots)
    except PowerError as error:
        ending = progress.failure(error)
        # What was seen before a wait for the lock is old by now.
        again = progress.begun or progress.state is not None
        if isinstance(error, EngineUnreachable) or isinstance(error.__cause__, EngineUnreachable):
            progress.state, again = None, False
    except Exception as error:
        # A fault of ours in one server must not hide what became of the others.
        ending = Outcome.FAILED, INTERNAL_ERROR, internal_error(error)
        again = progress.begun
    if again:
        _see_again(node, progress)
    if not request.check:
        # Also where it says that the server is this node's no more, and nothing else is kept.
        node.sources.keep_list()
    result = progress.result(*ending)
    if not request.check and (progress.begun or result.code not in UNREPORTED_CODES):
        node.journal.operations.end(result, progress.phases, origin=request.origin, reason=request.reason)
        announce(result, request)
    return result


def _act(request: Request, node: Node, progress: Progress, place: Slot) -> Ending:
    if node.interrupted():
        raise InterruptedBySignal(f"Cannot {request.action.value} server {request.server}: a signal came before its turn; nothing was done")
    place.refuse_over_budget(request.server)
    progress.server = _identify(request, node, progress.known)
    same = same_action(request, node, progress.server.uuid)
    if same is not None and same.outcome:
        return _done_before(request, node, progress, done_before(same))
    if request.action is PowerAction.KILL and not request.check:
        return _kill(request, node, progress)
    refuse_beside_wings(request, node, progress)
    turn = Turn(request, node, progress, place)
    seen = _observe(request, node, progress)
    if request.action is PowerAction.START and not request.check and not _is_settled(seen) and not place.may_boot():
        # Before its lock is taken and its definition asked for: both are to be fresh when it boots.
        place.begin_boot(turn.look_while_waiting)
        seen = _observe(request, node, progress)
    if request.action is PowerAction.START and _is_settled(seen):
        place.end_boot()
        return _already_up(request, node, seen, progress)
    boot = turn.prepare(seen.snapshot, turn.look_while_waiting) if request.action.boots else None
    if request.check:
        return _dry_run(request, seen, boot, progress)
    if seen.holder is not None or plan(request.action, seen.state).steps:
        # Only now: who is refused, or has nothing to do, keeps nobody waiting. What was learnt is asked again where this takes long.
        place.begin_apart(request.server, turn.look_while_waiting)
    return turn.take(boot)


def _observe(request: Request, node: Node, progress: Progress) -> Observed:
    """Look at the server; raises `NotSelected` if it is not meant as it is now."""
    seen = as_chosen_by_state(request, node, progress.server.uuid, node.observe(progress.server.uuid))
    progress.saw(seen)
    if not fell_since(request, node, progress.server.uuid, seen.state):
        require_selected(request, progress.server.uuid, seen.state)
    require_meant_up(request, node, progress.server.uuid)
    return seen


def _is_settled(seen: Observed) -> bool:
    """Whether the server is up, and nobody is about to change that."""
    return seen.live and seen.holder is None and not seen.stop_left


def _kill(request: Request, node: Node, progress: Progress) -> Ending:
    if request.only is not None:
        _observe(request, node, progress)
    try:
        return kill(request, node, progress)
    finally:
        # Not before: looking for Wings takes time.
        refuse_beside_wings(request, node, progress)


def _identify(request: Request, node: Node, known: Server | None) -> Server:
    """Which server is meant. A full UUID that has a container, or (kill) a lock record, needs no source to know it."""
    server = node.sources.search.identify(request.server, request.action) if known is None else known
    # One that was found by a name just now is there; one that was found before its turn may be gone.
    if request.action.boots or (known is None and parse_uuid(request.server) is None):
        return server
    if request.action is PowerAction.KILL and node.locks.has_record(server.uuid):
        return server
    definition = node.sources.definition_for_stop(server.uuid)
    if definition is not None:
        return definition.server
    # The engine is asked last.
    if _may_have_container(request, node, server.uuid):
        return server
    if request.action is PowerAction.KILL and not request.check:
        # Its very first start may be asking the Panel just now, and has left no trace to know it by.
        with contextlib.suppress(LockUnavailable):
            node.generations.raise_for(server.uuid)
    raise ServerNotFound(f"Cannot {request.action.value} server {server.uuid}: {_NOWHERE}")


def _may_have_container(request: Request, node: Node, uuid: str) -> bool:
    """Whether the server has a container; for a kill also where the engine cannot tell, since that must keep no SIGKILL from it."""
    try:
        return node.engine.inspect(uuid) is not None
    except (EngineError, EngineUnreachable):
        if request.action is not PowerAction.KILL or request.check:
            raise
        return True


def _already_up(request: Request, node: Node, seen: Observed, progress: Progress) -> Ending:
    """A start of a server that is up needs neither sync nor lock; it still waits as ``wait_for`` asks."""
    if not request.check:
        intent = Intent(True, request.operation, request.origin, timestamp(request.requested_at))
        node.journal.intents.set(progress.server, intent, only_if_newer=True)
    _await_found(request, node, seen, progress)
    return Outcome.UNCHANGED, "", plan(request.action, seen.state).reason


def _done_before(request: Request, node: Node, progress: Progress, why: str) -> Ending:
    """What was done under the same key is not done again; a boot still waits as ``wait_for`` asks: a signal may have ended that wait."""
    _see_again(node, progress)
    if request.action.boots and request.wait_for is not WaitFor.CONTAINER:
        seen = node.observe(progress.server.uuid)
        if _is_settled(seen):
            _await_found(request, node, seen, progress)
    return Outcome.UNCHANGED, "", why


def _await_found(request: Request, node: Node, seen: Observed, progress: Progress) -> None:
    """Wait for a server that was found up, without having started it, to be ready."""
    if seen.snapshot is not None and request.wait_for is not WaitFor.CONTAINER and not request.check:
        definition = node.sources.definition_for_stop(progress.server.uuid)
        matchers = Matchers((), strip=False) if definition is None else Matchers.of(definition.startup)
        await_ready(request, node, KillWatch(node, request, progress.server.uuid), seen.snapshot, matchers, None, progress)
        _see_again(node, progress)


def _dry_run(request: Request, seen: Observed, boot: Boot | None, progress: Progress) -> Ending:
    """Check mode: what the action would do to the server as it is now, a held lock reported but not waited for."""
    if seen.holder is not None:
        progress.holder = seen.holder.facts()
    chosen = plan(request.action, seen.state)
    progress.plan = chosen.steps
    progress.changed = bool(chosen.steps)
    matchers = boot is not None and bool(boot.definition.startup.done)
    progress.state_planned = planned_state(chosen.steps, seen.state, has_matchers=matchers)
    return (Outcome.DONE, "", "") if chosen.steps else (Outcome.UNCHANGED, "", chosen.reason)


def _see_again(node: Node, progress: Progress) -> None:
    """Look once more, so that the state reported is the one seen; where that cannot be, none is reported."""
    if parse_uuid(progress.server.uuid) is None:
        return
    try:
        progress.saw(node.observe(progress.server.uuid), late=progress.changed)
    except PowerError:
        progress.state = None
