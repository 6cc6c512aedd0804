# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Freezes in the journal.

An empty file in the state directory exists as long as there is a freeze. So actions read the journal only if there may be one, and notice a
journal that has lost it. Transactions write and remove the file before their rows.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from functools import partial
from typing import Any

from ..events.event import Event, EventType
from ..host import machine
from ..host.library_faults import reason_of
from ..host.own_files import FILE_MODE, sync_directory
from ..host.pauses import FREEZE_FILE, may_be_frozen
from ..model.clock import Clock, timestamp
from ..model.errors import FreezeFailed, Frozen, SettingsInvalid
from ..model.freeze import LONGEST_SECONDS, Freeze, FreezeUnknown, Moment, freeze_of
from ..model.records import dataclass, fields
from ..model.schema import one_line
from ..model.server import Server
from .outbox import tell
from .schema import FREEZES, Connection, JournalUnusable, insertion, replacing, value_of
from .store import JournalStore

_COLUMNS = tuple(each.name for each in fields(Freeze))
_SET = f"{insertion('freezes', _COLUMNS)} ON CONFLICT (uuid) {replacing(_COLUMNS)}"
_ALL = "SELECT * FROM freezes ORDER BY uuid"
_freeze = partial(value_of, Freeze)
_WAY_OUT = "end it on the node with fleet-power thaw"


class Freezes:
    """The freezes of a node. Thread-safe."""

    def __init__(self, store: JournalStore, state_directory: str, clock: Clock) -> None:
        self._store = store
        self._directory = state_directory
        self._path = os.path.join(state_directory, FREEZE_FILE)
        self._clock = clock

    def moment(self) -> Moment:
        return Moment(self._clock.now(), machine.boot_id(), machine.boot_seconds())

    def current(self) -> list[Freeze]:
        """Return the freezes that are not over. Raises `FreezeUnknown` if there may be one that cannot be read."""
        if not may_be_frozen(self._directory):
            return []
        try:
            rows = self._store.rows_or_raise(_ALL)
        except (JournalUnusable, OSError) as error:
            raise FreezeUnknown(f"there may be a freeze, but the journal cannot be read: {reason_of(error)}") from error
        if not rows:
            # Another process may be in the middle of a freeze or a thaw: wait for its end.
            self._store.write(lambda connection: rows.extend(connection.execute(_ALL)))
        if not rows and may_be_frozen(self._directory):
            raise FreezeUnknown("there may be a freeze, but the journal has lost it")
        return [each for each in map(_freeze, rows) if not self._is_over(each)]

    def refusal(self, uuid: str, *, supervisor: bool = False) -> str:
        """Return why a server must not start, and the way to end that; "" if it may. ``supervisor``: for a start by the supervisor."""
        self.end_over()
        try:
            found = freeze_of(self.current(), uuid, supervisor=supervisor)
        except FreezeUnknown as error:
            return f"{error}; {_WAY_OUT}"
        if found is None:
            return ""
        return f"{found.sentence(self.moment())}; wait for the end of the freeze, or {_WAY_OUT} {found.uuid}".strip()

    def set(self, freezes: Sequence[Freeze]) -> None:
        """Write freezes of one request, each in the place of an earlier one of its server or node, and their event; synced.

        Raises `JournalUnusable` and OSError: then there may be freezes, and `end` ends them.
        """
        first = freezes[0]
        data = {**first.facts(self.moment()), "servers": [each.uuid for each in freezes if each.uuid]}
        del data["is_frozen"]

        def work(connection: Connection) -> None:
            connection.execute(FREEZES)
            if not may_be_frozen(self._directory):
                # A crash or a full disk left them behind when they were ended.
                connection.execute("DELETE FROM freezes")
            connection.executemany(_SET, [vars(each) for each in freezes])
            tell(connection, lambda: (Event(EventType.NODE_FROZEN, first.at, data),))
            _make_file(self._path)

        try:
            self._store.write_durably(work)
        except (JournalUnusable, OSError):
            # A file without a row would count as a lost journal.
            self._store.write(lambda connection: self._remove(connection, (), ""))
            raise

    def end(self, uuids: Collection[str] | None, origin: str) -> list[Freeze]:
        """End the freezes of these servers, "" for that of the node, or all for None; return them. Raises `JournalUnusable` and OSError."""
        ended: list[Freeze] = []
        if not may_be_frozen(self._directory):
            return ended

        def work(connection: Connection) -> None:
            ended[:] = [each for each in map(_freeze, connection.execute(_ALL)) if uuids is None or each.uuid in uuids]
            self._remove(connection, ended, origin)

        try:
            self._store.write_durably(work)
        except (JournalUnusable, OSError):
            # All can end without a usable journal.
            if uuids is None:
                self._unlink()
            elif may_be_frozen(self._directory):
                raise
        return ended

    def end_over(self) -> None:
        """Remove the freezes that are over, and write their event. A failure is left to the next call."""

        def work(connection: Connection) -> None:
            self._remove(connection, [each for each in map(_freeze, connection.execute(_ALL)) if self._is_over(each)], "")

        if may_be_frozen(self._directory) and any(self._is_over(_freeze(row)) for row in self._store.rows_if_known(_ALL) or ()):
            self._store.write(work, durable=True)

    def _is_over(self, freeze: Freeze) -> bool:
        return freeze.seconds_left(self.moment()) <= 0

    def _remove(self, connection: Connection, ended: Sequence[Freeze], origin: str) -> None:
        """Remove freezes within a transaction. Their event has no origin if they are over."""
        connection.executemany("DELETE FROM freezes WHERE uuid = ?", [(each.uuid,) for each in ended])
        if ended:
            servers = [each.uuid for each in ended if each.uuid]
            data = {"origin": origin or None, "node": len(servers) < len(ended), "servers": servers}
            tell(connection, lambda: (Event(EventType.NODE_THAWED, timestamp(self._clock.now()), data),))
        if connection.execute(_ALL).fetchone() is None:
            self._unlink()

    def _unlink(self) -> None:
        with suppress(FileNotFoundError):
            os.unlink(self._path)
            sync_directory(self._directory)


def _make_file(path: str) -> None:
    """Make the empty file, on the disk. Any file in its place stands for it. Raises OSError. A kill leaves no other file."""
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE))
    sync_directory(os.path.dirname(path))


#: The facts of a freeze that may exist but cannot be read.
UNKNOWN_FREEZE: Mapping[str, Any] = dict.fromkeys(("is_frozen", "until", "at", "origin", "reason", "supervisor", "node"))


@dataclass(frozen=True)
class FreezeFacts:
    """The freezes of the node at one moment. ``unknown`` says why they are unknown, else it is empty."""

    freezes: Sequence[Freeze]
    moment: Moment
    unknown: str = ""

    @classmethod
    def read(cls, freezes: Freezes) -> FreezeFacts:
        try:
            return cls(freezes.current(), freezes.moment())
        except FreezeUnknown as error:
            return cls((), freezes.moment(), f"Cannot tell whether servers are frozen: {error}")

    def of(self, uuid: str) -> Mapping[str, Any] | None:
        """Return the facts of a server's freeze, or with "" of the node's; None if there is none."""
        if self.unknown:
            return UNKNOWN_FREEZE
        found = freeze_of(self.freezes, uuid)
        return None if found is None else found.facts(self.moment)

    def holds_back(self, uuid: str) -> bool:
        """Tell if the supervisor does not start a server because of a freeze."""
        return bool(self.unknown) or freeze_of(self.freezes, uuid, supervisor=True) is not None


def freeze(
    freezes: Freezes, servers: Sequence[Server], *, until: datetime, reason: str, origin: str, supervisor: bool = False
) -> list[Freeze]:
    """Freeze these servers, or the node for none, durably. Raises `SettingsInvalid` for a bad end or reason, and `FreezeFailed`."""
    moment = freezes.moment()
    seconds, reason = (until - moment.now).total_seconds(), one_line(reason)
    if not reason:
        raise SettingsInvalid("Cannot freeze: no reason is given; others read it when their action is refused")
    if not 0 < seconds <= LONGEST_SECONDS:
        when = "in the past" if seconds <= 0 else "more than a week ahead"
        raise SettingsInvalid(f"Cannot freeze until {until.isoformat(timespec='seconds')}: that is {when}")
    common: dict[str, Any] = {"at": timestamp(moment.now), "origin": one_line(origin), "reason": reason, "supervisor": supervisor}
    end: dict[str, Any] = {"until": timestamp(until), "boot": moment.boot, "ends_at": moment.boot_seconds + seconds}
    wanted = [Freeze(each.uuid, one_line(each.name), **common, **end) for each in servers or [Server("", "")]]
    try:
        freezes.set(wanted)
    except (JournalUnusable, OSError) as error:
        why = f"the journal cannot be written: {reason_of(error)}"
        is_denied = isinstance(error, PermissionError)
        step = "act as root or as a member of its group" if is_denied else "fleet-power thaw ends what is frozen all the same"
        raise FreezeFailed(f"Cannot freeze: {why}; {step}") from error
    return wanted


def thaw(freezes: Freezes, servers: Sequence[Server] | None, *, origin: str) -> list[Freeze]:
    """End the freezes of these servers, or all for None, durably. Raises `FreezeFailed`, and `Frozen` for servers of a frozen node."""
    try:
        if servers is not None:
            node = freeze_of(freezes.current(), "")
            if node is not None:
                why = node.sentence(freezes.moment())
                raise Frozen(f"Cannot thaw single servers: {why}; end all with fleet-power thaw")
        return freezes.end(None if servers is None else [each.uuid for each in servers], one_line(origin))
    except FreezeUnknown as error:
        raise FreezeFailed(f"Cannot thaw single servers: {error}; end all with fleet-power thaw") from error
    except (JournalUnusable, OSError) as error:
        way = "run fleet-power thaw as root" if servers is None else "end all with fleet-power thaw"
        raise FreezeFailed(f"Cannot thaw: the journal cannot be written: {reason_of(error)}; {way}") from error
