# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Panel as a source: which servers belong to this node, and their definitions as the Panel has them now.

The Panel hands any node the definition of any server. So a server is this node's only if the node's own list has it: a start elsewhere
would boot a second copy of its world.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .definition import Definition, parse_definition
from .definition_files import name_in
from .errors import PowerError
from .look import Look, nothing
from .model import Clock
from .panel_api import NoAnswer, PanelApi, Patience
from .panel_list import PanelList, read_list, without_uuid
from .settings import Settings

#: How long one request is tried, and the whole list read, in seconds: for whoever acts, and for whoever only wants to look.
_PATIENT, _LONGEST_LIST = Patience(30.0), 120.0
_BRIEF, _BRIEF_LIST = Patience(10.0, retries=False), 10.0
_ONE_TRY = Patience(30.0, retries=False)
#: What the list said of a server counts for so long after it was read; so does the trouble of one fetch for the others.
_FRESH_SECONDS = 10.0
_LOOK_SECONDS = 0.25
#: Single servers asked for at once.
_AT_ONCE = 8
_THE_LIST = "the list of this node's servers"


@dataclass
class _Reading:
    """The list, being read for all who want it."""

    over: threading.Event = field(default_factory=threading.Event)
    found: PanelList | None = None
    error: BaseException | None = None
    ended: float = 0.0


class Panel:
    """The Panel of one call. The list is read once, for all threads that ask; so is a failure to read it.

    Every method but `seen` raises `SourceUnreachable` (no usable answer), `SourceDenied` (it refuses the token), `SettingsInvalid`,
    `MissingLibrary`, and what ``look`` raises, which is called at least every second.
    """

    def __init__(self, settings: Settings, clock: Clock, api: PanelApi | None = None) -> None:
        self._api = PanelApi(settings, clock) if api is None else api
        self._clock = clock
        self._guard = threading.Lock()
        self._reading: _Reading | None = None
        self._slots = threading.BoundedSemaphore(_AT_ONCE)
        #: Until when nobody tries long, and the reason why nobody needs to try at all, empty if one may.
        self._trouble = (0.0, "")

    @property
    def address(self) -> str:
        """Where it is, fit for a message."""
        return self._api.address

    @property
    def seen(self) -> PanelList | None:
        """The list, if it has been read; asks nobody."""
        return None if self._reading is None else self._reading.found

    def listed(self, look: Look = nothing, *, brief: bool = False) -> PanelList:
        """The list, read now if it was not yet; ``brief``: tried once, 10 s at most."""
        return self._listed(look, brief)[0]

    def definition(self, uuid: str, *, again: bool = False, look: Look = nothing) -> Definition | None:
        """A server's definition, or None if it is not this node's: as listed up to 10 s ago, else, or with ``again``, as it is now.

        Raises `DefinitionInvalid`, too.
        """
        found, age = self._listed(look, brief=False)
        if uuid not in found.servers:
            return None
        raw = found.servers[uuid] if age <= _FRESH_SECONDS and not again else self._fetch(uuid, look)
        return None if raw is None else self.parsed(uuid, raw)

    def parsed(self, uuid: str, raw: Any) -> Definition:
        """A definition as the Panel wrote it, read. Raises `DefinitionInvalid`."""
        return parse_definition(raw, where=f"of server {uuid} on the Panel at {self.address}", expect_uuid=uuid)

    def name(self, uuid: str) -> str:
        """The name of a server in the list; empty if it has none."""
        return name_in(self.listed().servers.get(uuid))

    def _listed(self, look: Look, brief: bool) -> tuple[PanelList, float]:
        with self._guard:
            reading, is_first = self._reading or _Reading(), self._reading is None
            self._reading = reading
        if is_first:
            try:
                # A thread of its own: whoever wants it first may leave while the others still wait.
                threading.Thread(target=self._read, args=(reading, brief), name="panel", daemon=True).start()
            except RuntimeError:
                # No more threads to be had.
                self._read(reading, brief)
        while not reading.over.wait(_LOOK_SECONDS):
            look()
        if reading.found is None:
            raise self._list_error(reading.error)
        return reading.found, self._clock.monotonic() - reading.ended

    def _read(self, reading: _Reading, brief: bool) -> None:
        try:
            patience, seconds = (_BRIEF, _BRIEF_LIST) if brief else (_PATIENT, _LONGEST_LIST)
            reading.found = read_list(self._api, self._clock, patience, seconds)
        except BaseException as error:
            # It belongs to those who wait.
            reading.error = error
        finally:
            reading.ended = self._clock.monotonic()
            reading.over.set()

    def _list_error(self, error: BaseException | None) -> BaseException:
        """An error for one of those who wait: each its own, since raising one adds to it."""
        if isinstance(error, NoAnswer):
            return self._api.unreachable(_THE_LIST, error)
        if isinstance(error, PowerError):
            return type(error)(str(error), **error.facts)
        return RuntimeError() if error is None else error

    def _fetch(self, uuid: str, look: Look) -> Any:
        """One server as it is now, or None. After one fetch failed, the others soon after it do not wait as long again."""
        while not self._slots.acquire(timeout=_LOOK_SECONDS):
            look()
        what = f"the definition of server {uuid}"
        try:
            until, reason = self._trouble
            troubled = self._clock.monotonic() < until
            if troubled and reason:
                raise self._api.unreachable(what, reason)
            raw = self._api.server(uuid, _ONE_TRY if troubled else _PATIENT, look)
        except NoAnswer as fault:
            self._trouble = (self._clock.monotonic() + _FRESH_SECONDS, "" if fault.answered else str(fault))
            raise self._api.unreachable(what, fault) from None
        finally:
            self._slots.release()
        return without_uuid(raw) if isinstance(raw, Mapping) else raw
