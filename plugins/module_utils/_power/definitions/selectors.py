# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rules of the settings that are for some servers: how a rule says which, and whether it means one; pure.

Only what the server's definition says counts, and nothing that can be changed from within its container.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..model.schema import KeyLocation, KeySpec, Mismatch
from ..model.server import Server, parse_uuid
from .kinds import FILLED_TEXT, SCALAR_TEXT, TEXT_OR_NUMBER, map_of

if TYPE_CHECKING:
    from .definition import Definition

#: What follows a whole part of an image's reference: a further one, a tag or digest, or nothing. What a colon begins and a slash ends is a
#: port, and with it another registry.
_PART_END = re.compile(r"/|[:@][^/]*\Z|\Z")
SERVER_KEY = KeySpec("server", FILLED_TEXT, None, "Name or UUID of the server")
EGG_KEY = KeySpec("egg", TEXT_OR_NUMBER, "", "UUID of the egg of the servers")
LABEL_KEY = KeySpec("label", map_of(SCALAR_TEXT, "a map of text"), {}, "Labels that the servers all have")
IMAGE_KEY = KeySpec("image", FILLED_TEXT, "", "Start of the image name of the servers, in whole parts (`/`, `:`, `@`)")


def begins_with(reference: str, name: str) -> bool:
    """Tell if ``name`` is the beginning of an image's reference, in whole parts."""
    trimmed = name.rstrip("/")
    return bool(trimmed) and reference.startswith(trimmed) and _PART_END.match(reference, len(trimmed)) is not None


@dataclass(frozen=True)
class ServerSelector:
    """The servers that a rule is for: those that have all of it that is given.

    ``server`` is a UUID in lower case or a name, ``egg`` in lower case.
    """

    server: str | None = None
    egg: str = ""
    label: Mapping[str, str] = field(default_factory=dict)
    image: str = ""

    def selects(self, server: Server, definition: Definition | None) -> bool:
        """Tell if the rule is for a server. Without its definition it is for none of which it asks more than the server itself."""
        if definition is None:
            return self.server in (server.uuid, server.name) and not (self.egg or self.label or self.image)
        labels = dict(definition.labels)
        return (
            self.server in (None, server.uuid, server.name, definition.server.name)
            and self.egg in ("", (definition.egg or "").lower())
            and all(labels.get(name) == value for name, value in self.label.items())
            and (not self.image or begins_with(definition.image, self.image))
        )

    def may_select(self, server: Server, definition: Definition | None) -> bool:
        """Tell if the rule may be for a server: without its definition, unless name or UUID say that it is not."""
        if definition is None:
            return self.server in (None, server.uuid, server.name)
        return self.selects(server, definition)


def take_selector(given: dict[str, Any], keys: Sequence[KeySpec], place: KeyLocation) -> ServerSelector:
    """Take out of what a rule says which servers it is for, by these keys. Raises `Mismatch` if it says of none."""
    said = {key.name: given.pop(key.name) for key in keys}
    server, egg = said["server"], said["egg"].strip().lower()
    found = ServerSelector(server and (parse_uuid(server) or server.strip()), egg, said["label"], said.get("image", "").strip())
    if found == ServerSelector():
        raise Mismatch(place.key, f"says of no server that it is for it, expected one or more of {names_of(keys)}")
    return found


def names_of(keys: Sequence[KeySpec]) -> str:
    """The names of keys as a sentence has them."""
    *names, last = (key.name for key in keys)
    return f"{', '.join(names)} and {last}"
