# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lock of a server, between processes and threads, with a readable holder.

Each server has one file, locked with ``flock`` and never unlinked; the kernel unlocks it when its holder dies. The same file has the holder
record (holder.py). Readers never lock: that would fail another process's single try.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import ExitStack, suppress
from dataclasses import replace
from datetime import datetime
from types import TracebackType

from ..host.machine import this_process
from ..host.own_files import BLANKS, ServerFiles, open_locked, open_or_make, read_held, write_held
from ..model.cancellation import CheckCancelled, Deadline, no_check
from ..model.clock import Clock, timestamp
from ..model.errors import LockTimeout, LockUnavailable, PowerError
from ..model.request import Request
from ..model.result import Phase
from ..model.server import Run
from .holder import BLANK, RECORD_SIZE, EndedHere, Holder, Leftover, decode, encode

#: Seconds between two tries.
TRY_EVERY = 0.02
#: Tries, every 10 ms, to read the record that a new holder is about to write.
_NAME_AGAIN = 10


class Locks(ServerFiles):
    suffix = ".lock"

    def holder(self, uuid: str) -> Holder | None:
        """Return the living holder; None if there is none or it is unreadable. Reads only."""
        return self.look(uuid)[0]

    def held(self) -> dict[str, Holder]:
        """Return each server's living holder; empty if the directory is unreadable. Reads only."""
        found = {uuid: self.holder(uuid) for uuid in self._servers()}
        return {uuid: holder for uuid, holder in found.items() if holder is not None}

    def look(self, uuid: str) -> tuple[Holder | None, Leftover | None]:
        """Return ``holder``, and the unfinished start or stop in the record of a living, dead or released holder. Reads only."""
        record = self._read(uuid, RECORD_SIZE, decode)
        if record is None:
            return None, None
        held = not record.released and record.is_alive
        return record if held else None, record.unfinished(ended=not held)

    def ended_here(self, uuid: str) -> EndedHere | None:
        """Return the run that an action here ended or is ending, by the record. Reads only."""
        record = self._read(uuid, RECORD_SIZE, decode)
        return None if record is None else record.ended_here()

    def has_record(self, uuid: str) -> bool:
        """Return True if the server's lock file exists and is not blank. Reads only."""
        return self._read(uuid, RECORD_SIZE, lambda raw: raw.strip(BLANKS) or None) is not None

    def changed_at(self, uuid: str) -> int:
        """Return the last change of the lock or its phase, in nanoseconds; 0 if there was none. Reads only."""
        with suppress(OSError):
            return os.stat(self._path(uuid)).st_mtime_ns
        return 0

    def acquire(
        self,
        uuid: str,
        request: Request,
        *,
        wait_seconds: float,
        clock: Clock,
        check_cancelled: CheckCancelled = no_check,
        waited_before: float = 0.0,
    ) -> PowerLock:
        """Take the lock and write the holder record, phase ``prepare``; waiters have no order.

        Tries every 20 ms for ``wait_seconds``; 0 is one try. ``check_cancelled`` runs between tries and may raise. The message adds
        ``waited_before``, the seconds of an earlier wait. Raises `LockTimeout` with fact ``holder`` (Holder or None), or `LockUnavailable`.
        """
        path = self._path(uuid)
        begun, waited = clock.monotonic(), 0.0
        deadline = Deadline(clock, begun + wait_seconds)
        while (descriptor := self._try(path)) is None:
            if deadline.is_over:
                raise self._timeout(uuid, wait_seconds + waited_before, clock)
            check_cancelled()
            deadline.pause(TRY_EVERY)
            waited = clock.monotonic() - begun
        with ExitStack() as undo:
            undo.callback(os.close, descriptor)
            lock = PowerLock(path, descriptor, _my_record(uuid, request, clock), waited_before + waited)
            lock.enter(Phase.PREPARE)
            undo.pop_all()
        return lock

    def _try(self, path: str) -> int | None:
        try:
            return open_locked(path, lambda: self._open(path))
        except OSError as error:
            advice = f"; find out what cleans {self._directory}" if isinstance(error, FileNotFoundError) else ""
            raise LockUnavailable(f"Cannot lock {path}: {error.strerror}{advice}") from error

    def _open(self, path: str) -> int:
        try:
            return open_or_make(path, os.O_RDWR, self._group)
        except OSError as error:
            missing = not os.path.isdir(self._directory)
            attempt = f"make the lock directory {self._directory}" if missing else f"open the lock file {path}"
            advice = "; system.lock_directory in the settings says where it is" if missing else ""
            if isinstance(error, PermissionError):
                advice = f"; act as root or as a member of the group {self._group}"
            raise LockUnavailable(f"Cannot {attempt}: {error.strerror}{advice}") from error

    def _timeout(self, uuid: str, wait_seconds: float, clock: Clock) -> LockTimeout:
        for _attempt in range(_NAME_AGAIN + 1):
            holder = self.holder(uuid)
            if holder is not None:
                break
            # The holder writes its record a moment after it takes the lock.
            clock.sleep(TRY_EVERY / 2)
        who = "another action" if holder is None else holder.sentence()
        after = f" after {round(wait_seconds, 2):g} s" if wait_seconds > 0 else ""
        return LockTimeout(f"Cannot lock server {uuid}: held by {who}{after}; wait longer (wait_seconds) or try again later", holder=holder)


class PowerLock:
    """The held lock of one server. Not for several threads at once.

    The context manager releases it. After an exception that is no `PowerError` it keeps the current request, as if this process had died.
    """

    def __init__(self, path: str, descriptor: int, record: Holder, waited_seconds: float) -> None:
        """`Locks.acquire` alone calls this, with a descriptor that holds the lock; ``record`` is not written yet."""
        found = decode(read_held(descriptor, RECORD_SIZE))
        self._path = path
        self._descriptor = descriptor
        self._record = record
        #: Seconds of waiting for other holders.
        self.waited_seconds = waited_seconds
        #: Unfinished work, found or kept. Resolve a start before you send another.
        #: The writer of the record that was found, dead or alive, no longer has the lock.
        self.leftover: Leftover | None = None if found is None else found.unfinished(ended=True)
        #: The run that was ended here and that the journal does not have yet.
        self.ended: EndedHere | None = None if found is None else found.ended

    def __enter__(self) -> PowerLock:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is not None and not isinstance(error, PowerError):
            self.keep()
        self.release()

    def enter(self, phase: Phase, *, run: Run | None = None, deadline: datetime | None = None, at: datetime | None = None) -> None:
        """Write the phase into the record. Raises `LockUnavailable`.

        ``run`` belongs to START (the container and its last StartedAt) and STOP (the run to stop). Enter these phases before the request,
        and the next phase after its answer.
        """
        since, until = (None if moment is None else timestamp(moment) for moment in (at, deadline))
        self._record = replace(self._record, phase=phase.value, run=run, phase_since=since, phase_deadline=until)
        try:
            self._write(self._carrying())
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise LockUnavailable(f"Cannot write the lock file {self._path}: {reason}") from error

    def clear(self, *, carry: EndedHere | None = None) -> None:
        """Forget the leftover; ``carry`` becomes the ended run. Never raises: if the disk fails, the next holder clears it."""
        if self.leftover is None and self.ended == carry:
            return
        self.leftover, self.ended = None, carry
        with suppress(OSError, ValueError):
            self._write(self._carrying())

    def keep(self) -> None:
        """Carry the request of this phase (START or STOP, with its run), which got no answer, until `clear`."""
        self.leftover = replace(self._record, leftover=self.leftover).unfinished(ended=True)

    def release(self) -> None:
        """Release the lock; a leftover or ended run stays in the record. Never raises; a second call does nothing."""
        if self._descriptor < 0:
            return
        try:
            with suppress(OSError, ValueError):
                self._leave()
        finally:
            descriptor, self._descriptor = self._descriptor, -1
            with suppress(OSError):
                # After a close alone, a child between fork and exec would keep the lock.
                fcntl.flock(descriptor, fcntl.LOCK_UN)
            os.close(descriptor)

    def _leave(self) -> None:
        if self.leftover is None and self.ended is None:
            write_held(self._descriptor, BLANK)
        else:
            # The phase of this holder is over; only the carried work is unfinished.
            self._write(replace(self._carrying(), phase=Phase.PREPARE.value, run=None, released=True))

    def _carrying(self) -> Holder:
        return replace(self._record, leftover=self.leftover, ended=self.ended)

    def _write(self, record: Holder) -> None:
        write_held(self._descriptor, encode(record))


def _my_record(uuid: str, request: Request, clock: Clock) -> Holder:
    return Holder(
        *this_process(),
        generation=request.generation(uuid),
        operation=request.operation,
        action=request.action.value,
        phase=Phase.PREPARE.value,
        since=timestamp(clock.now()),
        origin=request.origin,
        reason=request.reason,
    )
