# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Placeholders in the rules of configuration files: ``{{server.X}}``, ``{{env.X}}`` and ``{{config.X}}``, for all parsers; pure.

A Panel expands the first two before it sends a definition; other sources do not. The third has harmless settings of the node: never a token
or this process's environment. Blanks may stand inside the braces.

Placeholders apply to ``replace_with`` and ``if_value``, not to ``match`` and file names, as in the Panel. Their values are plain text:
nested placeholders, ``$`` and pattern characters mean nothing in them. A value cannot make a pattern, an XML attribute or a part of a
group's name (``$1{{env.X}}`` is ``${1}`` and the value), and adds no line with the parser ``file``. An unknown name of these three kinds,
in any case, is an error. Other text in double braces stays.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping

from ..container.container_network import seen_by_containers
from ..definitions.definition import ConfigFile, Definition
from ..definitions.settings import Settings
from ..model.config_rule import ConfigRule
from ..model.schema import printable
from .rules import ConfigFault
from .xml_path import place_of

_PLACEHOLDER = re.compile(r"\{\{\s*((server|env|config)\.([^{}]*))\}\}", re.IGNORECASE)
_REGEX = "regex:"
#: Characters that a pattern must not interpret.
_SPECIAL = re.compile(r"[^A-Za-z0-9_\s]")
#: A dollar in a template begins: a dollar, a group in braces, another group, or at the end a group that the next text would continue.
_DOLLAR = re.compile(r"\$(?:\$|\{\w+\}|(\w+)|(\{\w*)?\Z)", re.ASCII)
_ENVIRONMENT = "build.env."
_UNKNOWN = {
    "server": "a definition has no such value",
    "env": "the definition's environment has no such variable",
    "config": "of the node's settings only docker.interface, app_name and system.timezone may be used",
}


def expand(config: ConfigFile, definition: Definition, settings: Settings) -> ConfigFile:
    """Return ``config`` expanded. Raises `ConfigFault` with the rule for an unknown placeholder. Booleans are ``true`` and ``false``."""
    if not any(_holds(rule) for rule in config.rules):
        return config
    values = _Values(definition, settings)
    rules = (values.rule(rule, config.parser) if _holds(rule) else rule for rule in config.rules)
    return dataclasses.replace(config, rules=tuple(rules))


def _holds(rule: ConfigRule) -> bool:
    return any(isinstance(text, str) and "{{" in text for text in (rule.replace_with, rule.if_value))


class _Values:
    def __init__(self, definition: Definition, settings: Settings) -> None:
        # As in the container: no variable of a definition replaces these.
        own = {
            "TZ": settings.timezone,
            "STARTUP": definition.invocation,
            "SERVER_MEMORY": definition.build.memory_limit,
            "SERVER_IP": seen_by_containers(definition.allocations.default_ip, settings),
            "SERVER_PORT": definition.allocations.default_port,
        }
        environment = {**dict(definition.environment), **_texts(own)}
        self._values: dict[str, Mapping[str, str]] = {
            "server": {**_server_values(definition), **{_ENVIRONMENT + name: value for name, value in environment.items()}},
            "env": environment,
            "config": _node_values(settings),
        }

    def rule(self, rule: ConfigRule, parser: str) -> ConfigRule:
        is_pattern = rule.if_value is not None and rule.if_value.startswith(_REGEX)
        replacement, condition = rule.replace_with, rule.if_value
        try:
            if isinstance(replacement, str):
                # Lines have no value, so their replacement is never a template.
                replacement = self._replacement(replacement, is_pattern and parser != "file", parser == "file")
            if condition is not None:
                pieces = self._pieces(condition, (lambda text: _SPECIAL.sub(r"\\\g<0>", text)) if is_pattern else str)
                condition = "".join(pieces)
        except ConfigFault as fault:
            raise ConfigFault(str(fault), rule) from None
        if condition is not None and condition.startswith(_REGEX) and not is_pattern:
            raise ConfigFault("what its if_value looks up would make a pattern of it", rule)
        expanded = dataclasses.replace(rule, replace_with=replacement, if_value=condition)
        # A variable's value must not choose what a rule writes to.
        if parser == "xml" and place_of(expanded).attribute != place_of(rule).attribute:
            raise ConfigFault("what its replace_with looks up would make an attribute of the text", rule)
        return expanded

    def _replacement(self, text: str, is_template: bool, is_of_lines: bool) -> str:
        # In a template a dollar begins the name of a group.
        pieces = self._pieces(text, (lambda value: value.replace("$", "$$")) if is_template else str)
        if is_template:
            pieces[:-1:2] = map(_closed, pieces[:-1:2])
        if is_of_lines:
            _refuse_more_lines(pieces)
        return "".join(pieces)

    def _pieces(self, text: str, written: Callable[[str], str]) -> list[str]:
        """Return the rule's own text and the values in turn; the first and the last are the rule's own."""
        pieces: list[str] = []
        position = 0
        for found in _PLACEHOLDER.finditer(text):
            pieces += text[position : found.start()], written(self._look_up(*found.groups()))
            position = found.end()
        return [*pieces, text[position:]]

    def _look_up(self, whole: str, kind: str, name: str) -> str:
        values, name = self._values.get(kind, {}), name.strip()
        if kind == "env" or (kind == "server" and name.startswith(_ENVIRONMENT)):
            # Variable names are kept in upper case, however they were written.
            name = _ENVIRONMENT + name[len(_ENVIRONMENT) :].upper() if kind == "server" else name.upper()
        if name not in values:
            reason = _UNKNOWN.get(kind, "server, env and config are written in lower case")
            raise ConfigFault(f"nothing is known of {{{{{printable(whole.strip())}}}}}: {reason}")
        return values[name]


def _closed(text: str) -> str:
    """Return a template's text so that following text cannot become a part of a group's name."""

    def closed(found: re.Match[str]) -> str:
        name, begun = found.groups()
        if name is not None:
            return f"${{{name}}}"
        return found.group() if found.group().endswith(("$$", "}")) else f"$${begun or ''}"

    return _DOLLAR.sub(closed, text)


def _refuse_more_lines(pieces: list[str]) -> None:
    """Refuse a variable that would add lines; line ends at the very end are dropped anyway."""
    left = len("".join(pieces).rstrip("\r\n"))
    for place, piece in enumerate(pieces):
        shown, left = piece[: max(left, 0)], left - len(piece)
        if place % 2 and ("\n" in shown or "\r" in shown):
            raise ConfigFault("the value for its replace_with has a line end, which would add lines to the file")


def _server_values(definition: Definition) -> dict[str, str]:
    """Return the Panel's names with values. Three that only the Panel uses come from its raw definition."""
    build, allocations = definition.build, definition.allocations
    settings = definition.source.get("settings") or {}
    egg, container = settings.get("egg"), settings.get("container")
    return _texts(
        {
            "uuid": definition.server.uuid,
            "suspended": definition.suspended,
            "rebuild": isinstance(container, Mapping) and container.get("requires_rebuild") is True,
            "service.egg": egg.get("id") if isinstance(egg, Mapping) else None,
            "service.skip_scripts": settings.get("skip_egg_scripts") is True,
            "build.default.ip": allocations.default_ip,
            "build.default.port": allocations.default_port,
            "build.memory": build.memory_limit,
            "build.swap": build.swap,
            "build.io": build.io_weight,
            "build.cpu": build.cpu_limit,
            "build.threads": build.threads,
            "build.disk": build.disk_space,
            "build.image": definition.image,
            "build.oom_disabled": build.oom_disabled,
        }
    )


def _node_values(settings: Settings) -> dict[str, str]:
    return {
        "docker.network.interface": settings.network_interface,
        "docker.interface": settings.network_interface,
        "app_name": settings.app_name,
        "system.timezone": settings.timezone,
        "timezone": settings.timezone,
    }


def _texts(values: Mapping[str, object]) -> dict[str, str]:
    known = {name: value for name, value in values.items() if isinstance(value, (str, int))}
    return {name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in known.items()}
