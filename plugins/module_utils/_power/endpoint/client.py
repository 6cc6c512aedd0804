# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A Wings-compatible HTTP endpoint: calls in, values out. It decides nothing about power."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from urllib.parse import quote

from ..model.cancellation import CheckCancelled, no_check
from ..model.described import Unseen
from ..model.errors import EndpointUnreachable, Suspended
from ..model.players import PlayerPolicy
from ..model.request import PowerAction, Readiness
from ..model.server import Server
from .connection import EndpointAnswer, EndpointConnection, Trusts
from .operation import Operation, read_operation
from .seen import Seen, read_log, read_server
from .server_list import ServerList

_OPERATION_ID = re.compile(r"[A-Za-z0-9._-]{1,100}")
#: A path on the endpoint itself: no host, no query, nothing that a proxy might read in two ways.
_PLAIN_PATH = re.compile(r"(/[A-Za-z0-9._~-]+)+")


@dataclass(frozen=True)
class Accepted:
    """An action that the endpoint took. With an ``operation`` there is a ``path`` at which its end can be read."""

    operation: str = ""
    path: str = ""


class Endpoint:
    """One endpoint with its token. Threads may share it. ``warnings`` are for the caller to show.

    Whatever asks it raises `EndpointUntrusted` where the token may not go there.
    """

    def __init__(
        self, url: str, token: str, *, verify: bool = True, ca_path: str | None = None, timeout: float = 60.0, trusts: Trusts | None = None
    ) -> None:
        """``token`` is the node's ``token`` alone; ``timeout`` bounds each exchange, in seconds. Raises `SettingsInvalid`.

        Without TLS and within this machine, the token goes only to a listener whose user ``trusts`` accepts; None: to whoever listens.
        """
        self._connection = EndpointConnection(url, token, verify=verify, ca_path=ca_path, timeout=timeout, trusts=trusts)
        self._list = ServerList(self._connection)
        self.shown = self._connection.shown
        self.timeout = timeout
        self.warnings = self._connection.warnings
        self.masked = self._connection.masked

    def servers(self, check_cancelled: CheckCancelled = no_check) -> list[Server]:
        """Return every server of the endpoint, by UUID; asked once. Raises as `listed`."""
        return [seen.server for seen in self.listed(check_cancelled)]

    def listed(self, check_cancelled: CheckCancelled = no_check) -> tuple[Seen | Unseen, ...]:
        """Return every server as it was when first asked for, or why its state is not told; a list that failed is not asked for again.

        Raises `EndpointUnreachable`, `EndpointError`, and what ``check_cancelled`` raises.
        """
        return self._list.read(check_cancelled)

    @property
    def lacking(self) -> tuple[str, ...]:
        """Return the codes of why the endpoint could not list all of its servers, when the list was asked for."""
        return self._list.lacking

    def unlisted(self, ignored: Collection[str] = ()) -> tuple[str, ...]:
        """Say in a sentence why the list that was had is not whole, unless all of the reasons are ``ignored``; empty where it is whole."""
        codes = [code for code in self.lacking if code not in ignored]
        return (f"the endpoint {self.shown} could not list all of its servers ({', '.join(codes)})",) if codes else ()

    def look(self, uuid: str, *, seconds: float | None = None, check_cancelled: CheckCancelled = no_check) -> Seen:
        """Return one server as it is now.

        Raises `ServerNotFound`, `EndpointUnreachable`, `EndpointError`, and what ``check_cancelled`` raises.
        """
        answer = self._connection.ask("GET", f"/api/servers/{uuid}", seconds=seconds, check_cancelled=check_cancelled)
        verb = f"look at server {uuid}"
        answer.raise_if_missing(verb, uuid)
        return answer.read(verb, lambda value: read_server(value, uuid, self.masked))

    def act(
        self,
        uuid: str,
        action: PowerAction,
        wait_seconds: int,
        check_cancelled: CheckCancelled = no_check,
        players: PlayerPolicy | None = None,
        ready: Readiness | None = None,
    ) -> Accepted:
        """Ask for a power action; return when it was accepted, which is before anything is done.

        What is owed to ``players``, and when it is ``ready``, only our own HTTP face understands (`Seen.regards_players`,
        `Seen.waits_for`): Wings would act at once.

        Raises `Suspended`, `ServerNotFound`, `EndpointError`, and what ``check_cancelled`` raises and `EndpointUnreachable`, after which
        the action may have been taken.
        """
        body = {"action": action.value, "wait_seconds": wait_seconds, **({} if players is None else players.options())}
        if ready is not None:
            body.update(wait_for=ready.wait_for.value, wait_timeout=ready.wait_timeout)
        try:
            answer = self._connection.ask("POST", f"/api/servers/{uuid}/power", body=body, check_cancelled=check_cancelled)
        except EndpointUnreachable as error:
            raise EndpointUnreachable(
                f"{error}; the {action.value} of server {uuid} may have been taken all the same: look before you ask again"
            ) from error
        verb = f"{action.value} server {uuid}"
        if answer.raw.status == 400 and action.boots and "suspended" in answer.said().lower():
            raise Suspended(f"Cannot {verb}: the endpoint says that it is suspended; clear that on the Panel")
        answer.raise_if_missing(verb, uuid)
        answer.raise_if_error(verb)
        if answer.raw.status != 202:
            raise EndpointUnreachable(
                f"Cannot {verb}: the endpoint {self.shown} answers {answer.raw.status}, which is not how Wings accepts an action; "
                "it may have been taken all the same: look before you ask again, and look whether the address is right"
            )
        return self._accepted(answer, uuid)

    def operation(self, path: str, *, wait_seconds: int, check_cancelled: CheckCancelled = no_check) -> Operation:
        """Return an operation, when it has ended or after ``wait_seconds``.

        Raises `EndpointUnreachable`, `EndpointError`, and what ``check_cancelled`` raises. One that is unknown is an `EndpointError` with
        the fact ``status`` 404.
        """
        seconds = self.timeout + wait_seconds
        answer = self._connection.ask("GET", path, params={"wait": wait_seconds}, seconds=seconds, check_cancelled=check_cancelled)
        return answer.read("follow the operation", lambda value: read_operation(value, self.masked))

    def log(self, uuid: str, lines: int) -> list[str]:
        """Return the last lines of a server's output as they are, at most so many; Wings gives no more than 100.

        Raises `EndpointUnreachable`, and `EndpointError`, which is Wings' answer for a server without a container too.
        """
        answer = self._connection.ask("GET", f"/api/servers/{uuid}/logs", params={"size": lines})
        return answer.read(f"read the log of server {uuid}", read_log)[-lines:]

    def close(self) -> None:
        """Close its connections. Raises nothing."""
        self._connection.close()

    def _accepted(self, answer: EndpointAnswer, uuid: str) -> Accepted:
        headers, prefix = answer.raw.headers, self._connection.prefix
        operation = self.masked(headers.get("x-operation-id", "").strip())
        if not _OPERATION_ID.fullmatch(operation) or not operation.strip("."):
            return Accepted()
        location = headers.get("location", "").strip()
        if prefix and location.startswith(f"{prefix}/"):
            location = location[len(prefix) :]
        # Wherever it may point to: the token goes to this endpoint alone.
        plain = _PLAIN_PATH.fullmatch(location) is not None and "/." not in location
        return Accepted(operation, location if plain else f"/api/servers/{uuid}/operations/{quote(operation, safe='')}")
