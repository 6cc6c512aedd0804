# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Following an action that goes on at a node: its news are shown as they come, and its result is that of the task.

The module hands over an action that takes longer than a moment, and another small module waits for news of it, again and again. So a task
speaks while it runs, and outlives its connection: what is not heard is asked for again.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ansible.errors import AnsibleConnectionFailure
from ansible_collections.fleet.power.plugins.plugin_utils.progress import Progress

VARIABLE = "FLEET_POWER_FOLLOW"
#: Seconds that a task may take before it is followed, that one question may take, and that a node may be out of reach.
_AFTER, _PATIENCE, _LOST = 0.7, 10.0, 60.0
_RETRY_SECONDS = 1.0

Execute = Callable[..., dict[str, Any]]


@contextlib.contextmanager
def asking_to_follow(environment: list[Any]) -> Iterator[None]:
    """Have the module told, by its environment, that what takes long is followed."""
    asked = {VARIABLE: f"{secrets.token_hex(16)}:{_AFTER}"}
    environment.append(asked)
    try:
        yield
    finally:
        environment.remove(asked)


def is_wanted(variables: Mapping[str, str] | None = None) -> bool:
    """Tell if progress is to be shown; ``FLEET_POWER_PROGRESS=0`` says no."""
    return (os.environ if variables is None else variables).get("FLEET_POWER_PROGRESS", "1") != "0"


class Follower:
    """Follows one action of one task."""

    def __init__(self, execute: Execute, connection: Any, progress: Progress) -> None:
        self._execute = execute
        self._connection = connection
        self._progress = progress

    def result_of(self, job: str) -> dict[str, Any]:
        """Show the news of a job until it ends; return its result. Raises `AnsibleConnectionFailure` if its node stays out of reach."""
        offset, heard, is_told = 0, time.monotonic(), False
        while True:
            try:
                answer = self._execute(job=job, offset=offset, patience=_PATIENCE)
            except AnsibleConnectionFailure:
                if time.monotonic() - heard > _LOST:
                    raise
                if not is_told:
                    self._progress.say(f"out of reach, tried again for {_LOST:.0f} s; what has begun there goes on")
                is_told = True
                self._connection.close()
                time.sleep(_RETRY_SECONDS)
                continue
            heard, is_told = time.monotonic(), False
            lines, offset, live = (answer.pop(name, None) for name in ("fleet_lines", "fleet_offset", "fleet_live"))
            self._progress.show(lines or ())
            if not live:
                return answer
