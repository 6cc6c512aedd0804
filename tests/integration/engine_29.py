# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Docker 29 changes in the calls of this collection, as one table, for a proxy before Docker 28.5 and for tests of keys; pure.

The rows come from the changelog and the source of moby, up to 29.7. Not one was tried on a real Docker 29.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

EVERY = "1.0"
_CONTAINER, _IMAGE = r"/containers/[^/]+/json", r"/images/.+/json"
_OF_BRIDGE = (
    *("IPAddress", "IPPrefixLen", "Gateway", "MacAddress", "EndpointID"),
    *("GlobalIPv6Address", "GlobalIPv6PrefixLen", "IPv6Gateway"),
)
_GONE = ("Bridge", "HairpinMode", "LinkLocalIPv6Address", "LinkLocalIPv6PrefixLen", "SecondaryIPAddresses", "SecondaryIPv6Addresses")
_EMPTY = ("Cmd", "Entrypoint", "Env", "Labels", "OnBuild", "User", "Volumes", "WorkingDir")
_EMPTY_OF_IMAGE = ("Parent", "Comment", "DockerVersion", "Author")


@dataclass(frozen=True)
class Release:
    """A release of Docker 29, its API, and the content type of its events by the API of the request."""

    name: str
    newest: str
    oldest: str
    events: Callable[[str], str]


RELEASES = {
    "29.0": Release("29.0.4", "1.52", "1.44", lambda _api: "application/x-ndjson"),
    "29.3": Release("29.3.0", "1.54", "1.40", lambda api: "application/jsonl" if at_least(api, "1.52") else "application/json"),
}


@dataclass(frozen=True)
class Change:
    """A change of an answer, or of each object of a stream, for requests of the version ``since`` and later.

    ``drops`` are paths of keys that are gone; of ``empty`` they are gone if they are null or empty. ``adds`` changes the rest.
    """

    path: str
    since: str = EVERY
    drops: tuple[str, ...] = ()
    empty: tuple[str, ...] = ()
    adds: Callable[[Any], object] = lambda _answer: None


def _without_bridge(found: Any) -> None:
    """Below 1.52, these keys exist only for a container on the network ``bridge``."""
    network = found.get("NetworkSettings") or {}
    if "bridge" not in (network.get("Networks") or {}):
        for name in _OF_BRIDGE:
            network.pop(name, None)


def _stored_by_containerd(found: Any) -> None:
    driver = found.get("GraphDriver") or {}
    if driver.get("Name") == "overlayfs":
        del found["GraphDriver"]
        found["Storage"] = {"RootFS": {"Snapshot": {"Name": driver["Name"]}}}


def _fill_bindings(found: Any) -> None:
    """Empty bindings are filled at the creation, not at the start."""
    bindings = (found.get("HostConfig") or {}).get("PortBindings") or {}
    for port, asked in bindings.items():
        bindings[port] = asked or [{"HostIp": "", "HostPort": ""}]


def _with_address(rows: Any) -> None:
    for row in rows:
        for port in row.get("Ports") or ():
            port.setdefault("IP", "")


def _with_health(rows: Any) -> None:
    for row in rows:
        found = re.search(r"\((healthy|unhealthy|health: starting)\)", row.get("Status") or "")
        status = found[1].rpartition(" ")[2] if found else "none"
        row["Health"] = {"Status": status, "FailingStreak": 0}


CHANGES = (
    Change("/events", "1.52", drops=("id", "status", "from")),
    Change(_CONTAINER, drops=tuple(f"NetworkSettings.{name}" for name in _GONE), adds=_without_bridge),
    Change(_CONTAINER, drops=("HostConfig.KernelMemory", "HostConfig.KernelMemoryTCP"), empty=("Config.OnBuild",), adds=_fill_bindings),
    Change(_CONTAINER, "1.52", drops=tuple(f"NetworkSettings.{name}" for name in _OF_BRIDGE)),
    Change(_CONTAINER, "1.52", drops=("Config.MacAddress",), adds=_stored_by_containerd),
    Change("/containers/json", adds=_with_address),
    Change("/containers/json", "1.52", adds=_with_health),
    Change(_IMAGE, "1.52", empty=(*(f"Config.{name}" for name in _EMPTY), *_EMPTY_OF_IMAGE), adds=_stored_by_containerd),
    Change("/networks", drops=("Containers",)),
    Change(r"/containers/[^/]+/stats", adds=lambda found: found.setdefault("os_type", "linux")),
)


def at_least(api: str, since: str) -> bool:
    return _numbers(api) >= _numbers(since)


def _numbers(api: str) -> list[int]:
    return [int(number) for number in api.split(".")]


def changed(path: str, api: str, answer: Any) -> Any:
    """Return an answer, or an object of a stream, as Docker 29 gives it to a request of this version. ``path`` has no version."""
    for change in CHANGES:
        if re.fullmatch(change.path, path) and at_least(api, change.since):
            answers = answer if isinstance(answer, list) else [answer]
            for one in answers:
                _drop(one, change)
            change.adds(answer)
    return answer


def _drop(answer: Any, change: Change) -> None:
    for path in (*change.drops, *change.empty):
        *parents, name = path.split(".")
        place = answer
        for parent in parents:
            place = (place or {}).get(parent)
        if place and name in place and (path in change.drops or not place[name]):
            del place[name]


def refusal(body: Mapping[str, Any]) -> str:
    """Return why Docker 29 refuses a creation that 28.5 accepts; empty if it does not."""
    return next(_refusals(body), "")


def _refusals(body: Mapping[str, Any]) -> Iterator[str]:
    host = body.get("HostConfig") or {}
    lists = (
        *(("Config", name, body.get(name)) for name in ("Cmd", "Entrypoint", "Shell")),
        *(("HostConfig", name, host.get(name)) for name in ("CapAdd", "CapDrop")),
    )
    for place, name, value in lists:
        if isinstance(value, str):
            yield f"invalid JSON: json: cannot unmarshal string into Go struct field CreateRequest.{place}.{name} of type []string"
    bindings = host.get("PortBindings") or {}
    addresses = [each.get("HostIp") for asked in bindings.values() for each in asked or ()]
    for address in (*addresses, *(host.get("Dns") or ())):
        if address and not _is_address(address):
            yield f'invalid JSON: ParseAddr("{address}"): unable to parse IP'
    for port in (*bindings, *(body.get("ExposedPorts") or {})):
        if not re.fullmatch(r"\d+(/\w+)?", port):
            yield f"invalid JSON: invalid port '{port.partition('/')[0]}': invalid syntax"


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def accepted(body: dict[str, Any], api: str) -> dict[str, Any]:
    """Return a creation as Docker 29 reads it: it ignores the address of the network card there, from 1.52 on."""
    if at_least(api, "1.52"):
        body.pop("MacAddress", None)
    return body
