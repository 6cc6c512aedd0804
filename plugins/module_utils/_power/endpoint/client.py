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
from ..model.described import Unseen
from ..model.errors import EndpointError, EndpointUnreachable, EndpointUntrusted, ServerNotFound, SettingsInvalid, Suspended
from ..model.model import PowerAction, Server
from ..model.redaction import mask, shown_address
from ..sources.web import Answer, Trust, Untrusted, Web, WebFault
from .seen import Operation, Seen, plain_text, read_codes, read_log, read_operation, read_server, read_servers

_Value = TypeVar("_Value")
#: Whether a user of this machine, by number, may have the token.
Trusts = Callable[[int], bool]
_OPERATION_ID = re.compile(r"[A-Za-z0-9._-]{1,100}")
#: A path on the endpoint itself: no host, no query, nothing that a proxy might read in two ways.
_PLAIN_PATH = re.compile(r"(/[A-Za-z0-9._~-]+)+")
_SAID_CHARACTERS = 300
_LOOK_SECONDS = 0.5


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
            self._web = Web(url, f"Bearer {self._token}", trust=trust)
        except WebFault as error:
            raise SettingsInvalid(f"Cannot act through the endpoint {self.shown}: {error}; correct api_url or endpoint.url") from error
        self._prefix = urlsplit(url).path.rstrip("/")
        self._guard = threading.Lock()
        self._listed: tuple[Seen | Unseen, ...] | None = None
        self._unlisted: EndpointUnreachable | EndpointUntrusted | EndpointError | None = None
        #: The codes of why the endpoint could not list all of its servers, when the list was asked for.
        self.lacking: tuple[str, ...] = ()
        if urlsplit(url).scheme.lower() == "http" and not is_this_machine(url):
            self.warnings.append(f"the token goes to the endpoint {self.shown} in the clear; use https")

    def servers(self, check_cancelled: CheckCancelled = no_check) -> list[Server]:
        """Every server of the endpoint, by UUID; asked once. Raises as `listed`."""
        return [seen.server for seen in self.listed(check_cancelled)]

    def listed(self, check_cancelled: CheckCancelled = no_check) -> tuple[Seen | Unseen, ...]:
        """Every server as it was when first asked for, or why its state is not told; a list that failed is not asked for again.

        Raises `EndpointUnreachable`, `EndpointError`, and what ``check_cancelled`` raises.
        """
        # Held while asking: others who want the list wait for this one.
        while not self._guard.acquire(timeout=_LOOK_SECONDS):
            check_cancelled()
        try:
            if self._unlisted is not None:
                # Else each name would wait for it anew, and two names of one server could be told apart by chance.
                raise type(self._unlisted)(str(self._unlisted), **self._unlisted.facts) from self._unlisted
            if self._listed is None:
                self._listed = self._list(check_cancelled)
            return self._listed
        finally:
            self._guard.release()

    def _list(self, check_cancelled: CheckCancelled) -> tuple[Seen | Unseen, ...]:
        try:
            answer = self._ask("GET", "/api/servers", seconds=self.timeout, check_cancelled=check_cancelled)
            listed = self._read(answer, "list the servers", lambda value: read_servers(value, self.masked))
        except (EndpointUnreachable, EndpointUntrusted, EndpointError) as error:
            self._unlisted = error
            raise
        self.lacking = read_codes(answer.headers.get("x-unlisted", ""))
        return listed

    def unlisted(self, ignored: Collection[str] = ()) -> tuple[str, ...]:
        """Why the list that was had is not whole, in a sentence, unless all of the reasons are ``ignored``; empty where it is whole."""
        codes = [code for code in self.lacking if code not in ignored]
        return (f"the endpoint {self.shown} could not list all of its servers ({', '.join(codes)})",) if codes else ()

    def look(self, uuid: str, *, seconds: float | None = None, check_cancelled: CheckCancelled = no_check) -> Seen:
        """One server as it is now. Raises `ServerNotFound`, `EndpointUnreachable`, `EndpointError`, and what ``check_cancelled`` raises."""
        answer = self._ask(
            "GET", f"/api/servers/{uuid}", seconds=self.timeout if seconds is None else seconds, check_cancelled=check_cancelled
        )
        verb = f"look at server {uuid}"
        self._raise_if_missing(answer, verb, uuid)
        return self._read(answer, verb, lambda value: read_server(value, uuid, self.masked))

    def act(self, uuid: str, action: PowerAction, wait_seconds: int, check_cancelled: CheckCancelled = no_check) -> Accepted:
        """Ask for a power action; return when it was accepted, which is before anything is done.

        Raises `Suspended`, `ServerNotFound`, `EndpointError`, and what ``check_cancelled`` raises and `EndpointUnreachable`, after which
        the action
        may have been taken.
        """
        body = {"action": action.value, "wait_seconds": wait_seconds}
        try:
            answer = self._ask("POST", f"/api/servers/{uuid}/power", body=body, seconds=self.timeout, check_cancelled=check_cancelled)
        except EndpointUnreachable as error:
            raise EndpointUnreachable(
                f"{error}; the {action.value} of server {uuid} may have been taken all the same: look before you ask again"
            ) from error
        verb = f"{action.value} server {uuid}"
        if answer.status == 400 and action.boots and "suspended" in self._said(answer).lower():
            raise Suspended(f"Cannot {verb}: the endpoint says that it is suspended; clear that on the Panel")
        self._raise_if_missing(answer, verb, uuid)
        self._raise_if_error(answer, verb)
        if answer.status != 202:
            raise EndpointUnreachable(
                f"Cannot {verb}: the endpoint {self.shown} answers {answer.status}, which is not how Wings accepts an action; "
                "it may have been taken all the same: look before you ask again, and look whether the address is right"
            )
        return self._accepted(answer, uuid)

    def operation(self, path: str, *, wait_seconds: int, check_cancelled: CheckCancelled = no_check) -> Operation:
        """An operation, when it has ended or after ``wait_seconds``. Raises `EndpointUnreachable`, `EndpointError`, and what
        ``check_cancelled`` does.

        One that is unknown is an `EndpointError` with the fact ``status`` 404.
        """
        answer = self._ask("GET", path, params={"wait": wait_seconds}, seconds=self.timeout + wait_seconds, check_cancelled=check_cancelled)
        return self._read(answer, "follow the operation", lambda value: read_operation(value, self.masked))

    def log(self, uuid: str, lines: int) -> list[str]:
        """The last lines of a server's output as they are, at most so many; Wings gives no more than 100.

        Raises `EndpointUnreachable`, and `EndpointError`, which is Wings' answer for a server without a container too.
        """
        answer = self._ask("GET", f"/api/servers/{uuid}/logs", params={"size": lines}, seconds=self.timeout)
        return self._read(answer, f"read the log of server {uuid}", read_log)[-lines:]

    def close(self) -> None:
        """Close its connections. Raises nothing."""
        self._web.close()

    def masked(self, text: str) -> str:
        """Text that the endpoint said, without the token, should it repeat it."""
        return mask(text, {self._token})

    def _ask(
        self,
        method: str,
        path: str,
        *,
        body: object = None,
        params: Mapping[str, object] | None = None,
        seconds: float,
        check_cancelled: CheckCancelled = no_check,
    ) -> Answer:
        try:
            return self._web.ask(method, path, body=body, params=params, seconds=seconds, check_cancelled=check_cancelled)
        except Untrusted as error:
            raise EndpointUntrusted(
                f"Cannot use the endpoint {self.shown} with the node's token: {error}, and within this machine it goes to root, to whoever "
                "asks and to members of system.group alone; look who that is, use https, or give api_token"
            ) from error
        except WebFault as error:
            said = f"Cannot reach the endpoint {self.shown}: {self.masked(str(error))}"
            raise EndpointUnreachable(said, lasting=error.lasting) from error

    def _read(self, answer: Answer, verb: str, read: Callable[[Any], _Value]) -> _Value:
        self._raise_if_error(answer, verb)
        try:
            return read(answer.value)
        except ValueError as error:
            reason = "no JSON, or not all of it" if answer.value is None else str(error)
            raise EndpointUnreachable(
                f"Cannot {verb}: the endpoint {self.shown} answers {answer.status} with {reason}; is it Wings, and is its address right"
            ) from error

    def _raise_if_missing(self, answer: Answer, verb: str, uuid: str) -> None:
        """An error in JSON is the endpoint's own word that it lacks the server; any other 404 means that something else answers there."""
        if answer.status == 404 and isinstance(answer.value, Mapping) and "error" in answer.value:
            raise ServerNotFound(f"Cannot {verb}: the endpoint {self.shown} has no server {uuid}; is it on another node")

    def _raise_if_error(self, answer: Answer, verb: str) -> None:
        if 200 <= answer.status < 300:
            return
        said = self._said(answer)
        if answer.status in (401, 403):
            why = "it refuses the token; give the node's own token (token in Wings' configuration), without token_id before it"
        elif answer.status == 404:
            why = "there is no such thing there; is its address right"
        else:
            why = "look at its log"
        raise EndpointError(
            f"Cannot {verb}: the endpoint {self.shown} answers {answer.status}{f' ({said})' if said else ''}: {why}", status=answer.status
        )

    def _said(self, answer: Answer) -> str:
        """What an answer says went wrong, in one short line."""
        error = answer.value.get("error") if isinstance(answer.value, Mapping) else None
        text = plain_text(error, self.masked)
        if not text and not isinstance(answer.value, Mapping):
            text = plain_text(answer.text, self.masked)
        return text[:_SAID_CHARACTERS].rstrip(".")

    def _accepted(self, answer: Answer, uuid: str) -> Accepted:
        operation = self.masked(answer.headers.get("x-operation-id", "").strip())
        if not _OPERATION_ID.fullmatch(operation) or not operation.strip("."):
            return Accepted()
        location = answer.headers.get("location", "").strip()
        if self._prefix and location.startswith(f"{self._prefix}/"):
            location = location[len(self._prefix) :]
        # Wherever it may point to: the token goes to this endpoint alone.
        plain = _PLAIN_PATH.fullmatch(location) is not None and "/." not in location
        return Accepted(operation, location if plain else f"/api/servers/{uuid}/operations/{quote(operation, safe='')}")


def is_this_machine(url: str) -> bool:
    """Whether an address is of this machine for certain: ``localhost``, or an address of the loopback."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
