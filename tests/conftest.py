# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Marks the tests that only `make test-long` runs, and writes a record of the tests that ran."""

from __future__ import annotations

import json
import os
from collections import defaultdict
from pathlib import Path

import pytest

#: The last one counts most.
_OUTCOMES = ("passed", "skipped", "failed")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark as long each parameter set of a test marked ``samples``, unless the mark names its id."""
    sampled: dict[str, list[pytest.Item]] = defaultdict(list)
    for item in items:
        marker = item.get_closest_marker("samples")
        if marker is not None:
            sampled[item.nodeid.partition("[")[0]].append(item)
            if item.callspec.id not in marker.args:  # type: ignore[attr-defined]
                item.add_marker(pytest.mark.long)
    for test, all_of_it in sampled.items():
        marker = all_of_it[0].get_closest_marker("samples")
        unknown = set(marker.args if marker else ()) - {item.callspec.id for item in all_of_it}  # type: ignore[attr-defined]
        if unknown and len(all_of_it) > 1:
            raise pytest.UsageError(f"{test} has no parameters {sorted(unknown)}")


class Ran:
    """Writes the ids of all tests that ran to the file that ``FLEET_POWER_RAN`` names, as JSON: ``passed``, ``failed`` and ``skipped``.

    ``repeats``: the run repeats the failed tests of the run before, so their outcomes replace those in the file. Another run that ends
    early, such as by Ctrl-C, leaves no file.
    """

    def __init__(self, path: Path, *, repeats: bool) -> None:
        self._path = path
        self._outcomes: dict[str, str] = {}
        if repeats and path.exists():
            self._outcomes = {test: outcome for outcome, tests in json.loads(path.read_text()).items() for test in tests}
        else:
            path.unlink(missing_ok=True)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "setup":
            self._outcomes.pop(report.nodeid, None)
        if report.failed or report.skipped or report.when == "call":
            before = self._outcomes.get(report.nodeid, "passed")
            self._outcomes[report.nodeid] = max(before, report.outcome, key=_OUTCOMES.index)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if not report.passed:
            self._outcomes[report.nodeid] = report.outcome

    def pytest_sessionfinish(self, exitstatus: int) -> None:
        if exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
            written = {outcome: sorted(test for test, seen in self._outcomes.items() if seen == outcome) for outcome in _OUTCOMES}
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._path.write_text(json.dumps(written, indent=1) + "\n")


def pytest_configure(config: pytest.Config) -> None:
    path = os.environ.get("FLEET_POWER_RAN")
    if path and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Ran(Path(path), repeats=getattr(config.option, "lf", False)))
