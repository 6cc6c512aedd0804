# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Many servers in one call, at once as far as the pace allows; whatever becomes of one hides nothing of the others."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from .model import Result
from .pace import Pace, Place
from .selection import Target, is_left_out

#: Enough for the deepest call below an action; the system's default of 8 MiB for each of hundreds would count as memory in use.
_STACK_BYTES = 1024 * 1024

#: Acts on one server from a place among the others, and raises nothing.
Act = Callable[[Target, Place], Result]


def perform_each(targets: Sequence[Target], act: Act, pace: Pace) -> list[Result]:
    """Act on each target, in the order given as far as there is one, and return the results in that order.

    Servers that are down are left out of a restart of all.
    """
    results: list[Result | None] = [None] * len(targets)

    def act_on(index: int, place: Place) -> None:
        try:
            result = act(targets[index], place)
            pace.budget.count(result)
            results[index] = result
        finally:
            place.leave()

    if len(targets) == 1:
        act_on(0, pace.place())
    else:
        _in_threads(len(targets), act_on, pace)
    pairs = zip(targets, results)
    return [result for target, result in pairs if result is not None and not is_left_out(result, target.request)]


def _in_threads(count: int, act_on: Callable[[int, Place], None], pace: Pace) -> None:
    """One thread a server, begun in order, each when its turn comes."""
    before = threading.stack_size(_STACK_BYTES)
    try:
        threads = []
        for index in range(count):
            place = pace.place()
            place.begin()
            thread = threading.Thread(target=act_on, args=(index, place))
            try:
                thread.start()
            except RuntimeError:
                # No more threads to be had: this one's turn is now.
                act_on(index, place)
            else:
                threads.append(thread)
    finally:
        threading.stack_size(before)
    for thread in threads:
        thread.join()
