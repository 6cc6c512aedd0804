# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pre-boot: the steps between "may start" and "starts", in order."""

from __future__ import annotations

from collections.abc import Callable

from ...definitions.settings import Settings
from ...model.cancellation import CheckCancelled
from ...model.errors import DiskCheckTimeout, DiskFull, EngineError, PowerError, PrebootFailed
from ...model.model import Request
from ...volume.volume import Bounds, Survey
from ..node.node import Node
from ..node.progress import Progress
from .config_edit import edit
from .container import Boot, Staged, put_in_place

_MIB = 1024 * 1024


def preboot(request: Request, node: Node, boot: Boot, staged: Staged, check_cancelled: CheckCancelled, progress: Progress) -> None:
    """Do every pre-boot step in order. The first failure ends the boot and names its step."""
    steps: tuple[tuple[str, Callable[[], bool | str]], ...] = (
        ("disk", lambda: _put_disk_right(node, boot, check_cancelled, progress)),
        ("placement", lambda: put_in_place(request, node, staged, progress)),
        ("configuration", lambda: _edit_files(node, boot, check_cancelled, progress)),
    )
    for name, step in steps:
        check_cancelled()
        run_step(name, step, progress)


def run_step(name: str, step: Callable[[], bool | str], progress: Progress) -> None:
    """Run one step and note how it went; ``step`` returns whether it changed something, or in words what."""
    began = progress.now()
    try:
        changed = step()
    except PowerError as error:
        progress.note_step(name, began, failed=not error.cancels, msg=progress.sentence(error))
        if isinstance(error, EngineError):
            raise PrebootFailed(f"Cannot prepare the {name} of server {progress.server.uuid}: {error.reason}") from error
        raise
    progress.changed = progress.changed or bool(changed)
    progress.note_step(name, began, changed=bool(changed), msg=changed if isinstance(changed, str) else "")


def _edit_files(node: Node, boot: Boot, check_cancelled: CheckCancelled, progress: Progress) -> bool:
    written = []
    for config in boot.definition.configs:
        check_cancelled()
        written.append(edit(node, boot, config, progress))
    return any(written)


def _put_disk_right(node: Node, boot: Boot, check_cancelled: CheckCancelled, progress: Progress) -> bool | str:
    """Usage against the limit and ownership in one walk, skipped where neither is asked for."""
    settings = node.settings
    owner = (settings.uid, settings.gid) if settings.check_permissions_on_boot else None
    if owner is None and boot.definition.build.disk_space <= 0:
        return False
    survey = boot.volume.survey(check_cancelled, bounds_of(settings), owner=owner, altered=progress.alter)
    refuse_if_over(boot, survey.bytes)
    uuid = boot.definition.server.uuid
    if survey.cut:
        # It was looked through before anything was altered, and a server that is down for it would be what somebody wants.
        progress.warn(f"server {uuid}: {_too_much(boot, survey)}; size and owners of the rest do not count at this start")
    if survey.left_alone:
        progress.warn(f"server {uuid}: {survey.left_alone} devices and hard-linked files of other owners were left as they are")
    if survey.unreadable:
        progress.warn(f"server {uuid}: {survey.unreadable} directories could not be looked into; neither their size nor their owners count")
    return f"{survey.chowned} files and directories were given to {settings.uid}:{settings.gid}" if survey.chowned else False


def bounds_of(settings: Settings) -> Bounds:
    """How much of a walk over a data directory there may be on this node."""
    return Bounds(settings.disk_check_timeout, settings.disk_check_entries)


def refuse_if_cut(boot: Boot, survey: Survey) -> None:
    """Raise `DiskCheckTimeout` if the data directory could not be looked through."""
    if survey.cut:
        raise DiskCheckTimeout(
            f"Cannot boot server {boot.definition.server.uuid}: {_too_much(boot, survey)}; clear it out, or, where all of it is meant to "
            "be there, raise system.disk_check_timeout or system.disk_check_entries"
        )


def _too_much(boot: Boot, survey: Survey) -> str:
    return f"its data directory {boot.volume.path} {survey.cut}"


def refuse_if_over(boot: Boot, used: int) -> None:
    """Raise `DiskFull` if the data directory uses more than ``build.disk_space`` MiB; zero or less is unlimited."""
    limit = boot.definition.build.disk_space * _MIB
    if 0 < limit < used:
        raise DiskFull(
            f"Cannot boot server {boot.definition.server.uuid}: its data directory uses {used // _MIB} MiB of {limit // _MIB} MiB; "
            "free some space or raise build.disk_space",
            used=used,
            limit=limit,
        )
