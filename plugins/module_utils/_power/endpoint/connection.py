# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The connection to one endpoint: requests with its token, and answers that say in a sentence why they are none."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import urlsplit

from ..host.listener import Vouching
from ..model.cancellation import CheckCancelled, no_check
from ..model.errors import EndpointError, EndpointUnreachable, EndpointUntrusted, ServerNotFound, SettingsInvalid
from ..model.redaction import mask, shown_address
from ..sources.web import Trust, Web
from ..sources.web_answers import Answer, Untrusted, WebFault
from .told import plain_text

_Value = TypeVar("_Value")
#: Whether a user of this machine, by number, may have the token.
Trusts = Callable[[int], bool]
_SAID_CHARACTERS = 300


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
