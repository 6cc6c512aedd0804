# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The servers of a node, asked of its HTTP endpoint, Wings or ours."""

from __future__ import annotations

import contextlib

from ..._power.endpoint.client import Endpoint
from ..._power.endpoint.seen import Seen
from ..._power.model.described import Unseen
from .entry import ServerEntry, SourceKind, SourceReading, labels_or_none, text_or_none
from .wanted import NodeWanted


def read_endpoint(node: NodeWanted, timeout: int) -> SourceReading:
    """The servers that an endpoint tells of. Raises `EndpointUnreachable`, `EndpointError`, `SettingsInvalid`, `MissingLibrary`."""
    endpoint = Endpoint(node.url or "", node.token, verify=node.verify, ca_path=node.ca_path, timeout=float(timeout))
    with contextlib.closing(endpoint):
        entries = tuple(_entry(node.name, seen) for seen in endpoint.listed())
    return SourceReading(SourceKind.ENDPOINT, node.name, entries, warnings=(*endpoint.warnings, *endpoint.unlisted()))


def _entry(node: str, seen: Seen | Unseen) -> ServerEntry:
    if isinstance(seen, Unseen):
        return ServerEntry(uuid=seen.server.uuid, node=node, name=text_or_none(seen.server.name))
    return ServerEntry(
        uuid=seen.server.uuid,
        node=node,
        name=text_or_none(seen.server.name),
        state=seen.state.value,
        suspended=seen.suspended,
        outdated=None if seen.outdated is None else seen.outdated["is_outdated"],
        egg=text_or_none(seen.egg),
        labels=labels_or_none(seen.labels),
        image=text_or_none(seen.image),
    )
