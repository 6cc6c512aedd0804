# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run does so that its receivers are told: it writes what is due before it goes on, and sends twice, as it begins and as it ends.

Nothing of it fails a run that has begun, and each time it takes no longer than `SEND_SECONDS`.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from ..._power.events.event import Event
from ..._power.receivers.receiver import Receiver
from ..rollout import files
from ..rollout.record import Record
from ..rollout.words import RolloutError
from . import sending
from .run_events import BEGUN, CLOSED, begun_event, closing_event, missed_events
from .sending import Untold
from .waiting import WaitingEvents


class RunTelling:
    """Those who are told of a run. What could not be done is in ``warnings``.

    ``receivers`` reads who they are when it matters, and may raise `RolloutError`: what was good as the run began need not be at its end.
    """

    def __init__(self, receivers: Callable[[], Sequence[Receiver]], controller: str) -> None:
        self._read = receivers
        self._controller = controller
        self.warnings: list[str] = []

    def require_good(self) -> None:
        """Raise `RolloutError` if a receiver makes no sense: before anything is done, and where somebody hears it."""
        self._read()

    def expect(self, record: Record, old: Record | None, file: str) -> None:
        """Note in a run that is about to begin whether anybody is told of it; write what the one that it goes on with has left untold.

        From the moment at which the new run is in ``file`` nobody would know of that. Raises `RolloutError` if events cannot wait there.
        """
        with self._warned():
            record.tells = bool(self._read())
        if record.tells:
            WaitingEvents(file).require_own()
        if old is not None:
            for event in missed_events(old, record.began_at):
                self._write(file, old.run, event)

    def begin(self, record: Record, file: str) -> None:
        """Tell that the run in this file has begun, after what is left of others."""
        if not record.tells:
            return
        event = begun_event(record)
        if event is not None and self._write(file, record.run, event):
            record.told.append(BEGUN)
            with self._warned():
                files.save(file, record)
        self._send(record, file, again=False)
        if record.unreached:
            with self._warned():
                files.save(file, record)

    def close(self, record: Record, file: str, result: Mapping[str, Any]) -> None:
        """Write that the run is over; whoever writes the record then has that as well."""
        if record.tells and self._write(file, record.run, closing_event(record, result)):
            record.told.append(CLOSED)

    def end(self, record: Record, file: str) -> None:
        """Tell that the run is over."""
        if record.tells:
            self._send(record, file, again=True)

    def break_off(self, record: Record, file: str, result: Mapping[str, Any]) -> None:
        """Tell that something has ended the run's play."""
        self.close(record, file, result)
        with self._warned():
            files.save(file, record)
        self.end(record, file)

    def _write(self, file: str, run: str, event: Event) -> bool:
        with self._warned():
            WaitingEvents(file).add(run, event, self._read())
            return True
        return False

    def _send(self, record: Record, file: str, *, again: bool) -> None:
        waiting = WaitingEvents(file)
        dropped = waiting.drop_older(time.time())
        if dropped:
            self.warnings.append(f"No receiver has taken {dropped} messages of rolling runs within a day: they are dropped")
        receivers: Sequence[Receiver] = ()
        with self._warned():
            receivers = self._read()
        for untold in sending.send_all(waiting, receivers, self._controller, again=again):
            if untold.receiver not in record.unreached:
                record.unreached.append(untold.receiver)
                self.warnings.append(_words(untold, record.run))

    @contextlib.contextmanager
    def _warned(self) -> Iterator[None]:
        """Have what went wrong be a warning."""
        try:
            yield
        except RolloutError as error:
            # Several steps may fail for the same reason.
            if str(error) not in self.warnings:
                self.warnings.append(str(error))


def _words(untold: Untold, run: str) -> str:
    if untold.is_gone:
        return f"Receiver {untold.receiver} wants to be told nothing any more, {untold.reason}: take it out of rollout_receivers"
    return (
        f"Cannot tell receiver {untold.receiver} of run {run}: {untold.reason}; "
        "it is tried again at the end of the run, and for a day by each run that has it"
    )
