# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pre-boot: what must be right before a server starts, first checked without touching anything, later done."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from .config_files import PARSERS
from .container_spec import ContainerSpec, container_spec, made_by_us, made_by_wings, spec_hash_of
from .definition import ConfigFile, Definition, secrets_of
from .errors import (
    ContainerForeign,
    DiskFull,
    EngineError,
    ImageUnavailable,
    PowerError,
    PrebootFailed,
    Suspended,
    VolumeMissing,
)
from .model import ImageSeen, PrebootStep, Request, Snapshot
from .node import Node
from .progress import Progress
from .volume import Volume

_MIB = 1024 * 1024


@dataclass(frozen=True)
class Boot:
    """What a start needs: the definition in hand, and the server's data directory."""

    definition: Definition
    volume: Volume


def fetch(request: Request, node: Node, progress: Progress) -> Definition:
    """The definition of a server that may be booted. Raises whatever its source says, and `Suspended`."""
    uuid = progress.server.uuid
    definition = node.sources.definition(uuid)
    progress.server = definition.server
    progress.secrets |= secrets_of(definition)
    if not request.check:
        node.sources.keep(definition)
    if definition.suspended:
        raise Suspended(
            f"Cannot {request.action.value} server {uuid}: it is suspended; clear settings.suspended where its definition comes from"
        )
    return definition


def prepare(request: Request, node: Node, snapshot: Snapshot | None, look: Callable[[], None], progress: Progress) -> Boot:
    """Check all that can be known without touching the server, so that a restart never takes down one that may not start again.

    ``look`` is called in what may take long, and may raise.
    """
    uuid = progress.server.uuid
    definition = fetch(request, node, progress)
    progress.warn(*(f"server {uuid}: {warning}" for warning in definition.warnings))
    boot = Boot(definition, Volume(os.path.join(node.settings.data, uuid)))
    _check_container(request, snapshot, uuid)
    _check_volume(node, boot, snapshot)
    _check_image(request, node, definition, progress)
    _check_mounts(node, boot)
    if definition.build.disk_space > 0:
        _refuse_if_over(boot, boot.volume.survey(look, owner=None).bytes)
    for config in definition.configs:
        _edited(node, boot, config, progress)
    return boot


def pull(node: Node, definition: Definition, look: Callable[[], None]) -> bool:
    """Pull the image if the settings ask for it; whether the node has another one now. Raises `ImageUnavailable`."""
    reference = definition.image
    if definition.image_is_local or node.settings.pull == "never":
        return False
    before = node.engine.image(reference)
    if before is not None and node.settings.pull != "always":
        return False
    prefixes = [prefix for prefix in node.settings.registries if reference.startswith(prefix)]
    credentials = node.settings.registries[max(prefixes, key=len)] if prefixes else None
    node.engine.pull(reference, credentials, look)
    return node.engine.image(reference) != before


def preboot(request: Request, node: Node, boot: Boot, snapshot: Snapshot | None, look: Callable[[], None], progress: Progress) -> str:
    """Do every pre-boot step in order; the id of the container to start. The first failure ends the boot and names its step."""
    uuid = boot.definition.server.uuid
    container = ""

    def bring_in_line() -> bool:
        nonlocal container
        container, changed = _bring_in_line(request, node, boot, snapshot, progress)
        return changed

    def edit_files() -> bool:
        written = [_edit(node, boot, config, progress) for config in boot.definition.configs]
        return any(written)

    steps: tuple[tuple[str, Callable[[], bool]], ...] = (
        ("volume", lambda: _put_volume_right(node, boot, look, progress)),
        ("container", bring_in_line),
        ("configuration", edit_files),
    )
    for name, step in steps:
        look()
        _run_step(name, step, uuid, node, progress)
    return container


def _run_step(name: str, step: Callable[[], bool], uuid: str, node: Node, progress: Progress) -> None:
    began = node.clock.monotonic()

    def note(changed: bool, failed: bool, msg: str) -> None:
        seconds = round(node.clock.monotonic() - began, 3)
        progress.preboot.append(PrebootStep(name, changed=changed, failed=failed, seconds=seconds, msg=msg))

    try:
        changed = step()
    except PowerError as error:
        note(False, not error.cancels, progress.sentence(error))
        if isinstance(error, EngineError):
            raise PrebootFailed(f"Cannot prepare the {name} of server {uuid}: {error}") from error
        raise
    progress.changed = progress.changed or changed
    note(changed, False, "")


def _check_container(request: Request, snapshot: Snapshot | None, uuid: str) -> None:
    if snapshot is None or request.adopt or made_by_us(snapshot.labels) or made_by_wings(snapshot.labels):
        return
    raise ContainerForeign(
        f"Cannot {request.action.value} server {uuid}: a container of that name exists that neither this collection nor Wings made, "
        "and it would be recreated; rename or remove it, "
        "or pass adopt: true to recreate it (its anonymous volumes are kept, but no longer attached)"
    )


def _check_volume(node: Node, boot: Boot, snapshot: Snapshot | None) -> None:
    uuid = boot.definition.server.uuid
    if not boot.volume.exists() and (snapshot is not None or node.journal.has_run(uuid)):
        raise VolumeMissing(
            f"Cannot boot server {uuid}: it has run here before, but its data directory {boot.volume.path} is gone; "
            "mount or restore it, or create it empty for a fresh world"
        )


def _check_image(request: Request, node: Node, definition: Definition, progress: Progress) -> None:
    local = definition.image_is_local
    may_pull = not local and node.settings.pull != "never"
    if (may_pull and not request.check) or node.engine.image(definition.image) is not None:
        return
    if may_pull:
        progress.warn(f"server {definition.server.uuid}: image {definition.image} is not on the node; it would be pulled")
        return
    raise ImageUnavailable(
        f"Cannot boot server {definition.server.uuid}: image {definition.image} is not on the node, and "
        f"{'the ~ before its name' if local else 'docker.pull: never'} forbids pulling it"
    )


def _spec(node: Node, boot: Boot, *, image_id: str) -> ContainerSpec:
    """What to create. Links in mounts are resolved here, where the engine's files are, so that none leads out of what is allowed."""
    return container_spec(boot.definition, node.settings, data_directory=boot.volume.path, image_id=image_id, resolve=os.path.realpath)


def _check_mounts(node: Node, boot: Boot) -> None:
    spec = _spec(node, boot, image_id="")
    for mount in spec.config["HostConfig"].get("Mounts") or ():
        if mount["Source"] != boot.volume.path and not os.path.exists(mount["Source"]):
            raise PrebootFailed(
                f"Cannot boot server {boot.definition.server.uuid}: the source of its mount {mount['Target']}, "
                f"{mount['Source']}, does not exist"
            )


def _put_volume_right(node: Node, boot: Boot, look: Callable[[], None], progress: Progress) -> bool:
    """Make the data directory if need be; usage against the limit and ownership in one walk, skipped where neither is asked for."""
    settings = node.settings
    made = boot.volume.create(settings.uid, settings.gid)
    progress.changed = progress.changed or made
    owner = (settings.uid, settings.gid) if settings.check_permissions_on_boot else None
    if owner is None and boot.definition.build.disk_space <= 0:
        return made
    survey = boot.volume.survey(look, owner=owner, altered=progress.alter)
    _refuse_if_over(boot, survey.bytes)
    uuid = boot.definition.server.uuid
    if survey.left_alone:
        progress.warn(f"server {uuid}: {survey.left_alone} devices and hard-linked files of other owners were left as they are")
    if survey.unreadable:
        progress.warn(f"server {uuid}: {survey.unreadable} directories could not be looked into; neither their size nor their owners count")
    return made or survey.chowned > 0


def _refuse_if_over(boot: Boot, used: int) -> None:
    """Raise `DiskFull` if the data directory uses more than ``build.disk_space`` MiB; zero or less is unlimited."""
    limit = boot.definition.build.disk_space * _MIB
    if 0 < limit < used:
        raise DiskFull(
            f"Cannot boot server {boot.definition.server.uuid}: its data directory uses {used // _MIB} MiB of {limit // _MIB} MiB; "
            "free some space or raise build.disk_space",
            used=used,
            limit=limit,
        )


def _bring_in_line(request: Request, node: Node, boot: Boot, snapshot: Snapshot | None, progress: Progress) -> tuple[str, bool]:
    """The container the definition asks for: the one that stands if it is the same, else a new one."""
    uuid = boot.definition.server.uuid
    image = _present_image(node, boot.definition)
    spec = _spec(node, boot, image_id=image.id)
    progress.warn(*(f"server {uuid}: {warning}" for warning in spec.warnings))
    if spec.network is not None and node.engine.ensure_network(spec.network):
        progress.changed = True
    if snapshot is not None:
        if (
            not snapshot.removing
            and node.settings.recreate != "always"
            and spec_hash_of(snapshot.labels) == spec_hash_of(spec.config["Labels"])
        ):
            return snapshot.id, False
        # Wings throws away what an image's anonymous volumes hold, and so do we; but not what somebody else's container held.
        _check_container(request, snapshot, uuid)
        ours = made_by_us(snapshot.labels) or made_by_wings(snapshot.labels)
        if not node.engine.remove(snapshot.id, volumes=ours):
            raise PrebootFailed(f"Cannot recreate the container of server {uuid}: somebody started it meanwhile")
        progress.changed = True
    return _create(node, uuid, spec, progress), True


def _present_image(node: Node, definition: Definition) -> ImageSeen:
    image = node.engine.image(definition.image)
    if image is None:
        raise ImageUnavailable(f"Cannot boot server {definition.server.uuid}: image {definition.image} is not on the node")
    return image


def _create(node: Node, uuid: str, spec: ContainerSpec, progress: Progress) -> str:
    """Create the container; what the host's cgroups cannot do is left out with a warning, since it must not keep a server down."""
    try:
        container, warnings = node.engine.create(uuid, spec.config)
    except EngineError as error:
        cpus = spec.config["HostConfig"].get("CpusetCpus")
        if not cpus or "cpu" not in str(error).lower():
            raise
        host = {key: value for key, value in spec.config["HostConfig"].items() if key != "CpusetCpus"}
        container, warnings = node.engine.create(uuid, {**spec.config, "HostConfig": host})
        warnings = [f"build.threads: this host cannot pin the server to the processors {cpus}: {error}", *warnings]
    progress.warn(*(f"server {uuid}: {warning}" for warning in warnings))
    return container


def _edit(node: Node, boot: Boot, config: ConfigFile, progress: Progress) -> bool:
    """Bring one configuration file in line; whether it was written."""
    edited = _edited(node, boot, config, progress)
    if edited is None:
        return False
    with _leniently(node, boot, progress):
        boot.volume.write(config.file, edited, uid=node.settings.uid, gid=node.settings.gid)
        progress.alter()
        return True
    return False


@contextlib.contextmanager
def _leniently(node: Node, boot: Boot, progress: Progress) -> Iterator[None]:
    """A configuration file that cannot be brought in line ends the boot, unless the settings say ``warn``."""
    try:
        yield
    except PrebootFailed as error:
        if node.settings.config_errors != "warn":
            raise
        progress.warn(f"server {boot.definition.server.uuid}: {error}")


def _edited(node: Node, boot: Boot, config: ConfigFile, progress: Progress) -> bytes | None:
    """The new content of a configuration file, or None where nothing is to be written."""
    uuid = boot.definition.server.uuid
    parser = PARSERS.get(config.parser)
    if parser is None:
        progress.warn(f"server {uuid}: {config.file} is left as it is: the parser {config.parser!r} is not known")
        return None
    with _leniently(node, boot, progress):
        before = boot.volume.read_text(config.file, uid=node.settings.uid) or b""
        after = parser(before.decode("utf-8", "surrogateescape"), config.rules).encode("utf-8", "surrogateescape")
        return None if after == before else after
    return None
