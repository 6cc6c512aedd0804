# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The definition of a server, read from the Panel's JSON; pure. `definition_keys` has the keys and their defaults."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..model.config_rule import ConfigRule
from ..model.errors import DefinitionInvalid
from ..model.records import dataclass, field
from ..model.redaction import secrets_in
from ..model.request import Priorities
from ..model.schema import Check, KeyLocation, Mismatch, blanked, few, printable, read_keys
from ..model.server import Server, StopWay
from .definition_keys import KEYS
from .stop_way import read_stop_way

#: ``fleet-power define`` writes this in place of a secret.
UNFILLED = "WRITE-THE-SECRET-HERE"

_SHOWN_ITEMS = 5
_STOP_KEYS = tuple(f"process_configuration.stop.{name}" for name in ("type", "value", "timeout"))


@dataclass(frozen=True)
class Build:
    """The limits of a server: memory and swap in decimal MB, disk in MiB, CPU in percent of a core; 0 is unlimited.

    Swap is added to the memory: 0 is none, -1 unlimited. Disk below 0 is unlimited too.
    """

    memory_limit: int
    swap: int
    io_weight: int
    cpu_limit: int
    threads: str
    disk_space: int
    oom_disabled: bool


@dataclass(frozen=True)
class Allocations:
    """Addresses and ports. Every port in ``mappings`` is between 1 and 65535."""

    force_outgoing_ip: bool
    default_ip: str
    default_port: int
    mappings: tuple[tuple[str, tuple[int, ...]], ...]


@dataclass(frozen=True)
class Mount:
    """A directory or file of the node for the container. Both paths begin with /; neither is normalised."""

    source: str
    target: str
    read_only: bool


@dataclass(frozen=True)
class StartupRule:
    """The readiness lines: text within a line, or ``regex:`` and a pattern."""

    done: tuple[str, ...]
    strip_ansi: bool


@dataclass(frozen=True)
class ConfigFile:
    """A file to edit before a start; ``file`` is a path within the data directory, not yet trusted."""

    file: str
    parser: str
    rules: tuple[ConfigRule, ...]


@dataclass(frozen=True)
class Definition:
    """The definition. ``environment`` is that of the container: upper-case names, text values, in the written order."""

    server: Server
    #: Without the ``~`` that marks a local image, which is never pulled.
    image: str
    image_is_local: bool
    suspended: bool
    invocation: str = field(repr=False)
    environment: tuple[tuple[str, str], ...] = field(repr=False)
    build: Build
    allocations: Allocations
    mounts: tuple[Mount, ...]
    labels: tuple[tuple[str, str], ...]
    egg: str | None
    priority: int | None
    #: Name of a game profile, or empty.
    game: str
    crash_detection_enabled: bool | None
    on_failed_start: str | None
    startup: StartupRule
    stop: StopWay
    configs: tuple[ConfigFile, ...]
    warnings: tuple[str, ...]
    source: Mapping[str, Any] = field(repr=False, compare=False)


def parse_definition(raw: object, *, where: str, expect_uuid: str | None = None) -> Definition:
    """Read a definition; ``where`` names its source in errors, ``expect_uuid`` is the UUID of its file name.

    Raises only `DefinitionInvalid`, which names dotted key, value and expected type.
    """
    try:
        return read_definition(raw, expect_uuid)
    except Mismatch as mismatch:
        raise DefinitionInvalid(f"Cannot read definition {where}: {mismatch}", where=where, key=mismatch.key) from None


def read_definition(raw: Any, expect_uuid: str | None, place: KeyLocation | None = None) -> Definition:
    """Read a definition; unknown keys become one warning, or go to ``place``. Raises `Mismatch` with every fault."""

    def require_uuid(values: Mapping[str, Any]) -> None:
        if expect_uuid is not None and values["settings.uuid"] != expect_uuid.lower():
            expected = f"expected {printable(expect_uuid.lower())}, as its place says"
            raise Mismatch("settings.uuid", f"is {values['settings.uuid']}, {expected}")

    checks = (Check(("settings.uuid",), require_uuid), Check(_STOP_KEYS, _stop_way))
    reading = read_keys(raw, KEYS, place, checks)
    # One line for all: it reveals a mistyped limit, and keeps short for a fork of the Panel.
    warnings = [f"unknown keys ignored: {few(reading.unknown, _SHOWN_ITEMS)}"] if place is None and reading.unknown else []
    return _definition(raw, reading.complete(KEYS), warnings)


def _definition(raw: Any, values: Mapping[str, Any], warnings: list[str]) -> Definition:
    return Definition(
        server=Server(values["settings.uuid"], blanked(values["settings.meta.name"]).strip()),
        image=values["settings.container.image"].removeprefix("~"),
        image_is_local=values["settings.container.image"].startswith("~"),
        suspended=values["settings.suspended"],
        invocation=values["settings.invocation"],
        environment=_environment(values["settings.environment"], warnings),
        build=_build(values),
        allocations=_allocations(values, warnings),
        mounts=tuple(Mount(**mount) for mount in values["settings.mounts"]),
        labels=tuple(values["settings.labels"].items()),
        egg=values["settings.egg"],
        priority=values["settings.meta.priority"],
        game=values["settings.meta.game"].strip(),
        crash_detection_enabled=values["settings.crash_detection_enabled"],
        on_failed_start=values["settings.on_failed_start"],
        startup=StartupRule(values["process_configuration.startup.done"], values["process_configuration.startup.strip_ansi"]),
        stop=_stop(raw, values, warnings),
        configs=tuple(
            ConfigFile(entry["file"], entry["parser"], tuple(ConfigRule(**rule) for rule in entry["replace"]))
            for entry in values["process_configuration.configs"]
        ),
        warnings=tuple(warnings),
        source=raw,
    )


def _environment(given: Mapping[str, str | None], warnings: list[str]) -> tuple[tuple[str, str], ...]:
    variables: dict[str, str] = {}
    for name, value in given.items():
        upper = name.upper()
        if upper in variables:
            warnings.append(f"settings.environment.{printable(name)} is ignored: {printable(upper)} is given before")
        elif value is None:
            warnings.append(f"settings.environment.{printable(name)} is a list or a map, which no variable can hold: it is empty")
        variables.setdefault(upper, value or "")
    return tuple(variables.items())


def _build(values: Mapping[str, Any]) -> Build:
    prefix = "settings.build."
    limits = {name: values[prefix + name] for name in ("memory_limit", "swap", "io_weight", "cpu_limit", "threads", "disk_space")}
    oom_disabled, oom_killer = values[prefix + "oom_disabled"], values[prefix + "oom_killer"]
    if oom_disabled is None:
        oom_disabled = values["settings.container.oom_disabled"] if oom_killer is None else not oom_killer
    return Build(oom_disabled=oom_disabled, **limits)


def _allocations(values: Mapping[str, Any], warnings: list[str]) -> Allocations:
    key = "settings.allocations.mappings"
    mappings = []
    for address, ports in values[key].items():
        wrong = [port for port in ports if not 1 <= port <= 65535]
        if wrong:
            warnings.append(f"{key}.{address}: skipped what is not between 1 and 65535: {few(list(map(str, wrong)), _SHOWN_ITEMS)}")
        mappings.append((address, tuple(dict.fromkeys(port for port in ports if port not in wrong))))
    return Allocations(
        force_outgoing_ip=values["settings.allocations.force_outgoing_ip"],
        default_ip=values["settings.allocations.default.ip"],
        default_port=values["settings.allocations.default.port"],
        mappings=tuple(mappings),
    )


def _stop_way(values: Mapping[str, Any]) -> tuple[StopWay, str]:
    kind, value, timeout = (values[key] for key in _STOP_KEYS)
    try:
        return read_stop_way(kind, value, timeout)
    except ValueError as error:
        wrong = _STOP_KEYS[kind == "signal"]
        raise Mismatch(wrong, f'is "{printable(value if kind == "signal" else kind)}", {error}') from None


def _stop(raw: Mapping[str, Any], values: Mapping[str, Any], warnings: list[str]) -> StopWay:
    """Without a stop section the stop is native. A section without a way causes a warning."""
    way, warning = _stop_way(values)
    if warning and "stop" in (raw.get("process_configuration") or {}):
        warnings.append(warning)
    return way


def refuse_unfilled(definition: Definition) -> None:
    """Raise `DefinitionInvalid` if a variable still has the placeholder of a secret."""
    unfilled = few([f"settings.environment.{printable(name)}" for name, value in definition.environment if UNFILLED in value])
    if unfilled:
        raise DefinitionInvalid(
            f"Cannot use the definition of server {definition.server.uuid}: {unfilled} still has a placeholder; write the secret there"
        )


def priority_of(server: Server, definition: Definition | None, order: Priorities) -> int:
    """Return the priority of a server. Its definition has its newest name."""
    return order.priority(server) if definition is None else order.priority(definition.server, definition.priority)


def secrets_of(definition: Definition | None) -> frozenset[str]:
    """Return the texts of 6 characters or more that a server's output must not show; none without a definition.

    These are the values of its environment, the text values of its configuration files, the lines of both, and text after ``=`` in words of
    its start command, except variables.
    """
    if definition is None:
        return frozenset()
    values = [value for _name, value in definition.environment]
    values += [rule.replace_with for config in definition.configs for rule in config.rules if isinstance(rule.replace_with, str)]
    arguments = (word.partition("=")[2].strip("\"'") for word in definition.invocation.split())
    return secrets_in((*values, *(argument for argument in arguments if "{{" not in argument)))
