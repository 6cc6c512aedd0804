# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a node tells of itself: the version is the collection's, and nothing is missing of the rest."""

from __future__ import annotations

from pathlib import Path

import yaml
from ansible_collections.fleet.power.plugins.module_utils._http_shim.servers.wings_view import VERSION, Machine, system_entry_2


def test_the_version_is_that_of_the_collection() -> None:
    galaxy = yaml.safe_load((Path(__file__).resolve().parents[2] / "galaxy.yml").read_text())
    assert galaxy["version"] == VERSION


def test_an_engine_that_says_little_of_itself_makes_a_whole_answer_all_the_same() -> None:
    odd = {"DriverStatus": [["Backing Filesystem"], "x"], "RuncCommit": None, "Containers": "many"}
    for said in ({}, odd):
        found = system_entry_2(Machine("x86_64", 4, "6.1.0", "Linux"), said)
        assert found["docker"]["containers"] == {"total": 0, "running": 0, "paused": 0, "stopped": 0}
        assert (found["docker"]["storage"], found["docker"]["runc"]) == ({"driver": "", "filesystem": ""}, {"version": ""})
        assert (found["system"]["architecture"], found["system"]["cpu_threads"]) == ("amd64", 4)
