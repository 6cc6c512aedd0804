# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The faults of a search for a server: why it found none, or several. A definition that could not be read may be the one meant."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from ..model.cancellation import CheckCancelled, no_check
from ..model.errors import AmbiguousServer, PowerError, ServerNotFound
from ..model.schema import printable

_SHOWN = 5
#: A UUID in a form that others take.
_UNHYPHENED = re.compile(r"[0-9a-fA-F]{32}|[{(][0-9a-fA-F-]{32,36}[)}]")


@dataclass
class Trouble:
    """The trouble of one search: sources and definitions (by uuid) that could not be read; and ``look``, called while it waits."""

    look: CheckCancelled = no_check
    out_of_reach: list[PowerError] = field(default_factory=list)
    #: Where each is, as far as that is known.
    unread: dict[str, str] = field(default_factory=dict)
    #: Servers whose containers were made under the name that is looked for, with the names that their definitions give them now.
    renamed: dict[str, str] = field(default_factory=dict)


def ambiguous(wanted: str, uuids: Sequence[str]) -> AmbiguousServer:
    """The error for a short id or name of several servers."""
    more = f" and {len(uuids) - _SHOWN} more" if len(uuids) > _SHOWN else ""
    return AmbiguousServer(
        f'Cannot tell which server "{printable(wanted)}" is: {", ".join(uuids[:_SHOWN])}{more} are called so; give the full UUID',
        servers=list(uuids[:_SHOWN]),
    )


def unknown(text: str, trouble: Trouble, strays: Sequence[str], *, panel_asked: bool) -> ServerNotFound:
    """The error for a text that means no server; ``strays`` are the files that no server's uuid names."""
    if not text.strip():
        return ServerNotFound("Cannot find a server: neither UUID, short id nor name was given")
    if trouble.renamed:
        return _formerly(text, *next(iter(trouble.renamed.items())))
    asked = ", the Panel's list for it included," if panel_asked else ""
    reason = f"no definition and no container on this node{asked} has this UUID, short id or name"
    wanted = text.strip()
    if _UNHYPHENED.fullmatch(wanted):
        reason += "; a UUID is written with hyphens and without braces"
    elif wanted.isdigit():
        reason += "; if it is a short id, put it in quotes: YAML takes digits for a number and drops leading zeros"
    if trouble.unread:
        several = len(trouble.unread) > 1
        reason += f"; {len(trouble.unread)} {'definitions' if several else 'definition'} could not be read, "
        reason += f"{'one of which' if several else 'which'} may be the one meant: {_first([*trouble.unread.values()])}"
    if strays:
        reason += f"; ignored, since no UUID names it: {_first(strays)}"
    reason += "; see the warnings" if trouble.unread or strays else "; server_power_info without a server lists those it knows"
    return ServerNotFound(f'Cannot find server "{printable(text)}": {reason}', unread=len(trouble.unread))


def _formerly(text: str, uuid: str, name: str) -> ServerNotFound:
    now = f'calls it "{printable(name)}" now; give that name' if name else "gives it no name now; give its UUID"
    return ServerNotFound(
        f'Cannot find server "{printable(text)}": the container of server {uuid} was made under this name, but its definition {now}'
    )


def _first(paths: Sequence[str]) -> str:
    more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
    return next((path for path in paths if path), "one without a place") + more
