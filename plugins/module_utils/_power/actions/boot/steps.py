# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The steps of a boot as they are noted in its progress."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

from ...model.errors import EngineError, PowerError, PrebootFailed
from ...model.result import PrebootStep
from ..node.context import ActionContext


@contextlib.contextmanager
def checked_step(context: ActionContext, name: str) -> Iterator[None]:
    """Note a step that fails by being looked at; one that may be taken is noted when it is taken."""
    began, progress = context.node.clock.monotonic(), context.progress
    try:
        yield
    except PowerError as error:
        step = PrebootStep(name, failed=not error.cancels, seconds=_since(context, began), msg=progress.sentence(error))
        progress.preboot.append(step)
        raise


@dataclass
class StepTaken:
    """A step being taken. It says whether it changed something, or in words what."""

    changed: bool | str = False


@contextlib.contextmanager
def taken_step(context: ActionContext, name: str) -> Iterator[StepTaken]:
    """Take a step and note how it went. What the engine refuses in it is raised as `PrebootFailed`."""
    began, progress, taken = context.node.clock.monotonic(), context.progress, StepTaken()
    try:
        with checked_step(context, name):
            yield taken
    except EngineError as error:
        raise PrebootFailed(f"Cannot prepare the {name} of server {context.uuid}: {error.reason}") from error
    changed, msg = bool(taken.changed), taken.changed if isinstance(taken.changed, str) else ""
    progress.changed = progress.changed or changed
    progress.preboot.append(PrebootStep(name, changed=changed, seconds=_since(context, began), msg=msg))


def _since(context: ActionContext, began: float) -> float:
    return round(context.node.clock.monotonic() - began, 3)
