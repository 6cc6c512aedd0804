# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The steps of a boot as they are noted in its progress."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

from ...model.errors import EngineError, PowerError, PrebootFailed
from ..node.progress import Progress


@contextlib.contextmanager
def checked_step(progress: Progress, name: str) -> Iterator[None]:
    """Note a step that fails by being looked at; one that may be taken is noted when it is taken."""
    began = progress.now()
    try:
        yield
    except PowerError as error:
        progress.note_step(name, began, failed=not error.cancels, msg=progress.sentence(error))
        raise


@dataclass
class StepTaken:
    """What a step that is taken says of itself: whether it changed something, or in words what."""

    changed: bool | str = False


@contextlib.contextmanager
def taken_step(progress: Progress, name: str) -> Iterator[StepTaken]:
    """Take a step and note how it went. What the engine refuses in it is raised as `PrebootFailed`."""
    began, taken = progress.now(), StepTaken()
    try:
        with checked_step(progress, name):
            yield taken
    except EngineError as error:
        raise PrebootFailed(f"Cannot prepare the {name} of server {progress.server.uuid}: {error.reason}") from error
    changed = taken.changed
    progress.changed = progress.changed or bool(changed)
    progress.note_step(name, began, changed=bool(changed), msg=changed if isinstance(changed, str) else "")
