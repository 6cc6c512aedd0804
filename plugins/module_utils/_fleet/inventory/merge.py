# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One picture made of what several sources tell of the same servers; pure.

The Panel decides which node a server belongs to, a node that was looked at decides what runs there, and a snapshot fills in what nobody
else tells.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from ..._power.model.server import PowerState
from .entry import ServerEntry, SourceKind, SourceReading

_LOOKED = (SourceKind.ENGINE, SourceKind.ENDPOINT)
_ORDER = (SourceKind.SNAPSHOT, SourceKind.PANEL, *_LOOKED)
_LIVE = tuple(state.value for state in PowerState if state is not PowerState.OFFLINE)


@dataclass(frozen=True)
class Picture:
    """Every server once, by node and name; what is known of states, suspension and containers at all; and what there is to warn of."""

    entries: tuple[ServerEntry, ...]
    knows_state: bool
    knows_suspension: bool
    knows_outdated: bool
    warnings: tuple[str, ...]


def picture_of(readings: Sequence[SourceReading], host_of: Callable[[SourceKind, str], str]) -> Picture:
    """The servers of all readings. ``host_of`` gives the inventory's name for the node that a source calls so."""
    ordered = sorted(readings, key=lambda reading: _ORDER.index(reading.kind) if reading.kind not in _LOOKED else len(_LOOKED))
    found: dict[str, ServerEntry] = {}
    homes = _homes(ordered, host_of)
    warnings: list[str] = []
    for reading in ordered:
        for told in reading.entries:
            entry = replace(told, node=None if told.node is None else host_of(reading.kind, told.node))
            warning = _stray(entry, reading, homes)
            if warning is not None:
                warnings.append(warning)
            elif reading.kind in _LOOKED or homes.get(entry.uuid) in (None, entry.node):
                found[entry.uuid] = _over(found.get(entry.uuid), entry)
            else:
                # It has moved since: of where it was, nothing counts but what it is.
                found[entry.uuid] = _over(found.get(entry.uuid), replace(entry, node=None, state=None, outdated=None))
    looked = {reading.node: reading.kind for reading in ordered if reading.node is not None}
    seen: dict[tuple[str, str | None], str | None] = {(uuid, reading.node): None for reading in ordered for uuid in reading.doubtful}
    seen.update({(entry.uuid, reading.node): entry.state for reading in ordered if reading.kind in _LOOKED for entry in reading.entries})
    entries = [_as_looked_at(entry, looked, seen) for entry in found.values()]
    return Picture(
        entries=tuple(sorted(entries, key=lambda entry: (entry.node or "", entry.name or "", entry.uuid))),
        knows_state=any(reading.kind is not SourceKind.PANEL for reading in ordered),
        knows_suspension=any(reading.kind is not SourceKind.ENGINE for reading in ordered),
        knows_outdated=any(reading.kind in (SourceKind.SNAPSHOT, SourceKind.ENDPOINT) for reading in ordered),
        warnings=tuple(warnings),
    )


def _homes(readings: Iterable[SourceReading], host_of: Callable[[SourceKind, str], str]) -> dict[str, str]:
    """The node of each server that the Panel has, or else the one that was looked at and has it, running rather than not."""
    panel: dict[str, str] = {}
    live: dict[str, tuple[bool, str]] = {}
    for reading in readings:
        for entry in reading.entries:
            if entry.node is None or reading.kind is SourceKind.SNAPSHOT:
                continue
            node = host_of(reading.kind, entry.node)
            if reading.kind is SourceKind.PANEL:
                panel[entry.uuid] = node
            elif entry.uuid not in live or (entry.state in _LIVE and not live[entry.uuid][0]):
                live[entry.uuid] = entry.state in _LIVE, node
    return {**{uuid: node for uuid, (_live, node) in live.items()}, **panel}


def _stray(entry: ServerEntry, reading: SourceReading, homes: Mapping[str, str]) -> str | None:
    """Return a warning about a server that was seen on a node that is not its own, None about any other."""
    home = homes.get(entry.uuid)
    if reading.kind not in _LOOKED or home == entry.node:
        return None
    state = "runs" if entry.state in _LIVE else "has a container"
    return f"server {entry.uuid} {state} on node {entry.node} too, and belongs to node {home}; the one on {entry.node} is left out"


def _over(older: ServerEntry | None, newer: ServerEntry) -> ServerEntry:
    if older is None:
        return newer
    told: dict[str, Any] = {each.name: getattr(newer, each.name) for each in fields(newer) if getattr(newer, each.name) is not None}
    return replace(older, **told)


def _as_looked_at(entry: ServerEntry, looked: Mapping[str, SourceKind], seen: Mapping[tuple[str, str | None], str | None]) -> ServerEntry:
    """Correct a state that somebody else told by the node's own word: an engine without its container has it offline."""
    kind = looked.get(entry.node or "")
    if kind is None:
        return entry
    if (entry.uuid, entry.node) in seen:
        # Also where it has the server, and cannot tell its state.
        return replace(entry, state=seen[entry.uuid, entry.node])
    return replace(entry, state=PowerState.OFFLINE.value if kind is SourceKind.ENGINE else None)
