# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The faults of an HTTP request, in our own words: the libraries' may quote a proxy's password."""

from __future__ import annotations

import socket
import ssl
from typing import Any

from ..host.library_faults import certificate_fault, chain

_CUT = "the connection was cut before the answer was whole"


class WebFault(Exception):
    """No usable answer. The text is the reason, as the end of a sentence; ``lasting``: a retry soon does not help."""

    def __init__(self, reason: str, *, lasting: bool = False) -> None:
        super().__init__(reason)
        self.lasting = lasting


class Untrusted(WebFault):
    """The other side may not have the token; nothing was sent."""


def too_late(seconds: float) -> WebFault:
    return WebFault(f"no answer within {seconds:.3g} s")


def fault_of(error: BaseException, seconds: float) -> WebFault | None:
    """Return the fault in an error of the libraries or the system; None for an unrelated error."""
    import requests.exceptions
    import urllib3.exceptions

    if not isinstance(error, (requests.exceptions.RequestException, urllib3.exceptions.HTTPError, OSError, UnicodeError)):
        return None
    links = chain(error)

    def found(*kinds: Any) -> Any:
        return next((link for link in links if isinstance(link, kinds)), None)

    why = certificate_fault(links)
    if why:
        return WebFault(f"its certificate cannot be verified: {why}", lasting=True)
    if found(requests.exceptions.ProxyError):
        return WebFault("the proxy that the environment names gives no way to it")
    if found(TimeoutError, socket.timeout, requests.exceptions.Timeout):
        return too_late(seconds)
    if found(ssl.SSLEOFError, ssl.SSLZeroReturnError):
        # For example, an idle connection that the server closes at this moment.
        return WebFault(_CUT)
    if found(ssl.SSLError, requests.exceptions.SSLError):
        return WebFault("it does not speak TLS as expected", lasting=True)
    if found(socket.gaierror):
        return WebFault(f"its name cannot be looked up ({found(socket.gaierror).strerror})")
    if found(ConnectionRefusedError):
        return WebFault("connection refused")
    systems = [link for link in links if isinstance(link, OSError) and link.errno is not None and link.strerror]
    if systems and not isinstance(systems[0], ConnectionError):
        return WebFault(str(systems[0].strerror).lower())
    if any("Connection" in type(link).__name__ or "Protocol" in type(link).__name__ for link in links):
        return WebFault(_CUT)
    return WebFault(f"an exchange with it is not possible ({type(error).__name__})", lasting=True)
