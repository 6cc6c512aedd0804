# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How runs end, and what the supervisor does about it: verdicts, ended runs, and the waits between two tries; pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from .server import Run, Server

#: Who asks for a start that the supervisor makes.
ORIGIN = "supervisor"

#: Seconds before a try: at once after the first crash in a row, then these, each twice the one before, up to the longest.
_FIRST_WAIT, _LONGEST_WAIT = 10.0, 300.0
#: Seconds between two tries of a server that has crashed too often in a row.
LOOP_WAIT = 3600.0
#: So many crashes within a day are told as flapping once there are more.
FLAPPING_CRASHES = 5
DAY_SECONDS = 86400.0


class Verdict(str, Enum):
    """What a run's end is taken for. The first one written for a run stays, but for PENDING."""

    #: Found by whoever started the server or made its container anew; the supervisor has yet to judge it.
    PENDING = "pending"
    STOPPED = "stopped"
    RESTARTING = "restarting"
    ENGINE_STOPPED = "engine_stopped"
    STOPPED_EXTERNALLY = "stopped_externally"
    CRASHED = "crashed"
    ENDED = "ended"
    ENDED_UNOBSERVED = "ended_unobserved"
    INITIALLY_DOWN = "initially_down"


#: After these the server is to be started, if it is meant to be up.
STARTED_AFTER = frozenset((Verdict.CRASHED, Verdict.ENGINE_STOPPED, Verdict.RESTARTING))


@dataclass(frozen=True)
class SeenRun:
    """The newest run of a server that was started here or seen up.

    ``engine`` is the life of the engine in which it was seen up. ``generation`` is the kill generation of the latest start that asked for
    it. ``matchers`` says if its definition names readiness lines; None if no start here has written the run. ``matched``: such a line was
    seen. ``spoilt``: the engine sent it a signal that stops nothing by default, so the engine's mark of a manual stop says nothing.
    ``console_stop`` is when our own console sent the stop command, in seconds since the epoch; 0 for never. ``answers`` is the number of
    the ended run for which it was started; 0 for none. With ``stop_signal`` the engine stops its container.
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
    """The end of one run as the journal keeps it: one row for each run, named by container and StartedAt.

    ``ended_at`` is the engine's time, ISO 8601. ``seconds`` is how long it was up, None if that is unknown. ``log`` has its last lines,
    secrets masked. ``operation`` and ``origin`` name the action here that ended it. ``due``: a start is asked for.
    ``consecutive_crashes`` counts the crashes up to this one; a calm run or another actor's start ends the count. ``tries`` counts the
    starts that were refused since. ``next_at`` is the moment of the next try, in seconds of the boot ``boot``. ``attempt`` is the
    operation of the last try; ``code`` and ``msg`` say why it failed. ``next_run`` is the run after this one. ``definition`` is the
    fingerprint of the definition at that time.
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
    #: Of a row without a verdict: what was known of the run when it was found over, and the server's kill generation then.
    seen: SeenRun | None = None
    generation: int | None = None
    number: int = 0

    @property
    def is_crash(self) -> bool:
        """True for what counts as a crash."""
        return self.verdict is Verdict.CRASHED


class SupervisionState(str, Enum):
    """What the supervisor has to say of a server."""

    OK = "ok"
    BACKOFF = "backoff"
    CRASH_LOOP = "crash_loop"
    FLAPPING = "flapping"
    STAYS_DOWN = "stays_down"


@dataclass(frozen=True)
class Limits:
    """What the policy of a server says of tries: how many crashes in a row until it has given up, and the seconds of a calm run."""

    max_restarts: int = 10
    reset_after: float = 600.0


def wait_before(consecutive_crashes: int, tries: int, limits: Limits) -> float:
    """Return the seconds until the next try: after a refused one the next longer wait, which counts as no crash."""
    if consecutive_crashes > limits.max_restarts:
        return LOOP_WAIT
    step = consecutive_crashes + tries - 1
    # Beyond that the power is of no use, and grows.
    return 0.0 if step <= 0 else min(_FIRST_WAIT * 2 ** min(step - 1, 16), _LONGEST_WAIT)


def seconds_left(row: EndedRun, boot: str, boot_seconds: float) -> float:
    """Return the seconds until a row's next try; none in another boot, nor for a moment that no wait of this one leads to."""
    left = row.next_at - boot_seconds
    # Of a sum a little more may be left than was added.
    return min(left, LOOP_WAIT) if row.boot == boot and 0 < left < LOOP_WAIT + 1 else 0.0


def supervision_of(rows: Sequence[EndedRun], *, live: bool, crashes_in_day: int, limits: Limits) -> SupervisionState:
    """Return what there is to say of a server whose newest ended run comes first in ``rows``."""
    newest = rows[0] if rows else None
    if newest is not None and not live:
        if newest.consecutive_crashes > limits.max_restarts and (newest.is_crash or (newest.due and newest.verdict is Verdict.ENDED)):
            return SupervisionState.CRASH_LOOP
        if newest.due:
            return SupervisionState.BACKOFF
        if newest.verdict is not Verdict.STOPPED:
            return SupervisionState.STAYS_DOWN
    return SupervisionState.FLAPPING if live and crashes_in_day > FLAPPING_CRASHES else SupervisionState.OK
