# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Many servers in one call, at once as far as the limiter allows; whatever becomes of one hides nothing of the others."""

from __future__ import annotations

import contextlib
import resource
import threading
from collections.abc import Callable, Sequence
from datetime import datetime, timezone

from ...model.errors import INTERNAL_ERROR, internal_error
from ...model.order import tiers
from ...model.result import Outcome, Result
from ...model.server import Server
from ..node.limiter import Limiter, Slot
from .selection import Target, is_left_out

#: Open files that are asked for.
_FILES = 8192

#: Acts on one server from a slot among the others; it is to raise nothing.
Act = Callable[[Target, Slot], Result]


def perform_each(
    targets: Sequence[Target], act: Act, limiter: Limiter, priorities: Sequence[int] | None = None, *, is_shared: bool = False
) -> list[Result]:
    """Act on each target, in the order given as far as there is one, and return the results in that order.

    With ``priorities``, one for each target, those of one are acted on together, and the next when these have ended: the highest first
    where servers are taken down, else the lowest. Servers that are down are left out of an action on all that are up. ``is_shared``:
    the limiter's slots are those of other calls, too.
    """
    results: list[Result | None] = [None] * len(targets)

    def act_on(index: int, slot: Slot) -> None:
        try:
            result = _acted(targets[index], act, slot)
            limiter.budget.count(result)
            results[index] = result
        finally:
            slot.leave()

    if len(targets) == 1 and not is_shared:
        # Alone, it waits for nobody's slot.
        act_on(0, Slot())
    else:
        # Each server may need a lock and an output at the same time: more than most systems allow unless asked.
        allow_files(_FILES)
        for tier in _tiers(targets, priorities):
            _in_threads(tier, act_on, limiter)
    pairs = zip(targets, results)
    return [result for target, result in pairs if result is not None and not is_left_out(result, target.request)]


def _tiers(targets: Sequence[Target], priorities: Sequence[int] | None) -> Sequence[Sequence[int]]:
    if priorities is None:
        return [range(len(targets))]
    return tiers(priorities, highest_first=any(target.request.action.traits.meant_up is False for target in targets))


def _acted(target: Target, act: Act, slot: Slot) -> Result:
    """The result of acting, or what can be said of a fault of ours on the way: it must neither hide the others nor be hidden itself."""
    try:
        return act(target, slot)
    except Exception as error:
        request = target.request
        return Result(
            server=target.server or Server(request.server),
            action=request.action,
            outcome=Outcome.FAILED,
            operation=request.operation,
            requested_at=request.requested_at,
            ended_at=datetime.now(timezone.utc),
            code=INTERNAL_ERROR,
            msg=internal_error(error),
        )


def _in_threads(indexes: Sequence[int], act_on: Callable[[int, Slot], None], limiter: Limiter) -> None:
    """One thread a server, begun in order, each when its turn comes; over when all have ended."""
    threads = []
    for index in indexes:
        slot = limiter.slot()
        slot.begin()
        thread = threading.Thread(target=act_on, args=(index, slot))
        try:
            thread.start()
        except RuntimeError:
            # No more threads to be had: this one's turn is now.
            act_on(index, slot)
        else:
            threads.append(thread)
    for thread in threads:
        thread.join()


def allow_files(number: int) -> None:
    """Ask that this process may have so many files open, or as many as it can be allowed; it goes on either way."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = number if hard == resource.RLIM_INFINITY else min(hard, number)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
