# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which of an endpoint's servers is meant, and what can be read of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from .endpoint import Endpoint
from .endpoint_seen import Seen
from .errors import AmbiguousServer, EndpointError, EndpointUnreachable, PowerError, ServerNotFound
from .model import SHORT_ID_PATTERN, Server, parse_uuid
from .schema import printable

_SHOWN = 5


def identify_at(text: str, endpoint: Endpoint) -> Server:
    """The server that ``text`` means: a full UUID in any case, which asks nothing, a unique short id, or a unique name.

    Raises `ServerNotFound`, `AmbiguousServer`, `EndpointUnreachable`, `EndpointError`.
    """
    uuid = parse_uuid(text)
    if uuid is not None:
        return Server(uuid)
    return _identify(text, endpoint.servers(), endpoint)


def describe_at(names: Sequence[str], endpoint: Endpoint) -> tuple[list[dict[str, Any]], list[str]]:
    """One entry for each server named, or for all, and a sentence for each name that means none. What is not told is left out.

    Raises `EndpointUnreachable`, `EndpointError` where nothing at all can be read.
    """
    if not names:
        return [_entry(seen) for seen in endpoint.listed()], []
    alone = parse_uuid(names[0]) if len(names) == 1 else None
    if alone is not None:
        try:
            return [_entry(endpoint.look(alone))], []
        except ServerNotFound as error:
            return [], [str(error)]
    listed = {seen.server.uuid: seen for seen in endpoint.listed()}
    found: dict[str, Seen] = {}
    faults = []
    for name in names:
        try:
            uuid = parse_uuid(name) or _identify(name, (seen.server for seen in listed.values()), endpoint).uuid
            if uuid not in listed:
                raise _unknown(name, endpoint)
        except (EndpointUnreachable, EndpointError):
            raise
        except PowerError as error:
            faults.append(str(error))
        else:
            found.setdefault(uuid, listed[uuid])
    return [_entry(seen) for seen in found.values()], faults


def _identify(text: str, servers: Iterable[Server], endpoint: Endpoint) -> Server:
    wanted, all_servers = text.strip(), list(servers)
    found: list[Server] = []
    if SHORT_ID_PATTERN.fullmatch(wanted.lower()):
        found = [server for server in all_servers if server.short_id == wanted.lower()]
    if not found and wanted:
        found = [server for server in all_servers if server.name == wanted]
    if not found:
        raise _unknown(text, endpoint)
    if len(found) > 1:
        uuids = sorted(server.uuid for server in found)
        more = f" and {len(uuids) - _SHOWN} more" if len(uuids) > _SHOWN else ""
        raise AmbiguousServer(
            f'Cannot tell which server "{printable(wanted)}" is: {", ".join(uuids[:_SHOWN])}{more} are called so; give the full UUID',
            servers=uuids[:_SHOWN],
        )
    return found[0]


def _unknown(text: str, endpoint: Endpoint) -> ServerNotFound:
    hint = "; quote an id that is all digits" if text.strip().isdigit() else "; server_power_info lists those it has"
    return ServerNotFound(
        f'Cannot find server "{printable(text)}": the endpoint {endpoint.shown} has none of that UUID, short id or name{hint}'
    )


def _entry(seen: Seen) -> dict[str, Any]:
    told: dict[str, Any] = {
        "server": seen.server.uuid,
        "short_id": seen.server.short_id,
        "name": seen.server.name,
        "state": seen.state.value,
        "suspended": seen.suspended,
    }
    if seen.image:
        told["container"] = {"image": seen.image}
    if seen.utilization:
        told["utilization"] = dict(seen.utilization)
    return told
