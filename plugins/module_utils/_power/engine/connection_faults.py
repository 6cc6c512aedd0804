# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Why the engine could not be reached, in words of ours: those of libraries are made for programmers, and may quote a password."""

from __future__ import annotations

import contextlib
import errno
import os
import stat

from ..host.library_faults import certificate_fault, chain


def errnos(error: BaseException) -> set[int]:
    """The numbers of the system's errors in the chain; those of TLS are OSErrors too, but count in numbers of their own."""
    import ssl

    links = (link for link in chain(error) if isinstance(link, OSError) and not isinstance(link, ssl.SSLError))
    return {link.errno for link in links if link.errno is not None}


def known_fault(error: BaseException, host: str) -> str:
    """The fault of an address, of TLS, or of who answers in the engine's place; empty where it is none of these."""
    import socket
    import ssl

    links = chain(error)
    why = certificate_fault(links)
    if why:
        return f"its certificate cannot be verified ({why}); are ca_path and tls_hostname right"
    for link in links:
        if isinstance(link, ssl.SSLError):
            return "it does not speak TLS as expected; are tls and the certificates right"
        if isinstance(link, socket.gaierror):
            return "its name cannot be looked up; is docker_host right"
    if errno.ECONNREFUSED in errnos(error) and not _may_be_socket(host):
        return "that is no socket; is docker_host right"
    if any(_is_of_no_engine(link) for link in links):
        return "what answers there is no engine; is docker_host right"
    return ""


def _is_of_no_engine(link: BaseException) -> bool:
    """Tell if an answer is no JSON, or none of an engine's, which ends in an error of Python's right below the SDK's."""
    kind, below = type(link).__name__, link.__cause__ or link.__context__
    return kind == "JSONDecodeError" or (kind == "DockerException" and isinstance(below, (KeyError, TypeError)))


def _may_be_socket(host: str) -> bool:
    scheme, _found, path = host.partition("://")
    if scheme != "unix":
        return True
    with contextlib.suppress(OSError, ValueError):
        return stat.S_ISSOCK(os.stat(path).st_mode)
    return True
