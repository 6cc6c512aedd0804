# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A client of a Wings-compatible HTTP endpoint."""

from __future__ import annotations

import contextlib
import ipaddress
import re
import threading
from collections.abc import Callable, Collection, Mapping
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit

from ..host.listener import Vouching
from ..model.cancellation import CheckCancelled, no_check
from ..model.errors import EndpointError, EndpointUnreachable, EndpointUntrusted, Frozen, ServerNotFound, SettingsInvalid, Suspended
from ..model.plain import as_map
from ..model.records import dataclass
from ..model.redaction import mask, shown_address
from ..model.report import Unseen
from ..model.request import Readiness, Request
from ..model.server import Server
from ..sources.web import Answer, Trust, Web
from ..sources.web_fault import Untrusted, WebFault
from .answers import Operation, Seen, plain_text, read_codes, read_log, read_operation, read_server, read_servers

_Value = TypeVar("_Value")
_SAID_CHARACTERS = 300
_LOOK_SECONDS = 0.5
_OPERATION_ID = re.compile(r"[A-Za-z0-9._-]{1,100}")
#: A path without host or query, which no proxy can read in two ways.
_PLAIN_PATH = re.compile(r"(/[A-Za-z0-9._~-]+)+")


def is_this_machine(url: str) -> bool:
    """Tell whether an address certainly belongs to this machine: ``localhost`` or a loopback address."""
    host = ""
    with contextlib.suppress(ValueError):
        host = urlsplit(url).hostname or ""
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"


@dataclass(frozen=True)
class Accepted:
    """An accepted action. With an ``operation``, ``path`` is where its result can be read."""

    operation: str = ""
    path: str = ""


class Endpoint:
    """One endpoint. Thread-safe. Requests raise `EndpointUntrusted` if its token may not go there. The caller shows ``warnings``."""

    def __init__(
        self, url: str, token: str, *, verify: bool = True, ca_path: str | None = None, timeout: float = 60, trusts: Vouching | None = None
    ) -> None:
        """``token`` is the node's ``token`` alone; ``timeout`` bounds each exchange, in seconds. Raises `SettingsInvalid`.

        On this machine without TLS, ``trusts`` decides which listeners get the token; None accepts all.
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
            trust = Trust(verify, ca_path, proxies=not is_this_machine(url), vouching=trusts)
            self.web = Web(url, f"Bearer {self._token}", trust=trust)
        except WebFault as error:
            raise SettingsInvalid(f"Cannot act through the endpoint {self.shown}: {error}; correct api_url or endpoint.url") from error
        self._prefix = urlsplit(url).path.rstrip("/")
        if urlsplit(url).scheme.lower() == "http" and not is_this_machine(url):
            self.warnings.append(f"the token goes to the endpoint {self.shown} in the clear; use https")
        #: Codes that say why the list is incomplete.
        self.lacking: tuple[str, ...] = ()
        self._guard = threading.Lock()
        self._listed: tuple[Seen | Unseen, ...] | None = None
        self._fault: EndpointUnreachable | EndpointUntrusted | EndpointError | None = None

    def masked(self, text: str) -> str:
        return mask(text, {self._token})

    def servers(self, check_cancelled: CheckCancelled = no_check) -> list[Server]:
        """Return every server, sorted by UUID, from one request. Raises as `listed`."""
        return [seen.server for seen in self.listed(check_cancelled)]

    def listed(self, check_cancelled: CheckCancelled = no_check) -> tuple[Seen | Unseen, ...]:
        """Return every server, from one request that is not repeated, even if it failed.

        Raises `EndpointUnreachable`, `EndpointUntrusted`, `EndpointError`, and what ``check_cancelled`` raises.
        """
        # Held during the request, so that other threads wait for this one.
        while not self._guard.acquire(timeout=_LOOK_SECONDS):
            check_cancelled()
        try:
            if self._fault is not None:
                # A retry would make each name wait again, and could resolve two names of one server differently.
                raise type(self._fault)(str(self._fault), **self._fault.facts) from self._fault
            if self._listed is None:
                self._listed = self._list(check_cancelled)
            return self._listed
        finally:
            self._guard.release()

    def _list(self, check_cancelled: CheckCancelled) -> tuple[Seen | Unseen, ...]:
        try:
            answer = self._ask("GET", "/api/servers", check_cancelled=check_cancelled)
            listed = self._parsed(answer, "list the servers", lambda value: read_servers(value, self.masked))
        except (EndpointUnreachable, EndpointUntrusted, EndpointError) as error:
            self._fault = error
            raise
        self.lacking = read_codes(answer.headers.get("x-unlisted", ""))
        return listed

    def unlisted(self, ignored: Collection[str] = ()) -> tuple[str, ...]:
        """Return a sentence that says why the list is incomplete; empty if it is complete or all reasons are ``ignored``."""
        codes = [code for code in self.lacking if code not in ignored]
        return (f"the endpoint {self.shown} could not list all of its servers ({', '.join(codes)})",) if codes else ()

    def look(self, uuid: str, *, seconds: float | None = None, check_cancelled: CheckCancelled = no_check) -> Seen:
        """Return one server. Raises `ServerNotFound`, `EndpointUnreachable`, `EndpointError`, and what ``check_cancelled`` raises."""
        answer = self._ask("GET", f"/api/servers/{uuid}", seconds=seconds, check_cancelled=check_cancelled)
        verb = f"look at server {uuid}"
        self._raise_if_missing(answer, verb, uuid)
        return self._parsed(answer, verb, lambda value: read_server(value, uuid, self.masked))

    def act(self, uuid: str, request: Request, ready: Readiness | None = None, check_cancelled: CheckCancelled = no_check) -> Accepted:
        """Request a power action; return when the endpoint accepts it, before it does anything.

        Only the HTTP shim supports ``players`` and ``ready``; Wings would act at once. Raises `Suspended`, `Frozen`, `ServerNotFound`,
        `EndpointError`. The endpoint may have taken the action if `EndpointUnreachable` or an error of ``check_cancelled`` is raised.
        """
        action, players = request.action, request.players
        body = {"action": action.value, "wait_seconds": request.wait_seconds, **({} if players is None else players.options())}
        if ready is not None:
            body.update(wait_for=ready.wait_for.value, wait_timeout=ready.wait_timeout)
        try:
            answer = self._ask("POST", f"/api/servers/{uuid}/power", body=body, check_cancelled=check_cancelled)
        except EndpointUnreachable as error:
            raise EndpointUnreachable(
                f"{error}; the {action.value} of server {uuid} may have been accepted: look before you ask again"
            ) from error
        verb = f"{action.value} server {uuid}"
        if answer.status == 400 and action.boots and "suspended" in self._said(answer).lower():
            raise Suspended(f"Cannot {verb}: the endpoint says that it is suspended; clear that on the Panel")
        if answer.status == 409 and as_map(answer.value).get("code") == Frozen.code:
            raise Frozen(plain_text(answer.value.get("error"), self.masked) or f"Cannot {verb}: the endpoint says that it is frozen")
        self._raise_if_missing(answer, verb, uuid)
        self._raise_if_error(answer, verb)
        if answer.status != 202:
            raise EndpointUnreachable(
                f"Cannot {verb}: the endpoint {self.shown} answers {answer.status}, which is not how Wings accepts an action; "
                "it may have been accepted: look before you ask again, and check the address"
            )
        return self._accepted(answer, uuid)

    def operation(self, path: str, *, wait_seconds: int, check_cancelled: CheckCancelled = no_check) -> Operation:
        """Return an operation at its end or ``wait_seconds``. Raises `EndpointUnreachable`, `EndpointError` (``status`` 404: unknown)."""
        seconds = self.timeout + wait_seconds
        answer = self._ask("GET", path, params={"wait": wait_seconds}, seconds=seconds, check_cancelled=check_cancelled)
        return self._parsed(answer, "follow the operation", lambda value: read_operation(value, self.masked))

    def log(self, uuid: str, lines: int) -> list[str]:
        """Return the last lines of output, from Wings at most 100. Raises `EndpointUnreachable`, `EndpointError`."""
        answer = self._ask("GET", f"/api/servers/{uuid}/logs", params={"size": lines})
        return self._parsed(answer, f"read the log of server {uuid}", read_log)[-lines:]

    def close(self) -> None:
        """Close its connections. Raises nothing."""
        self.web.close()

    def _ask(self, method: str, path: str, *, seconds: float | None = None, **options: Any) -> Answer:
        """Send a request with the ``options`` of `Web.ask` and return the answer. ``seconds`` defaults to ``timeout``.

        Raises `EndpointUntrusted`, `EndpointUnreachable`, and what ``check_cancelled`` raises.
        """
        try:
            return self.web.ask(method, path, seconds=self.timeout if seconds is None else seconds, **options)
        except Untrusted as error:
            raise EndpointUntrusted(
                f"Cannot use the endpoint {self.shown} with the node's token: {error}, and on this machine it goes only to root, to your "
                "own user and to members of system.group; look at that process, use https, or give api_token"
            ) from error
        except WebFault as error:
            said = f"Cannot reach the endpoint {self.shown}: {self.masked(str(error))}"
            raise EndpointUnreachable(said, lasting=error.lasting) from error

    def _parsed(self, answer: Answer, verb: str, read: Callable[[Any], _Value]) -> _Value:
        """Return its value as ``read`` parses it; ``read`` may raise `ValueError`. Raises `EndpointError`, `EndpointUnreachable`."""
        self._raise_if_error(answer, verb)
        try:
            return read(answer.value)
        except ValueError as error:
            reason = "no JSON, or not all of it" if answer.value is None else str(error)
            raise EndpointUnreachable(
                f"Cannot {verb}: the endpoint {self.shown} answers {answer.status} with {reason}; check that it is Wings, and its address"
            ) from error

    def _raise_if_missing(self, answer: Answer, verb: str, uuid: str) -> None:
        """Raise `ServerNotFound` for a 404 with an error in JSON. Any other 404 means a wrong address."""
        if answer.status == 404 and "error" in as_map(answer.value):
            raise ServerNotFound(f"Cannot {verb}: the endpoint {self.shown} has no server {uuid}; check the server's node")

    def _raise_if_error(self, answer: Answer, verb: str) -> None:
        """Raise `EndpointError` if the status is not 2xx."""
        status = answer.status
        if 200 <= status < 300:
            return
        if status in (401, 403):
            why = "it refuses the token; give the node's own token (token in Wings' configuration), without token_id before it"
        elif status == 404:
            why = "this path does not exist there; check its address"
        else:
            why = "look at its log"
        said = self._said(answer)
        told = f"{status} ({said})" if said else status
        raise EndpointError(f"Cannot {verb}: the endpoint {self.shown} answers {told}: {why}", status=status)

    def _said(self, answer: Answer) -> str:
        said = answer.value.get("error") if isinstance(answer.value, Mapping) else answer.text
        return plain_text(said, self.masked)[:_SAID_CHARACTERS].rstrip(".")

    def _accepted(self, answer: Answer, uuid: str) -> Accepted:
        headers, prefix = answer.headers, self._prefix
        operation = self.masked(headers.get("x-operation-id", "").strip())
        if not _OPERATION_ID.fullmatch(operation) or not operation.strip("."):
            return Accepted()
        location = headers.get("location", "").strip()
        if prefix and location.startswith(f"{prefix}/"):
            location = location[len(prefix) :]
        # A location elsewhere is ignored: the token goes to this endpoint alone.
        plain = _PLAIN_PATH.fullmatch(location) is not None and "/." not in location
        return Accepted(operation, location if plain else f"/api/servers/{uuid}/operations/{quote(operation, safe='')}")
