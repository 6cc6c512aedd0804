# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A definition drafted from a container of another maker, and its YAML: the inverse of `container_spec`; pure."""

from __future__ import annotations

import math
import posixpath
import re
import shlex
import uuid as uuids
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from .._power.container.container_labels import OUR_LABELS, made_by_wings
from .._power.container.container_limits import CPU, IO, amount, limits_of
from .._power.container.container_spec import HOME, container_spec
from .._power.definitions.definition import UNFILLED, parse_definition
from .._power.definitions.definition_text import yaml_library
from .._power.definitions.settings import Settings
from .._power.definitions.stop_way import LONGEST_STOP_SECONDS
from .._power.model.errors import DefinitionInvalid, NotDefinable
from .._power.model.plain import as_list, as_map, read_whole
from .._power.model.request import ALL
from .._power.model.schema import blanked, few, printable, visible
from .._power.model.server import parse_uuid

#: What the engine puts in place of a byte that is not UTF-8.
_UNREADABLE = "\ufffd"
_ANONYMOUS, _PORT = re.compile("[0-9a-f]{64}"), re.compile("[1-9][0-9]{0,4}")
#: Targets of mounts that no server can have.
_RESERVED = re.compile(r"/|/tmp|/(?:proc|sys|dev)(?:/.*)?", re.DOTALL)
_COMPOSE = "com.docker.compose."
_BUILT_IN = ("TZ", "STARTUP", "SERVER_MEMORY", "SERVER_IP", "SERVER_PORT")
#: Options that no key has, by the engine's names, and values that mean nothing.
_BEYOND = (
    *("Privileged", "CapAdd", "Devices", "DeviceRequests", "DeviceCgroupRules", "GroupAdd", "ExtraHosts", "Links", "Dns", "DnsSearch"),
    *("DnsOptions", "Sysctls", "Ulimits", "StorageOpt", "PidMode", "UTSMode", "CgroupParent", "CpusetMems", "OomScoreAdj", "Init"),
    *("SecurityOpt", "IpcMode", "CpuShares", "ShmSize", "Runtime"),
)
_USUAL = (["no-new-privileges"], "private", 1024, 67_108_864, "runc")

_SECRET_NAME = re.compile(
    "PASSW|PASSPHRASE|SECRET|TOKEN|CREDENTIAL|PRIVATE|API_?KEY|WEBHOOK|STEAMACCOUNT"
    "|(?<![A-Z0-9])(?:(?:REQUIRE)?PASS|PW|PWD|KEYS?|AUTH|SALT|JWT|DSN|COOKIE|GSLT|CERT)(?![A-Z0-9])"
)
_SECRET_VALUE = re.compile(
    r"://[^/\s@:]*:[^/\s@]+@|-----BEGIN|\beyJ[\w-]{8,}\.eyJ|\b(?:gh[a-z]_|glpat-|xox[a-z]-|sk_live_|AKIA)\w{8}|/api/webhooks/"
    r"|(?i:\b(?:password|passwd|pwd|secret|token)=)|\A(?=.*[0-9])(?=.*[A-Za-z])[A-Za-z0-9+=]{32,}\Z"
)
_NO_SECRET = re.compile("(?i:|true|false|yes|no|on|off|none|null|0|1)")


def definition_of(
    inspected: Mapping[str, Any],
    image: Mapping[str, Any] | None,
    settings: Settings,
    *,
    tag_moved: bool = False,
    resolve: Callable[[str], str] = posixpath.normpath,
) -> Drafted:
    """Draft the definition of a container from the engine's answers about it and its image; None: the image is gone.

    ``tag_moved``: the tag now means another image. ``resolve`` is that of `container_spec`. Raises `NotDefinable`, and `DefinitionInvalid`
    for values that no definition has.
    """
    drafted = Drafted(inspected, image or {}, settings)
    if image is None:
        drafted.differing.append("its image, which is gone: the command, variables and labels here include the image's")
    if tag_moved:
        drafted.differing.append("its image: the tag means another one now")
    drafted.complete(resolve)
    return drafted


class Drafted:
    """A definition in the order of its keys, and ``comments`` to it.

    ``secrets`` are variables with a placeholder. ``differing`` is what a server cannot have: it suspends the server. ``lost`` is gone after
    the first restart, and ``steps`` are shell commands before it.
    """

    def __init__(self, inspected: Mapping[str, Any], image: Mapping[str, Any], settings: Settings) -> None:
        self._inspected, self._image, self._settings = inspected, image, settings
        self._config, self._base = as_map(inspected.get("Config")), as_map(image.get("Config"))
        self._host, self._network = as_map(inspected.get("HostConfig")), as_map(inspected.get("NetworkSettings"))
        self.container = _text(inspected.get("Name")).lstrip("/")
        named = parse_uuid(self.container)
        # The same container always gets the same UUID.
        self.uuid = named or str(uuids.uuid5(uuids.NAMESPACE_OID, f"fleet.power:{_text(inspected.get('Id'))}"))
        self.name = "" if named else self.container
        self._data = posixpath.join(settings.data, self.uuid)
        self._user = f"{settings.container_uid}:{settings.container_gid}" if settings.rootless else f"{settings.uid}:{settings.gid}"
        self.definition: dict[str, Any] = {}
        self.comments, self.secrets, self.differing = list[str](), list[str](), list[str]()
        self.lost, self.steps = list[str](), list[str]()

    def say(self, text: str, key: str = "") -> None:
        self.comments.append(f"{key}: {text}" if key else f"- {text}")

    def complete(self, resolve: Callable[[str], str]) -> None:
        self.comments.append(f"Drafted from the container {self.container}. As a server:")
        before = printable(_text(self._config.get("User"))) or "root"
        self.say(f"It runs as user {self._user}{'' if before == self._user else f' (before: {before})'}, with few capabilities.")
        self.say(f"It has at most {self._settings.container_pid_limit} threads, and writes only to {HOME}, /tmp and mounts.")
        self.lost.append("files that it wrote outside of its mounts")
        labels, environment = self._labels(), self._environment()
        body = {
            "uuid": self.uuid,
            "meta": {"name": self.name} if self.name else {},
            "suspended": True,
            "container": {"image": self._reference()},
            "invocation": self._invocation(environment.get("STARTUP", "")),
            "environment": {name: value for name, value in environment.items() if name not in _BUILT_IN},
            "labels": labels,
            "build": self._build(),
            "allocations": self._allocations(environment),
            "mounts": self._mounts(),
        }
        self.definition = {"settings": _filled(body), "process_configuration": {"stop": self._stop()}}
        self._note_options()
        self._compare(resolve)
        if self.secrets:
            self.say(f"write the secrets in place of {UNFILLED}; docker inspect shows them: {', '.join(self.secrets)}", "environment")
        if self.differing:
            self.say("a server cannot have the following. Set it to false when they do no harm:", "suspended")
            for text in self.differing:
                self.say(text)
        else:
            del self.definition["settings"]["suspended"]

    def _labels(self) -> dict[str, str]:
        """Return the container's own labels. With the labels of Compose, Compose would replace our container."""
        inherited, labels = as_map(self._base.get("Labels")), as_map(self._config.get("Labels"))
        own = {name: _text(value) for name, value in labels.items() if inherited.get(name) != value}
        reasons = {
            "it belongs to Wings": made_by_wings(labels),
            "it is a server's container already": any(name.startswith(OUR_LABELS) for name in own),
            "no server can have this name; rename the container first": self.container in ("", ALL),
        }
        for reason in (reason for reason, holds in reasons.items() if holds):
            raise NotDefinable(f"Cannot define a server from container {self.container}: {reason}")
        project, service = (printable(own.get(_COMPOSE + key, "")) for key in ("project", "service"))
        if project:
            self.say(f"It was service {service} of the Compose project {project}. Remove it there, or Compose makes it again.")
        return {name: value for name, value in own.items() if not name.startswith(_COMPOSE)}

    def _reference(self) -> str:
        """Return the image by its tag, else by its digest, else by its id."""
        reference, identity = _text(self._config.get("Image")), _text(self._inspected.get("Image"))
        tags, digests = _texts(self._image.get("RepoTags")), _texts(self._image.get("RepoDigests"))
        if identity.startswith((reference, f"sha256:{reference}")):
            reference = [*tags, *digests, identity][0]
        for digest in digests:
            self.say(f"digest {digest}", "container.image")
        # In containerd's store the id of an image is a digest, and each image has one.
        if any(digest.endswith(f"@{self._image.get('Id')}") for digest in digests):
            self.say(
                "this engine does not show if it is only on this node; then write ~ before it, which forbids a pull.", "container.image"
            )
        if digests or not self._image:
            return reference
        self.say("guessed: it is only on this node, so ~ forbids a pull.", "container.image")
        return f"~{reference}"

    def _invocation(self, startup: str) -> str:
        entry, command = _texts(self._config.get("Entrypoint")), _texts(self._config.get("Cmd"))
        words = command if entry == _texts(self._base.get("Entrypoint")) else [*entry, *command]
        if words is not command or command != _texts(self._base.get("Cmd")):
            self.differing.append("its own command: invocation is only the variable STARTUP, which few images run")
        elif not startup:
            return ""
        return startup or shlex.join(words)

    def _environment(self) -> dict[str, str]:
        """Return the variables that the image does not set. Of two names that differ in case, a definition keeps the first."""
        inherited, found = frozenset(_texts(self._base.get("Env"))), {}
        taken = set(_BUILT_IN)
        for entry in _texts(self._config.get("Env")):
            name, equals, value = entry.partition("=")
            if entry in inherited or not name or not equals or (name.upper() in taken and name not in _BUILT_IN):
                continue
            taken.add(name.upper())
            found[name] = value
            if name not in _BUILT_IN and _is_secret(name, value):
                found[name] = UNFILLED
                self.secrets.append(printable(name))
        return found

    def _build(self) -> dict[str, Any]:
        limits = limits_of(self._host)
        memory, swap = (math.ceil(size / 1_000_000) for size in (limits.memory, limits.memory_swap - limits.memory))
        if memory:
            self.say(f"it was {limits.memory} bytes. The node adds its overhead to the limit.", "build.memory_limit")
        build = {
            "memory_limit": memory,
            "swap": 0 if not memory or not limits.memory_swap else -1 if limits.memory_swap < 0 else swap,
            "cpu_limit": math.ceil(float(amount(CPU, limits) or 0)),
            "threads": limits.cpus,
            "io_weight": amount(IO, limits),
            "oom_disabled": self._host.get("OomKillDisable"),
        }
        return _filled(build)

    def _bindings(self) -> Iterator[tuple[str, str, str]]:
        """Yield each published port with address and port of the node. Only live ones show the ports that the engine chose."""
        live, asked = as_map(self._network.get("Ports")), as_map(self._host.get("PortBindings"))
        for published in dict.fromkeys((*asked, *live)):
            for binding in map(as_map, as_list(live.get(published)) or as_list(asked.get(published))):
                yield published, _text(binding.get("HostIp")) or "0.0.0.0", _text(binding.get("HostPort"))

    def _allocations(self, environment: Mapping[str, str]) -> dict[str, Any]:
        mappings: dict[str, list[int]] = {}
        for _published, address, port in self._bindings():
            if _is_port(port) and int(port) not in mappings.setdefault(address, []):
                mappings[address].append(int(port))
        if not mappings:
            return {}
        self.say("published for TCP and UDP, with the same number in the container.", "allocations.mappings")
        first = next(iter(mappings))
        address, port = environment.get("SERVER_IP", ""), environment.get("SERVER_PORT", "")
        if not _is_port(port):
            self.say("guessed: the first port.", "allocations.default")
            port = str(mappings[first][0])
        return {"default": {"ip": address if address in mappings else first, "port": int(port)}, "mappings": mappings}

    def _mounts(self) -> list[dict[str, Any]]:
        """Return the mounts. One in the place of the data directory becomes that, by a copy."""
        copy, found = "", list[dict[str, Any]]()
        # The engine lists them in any order.
        for mount in sorted(map(as_map, as_list(self._inspected.get("Mounts"))), key=lambda mount: _text(mount.get("Destination"))):
            kind, name, source = (_text(mount.get(key)) for key in ("Type", "Name", "Source"))
            target = posixpath.normpath(_text(mount.get("Destination")))
            if kind == "volume" and _ANONYMOUS.fullmatch(name):
                gone = "the engine removes it" if self._host.get("AutoRemove") else f"its files stay in {source}"
                self.lost.append(f"the anonymous volume at {printable(target)} ({gone})")
            elif not source.startswith("/") or _RESERVED.fullmatch(target):
                self.differing += [f"the mount at {printable(target)}"] if (kind, target) != ("tmpfs", "/tmp") else []
            elif target != HOME:
                volume = f"; it is the volume {printable(name)}, which `docker volume rm` would remove" if kind == "volume" else ""
                self.say(f"user {self._user} must have the right to use {printable(source)}{volume}.", "mounts")
                found.append({"source": source, "target": target, "read_only": mount.get("RW") is False})
            elif source != self._data:
                self.steps.append(f"docker stop {self.uuid}")
                copy = f" && cp -a {shlex.quote(source)}/. {shlex.quote(self._data)}"
                self.say(f"the data directory was {printable(source)}: copy it before the first restart.", "uuid")
        self.steps.append(f"install -d -m 700 -o {self._settings.uid} -g {self._settings.gid} {shlex.quote(self._data)}{copy}")
        self.say(f"the data directory is {self._data}, in the container {HOME}.", "uuid")
        return found

    def _stop(self) -> dict[str, Any]:
        signal = self._config.get("StopSignal")
        timeout = read_whole(self._config.get("StopTimeout"), 0, LONGEST_STOP_SECONDS + 1)
        if self._config.get("OpenStdin") or self._config.get("Tty"):
            self.say("it has a console. Perhaps a command ends it better: {type: command, value: stop}.", "stop")
        if timeout is None:
            self.say(f"SIGKILL comes after {self._settings.stop_timeout} s. `docker stop` waits 10 s; timeout: 10 does, too.", "stop")
        way = {"type": "signal", "value": signal} if signal and signal != self._base.get("StopSignal") else {"type": "stop"}
        return way if timeout is None else {**way, "timeout": timeout}

    def _note_options(self) -> None:
        """Note what no key has."""
        config, host, mode = self._config, self._host, _text(self._host.get("NetworkMode"))
        found = {key: host.get(key) for key in _BEYOND if host.get(key) not in _USUAL}
        found["WorkingDir"] = config.get("WorkingDir") if config.get("WorkingDir") != self._base.get("WorkingDir") else ""
        found["NetworkMode"] = mode if mode == "host" or mode.startswith("container:") else ""
        found["Tmpfs"] = ", ".join(target for target in as_map(host.get("Tmpfs")) if target != "/tmp")
        self.differing += [f"{key}: {printable(str(value))}" for key, value in found.items() if value]
        if config.get("Healthcheck") != self._base.get("Healthcheck"):
            self.say("Its health check is that of the image, not its own.")
        policy = _text(as_map(host.get("RestartPolicy")).get("Name"))
        self.say(f"The supervisor starts it after a crash (before: restart policy {printable(policy) or 'no'}).")
        networks = [name for name in as_map(self._network.get("Networks")) if name not in (self._settings.network_mode, "host")]
        if networks:
            self.say(f"It is in the network {self._settings.network_mode} (before: {few(list(map(printable, networks)))}).")
        self.lost += [f"the network {printable(name)}, with its names there" for name in networks if name not in ("bridge", "none")]

    def _compare(self, resolve: Callable[[str], str]) -> None:
        """Make a container of the draft as a start does, and note what it lacks."""
        definition = parse_definition(self.definition, where=f"of container {self.container}")
        try:
            spec = container_spec(definition, self._settings, data_directory=self._data, image_id="", resolve=resolve)
        except DefinitionInvalid as error:
            self.differing.append(str(error))
            return
        self.differing += [*definition.warnings, *spec.warnings]
        if _UNREADABLE in str(self.definition):
            self.differing.append(f"values that are not UTF-8, here with {_UNREADABLE}")
        variables = dict(entry.partition("=")[::2] for entry in (*_texts(self._base.get("Env")), *spec.config["Env"]))
        for name, value in (entry.partition("=")[::2] for entry in _texts(self._config.get("Env"))):
            if variables.get(name) not in (value, UNFILLED) and name != "STARTUP":
                self.differing.append(f"the variable {printable(name)} as it was")
        bindings = spec.config["HostConfig"]["PortBindings"]
        for published, address, port in dict.fromkeys(self._bindings()):
            if {"HostIp": address, "HostPort": port} not in bindings.get(published, ()):
                instead = {"HostIp": self._settings.network_interface, "HostPort": port}
                moved = address == "127.0.0.1" and instead in bindings.get(published, ())
                where = f"the node publishes it on {instead['HostIp']}" if moved else f"to port {printable(published)} of the container"
                self.differing.append(f"port {printable(port)} of {printable(address)}{': ' if moved else ' '}{where}")


def to_yaml(drafted: Drafted) -> str:
    """Return a draft as YAML for `load_text`, below its comments."""
    yaml, _loader = yaml_library("write a definition")
    # A line break would end the comment.
    comments = "".join(f"# {blanked(text, '?')}\n" for text in drafted.comments)
    body: str = yaml.safe_dump(drafted.definition, sort_keys=False, allow_unicode=True)
    # Characters that a terminal interprets or hides are escaped.
    return comments + (body if visible(body, "\n") == body else yaml.safe_dump(drafted.definition, sort_keys=False))


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _texts(value: object) -> list[str]:
    return [each for each in as_list(value) if isinstance(each, str)]


def _is_port(text: str) -> bool:
    return _PORT.fullmatch(text) is not None and int(text) < 65536


def _filled(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value}


def _is_secret(name: str, value: str) -> bool:
    """Tell if a value is probably a secret. The name of a file with a secret is none."""
    upper = name.upper()
    named = _SECRET_NAME.search(upper) and not re.fullmatch(".*[^A-Z0-9](?:FILE|PATH|DIR)|PWD", upper)
    return not _NO_SECRET.fullmatch(value) and bool(named or _SECRET_VALUE.search(value))
