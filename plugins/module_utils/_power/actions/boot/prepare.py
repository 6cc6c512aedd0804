# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What can be known of a boot without touching the server, checked before anything is stopped for it."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable, Iterator

from ...definitions.definition import Definition, secrets_of
from ...engine.container_spec import ContainerSpec
from ...host.host_ports import PortFault, port_fault
from ...model.errors import EngineError, EngineUnreachable, ImageUnavailable, PowerError, PrebootFailed, Suspended, VolumeMissing
from ...model.model import Request, Snapshot, parse_uuid
from ...model.schema import printable
from ...volume.volume import Volume
from ..node.node import Node
from ..node.progress import Progress
from .config_edit import Written, edited
from .container import Boot, check_container, spec_of
from .preboot import bounds_of, refuse_if_cut, refuse_if_over

#: What of root's rights it takes to work in anybody's data directory, as bits: CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_FOWNER.
_RIGHTS = 1 << 0 | 1 << 1 | 1 << 3


def fetch(request: Request, node: Node, check_cancelled: Callable[[], None], progress: Progress, *, again: bool = False) -> Definition:
    """The definition of a server that may be booted. Raises whatever its source says, and `Suspended`."""
    uuid = progress.server.uuid
    definition = node.sources.definition(uuid, again=again, check_cancelled=check_cancelled)
    progress.server = definition.server
    progress.secrets |= secrets_of(definition)
    if not request.check:
        node.sources.keep(definition)
    if definition.suspended:
        raise Suspended(
            f"Cannot {request.action.value} server {uuid}: it is suspended; clear settings.suspended where its definition comes from"
        )
    return definition


def prepare(
    request: Request,
    node: Node,
    snapshot: Snapshot | None,
    check_cancelled: Callable[[], None],
    progress: Progress,
    *,
    again: bool = False,
    data: bool = True,
) -> Boot:
    """Check all that can be known without touching the server, so that a restart never takes down one that may not start again.

    ``check_cancelled`` is called in what may take long, and may raise. ``again`` asks the source anew. ``data`` looks at what is in the
    data
    directory as well, as pre-boot will once more: what is refused here is refused before anything is altered.
    """
    uuid = progress.server.uuid
    definition = fetch(request, node, check_cancelled, progress, again=again)
    progress.warn(*(f"server {uuid}: {warning}" for warning in definition.warnings))
    boot = Boot(definition, Volume(os.path.join(node.settings.data, uuid)))
    checking = functools.partial(_checking, progress)
    with checking("container"):
        if snapshot is not None:
            check_container(request, snapshot, uuid)
        spec = spec_of(node, boot, image_id="")
    with checking("volume"):
        _check_volume(node, boot, snapshot)
        _check_rights(node, boot)
    with checking("image"):
        _check_image(request, node, definition, progress)
    with checking("mounts"):
        _check_mounts(boot, spec)
    with checking("ports"):
        _check_ports(node, boot, snapshot, spec)
    if data:
        with checking("disk"):
            _check_disk(node, boot, check_cancelled)
        with checking("configuration"):
            _check_files(node, boot, check_cancelled, progress)
    return boot


@contextlib.contextmanager
def _checking(progress: Progress, step: str) -> Iterator[None]:
    """Note a step of the boot that fails by being looked at; one that may be taken is noted when it is taken."""
    began = progress.now()
    try:
        yield
    except PowerError as error:
        progress.note_step(step, began, failed=not error.cancels, msg=progress.sentence(error))
        raise


def _check_disk(node: Node, boot: Boot, check_cancelled: Callable[[], None]) -> None:
    # Pre-boot walks for the owners as well: what cannot be looked through is to come to light before the stop.
    if boot.definition.build.disk_space > 0 or node.settings.check_permissions_on_boot:
        survey = boot.volume.survey(check_cancelled, bounds_of(node.settings), owner=None)
        refuse_if_over(boot, survey.bytes)
        refuse_if_cut(boot, survey)


def _check_files(node: Node, boot: Boot, check_cancelled: Callable[[], None], progress: Progress) -> None:
    written: Written = {}
    for config in boot.definition.configs:
        check_cancelled()
        edited(node, boot, config, progress, written)


def _check_volume(node: Node, boot: Boot, snapshot: Snapshot | None) -> None:
    uuid = boot.definition.server.uuid
    if not boot.volume.exists() and (snapshot is not None or node.journal.runs.of(uuid) is not None):
        raise VolumeMissing(
            f"Cannot boot server {uuid}: it has run here before (or a container of its name exists), but its data directory "
            f"{boot.volume.path} is gone; "
            "mount or restore it, or create it empty for a fresh world"
        )


def _check_rights(node: Node, boot: Boot) -> None:
    """Without root's rights, only a data directory of one's own can be brought in line."""
    owner = None if _acts_as_root() else boot.volume.owner()
    if owner is None:
        return
    wanted = node.settings.uid if node.settings.check_permissions_on_boot else owner
    if owner != wanted or not os.access(boot.volume.path, os.R_OK | os.W_OK | os.X_OK):
        raise PrebootFailed(
            f"Cannot boot server {boot.definition.server.uuid}: its data directory {boot.volume.path} belongs to user {owner}, "
            f"and only root may work in it for user {wanted}; act as root (become: true)"
        )


def _acts_as_root() -> bool:
    """Whether this process is root's, or was given what it takes of root's rights, as a service can be: access(2) knows none of those."""
    if os.geteuid() == 0:
        return True
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as status:
            rights = next((int(line.split()[1], 16) for line in status if line.startswith("CapEff:")), 0)
    except (OSError, ValueError):
        return False
    return rights & _RIGHTS == _RIGHTS


def _check_image(request: Request, node: Node, definition: Definition, progress: Progress) -> None:
    local = definition.image_is_local
    may_pull = not local and node.settings.pull != "never"
    if (may_pull and not request.check) or node.engine.images.find(definition.image) is not None:
        return
    if may_pull:
        progress.warn(f"server {definition.server.uuid}: image {definition.image} is not on the node; it would be pulled")
        return
    raise ImageUnavailable(
        f"Cannot boot server {definition.server.uuid}: image {definition.image} is not on the node, and "
        f"{'the ~ before its name' if local else 'docker.pull: never'} forbids pulling it"
    )


def _check_mounts(boot: Boot, spec: ContainerSpec) -> None:
    for mount in spec.config["HostConfig"].get("Mounts") or ():
        if mount["Source"] != boot.volume.path and not os.path.exists(mount["Source"]):
            raise PrebootFailed(
                f"Cannot boot server {boot.definition.server.uuid}: the source of its mount {mount['Target']}, "
                f"{mount['Source']}, does not exist; create it, or correct settings.mounts"
            )


def _check_ports(node: Node, boot: Boot, snapshot: Snapshot | None, spec: ContainerSpec) -> None:
    """Ports that the server itself has published are its own; the others must be free."""
    host = spec.config["HostConfig"]
    if not node.engine.local or host["NetworkMode"] in ("none", "host"):
        return
    own = frozenset() if snapshot is None else snapshot.ports
    for published, bindings in host["PortBindings"].items():
        for binding in () if published in own else bindings:
            port, _slash, protocol = published.partition("/")
            fault = port_fault(binding["HostIp"], int(port), protocol)
            if fault is None:
                continue
            holder = _publisher(node, published, binding["HostIp"]) if fault is PortFault.TAKEN else ""
            by, end_it = (f" by {holder}", f"stop {holder}") if holder else ("", "end what holds it")
            raise PrebootFailed(
                f"Cannot boot server {boot.definition.server.uuid}: port {binding['HostIp']}:{published} {fault.value}{by}; "
                f"change settings.allocations, or {end_it}"
            )


def _publisher(node: Node, published: str, address: str) -> str:
    """Who has published a port that is taken, in words; "" for somebody who is none of the engine's, or where it does not tell."""
    try:
        name = node.engine.publisher(published, address)
    except (EngineError, EngineUnreachable):
        return ""
    if name is None or parse_uuid(name) is None:
        return "" if name is None else f"the container {printable(name)}"
    definition = node.sources.definition_for_stop(name)
    return f"server {name}" + ("" if definition is None or not definition.server.name else f" ({definition.server.name})")
