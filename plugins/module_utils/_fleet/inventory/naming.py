# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names of servers as hosts, and the groups they are in; pure. Names come from a server's owner, and decide nothing but that."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

from ..._power.model.server import parse_uuid
from .entry import ServerEntry

#: Nothing that a pattern of hosts, a file name below host_vars or a shell would take for something else.
_SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_LIKE_SHORT_ID = re.compile(r"[0-9a-f]{8}", re.IGNORECASE)
#: Servers of which a state was asked for, and none told.
POWER_UNKNOWN = "power_unknown"
#: Servers whose containers are not what their definitions say.
POWER_OUTDATED = "power_outdated"
_RESERVED = frozenset(("all", "ungrouped", "localhost", "nodes", "127.0.0.1"))
_NO_SLUG = re.compile(r"[^a-z0-9]+")
_LONGEST_LABEL = 100


def host_names(entries: Sequence[ServerEntry], ways: Sequence[str], taken: Collection[str]) -> dict[str, str]:
    """The host name of each server by UUID: the first of ``ways`` that gives one that is safe, its own alone, and not ``taken``.

    What looks like a short id or a UUID is never taken from a name: an owner could call a server as another one is called. The UUID comes
    last, whatever the ways.
    """
    names: dict[str, str] = {}
    used = {*taken, *_RESERVED}
    for way in (*ways, "uuid"):
        named = _way(way)
        told = {entry.uuid: named(entry) for entry in entries}
        count = Counter(name for name in told.values() if name is not None)
        for uuid, name in told.items():
            if uuid not in names and name is not None and count[name] == 1 and name not in used:
                names[uuid] = name
        used.update(names.values())
    return names


def _way(way: str) -> Callable[[ServerEntry], str | None]:
    if way.startswith("label:"):
        return lambda entry: _chosen((entry.labels or {}).get(way.partition(":")[2]))
    return {
        "name": lambda entry: _chosen(entry.name),
        "slug": lambda entry: _chosen(_slug(entry.name)),
        "short_id": lambda entry: entry.short_id,
        "uuid": lambda entry: entry.uuid,
    }[way]


def _chosen(name: str | None) -> str | None:
    """A name that somebody chose, or None where it is no good as a host's."""
    if name is None or not _SAFE.fullmatch(name) or _LIKE_SHORT_ID.fullmatch(name) or parse_uuid(name) is not None:
        return None
    return name


def _slug(name: str | None) -> str | None:
    """A name in small letters, digits and hyphens: ``Cobalt Survival`` is ``cobalt-survival``."""
    if name is None:
        return None
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    return _NO_SLUG.sub("-", plain.lower()).strip("-")[:63].rstrip("-") or None


def groups_of(entry: ServerEntry, *, knows_state: bool = False) -> Iterator[str]:
    """The names of a server's groups, before they are made safe. A prefix keeps what an owner chose out of all other groups.

    ``knows_state`` is whether states are asked for at all: a server without one could not be seen then.
    """
    if entry.node is not None:
        yield f"node_{entry.node}"
    if entry.state is not None:
        yield f"state_{entry.state}"
    elif knows_state:
        yield POWER_UNKNOWN
    if entry.suspended:
        yield "suspended"
    if entry.outdated:
        yield POWER_OUTDATED
    for egg in dict.fromkeys((entry.egg, entry.egg_name)):
        if egg:
            yield f"egg_{egg}"
    yield from _label_groups(entry.labels or {})


def _label_groups(labels: Mapping[str, str]) -> Iterator[str]:
    for name, value in labels.items():
        if len(name) <= _LONGEST_LABEL and len(value) <= _LONGEST_LABEL:
            yield f"label_{name}_{value}" if value else f"label_{name}"
