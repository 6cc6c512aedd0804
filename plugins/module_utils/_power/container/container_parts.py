# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The parts of a container: a label with a short hash for each key shows which parts differ; pure.

A key is from the definition, without ``settings.``, or from the node's settings; the label holds no values. Each hash covers server, key
and value, so that labels do not reveal equal passwords of two servers. Parts without a key are this collection's own, under the key `OURS`.
Rules for configuration files belong to each start, not to the container. They are included to show a server that runs with older files.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from ..model.records import dataclass
from ..model.schema import parsed_json, printable
from ..model.server import ContainerLimits, Snapshot
from .container_labels import LABEL_PARTS, LABEL_SERVER, LABEL_SPEC, LABEL_STOP
from .container_limits import LIMIT_KEYS, MEMORY, SWAP, THREADS, amount, can_change, differing_limits, is_unreported, limits_of

#: Parts without a key, such as dropped capabilities: a later version may change them.
OURS = "fleet.power"
CONFIGS = "process_configuration.configs"
IMAGE, HEALTHCHECKS, FILES = "image", "healthchecks", "docker.nofile"
OUTGOING, NETWORK_MODE = "allocations.force_outgoing_ip", "docker.network.network_mode"
#: The variable with the server's memory limit: it changes with `MEMORY`, and a container's environment is fixed.
SERVER_MEMORY = "environment.SERVER_MEMORY"
_BUILT_IN = {
    "TZ": "system.timezone",
    "STARTUP": "invocation",
    "SERVER_IP": "allocations.default.ip",
    "SERVER_PORT": "allocations.default.port",
}
_HASH_CHARACTERS = 12


@dataclass(frozen=True)
class Differences:
    """The keys in which a container differs from a new one.

    Only a new container fixes ``restart``; ``in_place`` limits can change while it runs; ``next_start`` values are in force, but only a new
    process sees them. ``named`` is False if the differing keys are unknown.
    """

    restart: tuple[str, ...] = ()
    in_place: tuple[str, ...] = ()
    next_start: tuple[str, ...] = ()
    named: bool = True

    @property
    def is_outdated(self) -> bool:
        """Tell if the container differs from its definition."""
        return bool(self.restart or self.in_place or not self.named)

    @property
    def serves(self) -> bool:
        """Tell if the container can be started as it is."""
        return not self.is_outdated and not self.next_start


def parts_label(config: Mapping[str, Any], image_id: str, configs: object, *, outgoing: bool) -> str:
    """Return the label for a create call. ``configs`` are rules as JSON; ``outgoing``: the network has an outgoing address."""
    server, limits = config["Labels"][LABEL_SERVER], limits_of(config["HostConfig"])
    values = {**_values(config, image_id, outgoing), CONFIGS: configs}
    hashes = {key: _hash(server, key, value) for key, value in values.items()}
    # An empty hash shows that the engine was not asked for this limit.
    hashes.update((key, "" if _is_none(key, limits) else _hash(server, key, amount(key, limits))) for key in LIMIT_KEYS)
    return json.dumps(hashes, sort_keys=True, separators=(",", ":"))


def _values(config: Mapping[str, Any], image_id: str, outgoing: bool) -> dict[str, Any]:
    body = dict(config)
    host, labels = dict(body.pop("HostConfig")), dict(body.pop("Labels"))
    ours, *mounts = host.pop("Mounts")
    network = host.pop("NetworkMode")
    ports = [body.pop("ExposedPorts"), host.pop("PortBindings")]
    values: dict[str, Any] = {
        IMAGE: [body.pop("Image"), image_id],
        "mounts": mounts,
        "system.data": ours,
        "allocations.mappings": ports,
        OUTGOING: network if outgoing else None,
        NETWORK_MODE: None if outgoing else network,
        "build.oom_disabled": host.pop("OomKillDisable", False),
        "process_configuration.stop": labels.pop(LABEL_STOP),
        "system.user": body.pop("User"),
        "docker.domainname": body.pop("Domainname"),
        "docker.network.dns": host.pop("Dns"),
        "docker.tmpfs_size": host.pop("Tmpfs"),
        "docker.userns_mode": host.pop("UsernsMode"),
        "docker.log_config": host.pop("LogConfig", None),
    }
    for name, value in (entry.split("=", 1) for entry in body.pop("Env")):
        values[_BUILT_IN.get(name, f"environment.{name}")] = value
    # Only if set: other containers keep their hashes.
    values.update(
        {key: place.pop(name) for key, place, name in ((HEALTHCHECKS, body, "Healthcheck"), (FILES, host, "Ulimits")) if name in place}
    )
    labels.pop(LABEL_SERVER)
    values.update((f"labels.{name}", value) for name, value in labels.items())
    for key in ENGINE_LIMITS:
        host.pop(key, None)
    values[OURS] = [body, host]
    return values


ENGINE_LIMITS = (
    *("Memory", "MemoryReservation", "MemorySwap", "PidsLimit", "CpuQuota", "CpuPeriod", "CpuShares"),
    *("CpusetCpus", "BlkioWeight"),
)


def digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _hash(server: str, key: str, value: object) -> str:
    return digest([server, key, value])[:_HASH_CHARACTERS]


def _is_none(key: str, limits: ContainerLimits) -> bool:
    value = amount(key, limits)
    # No swap is a limit.
    return value in (None, "", -1) or (value == 0 and key != SWAP)


def compare(snapshot: Snapshot, config: Mapping[str, Any], *, image_known: bool = True) -> Differences:
    """Compare a container with the body of a create call.

    Limits are compared with the engine's current ones. A requested limit that the engine does not report is unsupported, and does not
    count. Without ``image_known``, the image's id on the node does not count.
    """
    labels: Mapping[str, str] = config["Labels"]
    is_same = snapshot.labels.get(LABEL_SPEC) == labels.get(LABEL_SPEC)
    limits = limits_of(config["HostConfig"])
    changed = differing_limits(snapshot.limits, limits)
    if is_same and not changed and snapshot.labels.get(LABEL_PARTS, labels[LABEL_PARTS]) == labels[LABEL_PARTS]:
        # Most containers are equal, and parts are many.
        return Differences()
    created, wanted = _read(snapshot.labels), _read(labels) or {}
    if is_same:
        # Other versions may name parts differently: the same total hash means that only parts outside the container may differ.
        noted = {} if created is None or CONFIGS not in created else {CONFIGS: created[CONFIGS]}
        created = {**wanted, **noted}
    if created is None:
        return Differences(named=False)
    if not image_known and snapshot.image == config["Image"]:
        created = {**created, IMAGE: wanted[IMAGE]}
    changed = [key for key in changed if not _is_beyond(key, snapshot.limits, created, wanted)]
    return _differences(created, wanted, changed, [key for key in changed if can_change(key, snapshot.limits, limits)])


def limits_to_change(snapshot: Snapshot, config: Mapping[str, Any]) -> list[str]:
    """Return the keys of the limits that differ from the body of a create call, as in `compare`, for a container of any maker."""
    created, wanted = _read(snapshot.labels) or {}, _read(config["Labels"]) or {}
    changed = differing_limits(snapshot.limits, limits_of(config["HostConfig"]))
    return [key for key in changed if not _is_beyond(key, snapshot.limits, created, wanted)]


def _differences(created: Mapping[str, str], wanted: Mapping[str, str], changed: Sequence[str], in_place: Sequence[str]) -> Differences:
    """Sort the differences of two sets of parts, and the limits that have ``changed``, some of them ``in_place``."""
    differing = {key for key in created.keys() | wanted.keys() if created.get(key) != wanted.get(key)} - set(LIMIT_KEYS)
    if OUTGOING in differing:
        differing.discard(NETWORK_MODE)
    tells_otherwise = SERVER_MEMORY in differing and MEMORY not in changed
    return Differences(
        restart=tuple(printable(key) for key in sorted(differing - {SERVER_MEMORY} | set(changed) - set(in_place))),
        in_place=tuple(sorted(in_place)),
        next_start=(SERVER_MEMORY,) if tells_otherwise else (),
    )


def _is_beyond(key: str, now: ContainerLimits, created: Mapping[str, str], wanted: Mapping[str, str]) -> bool:
    """Tell if the engine does not support a requested limit: it reports none. For CPUs, it may report others."""
    asked_for = created.get(key, "")
    return is_unreported(key, now) and asked_for != "" and (key != THREADS or asked_for == wanted.get(key))


def _read(labels: Mapping[str, str]) -> dict[str, str] | None:
    found = parsed_json(labels.get(LABEL_PARTS, ""), deepest=1)
    readable = isinstance(found, dict) and all(isinstance(value, str) for value in found.values())
    return found if readable else None
