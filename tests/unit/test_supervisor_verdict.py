# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an end is taken for: each thing that tells of it counts in its order, and what is not known decides nothing."""

from __future__ import annotations

import pytest
from ansible_collections.fleet.power.plugins.module_utils._supervisor.verdict import Evidence, ReportedEnd, awaits_shutdown, judge

CRASH = ReportedEnd(1, 3, signalled=False)
STOP = ReportedEnd(1, 143, signalled=True)


@pytest.mark.parametrize(
    "evidence, verdict",
    [
        # An action here, whatever else is known.
        (Evidence(heard=CRASH, exit_code=3, here=True), "stopped"),
        (Evidence(heard=CRASH, exit_code=3, here=True, restarts=True), "restarting"),
        (Evidence(heard=CRASH, exit_code=3, console_stop=True), "stopped"),
        # Heard, and nobody sent a signal.
        (Evidence(heard=CRASH, exit_code=3), "crashed"),
        (Evidence(heard=CRASH, exit_code=137, killed=True, marked=False, another_engine=True), "crashed"),
        (Evidence(heard=CRASH, exit_code=137), "crashed"),
        (Evidence(heard=CRASH, exit_code=3, marked=True), "crashed"),
        # Asked for long before, or by a signal that was not heard.
        (Evidence(heard=ReportedEnd(1, 143, signalled=False, warned=True), exit_code=143), "stopped_externally"),
        (Evidence(heard=ReportedEnd(1, 3, signalled=False, warned=True), exit_code=3), "crashed"),
        (Evidence(heard=ReportedEnd(1, 1, signalled=False, warned=True), exit_code=1, marked=True), "stopped_externally"),
        (Evidence(heard=ReportedEnd(1, 0, signalled=False, warned=True), exit_code=0), "stopped_externally"),
        (Evidence(heard=CRASH, exit_code=143, marked=True), "stopped_externally"),
        (Evidence(heard=CRASH, exit_code=0), "ended"),
        # Another process of the container was ended for memory, perhaps long ago.
        (Evidence(heard=CRASH, exit_code=0, oom_killed=True), "ended"),
        # Killed since it was asked for, unless its end tells otherwise.
        (Evidence(heard=STOP, exit_code=137, killed=True), "stopped"),
        (Evidence(exit_code=137, killed=True, marked=True), "stopped"),
        (Evidence(exit_code=3, killed=True, marked=False), "crashed"),
        (Evidence(exit_code=137, oom_killed=True, killed=True), "crashed"),
        # The engine's shutdown sends signals as well, but notes no stop by hand.
        (Evidence(heard=STOP, exit_code=0, another_engine=True, marked=False), "engine_stopped"),
        (Evidence(heard=STOP, exit_code=0, another_engine=True, marked=None), "engine_stopped"),
        (Evidence(exit_code=1, another_engine=True, marked=False), "engine_stopped"),
        (Evidence(heard=STOP, exit_code=0, another_engine=True, marked=True), "stopped_externally"),
        (Evidence(exit_code=0, another_engine=True, marked=True), "ended_unobserved"),
        # One that comes up after a kill stops what it finds, and notes that as if somebody had asked for it.
        (Evidence(exit_code=0, another_engine=True, marked=True, in_startup=True), "engine_stopped"),
        (Evidence(heard=STOP, exit_code=0, another_engine=True, marked=True, in_startup=True), "engine_stopped"),
        (Evidence(heard=STOP, exit_code=0, marked=True, in_startup=True), "stopped_externally"),
        # A person at the engine.
        (Evidence(heard=STOP, exit_code=0, marked=True), "stopped_externally"),
        (Evidence(heard=STOP, exit_code=1), "stopped_externally"),
        # Not heard: the engine's own mark, then the exit code.
        (Evidence(exit_code=3, marked=True), "ended_unobserved"),
        (Evidence(exit_code=3), "crashed"),
        (Evidence(exit_code=3, marked=False), "crashed"),
        (Evidence(exit_code=137, oom_killed=True), "crashed"),
        *((Evidence(exit_code=code), "ended_unobserved") for code in (0, 130, 137, 143)),
        *((Evidence(exit_code=code, marked=False), "crashed") for code in (130, 137, 143)),
        (Evidence(exit_code=0, marked=False), "ended"),
        (Evidence(), "ended_unobserved"),
        # Its container is gone.
        (Evidence(is_there=False, exit_code=3), "ended_unobserved"),
        (Evidence(is_there=False, heard=CRASH, exit_code=3), "crashed"),
    ],
)
def test_what_an_end_is_taken_for(evidence: Evidence, verdict: str) -> None:
    assert judge(evidence).value == verdict


@pytest.mark.parametrize(
    "evidence, awaits",
    [
        (Evidence(heard=STOP, exit_code=0), True),
        (Evidence(heard=STOP, exit_code=3, killed=True), True),
        (Evidence(heard=STOP, exit_code=0, here=True), False),
        (Evidence(heard=STOP, exit_code=0, console_stop=True), False),
        (Evidence(heard=STOP, exit_code=137, killed=True), False),
        (Evidence(heard=STOP, exit_code=0, another_engine=True), False),
        (Evidence(heard=CRASH, exit_code=3), False),
        (Evidence(exit_code=0), False),
    ],
)
def test_only_a_stop_through_the_engine_that_nothing_explains_may_be_the_engines_own(evidence: Evidence, awaits: bool) -> None:
    assert awaits_shutdown(evidence) is awaits
