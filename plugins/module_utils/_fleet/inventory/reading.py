# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""All sources of an inventory, read side by side; one that cannot be read takes nothing from the others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timezone

from ..._power.model.errors import PowerError
from .endpoint import read_endpoint
from .engine import read_engine
from .entry import SourceKind, SourceReading
from .panel import read_panel
from .snapshot import read_snapshot
from .wanted import InventoryOptions, NodeWanted

#: Nodes asked at a time: each over ssh is a process of this machine.
_AT_ONCE = 16


@dataclass(frozen=True)
class Unread:
    """A source that could not be read: a node's name, ``snapshot`` or ``panel``, and why, in one sentence."""

    source: str
    sentence: str


@dataclass(frozen=True)
class Read:
    """The sources that were read, in the order of the file, and those that could not be."""

    readings: tuple[SourceReading, ...]
    unread: tuple[Unread, ...]

    @property
    def absent(self) -> dict[str, str]:
        """Return what is not in the inventory, with a sentence each: sources, and nodes that a source lacks and nobody else looked at."""
        return {**{each.source: each.sentence for each in self.unread}, **self._not_looked_at("missing")}

    @property
    def partial(self) -> dict[str, str]:
        """Nodes that may have servers which are not in the inventory, with a sentence each: a list was not whole, nobody else looked."""
        return self._not_looked_at("lacking")

    def _not_looked_at(self, name: str) -> dict[str, str]:
        looked = {reading.node for reading in self.readings}
        told = ((node, sentence) for reading in self.readings for node, sentence in getattr(reading, name).items())
        return {node: sentence for node, sentence in told if node not in looked}


def read_all(wanted: InventoryOptions) -> Read:
    """Read every source that is asked for. Raises nothing of what a source raises as `PowerError`."""
    works = _works(wanted)
    with ThreadPoolExecutor(min(_AT_ONCE, len(works))) as pool:
        found = list(pool.map(lambda work: _one(*work), works))
    readings = tuple(each for each in found if isinstance(each, SourceReading))
    return Read(readings, tuple(each for each in found if isinstance(each, Unread)))


def _works(wanted: InventoryOptions) -> Sequence[tuple[str, Callable[[], SourceReading]]]:
    works: list[tuple[str, Callable[[], SourceReading]]] = []
    snapshot, panel = wanted.snapshot, wanted.panel
    if snapshot is not None:
        works.append((SourceKind.SNAPSHOT.value, lambda: read_snapshot(snapshot, wanted.snapshot_max_age, datetime.now(timezone.utc))))
    if panel is not None:
        works.append((SourceKind.PANEL.value, lambda: read_panel(panel, wanted.timeout)))
    return [*works, *((node.name, _looking_at(node, wanted.timeout)) for node in wanted.nodes if node.is_looked_at)]


def _looking_at(node: NodeWanted, timeout: int) -> Callable[[], SourceReading]:
    return lambda: read_engine(node, timeout) if node.docker_host is not None else read_endpoint(node, timeout)


def _one(source: str, work: Callable[[], SourceReading]) -> SourceReading | Unread:
    try:
        return work()
    except PowerError as error:
        return Unread(source, str(error))
