# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The image of a boot: whether it can be had, and pulling it with the credentials of its registry."""

from __future__ import annotations

from collections.abc import Mapping

from ...definitions.definition import Definition
from ...definitions.selectors import begins_with
from ...model.errors import ImageUnavailable
from ...model.server import ImageSeen
from ..node.context import ActionContext
from ..node.node import Node


def check_image(context: ActionContext, definition: Definition) -> None:
    """Raise `ImageUnavailable` if the image is not on the node, and must not be pulled."""
    node, local = context.node, definition.image_is_local
    may_pull = not local and node.settings.pull != "never"
    if (may_pull and not context.request.check) or node.engine.images.find(definition.image) is not None:
        return
    if may_pull:
        context.progress.warn(f"server {definition.server.uuid}: image {definition.image} is not on the node; it would be pulled")
        return
    raise ImageUnavailable(
        f"Cannot boot server {definition.server.uuid}: image {definition.image} is not on the node, and "
        f"{'the ~ before its name' if local else 'docker.pull: never'} forbids pulling it"
    )


def pull(context: ActionContext, definition: Definition) -> None:
    """Pull the image if the settings ask for it, and note whether the node has another one now. Raises `ImageUnavailable`."""
    if _is_to_be_pulled(context.node, definition) and _pull(context, definition):
        context.progress.alter()


def pull_ahead(context: ActionContext, definition: Definition) -> None:
    """Pull the image as `pull` does, for an action that has not begun yet and may never begin: only that it was pulled is told then.

    Raises `ImageUnavailable`.
    """
    if not _is_to_be_pulled(context.node, definition):
        return
    if _pull(context, definition):
        context.progress.warn(f"server {context.uuid}: image {definition.image} was pulled ahead of its turn")


def _is_to_be_pulled(node: Node, definition: Definition) -> bool:
    if definition.image_is_local or node.settings.pull == "never":
        return False
    return node.settings.pull == "always" or node.engine.images.find(definition.image) is None


def _pull(context: ActionContext, definition: Definition) -> bool:
    """Pull the image; return whether the node has another one now."""
    images, reference = context.node.engine.images, definition.image
    before = images.find(reference)
    images.pull(reference, credentials_for(reference, context.node.settings.registries), context.check_cancelled)
    return images.find(reference) != before


def credentials_for(reference: str, registries: Mapping[str, Mapping[str, str]]) -> Mapping[str, str] | None:
    """Return the credentials whose name is the longest beginning of an image's reference, in whole parts.

    They must reach no other registry.
    """
    names = [name for name in registries if begins_with(reference, name)]
    return registries[max(names, key=len)] if names else None


def present_image(node: Node, definition: Definition) -> ImageSeen:
    """Return the image as it is on the node. Raises `ImageUnavailable`."""
    image = node.engine.images.find(definition.image)
    if image is None:
        raise ImageUnavailable(f"Cannot boot server {definition.server.uuid}: image {definition.image} is not on the node")
    return image
