# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The servers of an endpoint: found by name, and described."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..actions.many.bulk import choose
from ..engine.readiness import readable_lines
from ..model.cancellation import CheckCancelled, no_check
from ..model.errors import EndpointError, ServerNotFound
from ..model.report import Described, Unseen
from ..model.schema import printable
from ..model.server import SHORT_ID_PATTERN, PowerState, Server, parse_uuid
from ..sources.sources import ambiguous
from .answers import Seen
from .client import Endpoint

_FIELDS = ("server", "short_id", "name", "state", "suspended")
#: Statuses with which an endpoint refuses every request.
_REFUSALS = (401, 403)
_LINE_BYTES = 500


def identify_at(text: str, endpoint: Endpoint, check_cancelled: CheckCancelled = no_check) -> Server:
    """Return the server of a full UUID (without a request), a unique short id, or a unique name.

    Raises `ServerNotFound`, `AmbiguousServer`, `EndpointUnreachable`, `EndpointError`, and what ``check_cancelled`` raises.
    """
    uuid = parse_uuid(text)
    if uuid is not None:
        return Server(uuid)
    return _identify(text, endpoint.servers(check_cancelled), endpoint)


def describe_at(names: Sequence[str], endpoint: Endpoint, *, tail: int = 0) -> Described:
    """Return one entry for each named server, or for all, without fields that the endpoint does not report.

    ``tail`` is the number of log lines of each server. Raises `EndpointUnreachable`, and `EndpointError` if nothing can be read.
    """
    found, warnings = _chosen(names, endpoint)
    entries = []
    for each in found:
        if isinstance(each, Unseen):
            warnings.append(each.msg)
            entries.append(each.entry((*_FIELDS, "log") if tail else _FIELDS))
        else:
            entries.append({**each.entry(), **({"log": _log(each, endpoint, tail, warnings)} if tail else {})})
    unlisted = () if names else endpoint.unlisted()
    return Described(entries, (*warnings, *unlisted), unlisted)


def _chosen(names: Sequence[str], endpoint: Endpoint) -> tuple[Sequence[Seen | Unseen], list[str]]:
    if not names:
        return endpoint.listed(), []
    alone = parse_uuid(names[0]) if len(names) == 1 else None
    if alone is not None:
        return _look_at(alone, endpoint)
    listed = {seen.server.uuid: seen for seen in endpoint.listed()}

    def identify(name: str) -> Server:
        uuid = parse_uuid(name) or _identify(name, (seen.server for seen in listed.values()), endpoint).uuid
        if uuid not in listed:
            raise _unknown(name, endpoint)
        return listed[uuid].server

    found, warnings = choose(names, identify)
    return [each if isinstance(each, Unseen) else listed[each.uuid] for each in found], warnings


def _look_at(uuid: str, endpoint: Endpoint) -> tuple[Sequence[Seen | Unseen], list[str]]:
    try:
        return [endpoint.look(uuid)], []
    except ServerNotFound as error:
        return [], [str(error)]
    except EndpointError as error:
        if error.facts.get("status") in _REFUSALS:
            raise
        return [Unseen.because(Server(uuid), error)], []


def _log(seen: Seen, endpoint: Endpoint, tail: int, warnings: list[str]) -> list[str] | None:
    try:
        lines = endpoint.log(seen.server.uuid, tail)
    except EndpointError as error:
        # Wings also answers with an error if there is no container yet.
        if seen.state is PowerState.OFFLINE:
            return []
        warnings.append(str(error))
        return None
    text = "\n".join(endpoint.masked(line) for line in lines)
    secrets = [_encoded(secret).decode() for secret in seen.secrets]
    return list(readable_lines(_encoded(text), tail, _LINE_BYTES, secrets))


def _encoded(text: str) -> bytes:
    """JSON may hold lone surrogates, which UTF-8 cannot encode."""
    return text.encode("utf-8", "replace")


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
        raise ambiguous(wanted, sorted(server.uuid for server in found))
    return found[0]


def _unknown(text: str, endpoint: Endpoint) -> ServerNotFound:
    hint = "; quote an id that is all digits" if text.strip().isdigit() else "; server_power_info lists those it has"
    return ServerNotFound(
        f'Cannot find server "{printable(text)}": the endpoint {endpoint.shown} has no server of that UUID, short id or name{hint}'
    )
