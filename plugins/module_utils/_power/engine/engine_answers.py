# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Values read from the engine's answers; pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..container.container_labels import LABEL_SERVER, WAITING, claims_to_be, made_by_wings
from ..container.container_limits import limits_of
from ..model.clock import engine_time
from ..model.plain import as_map, read_whole
from ..model.records import dataclass
from ..model.server import ImageSeen, ListedContainer, Snapshot, parse_uuid

#: Events after which a server's state may differ: a signal or a line of standard input may stop it.
CHANGES = ("start", "die", "kill", "attach", "destroy")
LIVE = ("running", "paused", "restarting")
_EVERYWHERE = frozenset(("0.0.0.0", "::"))
#: The engine's default for both times of a health check, in nanoseconds.
_CHECK_DEFAULT = 30 * 10**9
#: The exit code of SIGKILL, with which the kernel ends a process without memory.
_KILLED = 137
#: 2026-01-31T12:00:00.123456789
_TIME_CHARACTERS = 29


def snapshot_of(found: Mapping[str, Any]) -> Snapshot:
    """Read an inspect answer. ``live`` covers running, paused, and between two tries of a restart policy."""
    state, config, host = found["State"], found["Config"], found["HostConfig"]
    live = bool(state["Running"] or state["Paused"] or state["Restarting"])
    checks = state.get("Health") or {}
    health = checks.get("Status")
    times = [read_whole((config.get("Healthcheck") or {}).get(name)) or _CHECK_DEFAULT for name in ("Interval", "Timeout")]
    exit_code = None if live else int(state["ExitCode"])
    return Snapshot(
        id=str(found["Id"]),
        name=str(found["Name"]).lstrip("/"),
        live=live,
        started_at=str(state["StartedAt"]),
        finished_at=str(state["FinishedAt"]),
        paused=bool(state["Paused"]),
        removing=state.get("Status") in ("removing", "dead"),
        pid=int(state.get("Pid") or 0),
        exit_code=exit_code,
        # The engine also says so after the end of a mere child, and 20.10 in all later runs of the container.
        oom_killed=bool(state["OOMKilled"]) and exit_code == _KILLED,
        health=None if health in (None, "none") else str(health),
        health_output=str(((checks.get("Log") or [{}])[-1]).get("Output") or ""),
        health_seconds=sum(times) / 1e9,
        open_stdin=bool(config.get("OpenStdin")),
        tty=bool(config.get("Tty")),
        restart_policy=str((host.get("RestartPolicy") or {}).get("Name") or "no"),
        stop_signal=str(config.get("StopSignal") or "SIGTERM"),
        stop_timeout=read_whole(config.get("StopTimeout"), -(2**63)),
        image=str(config.get("Image") or ""),
        image_id=str(found.get("Image") or ""),
        labels=dict(config.get("Labels") or {}),
        addresses=_published(found) if live else {},
        on_host_network=host.get("NetworkMode") == "host",
        environment=tuple(config.get("Env") or ()),
        hostname=str(config.get("Hostname") or ""),
        limits=limits_of(host),
    )


def _published(found: Mapping[str, Any]) -> dict[str, tuple[tuple[str, int], ...]]:
    """Return where each port of a live container leads. Only ``NetworkSettings`` has a port that the engine chose."""
    asked = as_map(found["HostConfig"].get("PortBindings"))
    actual = as_map(as_map(found.get("NetworkSettings")).get("Ports"))
    return {port: _addresses(asked.get(port)) or _addresses(actual.get(port)) for port in {**asked, **actual}}


def _addresses(bindings: Sequence[Mapping[str, Any]] | None) -> tuple[tuple[str, int], ...]:
    found = ((str(each.get("HostIp") or "0.0.0.0"), str(each.get("HostPort"))) for each in bindings or ())
    return tuple((address, int(port)) for address, port in found if port.isdigit())


def image_of(found: Mapping[str, Any]) -> ImageSeen:
    return ImageSeen(id=str(found["Id"]), volumes=tuple((found.get("Config") or {}).get("Volumes") or ()))


def server_of(row: Mapping[str, Any]) -> str | None:
    """Return the UUID of a listed container's server by name, or None. Renamed ones: see `claimed_server`."""
    labels, name = row.get("Labels") or {}, _name_in(row)
    claimed = claimed_server(row)
    if claimed is not None and (name == claimed or name.startswith(f"{claimed}-")):
        return claimed
    return parse_uuid(name) if made_by_wings(labels) else None


def claimed_server(row: Mapping[str, Any]) -> str | None:
    """Return the UUID that a listed container claims, or None. The label may come from its image: `made_by_us` decides."""
    return parse_uuid(claims_to_be(row.get("Labels") or {}) or "")


def listed_of(row: Mapping[str, Any], renamed: Callable[[Mapping[str, Any]], str | None]) -> ListedContainer | None:
    """Read a listed container; None if it is not a server's. ``renamed`` identifies a live one of ours under another name."""
    claimed, name, live = claimed_server(row), _name_in(row), row.get("State") in LIVE
    if claimed is not None and not live and name in (claimed + suffix for suffix in WAITING):
        return ListedContainer(claimed, str(row["Id"]), live, waiting=True)
    uuid = name if claimed == name else parse_uuid(name) if made_by_wings(row.get("Labels") or {}) else None
    if uuid is None and live and claimed is not None:
        uuid = renamed(row)
    return None if uuid is None else ListedContainer(uuid, str(row["Id"]), live, unhealthy="(unhealthy)" in str(row.get("Status")))


def publisher_of(row: Mapping[str, Any], published: str, address: str) -> str | None:
    """Return the name of a listed container that publishes a port such as ``25565/tcp`` on an address or on all; else None."""
    for port in row.get("Ports") or ():
        addresses = {str(port.get("IP")), address}
        if f"{port.get('PublicPort')}/{port.get('Type')}" == published and (len(addresses) == 1 or addresses & _EVERYWHERE):
            return _name_in(row) or None
    return None


def _name_in(row: Mapping[str, Any]) -> str:
    return str((row.get("Names") or ["/"])[0]).lstrip("/")


def container_in_event(event: Mapping[str, Any]) -> str:
    """Return the id of the container in an event. From API version 1.52 on, only ``Actor`` has it."""
    return str((event.get("Actor") or {}).get("ID") or event["id"])


def server_in_event(event: Mapping[str, Any]) -> str | None:
    """Return the UUID of the server in an event, or None. A hint: an image's label may name it, too."""
    actor = (event.get("Actor") or {}).get("Attributes") or {}
    return parse_uuid(str(actor.get(LABEL_SERVER) or actor.get("name") or ""))


def lines_since(moment: str, log: bytes) -> bytes:
    """Return the lines of a log that were written at a moment or later, without the stamps before them."""

    def padded(stamp: str) -> str:
        # The engine drops trailing zeros. With them, the order of texts is the order of moments.
        return stamp.rstrip("Z").ljust(_TIME_CHARACTERS, "0")

    stamped = (line.partition(b" ") for line in log.splitlines(keepends=True))
    return b"".join(line for stamp, _space, line in stamped if padded(stamp.decode("ascii", "replace")) >= padded(moment))


@dataclass(frozen=True)
class Use:
    """The use of one container: ``at`` in seconds of the engine's clock, ``cpu_seconds`` since its start.

    ``memory_limit`` is the machine's if the container has none. Network bytes are sums over its interfaces.
    """

    at: float
    cpu_seconds: float
    memory: int
    memory_limit: int
    received: int = 0
    sent: int = 0

    def cpu_percent_since(self, before: Use) -> float:
        """Return the use of one core between two moments, in percent; 0 if no time has passed."""
        seconds = self.at - before.at
        return 0.0 if seconds <= 0 else max(0.0, self.cpu_seconds - before.cpu_seconds) / seconds * 100


def use_of(found: Mapping[str, Any]) -> Use | None:
    """Read a stats answer; None for a container that does not run. Reclaimable memory does not count as used."""
    moment = engine_time(str(found.get("read") or ""))
    memory, cpu = as_map(found.get("memory_stats")), as_map(as_map(found.get("cpu_stats")).get("cpu_usage"))
    if moment is None or "usage" not in memory:
        return None
    details = as_map(memory.get("stats"))
    # The names of cgroups v1 and v2.
    cached = details.get("total_inactive_file", details.get("inactive_file", 0))
    interfaces = [as_map(each) for each in as_map(found.get("networks")).values()]
    return Use(
        at=moment.timestamp(),
        cpu_seconds=int(cpu.get("total_usage") or 0) / 1e9,
        memory=max(0, int(memory["usage"]) - int(cached or 0)),
        memory_limit=int(memory.get("limit") or 0),
        received=sum(int(each.get("rx_bytes") or 0) for each in interfaces),
        sent=sum(int(each.get("tx_bytes") or 0) for each in interfaces),
    )
