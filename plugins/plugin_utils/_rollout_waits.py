# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The waits of a rolling run on the controller: for its window, between batches, in a soak. They end with the run of Ansible."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from ansible.errors import AnsibleError
from ansible_collections.fleet.power.plugins.module_utils._fleet.rollout import lines
from ansible_collections.fleet.power.plugins.plugin_utils._spoken import speak

#: Seconds between two looks at the clock, which somebody may set, and whose machine may sleep.
_LOOK_SECONDS = 1.0
#: What is waited for is told again after so long.
_REMIND_SECONDS = 1800.0


def wait_for(seconds: float, meanwhile: Callable[[], None]) -> None:
    """Wait, and do something each second. Raises `AnsibleError` if the run of Ansible ends meanwhile."""
    run, until = os.getppid(), time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        meanwhile()
        _look_after(left, run)


def await_window(not_before: float, *, check: bool) -> None:
    """Wait for a moment, in seconds since 1970, by a clock that may be set meanwhile, and tell of it; in check mode tell alone.

    Raises `AnsibleError` if the run of Ansible ends meanwhile.
    """
    run, told = os.getppid(), None
    while (left := not_before - time.time()) > 0:
        if check:
            speak(lines.no_window_line(not_before, time.time()))
            return
        if told is None or time.monotonic() - told >= _REMIND_SECONDS:
            told = time.monotonic()
            speak(lines.window_line(not_before, time.time()))
        _look_after(left, run)


def _look_after(seconds: float, run: int) -> None:
    """Sleep for a moment of a wait that has so long to go."""
    time.sleep(min(seconds, _LOOK_SECONDS))
    if os.getppid() != run:
        # A worker of Ansible outlives one that was ended. It must not go on by itself, hours later, nor write into a file that others
        # have taken up.
        raise AnsibleError("Cannot wait any longer: the run of Ansible has ended")
