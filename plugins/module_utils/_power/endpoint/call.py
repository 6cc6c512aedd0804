# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One call over the servers of an HTTP endpoint."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..actions.many.bulk import Target, all_of, choose, means_all, named, refuse_only_offline
from ..actions.many.server_facts import FactOptions
from ..actions.node.limiter import Slot
from ..actions.turn.perform import UNREPORTED_CODES
from ..definitions.settings import Settings
from ..engine.connection import DEFAULT_TIMEOUT
from ..engine.readiness import readable_lines
from ..host.listener import Vouching, is_trusted
from ..host.system_log import announce
from ..model.caller import Caller
from ..model.clock import SYSTEM_CLOCK
from ..model.errors import (
    EndpointError,
    EndpointUnreachable,
    EndpointUntrusted,
    InterruptedBySignal,
    ServerNotFound,
    SettingsInvalid,
    SourceDenied,
    SourceUnreachable,
    UnsupportedByEndpoint,
)
from ..model.redaction import shown_address
from ..model.report import Described, Unseen
from ..model.request import DEFAULT_PRIORITY, PowerAction, Priorities, Request
from ..model.result import Result
from ..model.server import PowerState, Server, parse_uuid
from .answers import Seen
from .client import Endpoint, is_this_machine
from .perform import identify_among, identify_at, perform_at, unknown_server

_FIELDS = ("server", "short_id", "name", "state", "suspended")
#: Statuses with which an endpoint refuses every request.
_REFUSALS = (401, 403)
_LINE_BYTES = 500


def at_endpoint(url: str, options: Mapping[str, Any], settings: Settings, caller: Caller) -> AtEndpoint:
    """Return the call at the endpoint ``url``. Raises `SettingsInvalid`, and `UnsupportedByEndpoint` for unsupported options."""
    check_options(options)
    timeout = options.get("timeout")
    endpoint = Endpoint(
        url,
        _token(url, options, settings),
        verify=options.get("validate_certs") is not False,
        ca_path=options.get("ca_path"),
        timeout=float(DEFAULT_TIMEOUT if timeout is None else timeout),
        # A token in api_token belongs to the address given with it, so any listener there may have it.
        trusts=None if options.get("api_token") is not None else Vouching(lambda uid: is_trusted(uid, settings.group)),
    )
    return AtEndpoint(endpoint, settings, caller)


def check_options(given: Mapping[str, Any]) -> None:
    """Raise `UnsupportedByEndpoint` for options that no endpoint supports; ``given`` are options by name."""
    if given.get("action") == PowerAction.LIMIT.value:
        raise UnsupportedByEndpoint(
            "Cannot limit through an HTTP endpoint: ask it to sync (POST /api/servers/UUID/sync), or act on the node with api_url empty"
        )
    reasons = {
        "stop_timeout": ("the endpoint has its own time limit for a stop", given.get("stop_timeout") is not None),
        "definitions": ("the endpoint has its own definitions", bool(given.get("definitions"))),
        "definitions_dir": ("the endpoint has its own definitions", bool(given.get("definitions_dir"))),
        "if_meant_up": ("the endpoint does not report which servers should be up", given.get("if_meant_up") is True),
        "outdated": ("the endpoint cannot select outdated servers", given.get("outdated") is True),
        "retry_reverted": ("the endpoint cannot select outdated servers", given.get("retry_reverted") is True),
        "on_failed_start": ("the endpoint's own settings decide", given.get("on_failed_start") is not None),
        "settle": ("the endpoint's own settings decide", given.get("settle") is not None),
        "adopt": ("the endpoint makes its containers itself", given.get("adopt") is True),
    }
    refused = [f"{name} ({reason})" for name, (reason, is_given) in reasons.items() if is_given]
    if refused:
        them = "it" if len(refused) == 1 else "them"
        raise UnsupportedByEndpoint(
            f"Cannot act through an HTTP endpoint with {', '.join(refused)}; leave {them} out, or act on the node with api_url empty"
        )


def _token(url: str, options: Mapping[str, Any], settings: Settings) -> str:
    """Return the token for an address. Tokens of the settings go only to the address of the settings and to this machine."""
    given: str | None = options.get("api_token")
    if given is not None:
        if not given.strip():
            raise SettingsInvalid(f"Cannot act through the endpoint {shown_address(url)}: api_token is empty; give its token")
        return given
    if options.get("api_url") is not None and not is_this_machine(url):
        raise SettingsInvalid(
            f"Cannot act through the endpoint {shown_address(url)}: api_url names it, so its token must be given too; give api_token, "
            "since a token of the settings goes to endpoint.url and to this machine alone"
        )
    # By default, Wings uses one token for the node and its endpoint.
    return settings.token if settings.endpoint_token is None else settings.endpoint_token


class AtEndpoint:
    """The HTTP endpoint of one node. See `call.Call`."""

    def __init__(self, endpoint: Endpoint, settings: Settings, caller: Caller) -> None:
        self._endpoint = endpoint
        self._settings = settings
        self._caller = caller
        self._clock = SYSTEM_CLOCK
        self._boots = True

    def targets(self, names: Sequence[str], asked: Request) -> list[Target]:
        asked = replace(asked, requested_at=self._clock.now())
        if means_all(names):
            self._boots = asked.action.boots
            refuse_only_offline(asked)
            return all_of(asked, self._endpoint.servers(self._look))
        return named(asked, names, lambda name: identify_at(name, self._endpoint, self._look))

    def priorities(self, targets: Sequence[Target], given: Mapping[str, int]) -> list[int]:
        order, names = Priorities.of(given), self._names(targets, given)
        servers = (target.server for target in targets)
        return [DEFAULT_PRIORITY if each is None else order.priority(names.get(each.uuid, each)) for each in servers]

    def _names(self, targets: Sequence[Target], given: Mapping[str, int]) -> Mapping[str, Server]:
        """Return all servers by UUID if a target lacks its name and ``given`` uses names; else nothing."""
        nameless = any(target.server is not None and not target.server.name for target in targets)
        if not nameless or all(parse_uuid(name) for name in given):
            return {}
        found: list[Server] = []
        # Each server's own turn reports an endpoint that does not answer.
        with contextlib.suppress(EndpointError, EndpointUnreachable, EndpointUntrusted):
            found += self._endpoint.servers(self._look)
        return {server.uuid: server for server in found}

    def _look(self) -> None:
        if self._caller.interrupted():
            raise InterruptedBySignal("Cannot tell which servers to act on: a signal ended the search; nothing was done")

    def act(self, target: Target, slot: Slot) -> Result:
        result = perform_at(target.request, self._endpoint, self._clock, self._caller, target.server, slot)
        if not target.request.check and result.code not in UNREPORTED_CODES:
            announce(result, target.request)
        return result

    def should_be_up(self) -> list[Server] | None:
        raise UnsupportedByEndpoint("Cannot tell which servers should be up: an endpoint does not report it; act on the node itself")

    def unlisted(self) -> list[str]:
        # A server that is up has a container, so only boots need complete sources.
        return list(self._endpoint.unlisted(() if self._boots else (SourceUnreachable.code, SourceDenied.code)))

    def describe(self, names: Sequence[str], wanted: FactOptions, *, check: bool) -> Described:
        return describe_at(() if means_all(names) else names, self._endpoint, tail=wanted.tail)

    def warnings(self) -> list[str]:
        return [*self._settings.warnings, *self._endpoint.warnings]

    def close(self) -> None:
        self._endpoint.close()


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
        uuid = parse_uuid(name) or identify_among(name, (seen.server for seen in listed.values()), endpoint).uuid
        if uuid not in listed:
            raise unknown_server(name, endpoint)
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
