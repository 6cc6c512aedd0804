# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The scenarios of molecule, run as their author would run them: from the collection's root, on an inventory of leased nodes."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from .lab import CHECKOUT, Going, Lease, environment, inventory, tool
from .scratch import collection_root

#: How many nodes each scenario takes.
SCENARIOS = {"default": 1, "rolling": 3}
#: Longest that a whole scenario may take on a loaded machine.
SECONDS = 420


def test_every_scenario_is_run_here() -> None:
    assert sorted(path.parent.name for path in (CHECKOUT / "extensions" / "molecule").glob("*/molecule.yml")) == sorted(SCENARIOS)


@pytest.mark.long
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_scenario_converges_stays_so_and_is_what_it_should_be(lease: Lease, tmp_path: Path, scenario: str) -> None:
    where = inventory(lease(SCENARIOS[scenario]))
    variables = environment() | {
        "FLEET_POWER_INVENTORY": str(where),
        "MOLECULE_EPHEMERAL_DIRECTORY": str(tmp_path / "molecule"),
    }
    # Molecule writes one of its own.
    del variables["ANSIBLE_CONFIG"]
    ran = Going([tool("molecule"), "test", "--scenario-name", scenario], variables, collection_root()).finish(SECONDS)
    assert ran.rc == 0, ran.output
    # A sequence that was cut short by mistake would end well, too.
    sequence = yaml.safe_load((CHECKOUT / "extensions" / "molecule" / scenario / "molecule.yml").read_text())["scenario"]["test_sequence"]
    assert {"converge", "verify"} <= set(sequence)
    assert "no hosts matched" not in ran.output
