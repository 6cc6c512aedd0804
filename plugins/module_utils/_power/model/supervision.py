# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ends of runs, and the supervisor's answer: verdicts, ended runs, and back-off; pure."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

from .records import dataclass
from .server import Run, Server

ORIGIN = "supervisor"
#: The origin of the stops before a stop of the machine or its engine.
NODE_STOP_ORIGIN = "node stop"

#: Seconds of back-off: the first crash has none, then these, doubled up to the longest.
_FIRST_WAIT, _LONGEST_WAIT = 10.0, 300.0
LOOP_WAIT = 3600.0
#: More crashes than this within a day count as flapping.
FLAPPING_CRASHES = 5
DAY_SECONDS = 86400.0


class Verdict(str, Enum):
    """How a run ended. The first verdict of a run stays, except PENDING."""

    #: A start or a new container found the end; the supervisor has not judged it yet.
    PENDING = "pending"
    STOPPED = "stopped"
    RESTARTING = "restarting"
    ENGINE_STOPPED = "engine_stopped"
    STOPPED_EXTERNALLY = "stopped_externally"
    CRASHED = "crashed"
    ENDED = "ended"
    #: The supervisor ended it with a restart, because it was unhealthy.
    HUNG = "hung"
    ENDED_UNOBSERVED = "ended_unobserved"
    INITIALLY_DOWN = "initially_down"


#: After these a server that should be up starts again.
STARTED_AFTER = frozenset((Verdict.CRASHED, Verdict.HUNG, Verdict.ENGINE_STOPPED, Verdict.RESTARTING))
#: A run that hangs counts as a crash.
CRASHES = (Verdict.CRASHED, Verdict.HUNG)
#: The key of the supervisor's values in the journal with `Hang` by server, as JSON.
HANGS = "hangs"


class Hang(str, Enum):
    """Why the supervisor leaves a server up that hangs: the node itself is suspect, or it was restarted too often."""

    SUSPECT = "suspect"
    TOO_OFTEN = "too_often"


@dataclass(frozen=True)
class SeenRun:
    """The newest run of a server that was started here or seen up.

    ``engine`` is the engine's life in which the run was seen. ``generation`` is the kill generation of the latest start that asked for it.
    ``matchers``: the definition has readiness lines; None if no start here wrote the run. ``matched``: such a line was seen. ``spoilt``:
    the engine sent it a signal that stops nothing by default, so the engine's mark of a manual stop says nothing. ``console_stop`` is when
    our console sent the stop command, in epoch seconds; 0: never. ``answers`` is the number of the ended run that its start follows; 0:
    none. ``stop_signal`` is the signal with which the engine stops the container.
    """

    run: Run
    generation: int = 0
    engine: str = ""
    spoilt: bool = False
    console_stop: int = 0
    answers: int = 0
    stop_signal: int | None = None
    matchers: bool | None = None
    matched: bool = False


@dataclass(frozen=True)
class EndedRun:
    """The end of one run in the journal: one row for each run, by container and StartedAt.

    ``ended_at`` is the engine's time, ISO 8601. ``seconds`` is the time up, None if unknown. ``log`` has its last lines, secrets masked.
    ``operation`` and ``origin`` name our action that ended it. ``due``: a start is requested. ``consecutive_crashes`` counts crashes up to
    this one; a calm run or another actor's start resets it. ``tries`` counts refused starts since. ``next_at`` is the next try in seconds
    of the boot ``boot``. ``attempt`` is the operation of a try that has not ended; ``code`` and ``msg`` say why the last one failed.
    ``next_run`` is the next run. ``definition`` is the fingerprint of the definition at that time.
    """

    server: Server
    run: Run
    verdict: Verdict
    ended_at: str = ""
    exit_code: int | None = None
    oom_killed: bool = False
    seconds: float | None = None
    log: tuple[str, ...] = ()
    operation: str = ""
    origin: str = ""
    at: str = ""
    due: bool = False
    consecutive_crashes: int = 0
    tries: int = 0
    boot: str = ""
    next_at: float = 0.0
    attempt: str = ""
    code: str = ""
    msg: str = ""
    next_run: Run | None = None
    definition: str = ""
    #: For a row without a verdict: what was known of the run at its end, and the server's kill generation.
    seen: SeenRun | None = None
    generation: int | None = None
    number: int = 0

    @property
    def is_crash(self) -> bool:
        return self.verdict in CRASHES

    @property
    def counts(self) -> bool:
        """True if the end counts as a crash for the back-off: also a clean exit with a due start."""
        return self.is_crash or (self.due and self.verdict is Verdict.ENDED)


class SupervisionState(str, Enum):
    OK = "ok"
    BACKOFF = "backoff"
    CRASH_LOOP = "crash_loop"
    FLAPPING = "flapping"
    STAYS_DOWN = "stays_down"


@dataclass(frozen=True)
class Limits:
    """The crashes in a row that make a crash loop, and the seconds of a calm run."""

    max_restarts: int = 10
    reset_after: float = 600.0


def wait_before(consecutive_crashes: int, tries: int, limits: Limits) -> float:
    """Return the back-off in seconds: a refused try takes the next longer wait, but is no crash."""
    if consecutive_crashes > limits.max_restarts:
        return LOOP_WAIT
    step = consecutive_crashes + tries - 1
    # The cap avoids a huge power.
    return 0.0 if step <= 0 else min(_FIRST_WAIT * 2 ** min(step - 1, 16), _LONGEST_WAIT)


def seconds_left(row: EndedRun, boot: str, boot_seconds: float) -> float:
    """Return the seconds until the next try; 0 in another boot, or for a moment beyond the longest wait."""
    left = row.next_at - boot_seconds
    # Floating-point sums may exceed the wait a little.
    return min(left, LOOP_WAIT) if row.boot == boot and 0 < left < LOOP_WAIT + 1 else 0.0


def supervision_of(rows: Sequence[EndedRun], *, live: bool, crashes_in_day: int, limits: Limits) -> SupervisionState:
    """Return the state of a server; ``rows`` are its ended runs, newest first."""
    newest = rows[0] if rows else None
    if newest is not None and not live:
        if newest.counts and newest.consecutive_crashes > limits.max_restarts:
            return SupervisionState.CRASH_LOOP
        if newest.due:
            return SupervisionState.BACKOFF
        if newest.verdict is not Verdict.STOPPED:
            return SupervisionState.STAYS_DOWN
    return SupervisionState.FLAPPING if live and crashes_in_day > FLAPPING_CRASHES else SupervisionState.OK
