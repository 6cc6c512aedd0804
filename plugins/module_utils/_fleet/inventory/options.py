# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of an inventory file, checked, as values."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..._power.engine.connection import Connection, connect
from ..._power.model.errors import SettingsInvalid
from ..._power.model.option import Option, refuse_unknown
from ..._power.model.schema import describe

#: A node's name appears in templates and group names.
_NODE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,252}")
_LABEL = re.compile(r"label:.+")
#: Ways of naming a host without a parameter.
WAYS = ("name", "slug", "short_id", "uuid")
_ENGINE_TEXT = ("ca_path", "client_cert", "client_key", "tls_hostname", "api_version")
_ENGINE_FLAGS = ("tls", "validate_certs")
NODE_KEYS = (*("docker_host", *_ENGINE_FLAGS, *_ENGINE_TEXT), *("ssh_args", "url", "token", "panel_node", "vars"))
_SNAPSHOT_MAX_AGE = Option("int", least=0)
_TIMEOUT = Option("int", least=1, most=600)


@dataclass(frozen=True)
class NodeWanted:
    """One node: how to read it, and the variables for its servers' hosts. No message shows the token."""

    name: str
    docker_host: str | None = None
    engine: Mapping[str, Any] = field(default_factory=dict)
    ssh_args: tuple[str, ...] = ()
    url: str | None = None
    token: str = field(default="", repr=False)
    verify: bool = True
    ca_path: str | None = None
    panel_node: str | None = None
    vars: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def is_looked_at(self) -> bool:
        return self.docker_host is not None or self.url is not None

    def connection(self, timeout: int) -> Connection:
        """Return the connection to its engine. The user's environment may name another engine, so it does not count."""
        return connect({**self.engine, "docker_host": self.docker_host, "timeout": timeout}, None, variables={})


@dataclass(frozen=True)
class PanelWanted:
    """The Panel, and the key for its Application API. No message shows the key."""

    url: str
    key: str = field(repr=False)
    verify: bool = True
    ca_path: str | None = None


@dataclass(frozen=True)
class InventoryOptions:
    """The options of the file. ``timeout`` is in seconds, for one exchange."""

    nodes: tuple[NodeWanted, ...]
    panel: PanelWanted | None
    snapshot: str | None
    snapshot_max_age: int
    hostnames: tuple[str, ...]
    timeout: int

    def identity(self) -> list[Any]:
        """Return the options that decide the content, without secrets. A cache with another identity is useless."""
        nodes = [[node.name, node.docker_host, node.url, sorted(map(str, node.engine.items())), list(node.ssh_args)] for node in self.nodes]
        return [nodes, None if self.panel is None else self.panel.url, self.snapshot]


def wanted_of(options: Mapping[str, Any], where: Callable[[str], str]) -> InventoryOptions:
    """Return the checked options of an inventory file. ``where`` resolves relative paths. Raises `SettingsInvalid` naming the option."""
    nodes = _nodes(options.get("nodes"), _ssh_args("ssh_args", options.get("ssh_args")))
    snapshot = options.get("snapshot") or None
    panel = _panel(options)
    if not (snapshot or panel or any(node.is_looked_at for node in nodes)):
        raise SettingsInvalid(
            "Cannot find servers: the file names no source; give nodes with docker_host or url, or snapshot, or panel_url and panel_api_key"
        )
    return InventoryOptions(
        nodes=nodes,
        panel=panel,
        snapshot=None if snapshot is None else where(str(snapshot)),
        snapshot_max_age=_bounded(options, "snapshot_max_age", _SNAPSHOT_MAX_AGE),
        hostnames=_hostnames(options.get("hostnames") or ()),
        timeout=_bounded(options, "timeout", _TIMEOUT),
    )


def _bounded(options: Mapping[str, Any], name: str, option: Option) -> int:
    value = int(options[name])
    if not option.holds(value):
        raise SettingsInvalid(f"Cannot use {name}={value}: expected a whole number of seconds {option.limit}")
    return value


def _hostnames(given: Sequence[Any]) -> tuple[str, ...]:
    for way in given:
        if way not in WAYS and not (isinstance(way, str) and _LABEL.fullmatch(way)):
            raise SettingsInvalid(f"Cannot use hostnames: it has {describe(way)}, expected {', '.join(WAYS)} or label:NAME")
    return tuple(str(way) for way in given)


def _panel(options: Mapping[str, Any]) -> PanelWanted | None:
    url, key = str(options.get("panel_url") or ""), str(options.get("panel_api_key") or "").strip()
    if not url:
        return None
    if not key:
        raise SettingsInvalid("Cannot ask the Panel: panel_api_key is not given; make a key for the Application API on the Panel")
    return PanelWanted(url, key, bool(options.get("panel_validate_certs", True)), options.get("panel_ca_path") or None)


def _nodes(given: Any, ssh_args: tuple[str, ...]) -> tuple[NodeWanted, ...]:
    if given is None:
        return ()
    if not isinstance(given, Mapping):
        raise SettingsInvalid(f"Cannot use nodes: it is {describe(given)}, expected a map of nodes by name")
    return tuple(_node(name, {} if node is None else node, ssh_args) for name, node in given.items())


def _node(name: Any, given: Any, ssh_args: tuple[str, ...]) -> NodeWanted:
    if not isinstance(name, str) or not _NODE_NAME.fullmatch(name):
        raise SettingsInvalid(
            f"Cannot use nodes: the name of a node is {describe(name)}, expected letters, digits, dots, hyphens and underscores, in quotes"
        )
    option = f"nodes.{name}"
    if not isinstance(given, Mapping):
        raise SettingsInvalid(f"Cannot use {option}: it is {describe(given, secret=True)}, expected a map")
    refuse_unknown(list(given), NODE_KEYS, option)
    keys = ("docker_host", "url", "token", "panel_node", *_ENGINE_TEXT)
    text = {key: (_given(option, key, given, str, "text (put it in quotes)") or "").strip() or None for key in keys}
    flags = {key: _given(option, key, given, bool, "true or false") for key in _ENGINE_FLAGS}
    if text["docker_host"] and text["url"]:
        raise SettingsInvalid(f"Cannot use {option}: it has both docker_host and url; give one of them")
    if text["url"] and not text["token"]:
        raise SettingsInvalid(f"Cannot use {option}: url needs token, the node's own token in Wings' configuration")
    variables = given.get("vars") or {}
    if not isinstance(variables, Mapping) or not all(isinstance(key, str) for key in variables):
        raise SettingsInvalid(f"Cannot use {option}.vars: it is {describe(variables, secret=True)}, expected a map of variables by name")
    node = NodeWanted(
        name=str(name),
        docker_host=text["docker_host"],
        engine={key: value for key, value in {**flags, **{key: text[key] for key in _ENGINE_TEXT}}.items() if value is not None},
        ssh_args=_ssh_args(f"{option}.ssh_args", given["ssh_args"]) if given.get("ssh_args") is not None else ssh_args,
        url=text["url"],
        token=text["token"] or "",
        verify=flags["validate_certs"] is not False,
        ca_path=text["ca_path"],
        panel_node=text["panel_node"],
        vars=dict(variables),
    )
    try:
        if node.docker_host is not None:
            node.connection(1)
    except SettingsInvalid as error:
        raise SettingsInvalid(str(error).replace("Cannot use ", f"Cannot use {option}.", 1)) from None
    return node


def _given(option: str, key: str, given: Mapping[str, Any], kind: type, expected: str) -> Any:
    value = given.get(key)
    if value is not None and not isinstance(value, kind):
        raise SettingsInvalid(f"Cannot use {option}.{key}: it is {describe(value, secret=key == 'token')}, expected {expected}")
    return value


def _ssh_args(option: str, given: Any) -> tuple[str, ...]:
    if given is None:
        return ()
    if not isinstance(given, str):
        raise SettingsInvalid(f"Cannot use {option}: it is {describe(given)}, expected text, as on the command line of ssh")
    try:
        return tuple(shlex.split(given))
    except ValueError:
        raise SettingsInvalid(f"Cannot use {option}: its quotes do not match") from None
