# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A Wings-compatible HTTP endpoint: calls in, values out. It decides nothing about power."""

from __future__ import annotations

import ipaddress
import re
import threading
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit

from ..host.listener import Vouching
from ..model.cancellation import CheckCancelled, no_check
from ..model.errors import EndpointError, EndpointUnreachable, EndpointUntrusted, ServerNotFound, SettingsInvalid, Suspended
from ..model.players import PlayerPolicy
from ..model.redaction import mask, shown_address
from ..model.report import Unseen
from ..model.request import PowerAction, Readiness
from ..model.server import Server
from ..sources.web import Trust, Web
from ..sources.web_answers import Answer, Untrusted, WebFault
from .answers import Seen, plain_text, read_codes, read_log, read_server, read_servers
from .operation import Operation, read_operation

_Value = TypeVar("_Value")
#: Whether a user of this machine, by number, may have the token.
Trusts = Callable[[int], bool]
_SAID_CHARACTERS = 300
_LOOK_SECONDS = 0.5
_OPERATION_ID = re.compile(r"[A-Za-z0-9._-]{1,100}")
#: A path on the endpoint itself: no host, no query, nothing that a proxy might read in two ways.
_PLAIN_PATH = re.compile(r"(/[A-Za-z0-9._~-]+)+")


class EndpointConnection:
    """Asks one endpoint, and shows its token to nobody else. Threads may share it. ``warnings`` are for the caller to show."""

    def __init__(
        self, url: str, token: str, *, verify: bool = True, ca_path: str | None = None, timeout: float = 60.0, trusts: Trusts | None = None
    ) -> None:
        """Take what `Endpoint` takes. Raises `SettingsInvalid`."""
        self.shown = shown_address(url)
        self.timeout = timeout
        self.warnings: list[str] = []
        self._token = token.strip()
        if not self._token:
            raise SettingsInvalid(
                f"Cannot act through the endpoint {self.shown}: it has no token; give api_token, or endpoint.token in the settings"
            )
        try:
            vouching = None if trusts is None else Vouching(trusts)
            trust = Trust(verify, ca_path, proxies=not is_this_machine(url), vouching=vouching)
            self.web = Web(url, f"Bearer {self._token}", trust=trust)
        except WebFault as error:
            raise SettingsInvalid(f"Cannot act through the endpoint {self.shown}: {error}; correct api_url or endpoint.url") from error
        #: What stands before every path at the endpoint's own address.
        self.prefix = urlsplit(url).path.rstrip("/")
        if urlsplit(url).scheme.lower() == "http" and not is_this_machine(url):
            self.warnings.append(f"the token goes to the endpoint {self.shown} in the clear; use https")

    def ask(
        self,
        method: str,
        path: str,
        *,
        body: object = None,
        params: Mapping[str, object] | None = None,
        seconds: float | None = None,
        check_cancelled: CheckCancelled = no_check,
    ) -> EndpointAnswer:
        """Return the answer to a request, which may take ``seconds``, the connection's own ``timeout`` by default.

        Raises `EndpointUntrusted`, `EndpointUnreachable`, and what ``check_cancelled`` raises.
        """
        most = self.timeout if seconds is None else seconds
        try:
            answer = self.web.ask(method, path, body=body, params=params, seconds=most, check_cancelled=check_cancelled)
        except Untrusted as error:
            raise EndpointUntrusted(
                f"Cannot use the endpoint {self.shown} with the node's token: {error}, and within this machine it goes to root, to whoever "
                "asks and to members of system.group alone; look who that is, use https, or give api_token"
            ) from error
        except WebFault as error:
            said = f"Cannot reach the endpoint {self.shown}: {self.masked(str(error))}"
            raise EndpointUnreachable(said, lasting=error.lasting) from error
        return EndpointAnswer(answer, self)

    def masked(self, text: str) -> str:
        """Return text that the endpoint said, without the token, should it repeat it."""
        return mask(text, {self._token})

    def close(self) -> None:
        """Close its connections. Raises nothing."""
        self.web.close()


@dataclass(frozen=True)
class EndpointAnswer:
    """An answer, and the connection that it came by."""

    raw: Answer
    connection: EndpointConnection

    def read(self, verb: str, read: Callable[[Any], _Value]) -> _Value:
        """Return its value as ``read`` reads it, which may raise `ValueError`. Raises `EndpointError`, `EndpointUnreachable`."""
        self.raise_if_error(verb)
        try:
            return read(self.raw.value)
        except ValueError as error:
            reason = "no JSON, or not all of it" if self.raw.value is None else str(error)
            raise EndpointUnreachable(
                f"Cannot {verb}: the endpoint {self.connection.shown} answers {self.raw.status} with {reason}; is it Wings, and is its "
                "address right"
            ) from error

    def raise_if_missing(self, verb: str, uuid: str) -> None:
        """Raise `ServerNotFound` if the endpoint says that it lacks the server.

        It says so by an error in JSON; any other 404 means that something else answers there.
        """
        if self.raw.status == 404 and isinstance(self.raw.value, Mapping) and "error" in self.raw.value:
            raise ServerNotFound(f"Cannot {verb}: the endpoint {self.connection.shown} has no server {uuid}; is it on another node")

    def raise_if_error(self, verb: str) -> None:
        """Raise `EndpointError` if it is no success."""
        status = self.raw.status
        if 200 <= status < 300:
            return
        said = self.said()
        if status in (401, 403):
            why = "it refuses the token; give the node's own token (token in Wings' configuration), without token_id before it"
        elif status == 404:
            why = "there is no such thing there; is its address right"
        else:
            why = "look at its log"
        shown = self.connection.shown
        raise EndpointError(f"Cannot {verb}: the endpoint {shown} answers {status}{f' ({said})' if said else ''}: {why}", status=status)

    def said(self) -> str:
        """Return what it says went wrong, in one short line."""
        is_object = isinstance(self.raw.value, Mapping)
        text = plain_text(self.raw.value.get("error") if is_object else None, self.connection.masked)
        if not text and not is_object:
            text = plain_text(self.raw.text, self.connection.masked)
        return text[:_SAID_CHARACTERS].rstrip(".")


def is_this_machine(url: str) -> bool:
    """Tell whether an address is of this machine for certain: ``localhost``, or an address of the loopback."""
    try:
        host = urlsplit(url).hostname or ""
    except ValueError:
        return False
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class ServerList:
    """Every server as it was when first asked for. Threads may share it."""

    def __init__(self, connection: EndpointConnection) -> None:
        self._connection = connection
        self._guard = threading.Lock()
        self._listed: tuple[Seen | Unseen, ...] | None = None
        self._fault: EndpointUnreachable | EndpointUntrusted | EndpointError | None = None
        #: The codes of why the endpoint could not list all of its servers, when the list was asked for.
        self.lacking: tuple[str, ...] = ()

    def read(self, check_cancelled: CheckCancelled) -> tuple[Seen | Unseen, ...]:
        """Return the servers, or why the state of one is not told; a list that failed is not asked for again.

        Raises `EndpointUnreachable`, `EndpointUntrusted`, `EndpointError`, and what ``check_cancelled`` raises.
        """
        # Held while asking: others who want the list wait for this one.
        while not self._guard.acquire(timeout=_LOOK_SECONDS):
            check_cancelled()
        try:
            if self._fault is not None:
                # Else each name would wait for it anew, and two names of one server could be told apart by chance.
                raise type(self._fault)(str(self._fault), **self._fault.facts) from self._fault
            if self._listed is None:
                self._listed = self._ask(check_cancelled)
            return self._listed
        finally:
            self._guard.release()

    def _ask(self, check_cancelled: CheckCancelled) -> tuple[Seen | Unseen, ...]:
        try:
            answer = self._connection.ask("GET", "/api/servers", check_cancelled=check_cancelled)
            listed = answer.read("list the servers", lambda value: read_servers(value, self._connection.masked))
        except (EndpointUnreachable, EndpointUntrusted, EndpointError) as error:
            self._fault = error
            raise
        self.lacking = read_codes(answer.raw.headers.get("x-unlisted", ""))
        return listed


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
