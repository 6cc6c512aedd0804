# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The holder record: lock holder, phase, and unfinished work. Its text has a fixed size; one write replaces it; pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from ..host.machine import ProcessRecord
from ..host.own_files import seal, unseal
from ..model.records import asdict, dataclass, replace
from ..model.request import PowerAction
from ..model.result import Phase
from ..model.schema import blanked, read_fields
from ..model.server import Run
from ..model.supervision import NODE_STOP_ORIGIN

T = TypeVar("T")

RECORD_SIZE = 1024
SCHEMA = 1
BLANK = b" " * RECORD_SIZE
#: In these phases the request to the engine may outlive its process.
_OUTLIVING = (Phase.START.value, Phase.STOP.value)


@dataclass(frozen=True)
class Leftover:
    """A start or stop that may still be in progress although its process is gone.

    ``run`` is the container and its StartedAt before the request (start), or the run to be stopped. ``generation`` is that of the request.
    """

    phase: Phase
    run: Run
    action: str
    operation: str
    origin: str
    since: str
    generation: int = 0

    def facts(self) -> dict[str, Any]:
        values = {"action": self.action, "phase": self.phase.value, "origin": self.origin, "since": self.since, "operation": self.operation}
        return {name: value for name, value in values.items() if value != ""}


@dataclass(frozen=True)
class EndedHere:
    """A run that an action here ended, or found over, and that the journal does not have yet.

    It stays in the record until the journal has it, or another run comes. ``action`` says if a start follows: after a restart, while
    ``generation`` is still that of the server. ``ended_it`` is false for a stop that found the run over and could not write its intent.
    """

    run: Run
    action: str
    generation: int = 0
    origin: str = ""
    ended_it: bool = True

    @property
    def wants_down(self) -> bool:
        """False if a start follows: after a restart, and after a stop of the node."""
        action = PowerAction.named(self.action)
        return self.origin != NODE_STOP_ORIGIN and (action is None or not action.boots)

    @classmethod
    def left_by(cls, leftover: Leftover) -> EndedHere:
        """Return the run that an unfinished stop has ended."""
        return cls(leftover.run, leftover.action, leftover.generation, leftover.origin)


@dataclass(frozen=True)
class Holder(ProcessRecord):
    """The lock holder of a server, with timestamps. ``released``: it is done, and left the record for ``leftover`` or ``ended``."""

    operation: str
    action: str
    phase: str
    since: str
    origin: str = ""
    reason: str = ""
    phase_deadline: str | None = None
    #: None in a record of an earlier version.
    phase_since: str | None = None
    run: Run | None = None
    leftover: Leftover | None = None
    released: bool = False
    generation: int = 0
    ended: EndedHere | None = None
    schema: int = SCHEMA

    def facts(self) -> dict[str, Any]:
        names = ("action", "phase", "origin", "reason", "since", "pid", "phase_since", "phase_deadline", "operation")
        values = {name: getattr(self, name) for name in names}
        return {name: value for name, value in values.items() if value is not None and value != ""}

    def sentence(self) -> str:
        """Return the text for people: ``restart by alice@web1 (phase stop until TIME, since TIME, pid 123)``."""
        by = f" by {self.origin}" if self.origin else ""
        until = f" until {self.phase_deadline}" if self.phase_deadline is not None else ""
        # Any member of the group can write a record, also with characters that control a terminal.
        return blanked(f"{self.action}{by} (phase {self.phase}{until}, since {self.since}, pid {self.pid})", "?")

    def unfinished(self, *, ended: bool) -> Leftover | None:
        """Return the unfinished work that the record carries, and with ``ended`` also that of its current phase.

        A start counts before a stop, because only a start can bring a killed server back. Else the later one counts.
        """
        found = [each for each in (self._request() if ended else None, self.leftover) if each is not None]
        return max(found, key=lambda each: each.phase is Phase.START, default=None)

    def ended_here(self) -> EndedHere | None:
        """Return the run that is carried, or that its writer was ending or left."""
        left = self._request() or self.leftover
        stopped = left if left is not None and left.phase is Phase.STOP else self.leftover
        if stopped is not None and stopped.phase is Phase.STOP:
            return EndedHere.left_by(stopped)
        return self.ended

    def _request(self) -> Leftover | None:
        if self.phase not in _OUTLIVING or self.run is None:
            return None
        return Leftover(Phase(self.phase), self.run, self.action, self.operation, self.origin, self.since, self.generation)


def encode(holder: Holder) -> bytes:
    """Return exactly RECORD_SIZE bytes; origins and reason are cut to fit. Raises ValueError if the rest does not fit."""
    whole = _text(holder)
    if len(whole) <= RECORD_SIZE:
        return whole.ljust(RECORD_SIZE)
    shortest, longest = 0, RECORD_SIZE
    best = _text(_cut(holder, shortest))
    if len(best) > RECORD_SIZE:
        raise ValueError("the holder record is too long")
    while shortest < longest:
        length = (shortest + longest + 1) // 2
        text = _text(_cut(holder, length))
        if len(text) <= RECORD_SIZE:
            shortest, best = length, text
        else:
            longest = length - 1
    return best.ljust(RECORD_SIZE)


def decode(raw: bytes) -> Holder | None:
    """Return the record; None if it is missing, torn, foreign or of another schema."""
    try:
        holder = read_record(Holder, unseal(raw))
    except (ValueError, TypeError):
        return None
    return holder if holder.schema == SCHEMA else None


def _cut(holder: Holder, length: int) -> Holder:
    leftover = holder.leftover and replace(holder.leftover, origin=holder.leftover.origin[:length])
    ended = holder.ended and replace(holder.ended, origin=holder.ended.origin[:length])
    return replace(holder, origin=holder.origin[:length], reason=holder.reason[:length], leftover=leftover, ended=ended)


def _text(holder: Holder) -> bytes:
    return seal(_filled(asdict(holder)))


def _filled(fields: Mapping[str, Any]) -> dict[str, Any]:
    filled = {name: value for name, value in fields.items() if value is not None and value is not False and value != ""}
    return {name: _filled(value) if isinstance(value, dict) else value for name, value in filled.items()}


def read_record(kind: type[T], fields: object) -> T:
    """Return a record or a part of one. A missing field reads as empty text. Raises TypeError, ValueError for a wrong field."""
    if not isinstance(fields, dict):
        raise TypeError("not a mapping")
    return read_fields(kind, _READERS, lambda name: fields.get(name, ""))


def _optional(kind: type[T]) -> Callable[[object], T | None]:
    return lambda value: None if value == "" else read_record(kind, value)


def _string(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("not text")
    return value


def _number(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise TypeError("not a number")
    return value


_READERS: Mapping[str, Callable[[Any], Any]] = {
    "str": _string,
    "str | None": lambda value: _string(value) or None,
    "int": _number,
    "int | None": lambda value: None if value == "" else _number(value),
    "bool": lambda value: value is True,
    "Phase": Phase,
    "Run": lambda value: read_record(Run, value),
    "Run | None": _optional(Run),
    "Leftover | None": _optional(Leftover),
    "EndedHere | None": _optional(EndedHere),
}
