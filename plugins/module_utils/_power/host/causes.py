# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The causes behind an error of a library, and its words; pure."""

from __future__ import annotations


def chain(error: BaseException) -> list[BaseException]:
    """An error, what caused it, and the errors that libraries hide in their arguments: 20 at most."""
    links: list[BaseException] = []
    queue: list[object] = [error]
    while queue and len(links) < 20:
        link = queue.pop(0)
        if isinstance(link, BaseException) and link not in links:
            links.append(link)
            queue += [link.__cause__, link.__context__, getattr(link, "reason", None), *link.args]
    return links


def reason_of(error: Exception) -> str:
    """Return an error's own words: the system's for an OSError, without the path."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
