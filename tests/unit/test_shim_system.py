# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a node tells of itself: the version is the collection's, and nothing is missing of the rest."""

from __future__ import annotations

from pathlib import Path

import yaml
from ansible_collections.fleet.power.plugins.module_utils._http_shim.process.version import VERSION


def test_the_version_is_that_of_the_collection() -> None:
    galaxy = yaml.safe_load((Path(__file__).resolve().parents[2] / "galaxy.yml").read_text())
    assert galaxy["version"] == VERSION
