# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One power action on one server through an HTTP endpoint: identify, look, plan, request, follow, report."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from ..actions.node.limiter import Slot
from ..actions.node.progress import Ending, Progress
from ..actions.turn.look import require_selected
from ..model.caller import Caller
from ..model.cancellation import CheckCancelled, no_check
from ..model.clock import Clock
from ..model.errors import (
    EndpointError,
    EndpointUnreachable,
    EndpointUntrusted,
    Frozen,
    InterruptedBySignal,
    PowerError,
    ServerNotFound,
    Suspended,
    UnsupportedByEndpoint,
)
from ..model.freeze import frozen_words
from ..model.news import COUNTDOWN, PLAYERS, News
from ..model.plan import Plan, plan, planned_state
from ..model.players import COUNTING
from ..model.request import PowerAction, Readiness, Request, WaitFor
from ..model.result import Outcome, Result
from ..model.schema import did_you_mean, printable
from ..model.server import PowerState, Server, parse_uuid
from ..sources.sources import ambiguous
from .answers import Operation, Seen, ending_of, take_over
from .client import Accepted, Endpoint
from .follow import FOLLOWING_BY_END, Following, FollowingUp, lost, seconds_until_begun
from .watch import POLL_SECONDS, WaitInterrupted, Watch

#: The longest wait of a kill for the state before it.
_KILL_LOOK_SECONDS = 1.0
#: Polls of a boot that must be ready: once the server is up, it frees its slot.
_READY_POLL_SECONDS = 2
#: Time limit for an operation, in addition to the requested waits.
_OPERATION_SECONDS = 1800.0
#: Possible states after a successful action, by whether the server should be up then.
_STATES_AFTER = {True: (PowerState.STARTING, PowerState.RUNNING), False: (PowerState.OFFLINE,), None: tuple(PowerState)}


def identify_at(text: str, endpoint: Endpoint, check_cancelled: CheckCancelled = no_check) -> Server:
    """Return the server of a full UUID (without a request), a unique short id, or a unique name.

    Raises `ServerNotFound`, `AmbiguousServer`, `EndpointUnreachable`, `EndpointError`, and what ``check_cancelled`` raises.
    """
    uuid = parse_uuid(text)
    if uuid is not None:
        return Server(uuid)
    return identify_among(text, endpoint.servers(check_cancelled), endpoint)


def identify_among(text: str, servers: Iterable[Server], endpoint: Endpoint) -> Server:
    """Return the server with this short id or name. Raises `ServerNotFound`, `AmbiguousServer`."""
    wanted, all_servers = text.strip(), list(servers)
    found = [server for server in all_servers if server.short_id == wanted.lower()]
    if not found and wanted:
        found = [server for server in all_servers if server.name == wanted]
    if not found:
        raise unknown_server(text, endpoint, all_servers)
    if len(found) > 1:
        raise ambiguous(wanted, sorted(server.uuid for server in found))
    return found[0]


def unknown_server(text: str, endpoint: Endpoint, known: Iterable[Server] = ()) -> ServerNotFound:
    near = did_you_mean(text, (server.name for server in known))
    hint = "; quote an id that is all digits" if text.strip().isdigit() else "; server_power_info lists those it has"
    return ServerNotFound(
        f'Cannot find server "{printable(text)}": the endpoint {endpoint.shown} has no server of that UUID, short id or name{near}{hint}'
    )


def perform_at(
    request: Request, endpoint: Endpoint, clock: Clock, caller: Caller, known: Server | None = None, slot: Slot | None = None
) -> Result:
    """Perform one power action through the endpoint. Every `PowerError` becomes part of the result.

    ``known`` is the server if already identified. A boot holds its ``slot`` from the request until the server is up, so a restart holds it
    during the stop too. The result's ``operation`` is the endpoint's id, or empty.
    """
    progress = Progress(request, clock, known)
    turn = EndpointTurn(request, endpoint, clock, caller, progress, slot or Slot())
    try:
        ending = turn.perform()
    except PowerError as error:
        ending = progress.failure(error)
    return dataclasses.replace(progress.result(*ending), operation=turn.operation)


class EndpointTurn:
    """One action on one server, from the look before it to its end."""

    def __init__(self, request: Request, endpoint: Endpoint, clock: Clock, caller: Caller, progress: Progress, slot: Slot) -> None:
        self.operation = ""
        self._request = request
        self._endpoint = endpoint
        self._clock = clock
        self._caller = caller
        self._progress = progress
        self._slot = slot
        self._following: Following | None = None
        #: What the endpoint waits for. None: it does not support the wait, so this side polls the server.
        self._ready: Readiness | None = None
        self._waits = ("", "")

    def perform(self) -> Ending:
        """Perform the action from the look to the end. Raises `PowerError`."""
        self._raise_if_signalled()
        request, progress = self._request, self._progress
        self._slot.refuse_over_budget(request.server)
        if progress.known is None:
            progress.server = identify_at(request.server, self._endpoint, self._raise_if_signalled)
        before = self._look_before()
        if before is not None and self._waits_to_begin(before):
            before = self._look_before()
        if before is not None:
            chosen = plan(request.action, before.state)
            progress.plan = chosen.steps
            if request.check:
                return self._dry_run(before, chosen)
            # Only the endpoint sees the health of a server that is up.
            is_asked = request.action is PowerAction.KILL or (self._ready is not None and request.wait_for is WaitFor.HEALTHY)
            if not chosen.steps and not is_asked:
                return self._already_so(before, chosen)
        return self._ask_and_follow(before)

    def _waits_to_begin(self, before: Seen) -> bool:
        request, slot = self._request, self._slot
        if request.check or request.action is PowerAction.KILL or not plan(request.action, before.state).steps:
            return False
        waited = request.action.boots and not slot.may_boot()
        if waited:
            slot.begin_boot(self._raise_if_signalled)
        return slot.await_stagger(request.server, self._raise_if_signalled) or waited

    def _raise_if_signalled(self) -> None:
        self._caller.hold()
        if self._caller.interrupted():
            verb, server = self._request.action.value, self._request.server
            raise InterruptedBySignal(f"Cannot {verb} server {server}: a signal came before its turn; nothing was done")

    def _look_before(self) -> Seen | None:
        """Look at the server before the action. A kill without ``only`` waits briefly, and continues without the state."""
        uuid = self._progress.server.uuid
        hurried = self._request.action is PowerAction.KILL and not self._request.check and self._request.only is None
        seconds = min(_KILL_LOOK_SECONDS, self._endpoint.timeout) if hurried else None
        try:
            seen = self._endpoint.look(uuid, seconds=seconds, check_cancelled=self._raise_if_signalled)
        except (EndpointUnreachable, EndpointError, ServerNotFound):
            if hurried:
                return None
            raise
        self._saw(seen)
        if self._request.players is not None and not seen.affects_players:
            raise UnsupportedByEndpoint(
                f"Cannot {self._request.action.value} server {uuid} with options for players: the endpoint {self._endpoint.shown} does not "
                "report that it can wait for them; leave players_at_most, max_delay and warn out, or act on the node with api_url empty"
            )
        self._ready = self._readiness(seen)
        self._progress.state_before = seen.state
        require_selected(self._request, uuid, seen.state)
        if self._request.action.boots and seen.suspended and plan(self._request.action, seen.state).steps:
            raise Suspended(
                f"Cannot {self._request.action.value} server {uuid}: the endpoint says that it is suspended; clear that on the Panel"
            )
        return seen

    def _readiness(self, seen: Seen) -> Readiness | None:
        """Return the wait that the endpoint does. Raises `UnsupportedByEndpoint` for ``healthy`` if the endpoint cannot wait for it."""
        request = self._request
        if request.wait_for is WaitFor.CONTAINER or not request.action.boots:
            return None
        if request.wait_for in seen.waits_for:
            return Readiness(request.wait_for, request.wait_timeout)
        if request.wait_for is WaitFor.HEALTHY:
            raise UnsupportedByEndpoint(
                f"Cannot {request.action.value} server {seen.server.uuid} with wait_for={request.wait_for.value}: the endpoint "
                f"{self._endpoint.shown} does not tell of health checks; leave it out, or act on the node with api_url empty"
            )
        return None

    def _saw(self, seen: Seen) -> None:
        progress = self._progress
        if seen.server.name:
            progress.server = seen.server
        if progress.begun and progress.state is not seen.state:
            self._caller.listener(News(progress.server, self._request.action.value, seen.state.value, seconds=progress.seconds))
        progress.state = seen.state
        if self._following is not None and self._following.up:
            self._slot.end_boot()

    def _goes_on(self, operation: Operation) -> None:
        if operation.awaits_ready:
            self._slot.end_boot()
        waits, progress = (operation.waits, operation.due), self._progress
        if operation.waits and waits != self._waits:
            phase = COUNTDOWN if operation.waits == COUNTING else PLAYERS
            deadline = operation.due or None
            self._caller.listener(News(progress.server, self._request.action.value, phase, deadline, progress.seconds))
        self._waits = waits

    def _dry_run(self, before: Seen, chosen: Plan) -> Ending:
        steps, freeze, request = chosen.steps, before.facts.get("freeze"), self._request
        if freeze and request.action.boots and steps:
            why = frozen_words(freeze) if freeze["is_frozen"] else "may be frozen"
            raise Frozen(f"Cannot {request.action.value} server {before.server.uuid}: the endpoint says that it {why}")
        self._progress.changed = bool(steps)
        # Wings reports ``starting`` first, whatever the definition.
        matchers = request.wait_for is WaitFor.CONTAINER
        self._progress.state_planned = planned_state(steps, before.state, has_matchers=matchers)
        return (Outcome.DONE, "", "") if steps else (Outcome.UNCHANGED, "", chosen.reason)

    def _already_so(self, before: Seen, chosen: Plan) -> Ending:
        request, uuid = self._request, self._progress.server.uuid
        self._slot.end_boot()
        if request.action.boots and request.wait_for is WaitFor.RUNNING and before.state is PowerState.STARTING:
            self._look_until_done(self._watch(), FollowingUp(request, uuid, before, up_already=True))
        return Outcome.UNCHANGED, "", chosen.reason

    def _ask_and_follow(self, before: Seen | None) -> Ending:
        request, uuid = self._request, self._progress.server.uuid
        self._raise_if_signalled()
        watch = self._watch()
        # The endpoint may take a request that it does not answer: only observed states count from now on.
        self._progress.state = None
        accepted = self._ask(watch)
        self._progress.begun = True
        self.operation = accepted.operation
        try:
            if accepted.operation:
                bound = _OPERATION_SECONDS + seconds_until_begun(request) + request.wait_timeout
                poll = POLL_SECONDS if self._ready is None else _READY_POLL_SECONDS
                operation = watch.operation(accepted, request.action, bound, self._goes_on, poll)
                if operation is not None:
                    return self._end_of(operation, before, watch)
            if self._ready is not None and request.wait_for is WaitFor.HEALTHY:
                raise EndpointError(f"the endpoint {self._endpoint.shown} does not know its own operation")
            return self._follow(watch, before)
        except WaitInterrupted:
            why = "the endpoint accepted it, and continues it, but a signal ended the wait"
        except (EndpointUnreachable, EndpointUntrusted, EndpointError, ServerNotFound) as error:
            why = f"the endpoint accepted it, but does not tell more ({error})"
        raise lost(request.action, uuid, why)

    def _watch(self) -> Watch:
        return Watch(self._endpoint, self._clock, self._caller.interrupted, self._progress.server.uuid, self._saw)

    def _ask(self, watch: Watch) -> Accepted:
        """Request the action. Raises as `Endpoint.act`, and `OutcomeUnknown` if a signal ends the wait for the answer."""
        request, uuid = self._request, self._progress.server.uuid
        # A signal must not stop a kill before the endpoint has answered.
        look = no_check if request.action is PowerAction.KILL else watch.raise_if_signalled
        try:
            return self._endpoint.act(uuid, request, self._ready, look)
        except WaitInterrupted:
            why = "a signal ended the wait for the endpoint to answer, and it may have been accepted; look before you ask again"
            raise lost(request.action, uuid, why) from None

    def _follow(self, watch: Watch, before: Seen | None) -> Ending:
        request, progress = self._request, self._progress
        follow = FOLLOWING_BY_END[request.action.traits.should_be_up](request, progress.server.uuid, before)
        try:
            self._look_until_done(watch, follow)
        finally:
            progress.changed = follow.altered
        if request.action is PowerAction.KILL and not follow.altered:
            if before is not None:
                return Outcome.UNCHANGED, "", plan(request.action, before.state).reason
            return Outcome.DONE, "", "it is offline; whether it was up before is not known, since the endpoint did not tell in time"
        progress.alter()
        return Outcome.DONE, "", ""

    def _look_until_done(self, watch: Watch, follow: Following) -> None:
        """Poll the server until the action is done. A server that is up stays up if a signal ends the wait."""
        uuid = self._progress.server.uuid
        self._following = follow
        try:
            watch.until_done(follow)
        except WaitInterrupted:
            if not follow.up:
                raise
            self._progress.warn(f"server {uuid}: a signal ended the wait for it to become ready; it was started")
        finally:
            self._progress.state = watch.state
            self._progress.warn(*follow.warnings)

    def _end_of(self, operation: Operation, before: Seen | None, watch: Watch) -> Ending:
        request, progress = self._request, self._progress
        take_over(operation, progress)
        self._slot.end_boot()
        outcome, code, msg = ending_of(operation)
        if outcome not in (Outcome.DONE, Outcome.UNCHANGED):
            return outcome, code or EndpointError.code, msg or "Cannot tell why: the endpoint gives no reason"
        self._refuse_contradiction(operation.state)
        is_waited_for = request.action.boots and request.wait_for is WaitFor.RUNNING and self._ready is None
        if is_waited_for and operation.state is not PowerState.RUNNING:
            self._look_until_done(self._watch(), FollowingUp(request, progress.server.uuid, before, up_already=True))
        elif operation.state is None:
            progress.state = watch.state_now()
            self._refuse_contradiction(progress.state)
        return outcome, code, msg

    def _refuse_contradiction(self, state: PowerState | None) -> None:
        action, uuid = self._request.action, self._progress.server.uuid
        if state is not None and state not in _STATES_AFTER[action.traits.should_be_up]:
            why = f"the endpoint says that it went well, but that the server is {state.value}; look at the server"
            raise lost(action, uuid, why)
