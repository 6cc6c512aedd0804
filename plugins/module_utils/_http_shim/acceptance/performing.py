# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Accepted actions performed, each in a thread of its own. Lives in the event loop."""

from __future__ import annotations

import asyncio
import contextlib
import math
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace

from ..._power.actions.node.node import Node
from ..._power.actions.turn.perform import perform
from ..._power.model.errors import INTERNAL_ERROR, internal_error
from ..._power.model.news import COUNTDOWN, PLAYERS, READY, Listener, News
from ..._power.model.players import COUNTING, WAITING
from ..._power.model.request import Request, WaitFor
from ..._power.model.result import Outcome, Result
from ..process.worker_pool import soon
from .queue import Ticket
from .shared_node import SharedNode

#: What a server is at while nothing is held, and the phase of its countdown then.
_FOR_PLAYERS = {PLAYERS: WAITING, COUNTDOWN: COUNTING}


def heard_by(node: Node, listener: Listener) -> Node:
    """Return the node whose actions tell what they are at."""
    return replace(node, caller=replace(node.caller, listener=listener))


class PerformingActions:
    """Performs the actions of one process. Its methods belong to the event loop that made it."""

    def __init__(
        self, node: SharedNode, ended: Callable[[Ticket, Result, bool], None], aside: Callable[[Ticket, Mapping[str, str]], None]
    ) -> None:
        """``ended`` is told of each end, and whether nobody has written it to the journal yet; ``aside`` whether, and until when, one
        waits for players, and that one waits for its server to be ready."""
        self._node = node
        self._ended = ended
        self._aside = aside
        self._loop = asyncio.get_running_loop()
        self._running = 0
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def number(self) -> int:
        """Return how many actions are being performed."""
        return self._running

    async def wait(self, seconds: float) -> None:
        """Wait until nothing is under way, at most so many seconds."""
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._idle.wait(), seconds)

    def begin(self, ticket: Ticket) -> None:
        """Begin an action. Its end is never told before this returns."""
        request = self._request(ticket)
        ticket.turn_seconds = ticket.waited(self._node.clock.now())
        self._running += 1
        self._idle.clear()
        name = ticket.acceptance.operation
        try:
            threading.Thread(target=self._perform, args=(ticket, request), name=name, daemon=True).start()
        except RuntimeError as error:
            self._loop.call_soon(self._on_ended, ticket, self._fault(ticket, error), True)

    def _request(self, ticket: Ticket) -> Request:
        acceptance, uuid = ticket.acceptance, ticket.uuid
        # Now, and not in the thread: a kill that comes after this must still be seen.
        raised = self._node.generations.own_raises(uuid) - ticket.own_raises
        # The clock's rounding must not make it one second more than was asked for.
        left = math.ceil(round(ticket.deadline - self._loop.time(), 3))
        return Request(
            server=uuid,
            action=acceptance.action,
            operation=acceptance.operation,
            requested_at=acceptance.requested_at,
            generations={} if acceptance.generation is None else {uuid: acceptance.generation + raised},
            wait_seconds=max(0, left) if acceptance.wait_seconds else 0,
            origin=acceptance.origin,
            players=acceptance.players,
            wait_for=acceptance.ready.wait_for,
            wait_timeout=acceptance.ready.wait_timeout,
        )

    def _perform(self, ticket: Ticket, request: Request) -> None:
        slot, unwritten = self._node.limiter.slot(), False
        try:
            node = self._node.now()
            if request.players is not None or request.wait_for is not WaitFor.CONTAINER:
                node = heard_by(node, lambda news: soon(self._loop, self._on_news, ticket, news))
            result = perform(request, node, None, slot)
        except Exception as error:
            # A fault of ours: the server's queue must go on.
            result, unwritten = self._fault(ticket, error), True
        finally:
            slot.leave()
        soon(self._loop, self._on_ended, ticket, result, unwritten)

    def _fault(self, ticket: Ticket, error: Exception) -> Result:
        return ticket.result(self._node.clock.now(), Outcome.FAILED, INTERNAL_ERROR, internal_error(error))

    def _on_news(self, ticket: Ticket, news: News) -> None:
        # What holds nothing more keeps nobody waiting.
        begins_wait = news.phase == READY and not ticket.awaits_ready
        ticket.awaits_ready = ticket.awaits_ready or begins_wait
        phase = _FOR_PLAYERS.get(news.phase)
        told = {} if phase is None else {"phase": phase, "due": news.deadline or ""}
        if told != ticket.aside or begins_wait:
            self._aside(ticket, told)

    def _on_ended(self, ticket: Ticket, result: Result, unwritten: bool) -> None:
        self._running -= 1
        if self._running == 0:
            self._idle.set()
        self._ended(ticket, result, unwritten)
