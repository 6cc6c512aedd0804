# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A definition drafted from a container of another maker, and its YAML: the inverse of `container_spec`; pure."""

from __future__ import annotations

import ipaddress
import math
import posixpath
import re
import shlex
import uuid as uuids
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from .._power.container.container_labels import OUR_LABELS, made_by_wings
from .._power.container.container_limits import CPU, IO, amount, limits_of
from .._power.container.container_spec import HOME, container_spec
from .._power.definitions.definition import UNFILLED, parse_definition
from .._power.definitions.settings import Settings
from .._power.definitions.stop_way import LONGEST_STOP_SECONDS
from .._power.model.errors import DefinitionInvalid, NotDefinable
from .._power.model.plain import as_list, as_map, read_whole
from .._power.model.records import dataclass, field
from .._power.model.request import ALL
from .._power.model.schema import blanked, few, printable
from .._power.model.server import parse_uuid

#: What the engine and `_clean` put in place of a byte that no definition can hold.
_UNREADABLE = "\ufffd"
_ANONYMOUS, _PORT = (
    re.compile("[0-9a-f]{64}"),
    re.compile("[1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]"),
)
_COMPOSE = "com.docker.compose."
#: Programs that would start their container again.
_MAKERS = {"com.docker.swarm.service.id": "Swarm", "io.kubernetes.pod.name": "Kubernetes"}
_BUILT_IN = ("TZ", "STARTUP", "SERVER_MEMORY", "SERVER_IP", "SERVER_PORT")
#: Options that no key has, by the engine's names, and the values beside empty ones that mean nothing.
_BEYOND: Mapping[str, object] = {
    **dict.fromkeys(("Privileged", "CapAdd", "Devices", "DeviceRequests", "DeviceCgroupRules", "GroupAdd", "ExtraHosts", "Links", "Dns")),
    **dict.fromkeys(("DnsSearch", "DnsOptions", "Sysctls", "Ulimits", "StorageOpt", "PidMode", "UTSMode", "CgroupParent", "CpusetMems")),
    "SecurityOpt": ["no-new-privileges"],
    "IpcMode": "private",
    "CpuShares": 1024,
    "ShmSize": 67_108_864,
    "Runtime": "runc",
    **dict.fromkeys(("OomScoreAdj", "Init")),
}

_SECRET_NAME = re.compile("PASSW|PASSPHRASE|SECRET|TOKEN|CREDENTIAL|PRIVATE|API_?KEY|WEBHOOK|STEAMACCOUNT")
_SECRET_WORDS = frozenset(("PASS", "REQUIREPASS", "PW", "PWD", "KEY", "KEYS", "AUTH", "SALT", "JWT", "DSN", "COOKIE", "GSLT", "CERT"))
_SECRET_VALUE = re.compile(
    r"://[^/\s@]*:[^/\s@]+@|-----BEGIN|\beyJ[\w-]{8,}\.eyJ|\b(?:gh[a-z]_|glpat-|xox[a-z]-|sk_live_|AKIA)\w{8}|/api/webhooks/"
    r"|(?i:\b(?:password|passwd|pwd|secret|token)=)|\A(?=.*[0-9])(?=.*[A-Za-z])[A-Za-z0-9+=]{32,}\Z"
)
_NO_SECRETS = frozenset(("", "true", "false", "yes", "no", "on", "off", "0", "1", "none", "null"))


@dataclass
class Drafted:
    """A definition in the order of its keys. ``comments`` stand above the key at their path; () is the top.

    ``secrets`` are keys with a placeholder. ``differing`` is what a server cannot have: it suspends the server. ``lost`` is gone after the
    first restart, and ``steps`` are shell commands before it.
    """

    container: str
    uuid: str
    name: str
    definition: dict[str, Any] = field(default_factory=dict)
    comments: dict[tuple[str, ...], list[str]] = field(default_factory=dict)
    secrets: list[str] = field(default_factory=list)
    differing: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    steps: list[str] = field(default_factory=list)

    def say(self, text: str, *path: str) -> None:
        self.comments.setdefault(path, []).append(text)


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
    inspected, image = _clean(inspected), _clean(image)
    config, host, base = as_map(inspected.get("Config")), as_map(inspected.get("HostConfig")), as_map(as_map(image).get("Config"))
    container, identity = _text(inspected.get("Name")).lstrip("/"), _text(inspected.get("Id"))
    named = parse_uuid(container)
    # The same container always gets the same UUID.
    uuid = named or str(uuids.uuid5(uuids.NAMESPACE_OID, f"fleet.power:{identity}"))
    out = Drafted(container, uuid, "" if named else container)
    user = f"{settings.container_uid}:{settings.container_gid}" if settings.rootless else f"{settings.uid}:{settings.gid}"
    out.say(f"Drafted from the container {container}. As a server:")
    out.say(f"- It runs as user {user} (before: {printable(_text(config.get('User'))) or 'root'}), with few capabilities.")
    out.say(f"- It has at most {settings.container_pid_limit} threads, and writes only to {HOME}, /tmp and mounts.")
    labels = _labels(out, config, base)
    out.lost.append("files that it wrote outside of its mounts")
    environment = _environment(out, config, base)
    body = {
        "uuid": uuid,
        "meta": {"name": out.name} if out.name else {},
        "suspended": True,
        "container": {"image": _reference(out, inspected, image, tag_moved)},
        "invocation": _invocation(out, config, base, environment.get("STARTUP", "")),
        "environment": {name: value for name, value in environment.items() if name not in _BUILT_IN},
        "labels": labels,
        "build": _build(out, host),
        "allocations": _allocations(out, inspected, environment),
        "mounts": _mounts(out, inspected, settings, user),
    }
    stop = _stop(out, config, base, settings)
    out.definition = {"settings": {key: value for key, value in body.items() if value}, "process_configuration": {"stop": stop}}
    _note_options(out, inspected, base, settings)
    _compare(out, inspected, base, settings, resolve)
    if out.differing:
        out.say("A server cannot have the following. Set this to false when it does no harm:", "settings", "suspended")
        for text in out.differing:
            out.say(f"- {text}", "settings", "suspended")
    else:
        del out.definition["settings"]["suspended"]
    if out.secrets:
        out.say(f"Write the secrets in place of {UNFILLED}; docker inspect shows them: {', '.join(out.secrets)}")
    return out


def _labels(out: Drafted, config: Mapping[str, Any], base: Mapping[str, Any]) -> dict[str, str]:
    """Return the container's own labels. With the labels of Compose, Compose would replace our container."""
    inherited, labels = as_map(base.get("Labels")), as_map(config.get("Labels"))
    own = {name: _text(value) for name, value in labels.items() if inherited.get(name) != value}
    maker = "Wings" if made_by_wings(labels) else next((words for name, words in _MAKERS.items() if name in own), "")
    cannot = f"Cannot define a server from container {out.container}: "
    if any(name.startswith(OUR_LABELS) for name in own):
        raise NotDefinable(f"{cannot}it is a server's container already")
    if maker:
        raise NotDefinable(f"{cannot}it belongs to {maker}")
    if out.container in ("", ALL):
        raise NotDefinable(f"{cannot}no server can have this name; rename the container first")
    project, service = (printable(own.get(_COMPOSE + key, "")) for key in ("project", "service"))
    if project:
        out.say(f"- It was service {service} of the Compose project {project}. Remove it there: `docker compose up` makes it again.")
    return {name: value for name, value in own.items() if not name.startswith(_COMPOSE)}


def _reference(out: Drafted, inspected: Mapping[str, Any], image: Mapping[str, Any] | None, tag_moved: bool) -> str:
    """Return the image by its tag, else by its digest, else by its id."""
    reference, identity = _text(as_map(inspected.get("Config")).get("Image")), _text(inspected.get("Image"))
    tags, digests = (_texts(as_map(image).get(key)) for key in ("RepoTags", "RepoDigests"))
    if identity.startswith((reference, f"sha256:{reference}")):
        reference = [*tags, *digests, identity][0]
    if image is None:
        out.differing.append("its image, which is gone: the command, variables and labels here include the image's")
    elif not digests:
        out.say("Guessed: the image is only on this node, so ~ forbids a pull.", "settings", "container", "image")
    if tag_moved:
        out.differing.append(f"its image {identity}: {printable(reference)} means another one now")
    for digest in digests:
        out.say(f"Digest: {digest}", "settings", "container", "image")
    return reference if digests or image is None else f"~{reference}"


def _invocation(out: Drafted, config: Mapping[str, Any], base: Mapping[str, Any], startup: str) -> str:
    entry, command = (_texts(config.get(key)) for key in ("Entrypoint", "Cmd"))
    own_entry = entry != _texts(base.get("Entrypoint"))
    words = [*entry, *command] if own_entry else command
    if own_entry or command != _texts(base.get("Cmd")):
        out.differing.append("its own command: invocation goes to the image's entrypoint as the variable STARTUP, which few images run")
    elif not startup:
        return ""
    shown = "".join(_masked(re.split(r"(\s+)", startup))) if startup else shlex.join(_masked(words))
    out.secrets += ["invocation"] if UNFILLED in shown else []
    return shown


def _masked(words: Sequence[str]) -> Iterator[str]:
    """Yield a command's words, with placeholders for secrets: after ``=``, after an option, or by their look."""
    option = ""
    for word in words:
        name, equals, value = word.partition("=")
        dashed = word.startswith(("-", "+"))
        if equals and _is_secret(name.lstrip("-+"), value):
            yield f"{name}={UNFILLED}"
        else:
            yield UNFILLED if not dashed and _is_secret(option, word.strip()) else word
        option = word.lstrip("-+") if dashed and not equals else option if word.isspace() else ""


def _environment(out: Drafted, config: Mapping[str, Any], base: Mapping[str, Any]) -> dict[str, str]:
    """Return the variables that the image does not set. Of two names that differ in case, a definition keeps the first."""
    inherited, found = frozenset(_texts(base.get("Env"))), {}
    taken = set(_BUILT_IN)
    for entry in _texts(config.get("Env")):
        name, equals, value = entry.partition("=")
        if entry in inherited or not name or not equals or (name.upper() in taken and name not in _BUILT_IN):
            continue
        taken.add(name.upper())
        found[name] = value
        if name not in _BUILT_IN and _is_secret(name, value):
            found[name] = UNFILLED
            out.secrets.append(printable(name))
    return found


def _build(out: Drafted, host: Mapping[str, Any]) -> dict[str, Any]:
    limits = limits_of(host)
    memory, swap = (math.ceil(size / 1_000_000) for size in (limits.memory, limits.memory_swap - limits.memory))
    if memory:
        out.say(f"It was {limits.memory} bytes. The node adds its overhead to the limit.", "settings", "build", "memory_limit")
    build = {
        "memory_limit": memory,
        "swap": 0 if not memory or not limits.memory_swap else -1 if limits.memory_swap < 0 else swap,
        "cpu_limit": math.ceil(float(amount(CPU, limits) or 0)),
        "threads": limits.cpus,
        "io_weight": amount(IO, limits),
        "oom_disabled": host.get("OomKillDisable"),
    }
    return {key: value for key, value in build.items() if value}


def _bindings(inspected: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Yield each published port with address and port of the node. Only live ones show the ports that the engine chose."""
    live, asked = (
        as_map(as_map(inspected.get(key)).get(name)) for key, name in (("NetworkSettings", "Ports"), ("HostConfig", "PortBindings"))
    )
    for published in dict.fromkeys((*asked, *live)):
        for binding in map(as_map, as_list(live.get(published)) or as_list(asked.get(published))):
            yield published, _text(binding.get("HostIp")) or "0.0.0.0", _text(binding.get("HostPort"))


def _allocations(out: Drafted, inspected: Mapping[str, Any], environment: Mapping[str, str]) -> dict[str, Any]:
    mappings: dict[str, list[int]] = {}
    for _published, address, port in _bindings(inspected):
        if _is_address(address) and _PORT.fullmatch(port) and int(port) not in mappings.setdefault(address, []):
            mappings[address].append(int(port))
    if not mappings:
        return {}
    out.say("Each port is published for TCP and UDP, with the same number in the container.", "settings", "allocations", "mappings")
    address, port = next((address, str(ports[0])) for address, ports in mappings.items())
    if _PORT.fullmatch(environment.get("SERVER_PORT", "")):
        port = environment["SERVER_PORT"]
    else:
        out.say("Guessed: the first port.", "settings", "allocations", "default")
    address = environment["SERVER_IP"] if _is_address(environment.get("SERVER_IP", "")) else address
    return {"default": {"ip": address, "port": int(port)}, "mappings": mappings}


def _mounts(out: Drafted, inspected: Mapping[str, Any], settings: Settings, user: str) -> list[dict[str, Any]]:
    """Return the mounts. One in the place of the data directory becomes that, by a copy."""
    found: list[dict[str, Any]] = []
    data, copy = posixpath.join(settings.data, out.uuid), ""
    # The engine lists them in any order.
    for mount in sorted(map(as_map, as_list(inspected.get("Mounts"))), key=lambda mount: _text(mount.get("Destination"))):
        kind, name, source = (_text(mount.get(key)) for key in ("Type", "Name", "Source"))
        target = posixpath.normpath(_text(mount.get("Destination")))
        if kind == "volume" and _ANONYMOUS.fullmatch(name):
            gone = "the engine removes it" if as_map(inspected.get("HostConfig")).get("AutoRemove") else f"its files stay in {source}"
            out.lost.append(f"the anonymous volume at {printable(target)} ({gone})")
        elif target == HOME and source.startswith("/"):
            out.steps.append(f"docker stop {out.uuid}")
            copy = f" && cp -a {shlex.quote(source)}/. {shlex.quote(data)}"
            out.say(f"It was {printable(source)}: copy it there before the first restart.", "settings", "uuid")
        elif source.startswith("/") and _UNREADABLE not in source + target and not target.startswith(("/proc", "/sys", "/dev", "/tmp")):
            if kind == "volume":
                out.say(f"The volume {printable(name)}; `docker volume rm` would remove it.", "settings", "mounts", str(len(found)))
            if mount.get("RW") is not False:
                out.say(f"User {user} must be able to write it.", "settings", "mounts", str(len(found)))
            found.append({"source": source, "target": target, "read_only": mount.get("RW") is False})
    out.steps.append(f"install -d -m 700 -o {settings.uid} -g {settings.gid} {shlex.quote(data)}{copy}")
    out.say(f"Data directory: {data}, in the container {HOME}.", "settings", "uuid")
    return found


def _stop(out: Drafted, config: Mapping[str, Any], base: Mapping[str, Any], settings: Settings) -> dict[str, Any]:
    wanted, timeout = config.get("StopSignal"), read_whole(config.get("StopTimeout"), 0, LONGEST_STOP_SECONDS + 1)
    way = {"type": "signal", "value": wanted} if wanted and wanted != base.get("StopSignal") else {"type": "stop"}
    if config.get("OpenStdin") or config.get("Tty"):
        out.say("It has a console. Perhaps a command ends it better: {type: command, value: stop}.", "process_configuration", "stop")
    if timeout is not None:
        return {**way, "timeout": timeout}
    out.say(
        f"SIGKILL comes after {settings.stop_timeout} s. `docker stop` waits 10 s; timeout: 10 does, too.", "process_configuration", "stop"
    )
    return way


def _note_options(out: Drafted, inspected: Mapping[str, Any], base: Mapping[str, Any], settings: Settings) -> None:
    """Note what no key has."""
    config, host = as_map(inspected.get("Config")), as_map(inspected.get("HostConfig"))
    found = {key: value for key, value in host.items() if key in _BEYOND and value not in ([], {}, _BEYOND[key])}
    own = {key: config.get(key) for key in ("WorkingDir",) if (config.get(key) or "") != (base.get(key) or "")}
    mode = _text(host.get("NetworkMode"))
    shared = {"NetworkMode": mode} if mode == "host" or mode.startswith("container:") else {}
    out.differing += [f"{key}: {printable(str(value))}" for key, value in {**found, **own, **shared}.items() if value]
    if config.get("Healthcheck") != base.get("Healthcheck"):
        out.say("- Its health check is that of the image, not its own.")
    policy = _text(as_map(host.get("RestartPolicy")).get("Name"))
    out.say(f"- The supervisor starts it after a crash (before: restart policy {printable(policy) or 'no'}).")
    for name, network in as_map(as_map(inspected.get("NetworkSettings")).get("Networks")).items():
        if name != settings.network_mode and not shared:
            names = few([printable(alias) for alias in _texts(as_map(network).get("Aliases"))])
            out.lost.append(f"the network {printable(name)}{names and f', with the name {names}'}")
            out.say(f"- It is in the network {settings.network_mode} (before: {printable(name)}{names and f', as {names}'}).")


def _compare(
    out: Drafted, inspected: Mapping[str, Any], base: Mapping[str, Any], settings: Settings, resolve: Callable[[str], str]
) -> None:
    """Make a container of the draft as a start does, and note what it lacks."""
    definition = parse_definition(out.definition, where=f"of container {out.container}")
    try:
        data = posixpath.join(settings.data, out.uuid)
        spec = container_spec(definition, settings, data_directory=data, image_id="", resolve=resolve)
    except DefinitionInvalid as error:
        out.differing.append(str(error))
        return
    out.differing += [*definition.warnings, *spec.warnings]
    host = spec.config["HostConfig"]
    variables = {
        name: value for name, _equals, value in (entry.partition("=") for entry in (*_texts(base.get("Env")), *spec.config["Env"]))
    }
    for entry in _texts(as_map(inspected.get("Config")).get("Env")):
        name, _equals, value = entry.partition("=")
        if _UNREADABLE in entry or (variables.get(name) not in (value, UNFILLED) and name != "STARTUP"):
            out.differing.append(f"the variable {printable(name)} as it was")
    for published, address, port in dict.fromkeys(_bindings(inspected)):
        if {"HostIp": address, "HostPort": port} not in host["PortBindings"].get(published, ()):
            out.differing.append(f"port {printable(port)} of {printable(address)} to port {printable(published)} of the container")
    targets = {HOME, *host["Tmpfs"], *(mount.target for mount in definition.mounts)}
    mounts = [mount for mount in map(as_map, as_list(inspected.get("Mounts"))) if not _ANONYMOUS.fullmatch(_text(mount.get("Name")))]
    wanted = [*(_text(mount.get("Destination")) for mount in mounts), *as_map(as_map(inspected.get("HostConfig")).get("Tmpfs"))]
    out.differing += [f"the mount at {printable(target)}" for target in sorted(wanted) if posixpath.normpath(target) not in targets]


def to_yaml(drafted: Drafted) -> str:
    """Return a draft as YAML for `load_text`, with its comments."""
    return "".join(f"{line}\n" for line in (*_comments(drafted, (), ""), *_lines(drafted, drafted.definition, ())))


def _lines(drafted: Drafted, values: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[str]:
    indent = "  " * len(path)
    for key, value in values.items():
        here, name = (*path, key), _scalar(key)
        yield from _comments(drafted, here, indent)
        # Before a colon, a reader takes at most 1024 characters.
        head = f"{indent}? {name}\n{indent}:" if len(name) > 1000 else f"{indent}{name}:"
        if isinstance(value, Mapping):
            yield head
            yield from _lines(drafted, value, here)
        elif isinstance(value, list) and isinstance(value[0], Mapping):
            yield head
            for index, item in enumerate(value):
                yield from _comments(drafted, (*here, str(index)), f"{indent}  ")
                yield f"{indent}  - {{{', '.join(f'{each}: {_scalar(item[each])}' for each in item)}}}"
        else:
            yield f"{head} [{', '.join(map(_scalar, value))}]" if isinstance(value, list) else f"{head} {_scalar(value)}"


def _comments(drafted: Drafted, path: tuple[str, ...], indent: str) -> Iterator[str]:
    # A line break would end the comment.
    return (f"{indent}# {blanked(text, '?')}" for text in drafted.comments.get(path, ()))


def _scalar(value: str | int) -> str:
    """Return a value in YAML; text without quotes only if no reader takes it for something else."""
    if not isinstance(value, str):
        return str(value).lower()
    if re.fullmatch(r"(?!(?i:y|n|yes|no|on|off|true|false|null)\Z)[A-Za-z][A-Za-z0-9_./-]*", value):
        return value
    escaped = (f"\\{each}" if each in '"\\' else each if each.isprintable() else f"\\U{ord(each):08x}" for each in value)
    return f'"{"".join(escaped)}"'


def _clean(value: Any) -> Any:
    """Replace NUL and halves of surrogate pairs, which no definition can hold."""
    if isinstance(value, str):
        return re.sub("[\0\ud800-\udfff]", _UNREADABLE, value)
    if isinstance(value, Mapping):
        return {_clean(key): _clean(item) for key, item in value.items()}
    return [_clean(item) for item in value] if isinstance(value, list) else value


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _texts(value: object) -> list[str]:
    return [each for each in as_list(value) if isinstance(each, str)]


def _is_address(text: str) -> bool:
    try:
        return bool(ipaddress.ip_address(text)) and "%" not in text
    except ValueError:
        return False


def _is_secret(name: str, value: str) -> bool:
    """Tell if a value is probably a secret. A variable in a command is none, nor is the name of a file with a secret."""
    if value.lower() in _NO_SECRETS or value.startswith(("$", "{{")):
        return False
    words = frozenset(re.split("[^A-Z0-9]+", name.upper()))
    named = _SECRET_NAME.search(name.upper()) or (words & _SECRET_WORDS and name != "PWD")
    return bool(_SECRET_VALUE.search(value) or (named and words.isdisjoint(("FILE", "PATH", "DIR"))))
