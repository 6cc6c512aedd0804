# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Faults of libraries: the causes of an error, its words, and answers that they would read without a limit; pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..model.errors import PowerError
from ..model.schema import one_line


def chain(error: BaseException) -> list[BaseException]:
    """Return an error of a library, its causes, and errors in the arguments of others: at most 20, without those of earlier calls."""
    links: list[BaseException] = []
    queue: list[object] = [error]
    while queue and len(links) < 20:
        link = queue.pop(0)
        # An error that is raised while ours is handled has ours as its context.
        if isinstance(link, BaseException) and not isinstance(link, PowerError) and link not in links:
            links.append(link)
            queue += [link.__cause__, link.__context__, getattr(link, "reason", None), *link.args]
    return links


def reason_of(error: Exception) -> str:
    """Return an error's own words: the system's for an OSError, without the path."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def certificate_fault(links: Iterable[BaseException]) -> str:
    """Return why a certificate cannot be verified; empty for other errors."""
    import ssl

    for link in links:
        if isinstance(link, ssl.SSLCertVerificationError) or type(link).__name__ == "CertificateError":
            # urllib3 before version 2 compares names itself, and gives no message.
            return str(getattr(link, "verify_message", "it is for another host"))
    return ""


def compression_fault(encoding: str) -> str:
    """Return the fault of a ``Content-Encoding``; empty for plain. Libraries decompress before they count: a kilobyte may be gigabytes."""
    if encoding.strip().lower() in ("", "identity"):
        return ""
    return f"its answer is compressed ({one_line(encoding.strip(), 60)}), and only plain answers are read"


def refuse_negative_chunks(answer: Any) -> None:
    """Make an `http.client.HTTPResponse` raise ValueError for a negative chunk size, for which Python would read without a limit."""
    read_size = answer._read_next_chunk_size

    def size() -> int:
        found = int(read_size())
        if found < 0:
            raise ValueError("the size of a chunk is negative")
        return found

    answer._read_next_chunk_size = size
