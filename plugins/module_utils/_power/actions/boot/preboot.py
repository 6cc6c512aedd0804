# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The steps before a start: disk space, ownership, configuration files."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

from ...definitions.settings import Settings
from ...locking.lock import PowerLock
from ...model.cancellation import CheckCancelled
from ...model.errors import DiskCheckTimeout, DiskFull, EngineError, PowerError, PrebootFailed
from ...model.result import Phase, PrebootStep
from ...volume.volume_walk import Bounds, Survey
from ..node.context import ActionContext
from ..node.node import Node
from .container import Boot, Staged, put_in_place


@contextlib.contextmanager
def checked_step(context: ActionContext, name: str) -> Iterator[None]:
    """Record a step whose check fails; a step that passes is recorded when it runs."""
    began, progress = context.node.clock.monotonic(), context.progress
    try:
        yield
    except PowerError as error:
        failed = not error.cancels
        progress.preboot += (PrebootStep(name, failed=failed, seconds=_since(context, began), msg=progress.sentence(error)),)
        raise


@dataclass
class StepTaken:
    """A running step. It has a flag or a text for its change."""

    changed: bool | str = False


@contextlib.contextmanager
def taken_step(context: ActionContext, name: str) -> Iterator[StepTaken]:
    """Record a step. Errors of the engine in it become `PrebootFailed`."""
    began, progress, taken = context.node.clock.monotonic(), context.progress, StepTaken()
    try:
        with checked_step(context, name):
            yield taken
    except EngineError as error:
        raise PrebootFailed(f"Cannot prepare the {name} of server {context.uuid}: {error.reason}") from error
    changed, msg = bool(taken.changed), taken.changed if isinstance(taken.changed, str) else ""
    progress.changed = progress.changed or changed
    progress.preboot += (PrebootStep(name, changed=changed, seconds=_since(context, began), msg=msg),)


def _since(context: ActionContext, began: float) -> float:
    return round(context.node.clock.monotonic() - began, 3)


_MIB = 1024 * 1024


def check_disk(node: Node, boot: Boot, check_cancelled: CheckCancelled) -> None:
    """Walk through the data directory as pre-boot will. Raises `DiskFull` or `DiskCheckTimeout`."""
    # Pre-boot walks for the owners too: a problem must show before the stop.
    if boot.definition.build.disk_space > 0 or node.settings.check_permissions_on_boot:
        survey = boot.volume.survey(check_cancelled, bounds_of(node.settings), owner=None)
        _refuse_if_over(boot, survey.bytes)
        if survey.cut:
            raise DiskCheckTimeout(
                f"Cannot boot server {boot.definition.server.uuid}: {_too_much(boot, survey)}; clear it out, or, "
                "if all of it belongs there, raise system.disk_check_timeout or system.disk_check_entries"
            )


def put_disk_right(context: ActionContext, boot: Boot) -> bool | str:
    """Check usage and correct owners in one walk; skipped if neither applies."""
    settings, progress, uuid = context.node.settings, context.progress, context.uuid
    owner = (settings.uid, settings.gid) if settings.check_permissions_on_boot else None
    if owner is None and boot.definition.build.disk_space <= 0:
        return False
    survey = boot.volume.survey(context.check_cancelled, bounds_of(settings), owner=owner, altered=progress.alter)
    _refuse_if_over(boot, survey.bytes)
    if survey.cut:
        # The check passed before the stop. A failure now would let an attacker keep the server down.
        progress.warn(f"server {uuid}: {_too_much(boot, survey)}; size and owners of the rest do not count at this start")
    if survey.left_alone:
        progress.warn(f"server {uuid}: {survey.left_alone} devices and hard-linked files of other owners were left as they are")
    if survey.unreadable:
        progress.warn(f"server {uuid}: {survey.unreadable} directories could not be looked into; neither their size nor their owners count")
    return f"{survey.chowned} files and directories were given to {settings.uid}:{settings.gid}" if survey.chowned else False


def bounds_of(settings: Settings) -> Bounds:
    return Bounds(settings.disk_check_timeout, settings.disk_check_entries)


def _too_much(boot: Boot, survey: Survey) -> str:
    return f"its data directory {boot.volume.path} {survey.cut}"


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


def preboot(context: ActionContext, lock: PowerLock, boot: Boot, staged: Staged) -> None:
    context.enter(lock, Phase.PREBOOT)
    context.check_cancelled()
    with taken_step(context, "disk") as step:
        step.changed = put_disk_right(context, boot)
    context.check_cancelled()
    with taken_step(context, "placement") as step:
        step.changed = put_in_place(context, staged)
    context.check_cancelled()
    with taken_step(context, "configuration") as step:
        if boot.definition.configs:
            # As in prepare.py.
            from .config_edit import edit_files

            step.changed = edit_files(context, boot)
