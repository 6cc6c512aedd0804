# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Notifications of rolling runs: to all receivers at the same time, in bounded time."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..._power.definitions.receiver_keys import read_receiver_rules
from ..._power.events.event import Event
from ..._power.events.webhook import controller_source
from ..._power.model.cancellation import Deadline
from ..._power.model.clock import SYSTEM_CLOCK
from ..._power.model.errors import PowerError, SettingsInvalid
from ..._power.model.schema import Mismatch
from ..._power.receivers.receiver import Receiver, Taking, WebhookClient, message_of, receivers_of
from . import run_files
from .events import BEGUN, CLOSED, WaitingEvents, begun_event, closing_event, missed_events, tells_of_runs
from .record import Record
from .values import RolloutError

VARIABLE = "rollout_receivers"
_FILES = ("url_file", "secret_file")
#: Seconds for all receivers together, at the beginning and at the end.
SEND_SECONDS = 5.0
_GRACE_SECONDS = 0.3
_FIRST_PAUSE = 0.5


def read_receivers(given: object) -> tuple[Receiver, ...]:
    """Return the receivers in a list that get events of rolling runs. Raises `RolloutError` without an address or a secret."""
    if given is None:
        return ()
    try:
        expanded = [_paths(each) if isinstance(each, Mapping) else each for each in given] if isinstance(given, list) else given
        rules = read_receiver_rules(expanded, VARIABLE)
        return tuple(receiver for receiver in receivers_of(rules) if tells_of_runs(receiver))
    except Mismatch as error:
        raise RolloutError(f"Cannot use {VARIABLE}: {error}") from None
    except SettingsInvalid as error:
        raise RolloutError(str(error)) from None


def _paths(rule: Mapping[str, object]) -> dict[str, object]:
    said = {name: value for name, value in rule.items() if value not in (None, "")}
    return {name: os.path.expanduser(value) if name in _FILES and isinstance(value, str) else value for name, value in said.items()}


@dataclass(frozen=True)
class Undelivered:
    """A receiver with waiting events, the reason, whether it wants no more, and the seconds of its Retry-After."""

    receiver: str
    reason: str
    is_gone: bool = False
    retry_after: float | None = None


def send_all(waiting: WaitingEvents, receivers: Sequence[Receiver], controller: str, *, again: bool) -> list[Undelivered]:
    """Send the waiting events to each receiver; ``again``: retry while there is time. Raises nothing."""
    deadline = Deadline.after(SYSTEM_CLOCK, SEND_SECONDS - _GRACE_SECONDS)
    end = Deadline.after(SYSTEM_CLOCK, SEND_SECONDS)
    rounds = [_Round(waiting, receiver, controller, deadline) for receiver in receivers]
    threads = [threading.Thread(target=each.run, args=(again,), name="receiver", daemon=True) for each in rounds]
    begun = []
    for thread in threads:
        # Without a thread the receiver counts as one that did not answer.
        with contextlib.suppress(RuntimeError):
            thread.start()
            begun.append(thread)
    for thread in begun:
        thread.join(end.left)
    return [each.undelivered for each in rounds if each.undelivered is not None]


class _Round:
    """The attempts for one receiver, in a thread."""

    def __init__(self, waiting: WaitingEvents, receiver: Receiver, controller: str, deadline: Deadline) -> None:
        self._waiting = waiting
        self._receiver = receiver
        self._controller = controller
        self._deadline = deadline
        #: Until the thread has ended.
        self.undelivered: Undelivered | None = Undelivered(receiver.name, "it has not answered in time")

    def run(self, again: bool) -> None:
        if not self._waiting.of(self._receiver):
            self.undelivered = None
            return
        try:
            with self._waiting.alone(self._receiver, self._deadline) as alone:
                self.undelivered = self._tried(again) if alone else Undelivered(self._receiver.name, "another run is telling it")
        except PowerError as error:
            self.undelivered = Undelivered(self._receiver.name, str(error))
        except Exception as error:
            # A bug must not end the rolling run, and its message may have any content.
            self.undelivered = Undelivered(self._receiver.name, f"internal error ({type(error).__name__})")

    def _tried(self, again: bool) -> Undelivered | None:
        client = WebhookClient(self._receiver)
        pause = _FIRST_PAUSE
        try:
            while True:
                undelivered = self._once(client)
                if undelivered is None or undelivered.is_gone or not again:
                    return undelivered
                pause = max(pause, undelivered.retry_after or 0)
                if self._deadline.left <= pause:
                    return undelivered
                self._deadline.pause(pause)
                pause *= 2
        finally:
            client.close()

    def _once(self, client: WebhookClient) -> Undelivered | None:
        """Send the waiting events in order; return the last fault, None without one. After a failed event, those of its run wait. A pause
        that the receiver asks for ends the round."""
        unsent, undelivered = self._waiting.of(self._receiver), None
        while unsent and not self._deadline.is_over:
            message = message_of(self._receiver, [each.event for each in unsent], controller_source(self._controller), self._controller)
            tried, unsent = unsent[: message.events], unsent[message.events :]
            posted = client.post(message, seconds=self._deadline.left)
            if posted.taking is Taking.TAKEN:
                self._waiting.remove(tried)
                continue
            if posted.taking is Taking.GONE:
                self._waiting.remove([*tried, *unsent])
                return Undelivered(self._receiver.name, posted.reason, is_gone=True)
            undelivered = Undelivered(self._receiver.name, posted.reason, retry_after=posted.retry_after)
            if posted.retry_after is not None:
                return undelivered
            failed_runs = {each.run for each in tried}
            unsent = [each for each in unsent if each.run not in failed_runs]
        return undelivered if undelivered is not None or not unsent else Undelivered(self._receiver.name, "there was no time left")


class RunNotifications:
    """The notifications of a rolling run; failures are in ``warnings``."""

    def __init__(self, receivers: Callable[[], Sequence[Receiver]], controller: str) -> None:
        """``receivers`` reads the receivers each time, and may raise `RolloutError`: a valid value may become invalid."""
        self._read = receivers
        self._controller = controller
        self.warnings: list[str] = []

    def require_good(self) -> None:
        """Raise `RolloutError` if a receiver is invalid, before the rolling run begins."""
        self._read()

    def expect(self, record: Record, old: Record | None, file: str) -> None:
        """Note in a new record whether it has receivers; write the unsent events of the record that it resumes, before it replaces that
        one in ``file``. Raises `RolloutError` if events cannot wait there."""
        with self._warned():
            record.notifies = bool(self._read())
        if record.notifies:
            WaitingEvents(file).require_own()
        if old is not None:
            for event in missed_events(old, record.began_at):
                self._write(file, old.run, event)

    def begin(self, record: Record, file: str) -> None:
        """Send the event of the begin, after earlier unsent events."""
        if not record.notifies:
            return
        event = begun_event(record)
        if event is not None and self._write(file, record.run, event):
            record.notified.append(BEGUN)
            with self._warned():
                run_files.save(file, record)
        self._send(record, file, again=False)
        if record.unreached:
            with self._warned():
                run_files.save(file, record)

    def close(self, record: Record, file: str, result: Mapping[str, Any]) -> None:
        """Write the event of the end; note it in the record, which the caller saves."""
        if record.notifies and self._write(file, record.run, closing_event(record, result)):
            record.notified.append(CLOSED)

    def end(self, record: Record, file: str) -> None:
        """Send the event of the end."""
        if record.notifies:
            self._send(record, file, again=True)

    def break_off(self, record: Record, file: str, result: Mapping[str, Any]) -> None:
        """Write and send the event of a broken play."""
        self.close(record, file, result)
        with self._warned():
            run_files.save(file, record)
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
        for undelivered in send_all(waiting, receivers, self._controller, again=again):
            if undelivered.receiver not in record.unreached:
                record.unreached.append(undelivered.receiver)
                self.warnings.append(_words(undelivered, record.run))

    @contextlib.contextmanager
    def _warned(self) -> Iterator[None]:
        try:
            yield
        except RolloutError as error:
            # Several steps may fail for the same reason.
            if str(error) not in self.warnings:
                self.warnings.append(str(error))


def _words(undelivered: Undelivered, run: str) -> str:
    if undelivered.is_gone:
        return f"Receiver {undelivered.receiver} wants no more events, {undelivered.reason}: remove it from rollout_receivers"
    return (
        f"Cannot notify receiver {undelivered.receiver} of run {run}: {undelivered.reason}; "
        "it is tried again at the end of this run, and by later runs for a day"
    )
