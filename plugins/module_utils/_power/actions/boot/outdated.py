# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a server's container differs from its definition, as a boot decides it. Pulls and changes nothing."""

from __future__ import annotations

from typing import Any

from ...container.container_labels import made_by_us, made_by_wings
from ...container.container_parts import Differences, compare
from ...definitions.definition import Definition
from ...model.cancellation import CheckCancelled
from ...model.errors import ImageUnavailable, NotSelected, PowerError
from ...model.records import dataclass
from ...model.server import ImageSeen, Snapshot
from ..node.context import ActionContext, known
from ..node.node import Node
from .container import spec_of


@dataclass(frozen=True)
class Outdated:
    """What is known of a container; ``differences`` None: unknown. ``why`` gives the reason, if no key does."""

    differences: Differences | None
    why: str = ""

    @property
    def is_outdated(self) -> bool | None:
        return None if self.differences is None else self.differences.is_outdated

    def facts(self) -> dict[str, Any]:
        """Return the facts for readers; lists are None if the keys are unknown."""
        found = self.differences
        names: dict[str, list[str] | None] = dict.fromkeys(("differs", "restart", "in_place", "next_start"))
        if found is not None and found.named:
            restart, in_place = list(found.restart), list(found.in_place)
            names = {"differs": sorted(restart + in_place), "restart": restart, "in_place": in_place, "next_start": list(found.next_start)}
        return {"is_outdated": self.is_outdated, **names, "why": self.why or None}


def outdated(node: Node, definition: Definition, snapshot: Snapshot, image: ImageSeen | None) -> Outdated:
    """Compare a container with its definition, and with ``image``, the node's present image of that name."""
    try:
        found = _differences(node, definition, snapshot, image)
    except PowerError as error:
        return Outdated(None, str(error))
    return Outdated(found, "" if found.named else _maker(snapshot, definition.server.uuid))


def require_outdated(context: ActionContext, snapshot: Snapshot | None, check_cancelled: CheckCancelled, *, again: bool = False) -> None:
    """Raise `NotSelected` unless the container is outdated; if unknown, its source's error. ``again`` as in `Sources.definition`."""
    node, uuid = context.node, context.uuid
    if snapshot is None:
        raise NotSelected(f"Server {uuid} is not outdated: it has no container")
    definition = node.sources.definition(uuid, again=again, check_cancelled=check_cancelled)
    context.progress.server = definition.server
    image = node.engine.images.find(definition.image)
    found = _differences(node, definition, snapshot, image)
    if not found.is_outdated:
        raise NotSelected(f"Server {uuid} is not outdated: its container matches its definition")
    if not context.request.retry_reverted and image is not None:
        from ...definitions.supervision import definition_fingerprint

        proof = known(context, lambda: node.journal.proofs.of(uuid))
        if proof is not None and proof.gave_up(definition_fingerprint(definition), image.id):
            failed = "this definition with this image failed before and was taken back"
            advice = "change one of them, or pass retry_reverted: true to try them again"
            raise NotSelected(f"Server {uuid} is outdated, but {failed}; {advice}")


def _differences(node: Node, definition: Definition, snapshot: Snapshot, image: ImageSeen | None) -> Differences:
    spec = spec_of(node, definition, image_id="" if image is None else image.id)
    found = compare(snapshot, spec.config, image_known=image is not None)
    if image is None and not (found.is_outdated and found.named):
        raise ImageUnavailable(f"Cannot tell what image {definition.image} means now: it is not on the node; pull it")
    return found


def _maker(snapshot: Snapshot, uuid: str) -> str:
    if made_by_us(snapshot, uuid):
        return "an earlier version of this collection made its container"
    return f"{'Wings' if made_by_wings(snapshot.labels) else 'neither this collection nor Wings'} made its container"
