# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Facts on outdated containers. Pulls nothing, asks no source and changes nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Union

from ...definitions.definition import Definition
from ...host.concurrency import map_concurrently
from ...model.errors import EngineUnreachable, PowerError, ServerNotFound
from ...model.schema import few
from ...model.server import ImageSeen, Snapshot
from ...sources.sources import Sources
from ..boot.outdated import Outdated, outdated
from ..node.node import Node

_IMAGES_SECONDS = 10.0

#: For example, Wings' servers on a node without sources of definitions.
NO_DEFINITION = "no source of this node has a definition of it"

_Found = Union[ImageSeen, PowerError, None]


@dataclass(frozen=True)
class ReadDefinition:
    """A definition as a reader has it; ``doubt`` says why a boot may use another one, else it is None."""

    definition: Definition | None
    doubt: PowerError | None = None

    @classmethod
    def of(cls, uuid: str, sources: Sources) -> ReadDefinition:
        """Read the definition for a boot as far as its source was asked, else the last known one."""
        try:
            return cls(sources.definition_as_asked(uuid))
        except PowerError as error:
            return cls(sources.definition_for_stop(uuid), error)


def outdated_each(seen: Mapping[str, tuple[ReadDefinition, Snapshot | None]], node: Node) -> dict[str, dict[str, Any] | None]:
    """Return the facts of each server by UUID; None without a container."""
    names = {read.definition.image for read, snapshot in seen.values() if read.definition is not None and snapshot is not None}
    images = _images(sorted(names), node)
    return {uuid: None if snapshot is None else _told(read, snapshot, images, node).facts() for uuid, (read, snapshot) in seen.items()}


def _images(names: Sequence[str], node: Node) -> dict[str, _Found]:
    def find(name: str) -> tuple[_Found]:
        try:
            return (node.engine.images.find(name),)
        except PowerError as error:
            return (error,)

    silent = EngineUnreachable(f"Cannot look for images: the engine took more than {_IMAGES_SECONDS:.0f} s")
    found = map_concurrently(find, names, _IMAGES_SECONDS)
    return {name: silent if each is None else each[0] for name, each in zip(names, found)}


def _told(read: ReadDefinition, snapshot: Snapshot, images: Mapping[str, _Found], node: Node) -> Outdated:
    if read.definition is None or isinstance(read.doubt, ServerNotFound):
        return Outdated(None, NO_DEFINITION)
    if read.doubt is not None:
        return Outdated.because(read.doubt)
    image = images.get(read.definition.image)
    if isinstance(image, PowerError):
        return Outdated.because(image)
    return outdated(node, read.definition, snapshot, image)


def unknown_warnings(entries: Sequence[Mapping[str, Any]], told: Iterable[str] = ()) -> list[str]:
    """Return a message for each reason in ``entries`` but not in ``told``; a missing definition needs none."""
    by_reason: dict[str, list[str]] = {}
    for entry in entries:
        outdated = entry.get("outdated")
        if outdated is not None and outdated["is_outdated"] is None:
            by_reason.setdefault(outdated["why"], []).append(entry["name"] or entry["short_id"])
    said = {NO_DEFINITION, *told}
    unsaid = [why for why in by_reason if why not in said]
    return [f"Cannot tell whether {few(by_reason[why])} {_are(by_reason[why])} outdated: {why}" for why in unsaid]


def _are(names: Sequence[str]) -> str:
    return "is" if len(names) == 1 else "are"
