# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pre-boot: the steps between "may start" and "starts", in order."""

from __future__ import annotations

from ...locking.lock import PowerLock
from ...model.result import Phase
from ..node.context import ActionContext
from .container import Boot, Staged, put_in_place
from .disk import put_disk_right
from .steps import taken_step


def preboot(context: ActionContext, lock: PowerLock, boot: Boot, staged: Staged) -> None:
    """Do every pre-boot step in order. The first failure ends the boot and names its step."""
    context.enter(lock, Phase.PREBOOT)
    context.check_cancelled()
    context.check_cancelled()
    with taken_step(context, "disk") as step:
        step.changed = put_disk_right(context, boot)
    context.check_cancelled()
    with taken_step(context, "placement") as step:
        step.changed = put_in_place(context, staged)
    context.check_cancelled()
    with taken_step(context, "configuration") as step:
        step.changed = _edit_files(context, boot)


def _edit_files(context: ActionContext, boot: Boot) -> bool:
    if not boot.definition.configs:
        return False
    # As in prepare.py.
    from .config_edit import edit_files

    return edit_files(context, boot)
