# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The events of a Docker Engine, so that many waits for ends of containers need no polling."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..model.cancellation import Deadline
from ..model.clock import SYSTEM_CLOCK
from ..model.errors import PowerError
from .engine_answers import CHANGES, container_in_event, server_in_event
from .engine_calls import EngineCalls

if TYPE_CHECKING:
    from .event_stream import DockerEventStream

THREAD = "engine-events"
#: Seconds per request of the stream: an unused open stream delays the engine's shutdown.
WINDOW_SECONDS = 1.0
#: How much earlier than requested a piece may end, and how far back the first one reaches.
_SLACK_SECONDS = 0.25
_BACK_SECONDS = 1.0
#: How long an unexpected end is remembered, and the pause after a failed stream.
_REMEMBER_SECONDS = 5.0
_MUTE_SECONDS = 30.0
#: How much later than requested a piece may end.
_LATE_SECONDS = 2.0


class DockerEvents:
    """Events of the engine: hints, not facts."""

    def __init__(self, calls: EngineCalls, *, local: bool) -> None:
        self._calls = calls
        self._local = local
        self.is_serving = calls.is_answered
        self._end_events = EndEvents(lambda since, until: map(container_in_event, self._events(("die",), since, until)))

    def await_end_hint(self, container: str, seconds: float, *, begin: bool) -> bool | None:
        """Wait up to ``seconds`` for the end of a container's process; return whether the engine reported it.

        Returns None at once if the engine cannot tell, or if there is no listener yet and ``begin`` is false: a new one has a cost. Only a
        local engine can tell: it shares our clock. Poll `inspect` as well: reports may be missing or wrong.
        """
        return self._end_events.wait(container, seconds, begin=begin) if self._local else None

    def changed_servers(self, since: float, until: float) -> Iterator[str]:
        """Yield UUIDs of servers that may have changed between two wall-clock moments: hints, only from a ``local`` engine."""
        return (uuid for event in self._events(CHANGES, since, until) if (uuid := server_in_event(event)) is not None)

    def follow(self, since: int | None) -> DockerEventStream:
        """Return an open stream of container events; the caller closes it.

        ``since``, in nanoseconds of the engine's clock, repeats events from then on: the engine keeps its last 256 of all kinds. Without
        it, events right after this call may be missed. An open stream delays the engine's shutdown by up to 5 s after its last container.
        """
        # Loaded here because no action needs it.
        from .event_stream import DockerEventStream

        return DockerEventStream(self._calls, since)

    def _events(self, names: Sequence[str], since: float, until: float) -> Iterator[Mapping[str, Any]]:
        filters = {"type": ["container"], "event": list(names)}
        with self._calls.asking("read the engine's events", own_seconds=until - time.time() + _LATE_SECONDS) as client:
            yield from client.events(since=f"{since:.6f}", until=f"{until:.6f}", filters=filters, decode=True)


class _Waiter(threading.Event):
    ended = False


class EndEvents:
    """One stream of ends that one thread reads while others wait. It gives hints: the container's state decides.

    ``listen(since, until)`` yields the ids of containers that ended between two wall-clock moments, including future ones.
    """

    def __init__(self, listen: Callable[[float, float], Iterator[str]]) -> None:
        self._listen = listen
        self._guard = threading.Lock()
        self._waiting: dict[str, list[_Waiter]] = {}
        self._ended: dict[str, float] = {}
        self._reading = False
        self._muted = Deadline(SYSTEM_CLOCK, 0.0)

    def wait(self, container: str, seconds: float, *, begin: bool) -> bool | None:
        """See `DockerEvents.await_end_hint`. An end since the last wait counts: no end between a look and the wait is missed."""
        waiter = _Waiter()
        with self._guard:
            if self._ended.pop(container, None) is not None:
                return True
            if not self._reading and not (begin and self._begin()):
                return None
            self._waiting.setdefault(container, []).append(waiter)
        waiter.wait(seconds)
        with self._guard:
            waiters = self._waiting.get(container, [])
            if waiter in waiters:
                waiters.remove(waiter)
                if not waiters:
                    del self._waiting[container]
                return False
        return True if waiter.ended else None

    def _begin(self) -> bool:
        if not self._muted.is_over:
            return False
        self._reading = True
        try:
            threading.Thread(target=self._read, name=THREAD, daemon=True).start()
        except RuntimeError:
            self._reading = False
        return self._reading

    def _read(self) -> None:
        wanted = True
        since = time.time() - _BACK_SECONDS
        try:
            while wanted:
                window, until = Deadline.after(SYSTEM_CLOCK, WINDOW_SECONDS), time.time() + WINDOW_SECONDS
                for container in self._listen(since, until):
                    self._tell(container)
                if window.left > _SLACK_SECONDS:
                    return
                since = until
                wanted = self._go_on()
        except (PowerError, LookupError, RuntimeError, TypeError, ValueError):
            # The engine cannot send events, or sends unreadable ones.
            return
        finally:
            if wanted:
                self._mute()

    def _tell(self, container: str) -> None:
        with self._guard:
            waiters = self._waiting.pop(container, None)
            if waiters is None:
                self._ended[container] = time.monotonic()
        for waiter in waiters or ():
            waiter.ended = True
            waiter.set()

    def _go_on(self) -> bool:
        with self._guard:
            old = time.monotonic() - _REMEMBER_SECONDS
            self._ended = {container: at for container, at in self._ended.items() if at > old}
            self._reading = bool(self._waiting)
            return self._reading

    def _mute(self) -> None:
        with self._guard:
            self._reading = False
            self._muted = Deadline.after(SYSTEM_CLOCK, _MUTE_SECONDS)
            waiting, self._waiting = self._waiting, {}
            self._ended = {}
        for waiters in waiting.values():
            for waiter in waiters:
                waiter.set()
