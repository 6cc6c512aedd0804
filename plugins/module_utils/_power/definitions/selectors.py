# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Selectors: the servers of a rule in the settings; pure. Only the definition counts, because a container could change other data."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..model.records import dataclass, field
from ..model.request import ALL
from ..model.schema import KeyLocation, KeySpec, Mismatch, ValueType, joined, read_keys
from ..model.server import Server, parse_uuid
from .kinds import FILLED_TEXT, SCALAR_TEXT, TEXT_OR_NUMBER, map_of

if TYPE_CHECKING:
    from .definition import Definition

#: The end of a whole part of an image reference: a part, a tag, a digest, nothing. A colon before a slash begins a port: another registry.
_PART_END = re.compile(r"/|[:@][^/]*\Z|\Z")
SERVER_KEY = KeySpec("server", FILLED_TEXT, "", "Name or UUID of the server; `all`: every server")
EGG_KEY = KeySpec("egg", TEXT_OR_NUMBER, "", "UUID of the egg of the servers")
LABEL_KEY = KeySpec("label", map_of(SCALAR_TEXT, "a map of text"), {}, "Labels that the servers all have")
IMAGE_KEY = KeySpec("image", FILLED_TEXT, "", "Start of the image name of the servers, in whole parts (`/`, `:`, `@`)")
#: The keys of a rule that can select servers by image, too.
SELECTORS = (SERVER_KEY, EGG_KEY, IMAGE_KEY, LABEL_KEY)


def begins_with(reference: str, name: str) -> bool:
    """Return True if ``name`` is a prefix of an image reference, in whole parts."""
    trimmed = name.rstrip("/")
    return bool(trimmed) and reference.startswith(trimmed) and _PART_END.match(reference, len(trimmed)) is not None


@dataclass(frozen=True)
class ServerSelector:
    """A selector: a server matches if all given fields match, so that none selects every server. ``uuid`` and ``egg`` are in lower case."""

    uuid: str = ""
    name: str = ""
    egg: str = ""
    label: Mapping[str, str] = field(default_factory=dict)
    image: str = ""

    def selects(self, server: Server, definition: Definition | None) -> bool:
        """Return True if the rule selects a server. Without a definition only conditions on the server itself can match."""
        if definition is None:
            return self._names(server) and not (self.egg or self.label or self.image)
        labels = dict(definition.labels)
        return (
            (self._names(server) or self._names(definition.server))
            and self.egg in ("", (definition.egg or "").lower())
            and all(labels.get(name) == value for name, value in self.label.items())
            and (not self.image or begins_with(definition.image, self.image))
        )

    def may_select(self, server: Server, definition: Definition | None) -> bool:
        """Return True if the rule could select a server. Without a definition it could, unless name or UUID differ."""
        return self._names(server) if definition is None else self.selects(server, definition)

    def _names(self, server: Server) -> bool:
        return self.uuid in ("", server.uuid) and self.name in ("", server.name)


def take_selector(given: dict[str, Any], keys: Sequence[KeySpec], place: KeyLocation) -> ServerSelector:
    """Take the selector's keys out of a rule. Raises `Mismatch` if there are none."""
    said = {key.name: given.pop(key.name) for key in keys}
    if not any(said.values()):
        raise Mismatch(place.key, f"selects no server, expected one or more of {names_of(keys)}")
    server, egg = said["server"].strip(), said["egg"].strip().lower()
    uuid = parse_uuid(server) or ""
    name = "" if uuid or server == ALL else server
    return ServerSelector(uuid, name, egg, said["label"], said.get("image", "").strip())


def names_of(keys: Sequence[KeySpec]) -> str:
    return joined([key.name for key in keys], "and")


def rule_of(
    build: Callable[..., Any], own: Sequence[KeySpec], selectors: Sequence[KeySpec] = SELECTORS, *, sets: bool = False
) -> ValueType:
    """A rule: a selector and ``own`` keys. With ``sets``, a rule must set one of them."""
    keys = (*selectors, *own)

    def read(value: object, place: KeyLocation) -> Any:
        given = read_keys(value, keys, place).complete(keys)
        servers = take_selector(given, selectors, place)
        if sets and all(said is None for said in given.values()):
            raise Mismatch(place.key, f"sets nothing, expected one or more of {names_of(own)}")
        return build(servers, **given)

    return ValueType("a rule", read, keys)
