# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The README's first playbook and ad hoc commands, and the fleet page, word for word."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import re
import subprocess
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
from ansible_collections.fleet.power.tests.unit.docs_support import CHECKOUT, Example, examples

from .lab import IMAGE, Lease, Node, adhoc, bring_up, environment, inventory

README = CHECKOUT / "README.md"


def commands() -> list[str]:
    """Return the page's commands between creation and removal of the lab."""
    text = next(each.text for each in examples(README) if each.text.startswith("make lab "))
    first, *lines, last = text.splitlines()
    assert (first, last) == ("make lab NODES=3", "make lab-down")
    return lines


def populate() -> ModuleType:
    """Return the script that defines servers on the nodes of `make lab`."""
    loader = importlib.machinery.SourceFileLoader("populate", str(CHECKOUT / "tests" / "lab" / "populate"))
    spec = importlib.util.spec_from_loader("populate", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


def run(line: str, where: Path, directory: Path = CHECKOUT) -> str:
    """Run a line of the page in the checkout, or in ``directory``; return its output."""
    given = {**environment(), "ANSIBLE_INVENTORY": str(where)}
    ran = subprocess.run(
        ["bash", "-c", line], cwd=directory, env=given, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=900, check=False
    )
    assert ran.returncode == 0, f"{line}: {ran.stdout}{ran.stderr}"
    return ran.stdout


@pytest.mark.long
def test_every_command_of_the_fleet_page_works(lease: Lease) -> None:
    leased, made = lease(3), populate()
    bring_up({node: [made.definition(number, index) for index in range(4)] for number, node in enumerate(leased, 1)})
    # The page names node-1 to node-3, but any nodes of the lab may be free.
    nodes = [replace(node, name=f"node-{number}") for number, node in enumerate(leased, 1)]
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


def blocks(heading: str) -> list[Example]:
    lines = README.read_text().splitlines()
    first = lines.index(f"## {heading}") + 1
    last = next((number for number in range(first, len(lines)) if lines[number].startswith("## ")), len(lines))
    return [each for each in examples(README) if first <= each.line <= last]


def stand_in(node: Node, image: str) -> None:
    """Give the node's engine an image of this name, because the lab has no registry."""
    ready = """--change 'ENV READY_LINE="Serving HTTP on"'"""
    line = f"id=$(docker create {IMAGE.lstrip('~')}) && docker commit {ready} $id {image} && docker rm $id"
    node.ssh(line)


@pytest.mark.long
def test_the_first_playbook_and_the_commands_after_it_run_as_they_stand(lease: Lease, tmp_path: Path) -> None:
    (leased,) = lease(1)
    node = replace(leased, name="node1")
    asked, made, defined, book = (each.text for each in blocks("First playbook"))
    # The only difference: this line would make this machine a node.
    assert asked == "nodes: {hosts: {node1: {ansible_connection: local, ansible_python_interpreter: /usr/bin/python3}}}\n"
    where = inventory([node])
    exported, making = made.splitlines()
    assert exported == "export ANSIBLE_INVENTORY=$PWD/inventory.yml"
    run(making, where, tmp_path)
    text = README.read_text()
    path = next(line.strip("`") for line in text.splitlines() if line.startswith("`/etc/fleet-power/servers/"))
    node.ssh(f"cat >{path} <<'EOF'\n{defined}EOF")
    stand_in(leased, "ghcr.io/pterodactyl/yolks:python_3.12")
    (tmp_path / "restart.yml").write_text(book)
    (played,) = re.findall(r"run `(ansible-playbook .+)`:", text)
    assert "changed=1" in run(played, where, tmp_path)
    commands = [line for each in blocks("Ad hoc") for line in each.text.splitlines() if line.startswith("ansible node")]
    for line in commands:
        run(line, where, tmp_path)
    assert len(commands) == 4
    assert adhoc([node], "fleet.power.server_power_info")["node1"]["servers"][0]["state"] == "running"
