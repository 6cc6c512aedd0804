# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The checks of a boot before its stop, which change nothing, and its steps before the start: disk, container, configuration files."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Iterator

from ...container.container_spec import ContainerSpec
from ...definitions.definition import Definition, refuse_unfilled, secrets_of
from ...definitions.settings import Settings
from ...host.listener import TAKEN, holder_of, port_fault
from ...locking.lock import PowerLock
from ...model.cancellation import CheckCancelled
from ...model.errors import (
    ENGINE_FAULTS,
    DiskCheckTimeout,
    DiskFull,
    EngineError,
    MountNotAllowed,
    PowerError,
    PrebootFailed,
    Suspended,
    VolumeMissing,
)
from ...model.records import dataclass
from ...model.result import Phase, PrebootStep
from ...model.schema import printable
from ...model.server import Snapshot, parse_uuid
from ...volume.volume import Volume
from ...volume.volume_walk import Bounds, Survey
from ..node.context import ActionContext, known
from ..node.node import Node
from .container import Boot, Staged, check_image, data_directory, put_in_place, refuse_foreign, spec_of

#: Bits of the rights that work in any data directory: CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_FOWNER.
_RIGHTS = 1 << 0 | 1 << 1 | 1 << 3
_MIB = 1024 * 1024


def prepare(context: ActionContext, snapshot: Snapshot | None, *, again: bool = False, data: bool = True) -> Boot:
    """Check everything possible without a change, so that a restart does not stop a server that cannot start again.

    ``again`` asks the source once more, under the lock: signals no longer end it. ``data`` also checks the data directory.
    """
    node = context.node
    check_cancelled = context.check_cancelled if again else context.check_waiting
    definition = _fetch(context, check_cancelled, again=again)
    context.warn(*definition.warnings)
    boot = Boot(definition, Volume(data_directory(node, context.uuid)), _stays_reverted(context, definition, snapshot))
    step = functools.partial(boot_step, context, checks=True)
    with step("container"):
        if snapshot is not None:
            refuse_foreign(context, snapshot)
        # The image may not be here yet.
        spec = spec_of(node, definition, image_id="")
    with step("volume"):
        _check_volume(node, boot, snapshot)
        _check_rights(node, boot)
    with step("image"):
        if not boot.reverted:
            check_image(context, boot)
    with step("mounts"):
        _check_mounts(node, boot, spec)
    with step("ports"):
        _check_ports(node, boot, snapshot, spec)
    if data:
        with step("disk"):
            check_disk(node, boot, check_cancelled)
        with step("configuration"):
            if definition.configs:
                # The code that edits files is an eighth of all code to compile.
                from .config_edit import check_files

                check_files(context, boot, check_cancelled)
    return boot


def _stays_reverted(context: ActionContext, definition: Definition, snapshot: Snapshot | None) -> bool:
    """Tell if a start by the supervisor, or after a boot, finds the previous version of the definition that failed."""
    request = context.request
    if snapshot is None or (request.ended_run is None and not request.ignores_freeze):
        return False
    from ...definitions.supervision import definition_fingerprint

    proof = known(context, lambda: context.node.journal.proofs.of(context.uuid))
    return proof is not None and proof.went_back(definition_fingerprint(definition), snapshot.id)


def _fetch(context: ActionContext, check_cancelled: CheckCancelled, *, again: bool) -> Definition:
    sources, progress = context.node.sources, context.progress
    definition = sources.definition(context.uuid, again=again, check_cancelled=check_cancelled)
    progress.server = definition.server
    progress.secrets |= secrets_of(definition)
    if not context.request.check:
        sources.keep(definition)
    if definition.suspended:
        raise Suspended(context.cannot("it is suspended; clear settings.suspended where its definition comes from"))
    refuse_unfilled(definition)
    return definition


def _check_volume(node: Node, boot: Boot, snapshot: Snapshot | None) -> None:
    uuid = boot.definition.server.uuid
    if not boot.volume.exists() and (snapshot is not None or node.journal.runs.of(uuid) is not None):
        gone = f"it has run here before (or a container of its name exists), but its data directory {boot.volume.path} is gone"
        raise VolumeMissing(boot.cannot(f"{gone}; mount or restore the directory, or create it empty for a fresh world"))


def _check_rights(node: Node, boot: Boot) -> None:
    owner = None if _acts_as_root() else boot.volume.owner()
    if owner is None:
        return
    wanted = node.settings.uid if node.settings.check_permissions_on_boot else owner
    if owner != wanted or not os.access(boot.volume.path, os.R_OK | os.W_OK | os.X_OK):
        owned = f"its data directory {boot.volume.path} belongs to user {owner}, and only root may work in it for user {wanted}"
        raise PrebootFailed(boot.cannot(f"{owned}; act as root (become: true)"))


def _acts_as_root() -> bool:
    """Return True for root, or a service with the same rights: access(2) ignores those."""
    if os.geteuid() == 0:
        return True
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as status:
            rights = next((int(line.split()[1], 16) for line in status if line.startswith("CapEff:")), 0)
    except (OSError, ValueError):
        return False
    return rights & _RIGHTS == _RIGHTS


def _check_mounts(node: Node, boot: Boot, spec: ContainerSpec) -> None:
    # Wings leaves such mounts out. The author of a file would lose the data behind them.
    if spec.left_out and not boot.reverted and not node.sources.is_of_panel(boot.definition):
        raise MountNotAllowed(boot.cannot(f"{spec.left_out[0]}; add it there, or remove it from the definition"))
    for mount in spec.config["HostConfig"].get("Mounts") or ():
        if mount["Source"] != boot.volume.path and not os.path.exists(mount["Source"]):
            missing = f"the source of its mount {mount['Target']}, {mount['Source']}, does not exist"
            raise PrebootFailed(boot.cannot(f"{missing}; create it, or correct settings.mounts"))


def _check_ports(node: Node, boot: Boot, snapshot: Snapshot | None, spec: ContainerSpec) -> None:
    """Raise `PrebootFailed` if a port is taken by another program or container."""
    host = spec.config["HostConfig"]
    if not node.engine.local or host["NetworkMode"] in ("none", "host"):
        return
    if snapshot is not None and snapshot.live and snapshot.on_host_network:
        # Its own process may hold them.
        return
    own = frozenset() if snapshot is None else snapshot.machine_ports
    for published, bindings in host["PortBindings"].items():
        for binding in () if published in own else bindings:
            port, _slash, protocol = published.partition("/")
            fault = port_fault(binding["HostIp"], int(port), protocol)
            if not fault:
                continue
            holder = ""
            if fault == TAKEN:
                holder = _publisher(node, published, binding["HostIp"]) or holder_of(binding["HostIp"], int(port), protocol)
            by, end_it = (f" by {holder}", f"stop {holder}") if holder else ("", "free the port")
            taken = f"port {binding['HostIp']}:{published} {fault}{by}"
            raise PrebootFailed(boot.cannot(f"{taken}; change settings.allocations, or {end_it}"))


def _publisher(node: Node, published: str, address: str) -> str:
    """Describe the container that published a port; "" if there is none or it is unknown."""
    try:
        name = node.engine.publisher(published, address)
    except ENGINE_FAULTS:
        return ""
    if name is None or parse_uuid(name) is None:
        return "" if name is None else f"the container {printable(name)}"
    definition = node.sources.definition_for_stop(name)
    return f"server {name}" + ("" if definition is None or not definition.server.name else f" ({definition.server.name})")


@dataclass
class StepTaken:
    """A running step. It has a flag or a text for its change."""

    changed: bool | str = False


@contextlib.contextmanager
def boot_step(context: ActionContext, name: str, *, checks: bool = False) -> Iterator[StepTaken]:
    """Record a step; with ``checks`` only a failed one. Without ``checks``, errors of the engine become `PrebootFailed`."""
    clock, progress, taken = context.node.clock, context.progress, StepTaken()
    began = clock.monotonic()

    def record(msg: str, *, changed: bool = False, failed: bool = False) -> None:
        progress.preboot += (PrebootStep(name, changed, failed, round(clock.monotonic() - began, 3), msg),)

    try:
        yield taken
    except PowerError as error:
        record(progress.sentence(error), failed=not error.cancels)
        if checks or not isinstance(error, EngineError):
            raise
        raise PrebootFailed(f"Cannot prepare the {name} of server {context.uuid}: {error.reason}") from error
    if not checks:
        progress.changed = progress.changed or bool(taken.changed)
        record(taken.changed if isinstance(taken.changed, str) else "", changed=bool(taken.changed))


def check_disk(node: Node, boot: Boot, check_cancelled: CheckCancelled) -> None:
    """Walk through the data directory as pre-boot will. Raises `DiskFull` or `DiskCheckTimeout`."""
    # Pre-boot walks for the owners too: a problem must show before the stop.
    if boot.definition.build.disk_space > 0 or node.settings.check_permissions_on_boot:
        survey = boot.volume.survey(check_cancelled, bounds_of(node.settings), owner=None)
        _refuse_if_over(boot, survey.used)
        if survey.cut:
            advice = "clear it out; system.disk_check_timeout and system.disk_check_entries raise the limits of time and entries"
            raise DiskCheckTimeout(boot.cannot(f"{_too_much(boot, survey)}; {advice}"))


def put_disk_right(context: ActionContext, boot: Boot, *, limited: bool = True) -> bool | str:
    """Check usage, if ``limited``, and correct owners in one walk; skipped if neither applies."""
    settings = context.node.settings
    owner = (settings.uid, settings.gid) if settings.check_permissions_on_boot else None
    if owner is None and not (limited and boot.definition.build.disk_space > 0):
        return False
    survey = boot.volume.survey(context.check_cancelled, bounds_of(settings), owner=owner, altered=context.progress.alter)
    if limited:
        _refuse_if_over(boot, survey.used)
    if survey.cut:
        # The check passed before the stop. A failure now would let an attacker keep the server down.
        context.warn(f"{_too_much(boot, survey)}; size and owners of the rest are not checked at this start")
    if survey.left_alone:
        context.warn(f"{survey.left_alone} devices and hard-linked files of other owners were left as they are")
    if survey.unreadable:
        context.warn(f"{survey.unreadable} directories could not be read; their size and owners are not checked")
    return f"{survey.chowned} files and directories now belong to {settings.uid}:{settings.gid}" if survey.chowned else False


def bounds_of(settings: Settings) -> Bounds:
    return Bounds(settings.disk_check_timeout, settings.disk_check_entries)


def _too_much(boot: Boot, survey: Survey) -> str:
    return f"its data directory {boot.volume.path} {survey.cut}"


def _refuse_if_over(boot: Boot, used: int) -> None:
    """Raise `DiskFull` if the data directory uses more than ``build.disk_space`` MiB; zero or less is unlimited."""
    limit = boot.definition.build.disk_space * _MIB
    if 0 < limit < used:
        full = f"its data directory uses {used // _MIB} MiB of {limit // _MIB} MiB"
        raise DiskFull(boot.cannot(f"{full}; free some space or raise build.disk_space"), used=used, limit=limit)


def preboot(context: ActionContext, lock: PowerLock, boot: Boot, staged: Staged) -> None:
    context.enter(lock, Phase.PREBOOT)
    context.check_cancelled()
    with boot_step(context, "disk") as step:
        step.changed = put_disk_right(context, boot)
    context.check_cancelled()
    with boot_step(context, "placement") as step:
        step.changed = put_in_place(context, staged)
    context.check_cancelled()
    with boot_step(context, "configuration") as step:
        if boot.definition.configs and not boot.reverted:
            # As in `prepare`.
            from .config_edit import edit_files

            step.changed = edit_files(context, boot)
