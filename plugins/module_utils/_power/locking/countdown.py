# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The countdown of a server: an action that waits for players, or warns them, before its turn. One for each server; it is no lock.

Each server has one file, which the countdown holds with ``flock`` and never unlinks. Its record names the action, its moment and the last
warning. The record survives its writer, so that another process can tell players that the action does not come.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from contextlib import suppress
from datetime import datetime
from typing import Any

from ..host.machine import ProcessRecord, this_process
from ..host.own_files import ServerFiles, open_locked, open_or_make, read_held, seal, unseal, write_held
from ..model.cancellation import Deadline
from ..model.clock import SYSTEM_CLOCK, engine_time
from ..model.errors import CountdownRunning, LockUnavailable
from ..model.players import WAITING, PlayerCount
from ..model.records import asdict, dataclass, replace
from ..model.request import Request
from ..model.schema import one_line
from ..model.server import Run
from .holder import BLANK, RECORD_SIZE, read_record

_ROOM = 120
#: Seconds to wait for a holder without a living record, and between tries: it writes its record soon, or cancels an old countdown.
_UNKNOWN_SECONDS, _AGAIN_SECONDS = 5.0, 0.05
#: So many seconds after the announced moment, players need no cancellation.
_FORGOTTEN_SECONDS = 600.0
#: A game that fails may have sent the cancellation: players would read each repetition.
_MOST_TRIES = 3


@dataclass(frozen=True)
class Countdown(ProcessRecord):
    """An action that waits for players or warns them (``phase``, `WAITING` or `COUNTING`). ``due`` and ``since`` are timestamps.

    ``online`` and ``why`` are from the last player count. ``last_mark`` is that of the last warning, in seconds before ``due``; 0: none.
    ``run`` is that of these players. ``key`` is a digest of `Request.idempotency_key`. ``tries`` counts cancellations sent to the game.
    """

    operation: str
    action: str
    since: str
    phase: str
    due: str
    run: Run
    origin: str = ""
    reason: str = ""
    online: int | None = None
    why: str = ""
    last_mark: int = 0
    key: str = ""
    tries: int = 0

    def facts(self) -> dict[str, Any]:
        names = ("action", "phase", "due", "origin", "reason", "since", "operation")
        return {name: getattr(self, name) for name in names if getattr(self, name) != ""}

    def sentence(self) -> str:
        """Return the text for people: ``a restart by alice@web1 counts down for its players already, and is due at TIME``."""
        by = f" by {self.origin}" if self.origin else ""
        does = f"counts down for its players already, and is due at {self.due}"
        if self.phase == WAITING:
            does = f"waits for its players already, since {self.since} and until {self.due} at most"
        # Each part is cut when it is written.
        return one_line(f"a {self.action}{by} {does}")

    def is_of(self, request: Request) -> bool:
        return self.key != "" and self.action == request.action.value and self.key == _digest(request.idempotency_key)

    def seconds_left(self, now: datetime) -> float:
        """Return the seconds until ``due``: negative in the past, or if unreadable."""
        due = engine_time(self.due)
        return float("-inf") if due is None else (due - now).total_seconds()

    def is_remembered(self, now: datetime) -> bool:
        """Return True if players got a warning, and the cancellation is neither too late for them nor tried too often."""
        return bool(self.last_mark) and self.seconds_left(now) > -_FORGOTTEN_SECONDS and self.tries < _MOST_TRIES


class Countdowns(ServerFiles):
    """The countdowns of one node, in the lock directory."""

    suffix = ".countdown"

    def running(self, uuid: str) -> Countdown | None:
        """Return the running countdown of a server; None if there is none or it is unreadable. Reads only."""
        record = self._read(uuid, RECORD_SIZE, _decoded)
        return record if record is not None and record.is_alive else None

    def abandoned(self, uuid: str) -> Countdown | None:
        """Return a countdown whose process died. Reads only."""
        record = self._read(uuid, RECORD_SIZE, _decoded)
        return None if record is None or record.is_alive else record

    def all_abandoned(self) -> list[str]:
        """Return the servers of all countdowns whose process died. Reads only."""
        return [uuid for uuid in self._servers() if self.abandoned(uuid) is not None]

    def begin(self, uuid: str, request: Request, run: Run, *, since: str, due: str) -> HeldCountdown:
        """Begin a countdown in phase `WAITING`, without its record. Raises `CountdownRunning` and `LockUnavailable`."""
        path = self._path(uuid)
        running, deadline = None, Deadline.after(SYSTEM_CLOCK, _UNKNOWN_SECONDS)
        while (descriptor := self._lock(path)) is None and (running := self.running(uuid)) is None and not deadline.is_over:
            deadline.pause(_AGAIN_SECONDS)
        if descriptor is None:
            first = "another action waits for its players already" if running is None else running.sentence()
            advice = "wait for its end, or act without options for players, which cancels it"
            raise CountdownRunning(f"Cannot {request.action.value} server {uuid}: {first}; {advice}", running=running)
        found = _decoded(read_held(descriptor, RECORD_SIZE))
        mine = Countdown(
            *this_process(),
            operation=request.operation,
            action=request.action.value,
            since=since,
            phase=WAITING,
            due=due,
            origin=request.origin[:_ROOM],
            reason=request.reason[:_ROOM],
            run=run,
            key=_digest(request.idempotency_key),
        )
        return HeldCountdown(path, descriptor, mine, found)

    def take_abandoned(self, uuid: str) -> HeldCountdown | None:
        """Take the countdown of a dead process, with its record; None if there is none. Raises `LockUnavailable`."""
        path = self._path(uuid)
        if self.abandoned(uuid) is None or (descriptor := self._lock(path)) is None:
            return None
        found = _decoded(read_held(descriptor, RECORD_SIZE))
        if found is None or found.is_alive:
            os.close(descriptor)
            return None
        return HeldCountdown(path, descriptor, found, found)

    def _lock(self, path: str) -> int | None:
        try:
            return open_locked(path, lambda: open_or_make(path, os.O_RDWR, self._group))
        except OSError as error:
            raise LockUnavailable(f"Cannot lock {path}: {error.strerror}") from error


class HeldCountdown:
    """The held countdown of one server. ``found`` is the earlier record, of a process that died, if any."""

    def __init__(self, path: str, descriptor: int, record: Countdown, found: Countdown | None) -> None:
        self._path = path
        self._descriptor = descriptor
        self.record = record
        self.found = found

    def write(self, **changes: Any) -> None:
        """Change fields of the record. Raises `LockUnavailable`."""
        self.record = replace(self.record, **changes)
        if self._descriptor < 0:
            return
        try:
            write_held(self._descriptor, _encoded(self.record))
        except OSError as error:
            raise LockUnavailable(f"Cannot write {self._path}: {error.strerror}") from error

    def saw(self, count: PlayerCount) -> None:
        if self._descriptor >= 0 and (count.online, count.why[:_ROOM]) != (self.record.online, self.record.why):
            self.write(online=count.online, why=count.why[:_ROOM])

    def release(self, *, keep: bool = False, instead: Countdown | None = None) -> None:
        """Release the file once; clear the record, ``keep`` it for the next process, or leave another ``instead``. Never raises."""
        if self._descriptor < 0:
            return
        descriptor, self._descriptor = self._descriptor, -1
        if not keep:
            with suppress(OSError):
                os.pwrite(descriptor, BLANK if instead is None else _encoded(instead), 0)
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_UN)
        os.close(descriptor)


def _encoded(record: Countdown) -> bytes:
    fields = {name: value for name, value in asdict(record).items() if value not in ("", None)}
    text = seal(fields)
    if len(text) > RECORD_SIZE:
        # People can read these words elsewhere.
        text = seal({name: value for name, value in fields.items() if name not in ("origin", "reason", "why")})
    return text.ljust(RECORD_SIZE)


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "replace")).hexdigest()[:32] if key else ""


def _decoded(raw: bytes) -> Countdown | None:
    try:
        return read_record(Countdown, unseal(raw))
    except TypeError:
        return None
