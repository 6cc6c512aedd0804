# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The body of the create call for a server, by Wings' rules and in a fixed order, so that its hash is stable; pure."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Mapping
from typing import Any

from ..definitions.definition import Definition, Mount
from ..definitions.settings import Settings
from ..definitions.stop_way import stop_way_text
from ..model.errors import DefinitionInvalid
from ..model.records import asdict, dataclass
from ..model.schema import Mismatch, one_line, printable
from .container_labels import LABEL_NAME, LABEL_PARTS, LABEL_SERVER, LABEL_SPEC, LABEL_STOP, OUR_LABELS, made_by_wings
from .container_limits import resources
from .container_network import NetworkSpec, network_of, port_bindings, seen_by_containers
from .container_parts import digest, parts_label

HOME = "/home/container"
#: Linux's limit for an argument or variable, without the zero at its end.
_LONGEST_VARIABLE = 131_071
#: The runtime mounts these itself, and allows no mounts over or into them.
_KERNEL_DIRECTORIES = ("/proc", "/sys", "/dev")
_DROPPED_CAPABILITIES = (
    *("SETPCAP", "MKNOD", "AUDIT_WRITE", "NET_RAW", "DAC_OVERRIDE"),
    *("FOWNER", "FSETID", "NET_BIND_SERVICE", "SYS_CHROOT", "SETFCAP"),
)


@dataclass(frozen=True)
class ContainerSpec:
    """A container to create. ``config`` is the body of the create call. ``left_out`` are the ``warnings`` about mounts that it lacks."""

    config: Mapping[str, Any]
    network: NetworkSpec | None
    warnings: tuple[str, ...]
    left_out: tuple[str, ...] = ()


def container_spec(
    definition: Definition,
    settings: Settings,
    *,
    data_directory: str,
    image_id: str,
    resolve: Callable[[str], str] = posixpath.normpath,
) -> ContainerSpec:
    """Return the container of a server, ready to create.

    ``data_directory`` is the server's own, ``image_id`` the current id of its image on the node. ``resolve`` normalizes mounts and
    ``allowed_mounts`` before the comparison: use `os.path.realpath` on the engine's own machine, so that no link leads out. Raises
    `DefinitionInvalid` for a valid definition that no engine can create.
    """
    try:
        mounts, left_out = _mounts(definition, settings, data_directory, resolve)
        host, network, warnings = _host(definition, settings, mounts)
        environment = _environment(definition, settings)
    except Mismatch as mismatch:
        raise DefinitionInvalid(f"Cannot use the definition of server {definition.server.uuid}: {mismatch}", key=mismatch.key) from None
    labels, label_warnings = _labels(definition)
    user = (settings.container_uid, settings.container_gid) if settings.rootless else (settings.uid, settings.gid)
    config: dict[str, Any] = {
        "AttachStderr": True,
        "AttachStdin": True,
        "AttachStdout": True,
        "Domainname": settings.domainname,
        "Env": environment,
        "ExposedPorts": {port: {} for port in host["PortBindings"]},
        "HostConfig": host,
        "Hostname": definition.server.uuid,
        "Image": definition.image,
        "Labels": labels,
        "OpenStdin": True,
        "Tty": True,
        "User": f"{user[0]}:{user[1]}",
    }
    health = next((rule.check for rule in settings.healthchecks if rule.servers.selects(definition.server, definition)), None)
    if health is not None:
        config["Healthcheck"] = dict(health)
    configs = [asdict(each) for each in definition.configs]
    parts = parts_label(config, image_id, configs, outgoing=network is not None and network.name != settings.network_name)
    labels[LABEL_SPEC], labels[LABEL_PARTS] = digest({"config": config, "image_id": image_id}), parts
    if definition.server.name:
        labels[LABEL_NAME] = definition.server.name
    return ContainerSpec(config, network, (*warnings, *left_out, *label_warnings), tuple(left_out))


def _host(definition: Definition, settings: Settings, mounts: list[dict[str, Any]]) -> tuple[dict[str, Any], NetworkSpec | None, list[str]]:
    limits, warnings = resources(definition.build, settings)
    network_mode, network, network_warnings = network_of(definition, settings)
    host = {
        "CapDrop": list(_DROPPED_CAPABILITIES),
        "Dns": list(settings.network_dns),
        "Mounts": mounts,
        "NetworkMode": network_mode,
        "PortBindings": port_bindings(definition, settings),
        "ReadonlyRootfs": True,
        "RestartPolicy": {"Name": "no"},
        "SecurityOpt": ["no-new-privileges"],
        "Tmpfs": {"/tmp": f"rw,exec,nosuid,size={settings.tmpfs_size}M"},
        "UsernsMode": settings.userns_mode,
        **limits,
    }
    if settings.nofile is not None:
        host["Ulimits"] = [{"Name": "nofile", "Soft": settings.nofile, "Hard": settings.nofile}]
    if settings.log_type:
        host["LogConfig"] = {"Type": settings.log_type, "Config": dict(settings.log_config)}
    return host, network, [*warnings, *network_warnings]


def _environment(definition: Definition, settings: Settings) -> list[str]:
    """Return Wings' own variables, which no definition overrides, then the definition's by name."""
    allocations = definition.allocations
    built_in = {
        "TZ": settings.timezone,
        "STARTUP": definition.invocation,
        "SERVER_MEMORY": str(definition.build.memory_limit),
        "SERVER_IP": seen_by_containers(allocations.default_ip, settings),
        "SERVER_PORT": str(allocations.default_port),
    }
    others = sorted((name, value) for name, value in definition.environment if name not in built_in)
    return [_variable(name, value) for name, value in (*built_in.items(), *others)]


def _variable(name: str, value: str) -> str:
    entry = f"{name}={value}"
    size = len(entry.encode())
    if size > _LONGEST_VARIABLE:
        key = "settings.invocation" if name == "STARTUP" else f"settings.environment.{printable(name)}"
        raise Mismatch(key, f"makes a variable of {size} bytes with its name, expected at most {_LONGEST_VARIABLE}")
    return entry


def _mounts(
    definition: Definition, settings: Settings, data_directory: str, resolve: Callable[[str], str]
) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the data directory, then the definition's mounts by target; a mount outside ``allowed_mounts`` is skipped with a warning."""
    allowed = [_clean(resolve(path)) for path in settings.allowed_mounts]
    taken = {HOME, "/", "/tmp"}
    mounts, warnings = [], []
    for index, mount in enumerate(definition.mounts):
        source, target = _clean(resolve(mount.source)), _clean(mount.target)
        if not any(_is_within(source, path) for path in allowed):
            warnings.append(
                f"settings.mounts[{index}]: {one_line(mount.source)} is not mounted: it is outside the settings' allowed_mounts"
            )
            continue
        if any(_is_within(target, directory) for directory in _KERNEL_DIRECTORIES):
            raise Mismatch(f"settings.mounts[{index}].target", f"is {printable(target)}, expected one not in /proc, /sys or /dev")
        if target in taken:
            raise Mismatch(f"settings.mounts[{index}].target", f"is {printable(target)}, which is mounted already")
        taken.add(target)
        mounts.append(Mount(source, target, mount.read_only))
    ours = Mount(data_directory, HOME, read_only=False)
    ordered = [ours, *sorted(mounts, key=lambda mount: mount.target)]
    return [{"Type": "bind", "Source": mount.source, "Target": mount.target, "ReadOnly": mount.read_only} for mount in ordered], warnings


def _clean(path: str) -> str:
    """Return the path without ``.``, ``..``, and doubled or trailing slashes; also without POSIX's two leading ones."""
    return "/" + posixpath.normpath(path).lstrip("/")


def _is_within(path: str, directory: str) -> bool:
    """Tell if a path is a directory or below it, compared by components: /srv/ab is not within /srv/a."""
    return path == directory or path.startswith(directory.rstrip("/") + "/")


def _labels(definition: Definition) -> tuple[dict[str, str], list[str]]:
    """Return the definition's labels and ours. A definition cannot imitate labels of Wings or of other containers of ours."""
    labels, warnings = {}, []
    for name, value in definition.labels:
        if name.startswith(OUR_LABELS) or made_by_wings({name: value}):
            warnings.append(f"settings.labels.{printable(name)} is ignored: it says who made a container")
        else:
            labels[name] = value
    return {**labels, LABEL_SERVER: definition.server.uuid, LABEL_STOP: stop_way_text(definition.stop)}, warnings
