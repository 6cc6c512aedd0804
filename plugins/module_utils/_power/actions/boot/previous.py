# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The previous version of a server during a proof: its container beside the new one, and its configuration files.

The container is kept, under another name. It holds the create request, whose secrets no file has, and the image.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import json
import os

from ...container.container_labels import LABEL_IMAGE, PREVIOUS, WAITING, image_name, made_by_us_or_wings
from ...host.library_faults import reason_of
from ...host.root_files import read_private, remove_private, write_private
from ...model.errors import PrebootFailed, StartFailed
from ...model.proof import Proof
from ...model.records import asdict, dataclass, replace
from ...model.server import Snapshot
from ...volume.volume import Volume
from ...volume.volume_walk import shown_path
from ..node.context import ActionContext
from ..node.node import Node
from ..node.run_end import note_others_end
from .container import Staged, create, mounts_of


@dataclass(frozen=True)
class EditedFile:
    """A configuration file that a boot edits: its content before, as Base64 (None: there was no file), and the hash of the new content."""

    path: str
    before: str | None
    after: str


def can_return(snapshot: Snapshot, uuid: str) -> bool:
    """Tell if a container can be the previous version: it has run, and this collection or Wings made it."""
    return snapshot.has_run and made_by_us_or_wings(snapshot, uuid)


def clear_place(node: Node, uuid: str) -> None:
    """Remove the previous container that an earlier proof has left. Raises `PrebootFailed`, and errors of the engine."""
    left = node.engine.inspect(uuid + PREVIOUS)
    if left is not None and not (can_return(left, uuid) and node.engine.containers.remove(left.id, volumes=True)):
        raise PrebootFailed(f"Cannot keep the previous version of server {uuid}: there is another container named {left.name}; remove it")


def files_fault(node: Node) -> str:
    """Return why configuration files cannot be kept; "" if they can."""
    try:
        read_private(*_place(node, "none"))
    except OSError as error:
        return f"its configuration files cannot be kept: {reason_of(error)}"
    return ""


def keep_file(node: Node, proof: Proof, volume: Volume, path: str, after: bytes) -> None:
    """Write down a file's content before an edit. Raises `PrebootFailed`."""
    uuid = proof.uuid
    before = volume.read_text(path, uid=node.settings.uid)
    text = None if before is None else base64.b64encode(before).decode()
    try:
        known = {each.path: each for each in _edited(node, proof)}
        first = known.get(path)
        known[path] = EditedFile(path, text if first is None else first.before, _hash(after))
        content = json.dumps({"operation": proof.files, "files": [asdict(each) for each in known.values()]}).encode()
        write_private(*_place(node, uuid), content)
    except (OSError, ValueError) as error:
        fault = f"Cannot edit {shown_path(path)} of server {uuid}: its present content cannot be kept: {reason_of(error)}"
        raise PrebootFailed(fault) from error


def restore_files(context: ActionContext, volume: Volume, proof: Proof) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Put back the files that still have the bytes of the failed boot. Return their paths, and those of the other edited files."""
    settings = context.node.settings
    restored: list[str] = []
    try:
        edited = _edited(context.node, proof)
    except (OSError, ValueError) as error:
        context.warn(f"its configuration files are not put back: {reason_of(error)}")
        edited = []
    for each in edited:
        with contextlib.suppress(PrebootFailed, binascii.Error):
            now = volume.read_text(each.path, uid=settings.uid)
            if each.before is not None and now is not None and _hash(now) == each.after:
                volume.write(each.path, base64.b64decode(each.before), uid=settings.uid, gid=settings.gid)
                restored.append(each.path)
    return tuple(restored), tuple(each.path for each in edited if each.path not in restored)


def require_previous(node: Node, proof: Proof) -> Snapshot:
    """Return the previous container. Raises `StartFailed` if it is gone, up, or another one than the action can have kept."""
    found, uuid = node.engine.inspect(proof.previous), proof.uuid
    if found is None or found.name not in (uuid, uuid + PREVIOUS) or not can_return(found, uuid):
        raise StartFailed(
            f"Cannot go back to the previous version of server {uuid}: its container was removed, perhaps by docker container prune"
        )
    if found.live:
        raise StartFailed(f"Cannot go back to the previous version of server {uuid}: somebody has started its container {found.name}")
    return found


def put_back(context: ActionContext, proof: Proof) -> tuple[Proof, Staged]:
    """Make a container like the previous one, and give it the server's name in place of the failed one. Raises `StartFailed`.

    The previous container itself is not started: the next holder of the lock would remove it, if this start has no answer.
    """
    node, uuid, engine = context.node, context.uuid, context.node.engine
    previous = require_previous(node, proof)
    if previous.name == uuid:
        note_others_end(context, previous)
        engine.containers.rename(previous.id, uuid + PREVIOUS)
    raw = engine.raw(previous.id)
    labels = {**(raw["Config"].get("Labels") or {}), LABEL_IMAGE: image_name(previous)}
    config = {**raw["Config"], "Image": raw["Image"], "HostConfig": raw["HostConfig"], "Labels": labels}
    back = replace(proof, back=create(context, WAITING[:1], config))
    # Durably: after a power cut the next supervisor must know this container.
    if not node.journal.proofs.note(back, durable=True):
        raise StartFailed(f"Cannot go back to the previous version of server {uuid}: the journal cannot be written")
    failed = engine.inspect(uuid)
    if failed is not None:
        note_others_end(context, failed)
        if not (made_by_us_or_wings(failed, uuid) and engine.containers.remove(failed.id, volumes=True)):
            raise StartFailed(f"Cannot go back to the previous version of server {uuid}: another program started its container")
    context.progress.alter()
    engine.containers.rename(back.back, uuid)
    return back, Staged(back.back, None, waiting=False, mounts=mounts_of(config))


def forget_previous(node: Node, proof: Proof) -> None:
    """Remove the previous container and the kept files, if they are still there: the proof is over. Raises the engine's errors."""
    found = node.engine.inspect(proof.previous)
    if found is not None and not found.live and found.name == proof.uuid + PREVIOUS:
        node.engine.containers.remove(found.id, volumes=can_return(found, proof.uuid))
    with contextlib.suppress(OSError):
        remove_private(*_place(node, proof.uuid))


def _edited(node: Node, proof: Proof) -> list[EditedFile]:
    """Return the files that the boot of this proof has edited so far. Raises OSError, ValueError."""
    content = read_private(*_place(node, proof.uuid))
    kept = {} if content is None else json.loads(content)
    # The files of another operation belong to an earlier proof.
    if kept.get("operation") != proof.files:
        return []
    return [EditedFile(str(each["path"]), each["before"], str(each["after"])) for each in kept["files"]]


def _place(node: Node, uuid: str) -> tuple[str, str]:
    """Return directory and name of the file that keeps a server's configuration files."""
    return os.path.join(node.settings.state_directory, "previous"), f"{uuid}.json"


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
