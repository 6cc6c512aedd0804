# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The README's fleet page, word for word."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import subprocess
from pathlib import Path
from types import ModuleType

import pytest
from ansible_collections.fleet.power.tests.unit.docs_support import CHECKOUT, examples

from .lab import Lease, Node, adhoc, bring_up, environment, inventory


def commands() -> list[str]:
    """Return the page's commands between making the lab and removing it."""
    text = next(each.text for each in examples(CHECKOUT / "README.md") if each.text.startswith("make lab "))
    first, *lines, last = text.splitlines()
    assert (first, last) == ("make lab NODES=3", "make lab-down")
    return lines


def populate() -> ModuleType:
    """The script by which `make lab` gives its nodes servers."""
    loader = importlib.machinery.SourceFileLoader("populate", str(CHECKOUT / "tests" / "lab" / "populate"))
    spec = importlib.util.spec_from_loader("populate", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


def run(line: str, where: Path) -> str:
    """Run a line of the page in the checkout; all it said."""
    given = {**environment(), "ANSIBLE_INVENTORY": str(where)}
    ran = subprocess.run(
        ["bash", "-c", line], cwd=CHECKOUT, env=given, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=240, check=False
    )
    assert ran.returncode == 0, f"{line}: {ran.stdout}{ran.stderr}"
    return ran.stdout


@pytest.mark.long
def test_every_command_of_the_fleet_page_does_what_it_says(lease: Lease) -> None:
    leased, made = lease(3), populate()
    bring_up({node: [made.definition(number, index) for index in range(4)] for number, node in enumerate(leased, 1)})
    # They are the page's node-1 to node-3, whichever nodes of the lab were free.
    nodes = [Node(f"node-{number}", node.address) for number, node in enumerate(leased, 1)]
    where = inventory(nodes)
    settings, *lines = commands()
    assert settings.startswith("export ANSIBLE_INVENTORY=$PWD/.build/lab/inventory.yml ")
    said = {line: run(line, where) for line in lines}
    assert len(said) == len(lines) > 4
    status = next(text for line, text in said.items() if line.endswith("fleet.power.status"))
    assert "12 servers on 3 nodes: 12 running" in status
    rolled = next(text for line, text in said.items() if "rolling_restart" in line)
    assert "restart of 12" in rolled
    assert "12 done" in rolled
    shown = adhoc(nodes, "fleet.power.server_power_info")
    assert [entry["state"] for result in shown.values() for entry in result["servers"]] == ["running"] * 12
