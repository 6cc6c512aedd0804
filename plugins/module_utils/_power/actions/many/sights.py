# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Looking at many servers at the engine, each once, and at the ends of their logs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ...host.concurrency import map_concurrently
from ...model.errors import EngineError, EngineUnreachable
from ...model.server import Snapshot
from ..node.node import Node

#: What an engine answers whose log driver keeps nothing.
_NOT_IMPLEMENTED = 501
#: For so many servers the engine may keep silent before the others are not asked about any more.
_MOST_SILENT = 8


@dataclass(frozen=True)
class Sight:
    """The engine's answer about one server, or why there is none; ``log`` is the end of its log, None where that cannot be read."""

    snapshot: Snapshot | None = None
    log: bytes | None = b""
    fault: EngineError | EngineUnreachable | None = None


def see_each(uuids: Sequence[str], node: Node, tail: int) -> list[Sight]:
    """Ask the engine about each. Where it kept silent for several, it is not asked for the rest: each may take its whole time limit."""
    silent: list[EngineUnreachable] = []

    def see(uuid: str) -> Sight:
        sight = _unasked(uuid) if len(silent) >= _MOST_SILENT else _see(uuid, node, tail)
        if isinstance(sight.fault, EngineUnreachable):
            silent.append(sight.fault)
        return sight

    sights = [sight or _unasked(uuid) for uuid, sight in zip(uuids, map_concurrently(see, uuids))]
    if sights and all(isinstance(sight.fault, EngineUnreachable) for sight in sights):
        # Raises if it is the engine, and not these servers.
        node.engine.servers()
    return sights


def _see(uuid: str, node: Node, tail: int) -> Sight:
    try:
        snapshot = node.engine.inspect(uuid)
    except (EngineError, EngineUnreachable) as error:
        return Sight(fault=error)
    log: bytes | None = b""
    if tail and snapshot is not None:
        try:
            log = node.engine.logs.tail(snapshot.id, tail)
        except (EngineError, EngineUnreachable) as error:
            # A log driver that keeps nothing has no end to show.
            log = b"" if error.facts.get("status") == _NOT_IMPLEMENTED else None
    return Sight(snapshot, log)


def _unasked(uuid: str) -> Sight:
    return Sight(fault=EngineUnreachable(f"Cannot inspect container {uuid}: the engine kept silent for others, and was not asked"))
