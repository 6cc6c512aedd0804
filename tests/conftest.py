# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Marks the tests that only `make test-long` runs."""

from __future__ import annotations

from collections import defaultdict

import pytest


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
