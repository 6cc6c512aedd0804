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
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from ..model.cancellation import CheckCancelled, Deadline, no_check
from ..model.clock import SYSTEM_CLOCK
from ..model.errors import MissingLibrary
from ..model.nesting import is_nested_deeper
from ..model.redaction import TokenMask, shown_address
from ..model.schema import one_line
from .http_transport import Exchange, Trust, Untrusted, WebFault, adapter, fault, no_cookies, start, tls_context, too_late

__all__ = ["Answer", "Trust", "Untrusted", "Web", "WebFault"]

_LARGEST = 16 * 1024 * 1024
_CHUNK = 16 * 1024
_LOOK_SECONDS = 0.25
_SHOWN_CHARACTERS = 500
#: Python before 3.11 turns digits into a number in quadratic time, however many there are.
_LONGEST_NUMBER = 1000
#: Connections that are kept for later; more may be in use at a time.
_MOST_IDLE = 32
#: Deeper than any answer of use.
_DEEPEST = 100
_SENDABLE = re.compile(r"([\x21-\x7e][\x20-\x7e]*)?")
_ADDRESS = re.compile(r"[\x21-\x7e]+")


@dataclass(frozen=True)
class Answer:
    """An answer. ``headers`` have lower case names; ``value`` is the parsed JSON, None where there is none; ``text`` its beginning.

    The token is masked wherever the other side repeats it; see `Web` for the one exception. ``size`` is that of the body, in bytes.
    """

    status: int
    headers: Mapping[str, str] = field(repr=False)
    value: Any = field(repr=False)
    text: str = field(repr=False)
    size: int = 0


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
        self._base = _checked_address(base)
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
        requests = _library()
        exchange = Exchange()
        request = self._request(method, path, body, params)
        deadline = Deadline.after(SYSTEM_CLOCK, seconds)
        start(threading.Thread(target=self._run, args=(requests, exchange, request, seconds), name="web", daemon=True))
        try:
            while not exchange.over.wait(min(_LOOK_SECONDS, deadline.left)):
                check_cancelled()
                if deadline.is_over:
                    raise too_late(seconds)
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
                return _answer(response, self._body(response, exchange), self._mask, verbatim=self._verbatim)

    def _body(self, response: Any, exchange: Exchange) -> bytes:
        body = bytearray()
        # Not so by default before version 2 of urllib3: half an answer would count.
        response.raw.enforce_content_length = True
        for chunk in response.iter_content(_CHUNK):
            body += chunk
            if len(body) > self._largest:
                # Not drained: it may never end.
                exchange.abandon()
                raise WebFault(f"its answer is larger than {self._largest} bytes", lasting=True)
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


def _checked_address(base: str) -> str:
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


def _library() -> Any:
    try:
        import requests
        import requests.adapters
    except ImportError as error:
        raise MissingLibrary(
            f"Cannot ask over HTTP: the Python library requests cannot be imported ({error}); "
            "install the Debian package python3-requests, or requests from PyPI",
            library="requests",
        ) from error
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


def _answer(response: Any, body: bytes, mask: TokenMask, *, verbatim: bool) -> Answer:
    status, value = int(response.status_code), _parsed(body)
    headers = {str(name).lower(): mask.text(str(value)) for name, value in response.headers.items()}
    beginning = mask.text(body[: _SHOWN_CHARACTERS * 4].decode("utf-8", "replace"), is_cut=True)[:_SHOWN_CHARACTERS]
    return Answer(status, headers, value if verbatim and 200 <= status < 300 else mask.value(value), one_line(beginning), len(body))


def _parsed(body: bytes) -> Any:
    try:
        text = body.decode(json.detect_encoding(body), "surrogatepass")
        # The parser cannot be trusted with it: see there.
        return None if not text or is_nested_deeper(text, _DEEPEST) else json.loads(text, parse_int=_whole)
    except (ValueError, RecursionError):
        return None


def _whole(digits: str) -> int:
    if len(digits) > _LONGEST_NUMBER:
        raise ValueError("too long for a number")
    return int(digits)


def _result(requests: Any, exchange: Exchange, seconds: float) -> Answer:
    error = exchange.error
    if isinstance(exchange.answer, Answer):
        return exchange.answer
    if error is None:
        raise too_late(seconds)
    reason = None if isinstance(error, WebFault) else fault(requests, error, seconds)
    raise error if reason is None else reason
