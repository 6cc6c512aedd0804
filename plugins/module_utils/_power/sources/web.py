# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One bounded HTTP exchange after another, with a token that reaches no other host.

Whatever the other side does, an exchange ends in time and in size: a library's time limit bounds a single read only, so each exchange runs
in a thread that is abandoned, and cut off, when its time is over.
"""

from __future__ import annotations

import contextlib
import json
import re
import ssl
import threading
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from ..model.cancellation import CheckCancelled, Deadline, no_check
from ..model.clock import SYSTEM_CLOCK
from ..model.errors import MissingLibrary
from ..model.redaction import TokenMask, shown_address
from ..model.schema import one_line
from .http_transport import Exchange, Trust, Untrusted, WebFault, adapter, fault, no_cookies, start, tls_context, too_late
from .web_answers import Answer, answer_of, head_of

__all__ = ["Answer", "Trust", "Untrusted", "Web", "WebFault", "checked_address", "library"]

_LARGEST = 16 * 1024 * 1024
_CHUNK = 16 * 1024
_LOOK_SECONDS = 0.25
#: What is read of an answer of which the head alone counts, so that its connection can be kept.
_DRAINED_BYTES, _DRAINED_SECONDS = 64 * 1024, 1.0
#: Connections that are kept for later; more may be in use at a time.
_MOST_IDLE = 32
_SENDABLE = re.compile(r"([\x21-\x7e][\x20-\x7e]*)?")
_ADDRESS = re.compile(r"[\x21-\x7e]+")


class Web:
    """An HTTP API below one address. Threads may share it: each exchange has a connection of its own, kept for the next one."""

    def __init__(
        self,
        base: str,
        authorization: str,
        *,
        headers: Mapping[str, str] | None = None,
        trust: Trust | None = None,
        verbatim: bool = False,
        largest: int = _LARGEST,
    ) -> None:
        """``authorization`` is the header's value, empty for none; ``largest`` bounds the body of an answer, in bytes.

        ``verbatim`` leaves the ``value`` of a good answer as it is: for what is used as it was given, and never shown.
        Raises `WebFault` for an address that is none or holds a user, and for headers that cannot be sent.
        """
        self._base = checked_address(base)
        self._headers = {"Accept": "application/json", "Accept-Encoding": "identity", **(headers or {})}
        if authorization:
            self._headers["Authorization"] = authorization
        if not all(_SENDABLE.fullmatch(value) for value in self._headers.values()):
            raise WebFault("its token or a header holds characters that cannot be sent", lasting=True)
        self._mask = TokenMask(authorization)
        self._verbatim = verbatim
        self._largest = largest
        self._trust = trust or Trust()
        self._guard = threading.Lock()
        self._idle: list[Any] = []
        self._closed = False
        self._context: ssl.SSLContext | None = None
        #: The exchange of the thread that runs, for the sockets it opens.
        self._current = threading.local()

    def ask(
        self,
        method: str,
        path: str,
        *,
        body: object = None,
        params: Mapping[str, object] | None = None,
        seconds: float,
        check_cancelled: CheckCancelled = no_check,
    ) -> Answer:
        """Return the answer to one request, whatever its status; ``path`` begins with ``/``, and a ``body`` not None is sent as JSON.

        All of it, name look-up and body included, takes at most ``seconds``; ``check_cancelled`` is called at least every half second
        and may raise. A redirect is never followed.

        Raises `WebFault` where there is no whole answer or it is a redirect, `Untrusted`, `MissingLibrary`.
        """
        return self._had(Exchange(), self._request(method, path, body, params), seconds, check_cancelled)

    def send(
        self, path: str, content: bytes, headers: Mapping[str, str], *, seconds: float, check_cancelled: CheckCancelled = no_check
    ) -> Answer:
        """Post these very bytes with these headers, and return the head of the answer: it counts however much comes after it.

        Else as `ask`. What comes after the head is read and forgotten, as much of it as comes in a second.
        """
        if not all(_SENDABLE.fullmatch(value) for value in headers.values()):
            raise WebFault("a header holds characters that cannot be sent", lasting=True)
        request = {"method": "POST", "url": self._base + path, "data": content, "headers": {**self._headers, **headers}}
        return self._had(Exchange(head_counts=True), request, seconds, check_cancelled)

    def _had(self, exchange: Exchange, request: Mapping[str, Any], seconds: float, check_cancelled: CheckCancelled) -> Answer:
        requests = library()
        deadline = Deadline.after(SYSTEM_CLOCK, seconds)
        start(threading.Thread(target=self._run, args=(requests, exchange, request, seconds), name="web", daemon=True))
        has_head = False
        try:
            while not exchange.over.wait(min(_LOOK_SECONDS, deadline.left)):
                check_cancelled()
                if exchange.answer is not None and not has_head:
                    has_head, deadline = True, Deadline.after(SYSTEM_CLOCK, min(_DRAINED_SECONDS, deadline.left))
                if deadline.is_over and not has_head:
                    raise too_late(seconds)
                if deadline.is_over:
                    break
        finally:
            if not exchange.over.is_set():
                exchange.abandon()
        try:
            return _result(requests, exchange, seconds)
        except WebFault as error:
            raise type(error)(self._mask.text(str(error)), lasting=error.lasting) from None

    def _request(self, method: str, path: str, body: object, params: Mapping[str, object] | None) -> dict[str, Any]:
        request: dict[str, Any] = {"method": method, "url": self._base + path, "params": params, "headers": self._headers}
        if body is not None:
            request["data"] = json.dumps(body).encode()
            request["headers"] = {"Content-Type": "application/json", **self._headers}
        return request

    def _run(self, requests: Any, exchange: Exchange, request: Mapping[str, Any], seconds: float) -> None:
        """Do an exchange in this thread; what comes of it, an error too, belongs to the thread that asked."""
        self._current.exchange = exchange
        try:
            exchange.answer = self._exchange(requests, exchange, request, seconds)
        except BaseException as error:
            exchange.error = error
        finally:
            exchange.over.set()

    def close(self) -> None:
        """Close the connections that are kept, and those in use when they are done. Raises nothing."""
        with self._guard:
            idle, self._idle, self._closed = self._idle, [], True
        for session in idle:
            session.close()

    def _exchange(self, requests: Any, exchange: Exchange, request: Mapping[str, Any], seconds: float) -> Answer:
        with self._session(requests, exchange) as session:
            response = session.request(
                **request,
                timeout=(seconds, seconds),
                verify=self._trust.verify,
                # Asked for here, since the library would also take what else its environment says.
                proxies=requests.utils.get_environ_proxies(request["url"]) if self._trust.proxies else {},
                allow_redirects=False,
                stream=True,
            )
            with response:
                _refuse_redirect(response, self._mask)
                if exchange.head_counts:
                    exchange.answer = head = head_of(response, self._mask)
                    self._body(response, exchange, _DRAINED_BYTES)
                    return head
                _refuse_compressed(response, self._mask)
                return answer_of(response, self._body(response, exchange, self._largest), self._mask, verbatim=self._verbatim)

    def _body(self, response: Any, exchange: Exchange, largest: int) -> bytes:
        body = bytearray()
        # Not so by default before version 2 of urllib3: half an answer would count.
        response.raw.enforce_content_length = True
        # The bytes as they came: the library would decompress a kilobyte into gigabytes before they are counted. Not by its `stream`
        # either, which reads the line of a chunk's size without a limit.
        while chunk := response.raw.read(_CHUNK, decode_content=False):
            body += chunk
            if len(body) > largest:
                # Not drained: it may never end.
                exchange.abandon()
                raise WebFault(f"its answer is larger than {largest} bytes", lasting=True)
        return bytes(body)

    @contextlib.contextmanager
    def _session(self, requests: Any, exchange: Exchange) -> Iterator[Any]:
        """A session that nobody else uses; kept for the next exchange if this one went well."""
        with self._guard:
            session = self._idle.pop() if self._idle else None
        session = session or self._new_session(requests)
        try:
            yield session
        except BaseException:
            session.close()
            raise
        with self._guard:
            if not self._closed and not exchange.abandoned and len(self._idle) < _MOST_IDLE:
                self._idle.append(session)
                return
        session.close()

    def _new_session(self, requests: Any) -> Any:
        session = requests.Session()
        # Else a netrc file replaces the token, and a bundle of certificates adds to those of ``ca_path``.
        session.trust_env = False
        session.cookies.set_policy(no_cookies())
        scheme = self._base.partition("://")[0]
        session.mount(
            f"{scheme}://", adapter(requests, self._tls(requests) if scheme == "https" else None, self._current, self._trust.vouching)
        )
        return session

    def _tls(self, requests: Any) -> ssl.SSLContext:
        """Return what the other side's certificate is held against; made once, since reading the system's certificates takes a while."""
        with self._guard:
            if self._context is None:
                self._context = tls_context(requests, self._trust)
            return self._context


def checked_address(base: str) -> str:
    """Return an address as `Web` uses it. Raises `WebFault`, which does not show it, for one that it refuses."""
    trimmed = base.rstrip("/")
    try:
        parts = urlsplit(trimmed)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0 and _ADDRESS.fullmatch(trimmed) is not None
    except ValueError:
        good = False
    if not good or parts.query or parts.fragment or "?" in trimmed or "#" in trimmed:
        raise WebFault("that is no address; expected http://HOST or https://HOST, perhaps with a port and a path", lasting=True)
    if "@" in parts.netloc:
        raise WebFault("its address holds a user or password, which does not belong there", lasting=True)
    return f"{parts.scheme}://{trimmed.partition('://')[2]}"


def library() -> Any:
    """Return the library that speaks HTTP. Raises `MissingLibrary`."""
    try:
        import requests
        import requests.adapters
    except ImportError as error:
        raise MissingLibrary.of("ask over HTTP", "requests", "python3-requests", error) from error
    return requests


def _refuse_redirect(response: Any, mask: TokenMask) -> None:
    location = response.headers.get("Location")
    if 300 <= response.status_code < 400 and location is not None:
        # Before it is cut.
        location = mask.text(location)
        try:
            parts = urlsplit(location)
            where = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}" if parts.netloc else "a path of its own"
        except ValueError:
            where = "no address"
        raise WebFault(f"it redirects to another address ({shown_address(where)}), which is not followed")


def _refuse_compressed(response: Any, mask: TokenMask) -> None:
    encoding = response.headers.get("Content-Encoding", "").strip()
    if encoding.lower() not in ("", "identity"):
        shown = one_line(mask.text(encoding), 60)
        # An error that passes is asked about again.
        raise WebFault(f"its answer is compressed ({shown}), and only plain answers are read", lasting=response.status_code < 500)


def _result(requests: Any, exchange: Exchange, seconds: float) -> Answer:
    error = exchange.error
    if isinstance(exchange.answer, Answer):
        return exchange.answer
    if error is None:
        raise too_late(seconds)
    reason = None if isinstance(error, WebFault) else fault(requests, error, seconds)
    raise error if reason is None else reason
