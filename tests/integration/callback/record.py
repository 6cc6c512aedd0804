# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes each unchanged result of a task as a line of JSON to the file FLEET_POWER_RECORD."""

from __future__ import annotations

import json
import os
from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = r"""
name: record
type: aggregate
short_description: Record results for the tests
description:
  - Writes results to a file.
"""


class CallbackModule(CallbackBase):  # type: ignore[misc]
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "record"

    def v2_runner_on_ok(self, result: Any) -> None:
        self._record(result)

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        self._record(result)

    def v2_runner_on_unreachable(self, result: Any) -> None:
        self._record(result)

    def _record(self, result: Any) -> None:
        if "FLEET_POWER_RECORD" in os.environ:
            line = {"host": result.host.get_name(), "task": result.task.get_name(), "result": result.result}
            with open(os.environ["FLEET_POWER_RECORD"], "a", encoding="utf-8") as record:
                record.write(json.dumps(line, default=str) + "\n")
