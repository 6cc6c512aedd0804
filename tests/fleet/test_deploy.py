# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The deploy pipeline of the guide, from a repository's checkout to real nodes."""

from __future__ import annotations

import copy
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from .lab import CHECKOUT, Lease, Node, adhoc, bring_up, inventory, playbook, server, uuid_of
from .scratch import collections


@dataclass(frozen=True)
class Repository:
    """A team's repository: the script, an inventory, and a directory of definitions for each node."""

    place: Path

    def commit(self, node: Node, *definitions: Mapping[str, Any]) -> None:
        """Write the definitions of a node's servers."""
        directory = self.place / "servers" / node.name
        directory.mkdir(parents=True, exist_ok=True)
        for definition in definitions:
            (directory / f"{uuid_of(definition)}.json").write_text(json.dumps(definition))

    def deploy(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "DEPLOY_"))},
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "ANSIBLE_COLLECTIONS_PATH": str(collections()),
            "DEPLOY_SOAK": "1",
            **variables,
        }
        command = [str(self.place / "deploy.sh"), *arguments]
        return subprocess.run(
            command, cwd=self.place, env=environment, capture_output=True, text=True, timeout=300, check=False, stdin=subprocess.DEVNULL
        )

    @property
    def result(self) -> dict[str, Any]:
        return json.loads((self.place / "deploy-result.json").read_text())  # type: ignore[no-any-return]

    @property
    def resume(self) -> Path:
        return self.place / "deploy-resume.json"

    def outcomes(self) -> dict[str, str]:
        return {entry["name"]: entry["outcome"] for entry in self.result["servers"]}


SHORT = {"node_python": "none", "node_user": "", "node_restore_on_boot": False, "node_check": False}


class Team:
    """Two running servers on one node, and the repository that defines them."""

    def __init__(self, place: Path, node: Node) -> None:
        self.node = node
        self.first, self.second = server("Atlas", STOP_SECONDS=0.1), server("Borealis", STOP_SECONDS=0.1)
        made = playbook("node", [node], **SHORT)
        assert made.rc == 0, made.output
        bring_up({node: [self.first, self.second]})
        self.repository = Repository(place / "repository")
        self.repository.place.mkdir()
        shutil.copy(CHECKOUT / "docs" / "deploy" / "deploy.sh", self.repository.place)
        where = "{{ inventory_dir }}/servers/{{ inventory_hostname }}"
        shutil.copy(inventory([node], node_definitions_dir=where), self.repository.place / "inventory.yml")

    def release(self, *, image: str | None = None, **environment: object) -> None:
        for definition in (self.first, self.second):
            changed = copy.deepcopy(definition)
            changed["settings"]["environment"].update(environment)
            if image is not None:
                changed["settings"]["container"]["image"] = image
            self.repository.commit(self.node, changed)

    def began(self) -> list[str]:
        return [self.node.started_at(uuid_of(definition)) for definition in (self.first, self.second)]

    def up(self) -> list[bool]:
        return [self.node.is_up(uuid_of(definition)) for definition in (self.first, self.second)]

    def definitions(self) -> dict[str, str]:
        lines = self.node.ssh("cd /etc/fleet-power/servers && sha256sum *").splitlines()
        return {line.split()[1].removesuffix(".json"): line.split()[0] for line in lines}

    def releases(self) -> list[str]:
        uuids = " ".join(uuid_of(definition) for definition in (self.first, self.second))
        return re.findall(r"RELEASE=(\w+)", self.node.ssh(f"docker inspect --format '{{{{.Config.Env}}}}' {uuids}"))


@pytest.fixture
def team(lease: Lease, tmp_path: Path) -> Team:
    (node,) = lease(1)
    return Team(tmp_path, node)


@pytest.mark.long
def test_a_deploy_restarts_only_the_servers_that_it_changes(team: Team) -> None:
    before = team.began()
    changed = copy.deepcopy(team.first)
    changed["settings"]["environment"]["RELEASE"] = "two"
    team.repository.commit(
        team.node, changed, {**team.second, "settings": {**team.second["settings"], "meta": {"name": "Borealis", "priority": 200}}}
    )
    ran = team.repository.deploy()
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert team.repository.outcomes() == {"Atlas": "done"}
    assert team.began()[0] > before[0] and team.began()[1] == before[1]
    # A second deploy finds nothing to do.
    ran = team.repository.deploy()
    assert (ran.returncode, team.repository.outcomes()) == (0, {}), ran.stdout + ran.stderr
    ran = team.repository.deploy(DEPLOY_OUTDATED="false")
    assert (ran.returncode, team.repository.outcomes()) == (0, {"Atlas": "done", "Borealis": "done"}), ran.stdout + ran.stderr
    assert all(now > then for now, then in zip(team.began(), before))


@pytest.mark.long
def test_a_bad_image_stops_a_deploy_at_the_canary_and_a_resume_does_the_rest(team: Team) -> None:
    before = team.began()
    # No registry listens there.
    team.release(image="127.0.0.1:9/none:1", RELEASE="two")
    ran = team.repository.deploy()
    assert ran.returncode != 0
    assert team.repository.outcomes() == {"Atlas": "refused", "Borealis": "not_done"}
    assert "deploy: " + team.node.name + " Atlas refused image_unavailable" in ran.stdout
    assert (team.up(), team.began()) == ([True, True], before)
    assert "Borealis" in str(json.loads(team.repository.resume.read_text())["not_done"])
    assert "--resume" in ran.stdout.splitlines()[-1]

    team.release(RELEASE="three")
    ran = team.repository.deploy("--resume")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert team.repository.outcomes() == {"Atlas": "done", "Borealis": "done"}
    assert (team.up(), team.releases()) == ([True, True], ["three", "three"])
    assert not team.repository.resume.exists()


def rows(ran: subprocess.CompletedProcess[str]) -> dict[str, str]:
    """Return the outcome of each server in the table of a run, by name."""
    return dict(re.findall(r"^node-\d+ +[0-9a-f]{8} +(\S+) +(\w+) ", ran.stdout, re.MULTILINE))


def previewed(team: Team, *arguments: str) -> dict[str, str]:
    """Preview a deploy, do it, and compare both; return the outcome of each server."""
    before, kept = team.began(), team.definitions()
    preview = team.repository.deploy("--check", *arguments)
    assert (team.began(), team.definitions()) == (before, kept)
    assert team.node.ssh("find /tmp -name 'fleet-power-definitions.*'") == ""
    ran = team.repository.deploy(*arguments)
    assert (preview.returncode == 0, rows(preview)) == (ran.returncode == 0, rows(ran)), preview.stdout + ran.stdout
    assert rows(ran) == team.repository.outcomes()
    return rows(ran)


def with_a_third(team: Team) -> dict[str, Any]:
    """Start a third server, which is not in the repository yet, and return it."""
    third = server("Cetus", STOP_SECONDS=0.1)
    team.node.define(third)
    adhoc([team.node], "fleet.power.server_power", "server=Cetus action=start wait_for=running")
    return third


@pytest.mark.long
def test_a_preview_names_exactly_the_servers_that_the_deploy_restarts(team: Team) -> None:
    third = with_a_third(team)
    began = team.node.started_at(uuid_of(third))
    # Two servers are changed, one is unchanged, and one is new on the node.
    team.release(RELEASE="two")
    team.repository.commit(team.node, third, server("Draco"))
    assert previewed(team) == {"Atlas": "done", "Borealis": "done"}
    assert team.node.started_at(uuid_of(third)) == began


@pytest.mark.long
def test_a_broken_definition_fails_the_deploy_and_never_replaces_a_good_one(team: Team) -> None:
    before, kept = team.began(), team.definitions()
    broken, changed = copy.deepcopy(team.first), copy.deepcopy(team.second)
    broken["settings"]["build"] = {"memory_limit": "64MB"}
    changed["settings"]["environment"]["RELEASE"] = "two"
    team.repository.commit(team.node, broken, changed)
    fault = f'{uuid_of(broken)}.json: settings.build.memory_limit is "64MB" (text), expected a whole number of 0 or more'
    for arguments in (["--check"], []):
        ran = team.repository.deploy(*arguments)
        assert ran.returncode != 0 and fault in ran.stdout
        assert (team.began(), team.definitions()) == (before, kept)
    # Without the check, the role writes the good definitions, and its failure names the broken one.
    ran = playbook("node", team.repository.place / "inventory.yml", "--tags", "node_definitions", node_definitions_purge=True)
    assert ran.rc == 2 and fault in ran.output.replace('\\"', '"'), ran.output
    now = team.definitions()
    assert [now[name] == kept[name] for name in (uuid_of(broken), uuid_of(changed))] == [True, False]
    restarted = adhoc([team.node], "fleet.power.server_power", "server=all action=restart")[team.node.name]
    assert restarted["summary"] == {"done": 2}
