# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Prints one JSON document at the end of a run, as callbacks for programs do: the results of all hosts, and the recap."""

from __future__ import annotations

import json
from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = r"""
name: document
type: stdout
short_description: Print a JSON document for the tests
description:
  - Prints results as JSON.
"""


class CallbackModule(CallbackBase):  # type: ignore[misc]
    """A callback whose standard output a program reads."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "document"

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        """Have no result yet."""
        super().__init__(*arguments, **keywords)
        self._results: list[dict[str, Any]] = []

    def v2_runner_on_ok(self, result: Any) -> None:
        """A task ended well."""
        self._keep(result)

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        """A task failed."""
        self._keep(result)

    def v2_runner_on_unreachable(self, result: Any) -> None:
        """The connection broke."""
        self._keep(result)

    def v2_playbook_on_stats(self, stats: Any) -> None:
        """Print the document."""
        self._display.display(json.dumps({"results": self._results, "hosts": sorted(stats.processed)}, default=str))

    def _keep(self, result: Any) -> None:
        self._results.append({"host": result.host.get_name(), "task": result.task.get_name(), "result": result.result})
