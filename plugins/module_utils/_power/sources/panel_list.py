# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The list of this node's servers on the Panel: every page of it, within bounds."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..definitions.definition_files import uuid_in
from ..model.cancellation import CheckCancelled, Deadline, no_check
from ..model.clock import Clock
from ..model.server import parse_uuid
from .panel_api import Page, PanelApi, PanelUnavailable, Patience

_MOST_PAGES = 1000
_AT_ONCE = 4
#: More than any node has, and than its memory should be spent on.
_MOST_SERVERS = 20_000
_MOST_BYTES = 64 * 1024 * 1024
#: A hundred for each of the most servers.
_MOST_VALUES = 2_000_000


@dataclass(frozen=True)
class PanelList:
    """The servers that belong to this node, with their definitions as the Panel wrote them; ``strays``: entries that name no server."""

    servers: Mapping[str, Any] = field(repr=False)
    strays: int = 0


def read_list(api: PanelApi, clock: Clock, patience: Patience, seconds: float) -> PanelList:
    """Read all pages, the first alone, the others a few at a time; ``patience`` is that for each page, ``seconds`` bound them all.

    Raises `PanelUnavailable` where a page is none, or all are too many, and what `PanelApi` raises.
    """
    deadline = Deadline.after(clock, seconds)
    pages: dict[int, list[Any]] = {}
    total = _Total()

    def read_page(number: int, check_cancelled: CheckCancelled) -> Any:
        left = deadline.left
        if not left:
            raise PanelUnavailable(f"its list takes longer than {seconds:.0f} s")
        page = api.page(number, Patience(min(left, patience.seconds), patience.retries), check_cancelled)
        entries = _entries(page.value)
        total.add(len(entries), page)
        pages[number] = entries
        return page.value

    _read_others(_last_page(read_page(1, no_check)), read_page)
    return _joined([entry for number in sorted(pages) for entry in pages[number]])


class _Total:
    """Gathers the pages of the list. Threads may share it."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._servers = self._bytes = self._values = 0

    def add(self, servers: int, page: Page) -> None:
        """Count one more page, and its servers. Raises `PanelUnavailable` where that is too much."""
        with self._guard:
            self._servers += servers
            self._bytes += page.size
            self._values += page.values
            if self._servers > _MOST_SERVERS:
                raise PanelUnavailable(f"its list has more than {_MOST_SERVERS} servers", answered=True)
            if self._bytes > _MOST_BYTES:
                raise PanelUnavailable(f"its list is larger than {_MOST_BYTES // 1024 // 1024} MiB", answered=True)
            if self._values > _MOST_VALUES:
                raise PanelUnavailable(f"its list holds more than {_MOST_VALUES} values", answered=True)


def _read_others(last: int, read_page: Callable[[int, CheckCancelled], object]) -> None:
    """Read the pages from the second to the last, a few at a time. Raises what the first that failed did."""
    errors: list[BaseException] = []
    numbers = iter(range(2, last + 1))
    guard = threading.Lock()

    def look() -> None:
        if errors:
            raise PanelUnavailable("another page cannot be read")

    def read() -> None:
        while not errors:
            with guard:
                number = next(numbers, None)
            if number is None:
                return
            try:
                read_page(number, look)
            except BaseException as error:
                # It belongs to the thread that reads the list.
                errors.append(error)

    threads = [threading.Thread(target=read, name="panel", daemon=True) for _unused in range(min(_AT_ONCE, last) - 1)]
    started = []
    with contextlib.suppress(RuntimeError):
        # Where no more threads are to be had, those there are read it all, and this one with them.
        for thread in threads:
            thread.start()
            started.append(thread)
    read()
    for thread in started:
        thread.join()
    if errors:
        raise errors[0]


def _joined(entries: list[Any]) -> PanelList:
    servers: dict[str, Any] = {}
    for entry in entries:
        uuid = uuid_of(entry)
        if uuid is not None:
            servers.setdefault(uuid, without_uuid(entry))
    return PanelList(servers, sum(uuid_of(entry) is None for entry in entries))


def uuid_of(entry: Any) -> str | None:
    """Return the UUID of the server that an entry of the list is; its definition may say another, which is then wrong."""
    uuid = entry.get("uuid") if isinstance(entry, Mapping) else None
    return parse_uuid(uuid) if isinstance(uuid, str) else uuid_in(entry)


def without_uuid(entry: Any) -> Any:
    """An entry as the Panel writes it when it is asked for one server: what is kept must not depend on how it was asked."""
    return {key: value for key, value in entry.items() if key != "uuid"}


def _entries(page: Any) -> list[Any]:
    entries = page.get("data") if isinstance(page, Mapping) else None
    if not isinstance(entries, list):
        raise PanelUnavailable("its list of servers is none", answered=True)
    return entries


def _last_page(page: Any) -> int:
    meta = page.get("meta") if isinstance(page, Mapping) else None
    last = meta.get("last_page") if isinstance(meta, Mapping) else None
    if isinstance(last, bool) or not isinstance(last, int) or not 0 <= last <= _MOST_PAGES:
        raise PanelUnavailable(f"its list of servers does not say how many pages it has, or more than {_MOST_PAGES}", answered=True)
    return last
