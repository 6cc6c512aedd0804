# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Kills Ansible when the task FLEET_POWER_CUT_AFTER has changed something, and makes the file FLEET_POWER_CUT."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = r"""
name: cut
type: aggregate
short_description: Cut a run off for the tests
description:
  - Kills the process group of Ansible.
"""


class CallbackModule(CallbackBase):  # type: ignore[misc]
    """A callback beside the one that shows the results; no task begins before it has returned."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "cut"

    def v2_runner_on_ok(self, result: Any) -> None:
        name = result.task.get_name().rpartition(" : ")[2]
        if result.is_changed() and os.environ.get("FLEET_POWER_CUT_AFTER") == name:
            Path(os.environ["FLEET_POWER_CUT"]).touch()
            os.killpg(0, signal.SIGKILL)
