# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The image and the container of a start: pull and create them as needed."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from typing import Any

from ...container.container_labels import LABEL_SPEC, PREVIOUS, WAITING, made_by_us_or_wings
from ...container.container_parts import compare
from ...container.container_spec import HOME, ContainerSpec, container_spec
from ...definitions.definition import Definition
from ...definitions.selectors import begins_with
from ...model.errors import ENGINE_FAULTS, ContainerForeign, EngineError, ImageUnavailable, PrebootFailed
from ...model.records import dataclass, field
from ...model.server import Snapshot
from ...volume.volume import Volume
from ...volume.volume_walk import shown_path
from ..node.context import ActionContext
from ..node.node import Node
from ..node.run_end import note_others_end

#: The engine's status for a value that it cannot use.
_BAD_REQUEST = 400


def pull(context: ActionContext, definition: Definition) -> bool:
    """Pull the image if the settings say so; return True if the node's image changed. Raises `ImageUnavailable`."""
    images, reference, settings = context.node.engine.images, definition.image, context.node.settings
    if definition.image_is_local or settings.pull == "never":
        return False
    before = images.find(reference)
    if before is not None and settings.pull != "always":
        return False
    images.pull(reference, credentials_for(reference, settings.registries), context.check_cancelled)
    return images.find(reference) != before


def credentials_for(reference: str, registries: Mapping[str, Mapping[str, str]]) -> Mapping[str, str] | None:
    """Return the credentials whose name is the longest prefix of an image reference, in whole parts: no other registry gets them."""
    names = [name for name in registries if begins_with(reference, name)]
    return registries[max(names, key=len)] if names else None


@dataclass(frozen=True)
class Boot:
    """The definition and data directory for a start. ``reverted``: the present container is a previous version, and starts as it is."""

    definition: Definition
    volume: Volume
    reverted: bool = False
    #: Results of the checks of small configuration files, for the edits.
    edits: dict[tuple[int, bytes], bytes] = field(default_factory=dict, repr=False, compare=False)

    def cannot(self, why: str) -> str:
        """Return the message of an error that prevents the boot."""
        return f"Cannot boot server {self.definition.server.uuid}: {why}"


def check_image(context: ActionContext, boot: Boot) -> None:
    """Raise `ImageUnavailable` if the image is not on the node, and must not be pulled."""
    node, image, local = context.node, boot.definition.image, boot.definition.image_is_local
    may_pull = not local and node.settings.pull != "never"
    if (may_pull and not context.request.check) or node.engine.images.find(image) is not None:
        return
    if may_pull:
        context.warn(f"image {image} is not on the node; it would be pulled")
        return
    forbids = "the ~ before its name" if local else "docker.pull: never"
    raise ImageUnavailable(boot.cannot(f"image {image} is not on the node, and {forbids} forbids pulling it"))


@dataclass(frozen=True)
class Staged:
    """The container to start: the present one, or (``waiting``) a new one. ``mounts`` are the resolved sources of its mounts."""

    id: str
    spec_hash: str | None
    waiting: bool
    mounts: tuple[str, ...] = ()


def stage(context: ActionContext, boot: Boot, snapshot: Snapshot | None, kept: Staged | None = None, *, on_trial: bool = False) -> Staged:
    """Return the container for the definition: ``kept`` or the present one if it fits, else a new one under another name.

    A version that is ``on_trial`` needs another. Raises `EngineError`, `ImageUnavailable` or `ContainerForeign`; then nothing is touched.
    """
    node = context.node
    if boot.reverted and snapshot is not None:
        return Staged(snapshot.id, None, waiting=False, mounts=mounts_of(node.engine.raw(snapshot.id)))
    image = node.engine.images.find(boot.definition.image)
    if image is None:
        raise ImageUnavailable(boot.cannot(f"image {boot.definition.image} is not on the node"))
    spec = spec_of(node, boot.definition, image_id=image.id)
    context.warn(*spec.warnings)
    wanted = spec.config["Labels"].get(LABEL_SPEC)
    if kept is not None and kept.spec_hash == wanted:
        return kept
    if spec.network is not None and node.engine.containers.ensure_network(spec.network):
        context.progress.alter()
    mounts = mounts_of(spec.config)
    if kept is None and snapshot is not None and not on_trial and _serves(node, snapshot, spec):
        return Staged(snapshot.id, wanted, waiting=False, mounts=mounts)
    return Staged(create(context, WAITING[kept is not None :], spec.config), wanted, waiting=True, mounts=mounts)


def mounts_of(config: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the sources of the mounts in a create request, but for the data directory."""
    return tuple(mount["Source"] for mount in config["HostConfig"].get("Mounts") or () if mount["Target"] != HOME)


def refuse_moved_mounts(staged: Staged, uuid: str) -> None:
    """Raise `PrebootFailed` if a mount changed since the check of ``allowed_mounts``: the engine follows links."""
    for source in staged.mounts:
        if os.path.realpath(source) != source:
            moved = f"the source of a mount, {shown_path(source)}, leads elsewhere since it was looked for in allowed_mounts"
            advice = "look who may replace the directories on its way, and start the server again"
            raise PrebootFailed(f"Cannot start server {uuid}: {moved}; {advice}")


def unstage(node: Node, staged: Staged) -> None:
    """Remove a waiting container; if that fails, the next boot that makes one removes it."""
    if not staged.waiting:
        return
    with contextlib.suppress(*ENGINE_FAULTS):
        found = node.engine.inspect(staged.id)
        if found is not None and found.name.endswith(WAITING):
            node.engine.containers.remove(staged.id, volumes=True)


def put_in_place(context: ActionContext, staged: Staged) -> bool:
    """Give a waiting container the server's name, in place of the old one; return True if anything changed."""
    engine, uuid = context.node.engine, context.uuid
    if not staged.waiting:
        return False
    # Look again: another container may have come while the server stopped.
    old = engine.inspect(uuid)
    if old is not None:
        refuse_foreign(context, old)
        note_others_end(context, old)
        # Like Wings, remove anonymous volumes of our containers and Wings', but not those of foreign containers.
        ours = made_by_us_or_wings(old, uuid)
        proof = context.progress.proof
        if proof is not None and proof.previous == old.id:
            _set_aside(context, old)
        elif not engine.containers.remove(old.id, volumes=ours):
            raise PrebootFailed(f"Cannot recreate the container of server {uuid}: another program started it")
    context.progress.alter()
    engine.containers.rename(staged.id, uuid)
    return True


def _set_aside(context: ActionContext, old: Snapshot) -> None:
    """Give the previous container its other name. Raises `PrebootFailed` if somebody has started it."""
    engine, uuid = context.node.engine, context.uuid
    if old.restart_policy != "no":
        engine.containers.forbid_restart(old.id)
    engine.containers.rename(old.id, uuid + PREVIOUS)
    # The engine renames a container that runs, too.
    now = engine.inspect(old.id)
    if now is not None and now.live:
        engine.containers.rename(old.id, uuid)
        raise PrebootFailed(f"Cannot recreate the container of server {uuid}: another program started it")


def _serves(node: Node, snapshot: Snapshot, spec: ContainerSpec) -> bool:
    return not snapshot.removing and node.settings.recreate != "always" and compare(snapshot, spec.config).serves


def refuse_foreign(context: ActionContext, snapshot: Snapshot) -> None:
    """Raise `ContainerForeign` for a container that neither we nor Wings made, unless the request adopts it."""
    if not context.request.adopt and not made_by_us_or_wings(snapshot, context.uuid):
        made = f"a container named {snapshot.name} exists that neither this collection nor Wings made, and it would be recreated"
        advice = "rename or remove it, or pass adopt: true to recreate it (its anonymous volumes are kept, but no longer attached)"
        raise ContainerForeign(context.cannot(f"{made}; {advice}"))


def spec_of(node: Node, definition: Definition, *, image_id: str) -> ContainerSpec:
    """Links in mounts are resolved here, on the engine's machine, so none leaves the allowed paths."""
    directory = data_directory(node, definition.server.uuid)
    return container_spec(definition, node.settings, data_directory=directory, image_id=image_id, resolve=os.path.realpath)


def data_directory(node: Node, uuid: str) -> str:
    return os.path.join(node.settings.data, uuid)


def create(context: ActionContext, suffixes: Sequence[str], config: Mapping[str, Any]) -> str:
    """Create the container under the first suffix, and remove what a dead boot left under any of them."""
    engine = context.node.engine
    for suffix in suffixes:
        left = engine.inspect(context.uuid + suffix)
        if left is not None:
            refuse_foreign(context, left)
            engine.containers.remove(left.id, volumes=True)
    container, warnings = _create_without(context.node, context.uuid + suffixes[0], config)
    context.warn(*warnings)
    return container


def _create_without(node: Node, name: str, config: Mapping[str, Any]) -> tuple[str, list[str]]:
    """Create without limits that the host's cgroups lack, with a warning: they must not keep a server down."""
    try:
        return node.engine.containers.create(name, config)
    except EngineError as error:
        cpus = config["HostConfig"].get("CpusetCpus")
        if not cpus or error.facts.get("status") != _BAD_REQUEST:
            raise
        host = {key: value for key, value in config["HostConfig"].items() if key != "CpusetCpus"}
        container, warnings = node.engine.containers.create(name, {**config, "HostConfig": host})
        return container, [f"build.threads: this host cannot pin the server to the processors {cpus}: {error.reason}", *warnings]
