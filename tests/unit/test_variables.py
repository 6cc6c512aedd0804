# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Playbooks and roles refuse misspelt variables before any change, and ignore foreign variables."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from ansible_collections.fleet.power.plugins.module_utils._fleet.options import (
    RENAMED,
    VARIABLES,
    likely_meant,
    renamed_fault,
    variables_fault,
)

yaml = pytest.importorskip("yaml")

CHECKOUT = Path(__file__).resolve().parents[2]
PREFIXES = {name.partition("_")[0] for name in VARIABLES}
#: The role sets these for the tasks before a batch.
GIVEN = {"rollout_batch", "rollout_batch_servers"}


class TestTable:
    def test_the_table_has_all_options_of_roles_and_variables_of_playbooks(self) -> None:
        specs = [yaml.safe_load(file.read_text())["argument_specs"]["main"] for file in CHECKOUT.glob("roles/*/meta/argument_specs.yml")]
        options = {name for spec in specs for name in spec["options"]}
        assert len(specs) == 4 and len(options) > 90
        # A name after a dot or a slash belongs to a plugin or a playbook.
        ours = re.compile(rf"(?<![.\w/])(?:{'|'.join(PREFIXES)})_[a-z_]+")
        used = {name for file in CHECKOUT.glob("playbooks/**/*.yml") for name in ours.findall(file.read_text())}
        assert options | used == VARIABLES

    def test_the_table_has_all_variables_of_the_tasks_and_defaults_of_roles(self) -> None:
        ours = re.compile(rf"(?<![.\w/'])(?:{'|'.join(PREFIXES)})_[a-z_]+(?=\s*[|}}:)])")
        files = [*CHECKOUT.glob("roles/*/tasks/*.yml"), *CHECKOUT.glob("roles/*/defaults/*.yml")]
        assert {name for file in files for name in ours.findall(file.read_text())} <= VARIABLES | GIVEN


class TestFaults:
    def test_variables_that_roles_and_playbooks_set_for_themselves_give_no_warning(self) -> None:
        files = [*CHECKOUT.glob("roles/**/*.yml"), *CHECKOUT.glob("playbooks/**/*.yml")]
        own = {name for file in files for name in re.findall(r"\b__[a-z_]+", file.read_text())}
        assert len(own) > 50
        assert {name: likely_meant(name) for name in own if likely_meant(name)} == {}

    def test_known_variables_pass_and_misspelt_variables_are_refused(self) -> None:
        slips = {f"{name[:-1]}{letter}x" for name, letter in zip(sorted(VARIABLES), "abcdefghij" * 10)} - VARIABLES
        assert [name for name in VARIABLES if likely_meant(name)] == []
        assert [slip for slip in slips if not likely_meant(slip)] == []

    @pytest.mark.parametrize(
        ("name", "suggestions"),
        [
            ("rollout_players_at_mots", ["rollout_players_at_most"]),
            ("rolout_serial", ["rollout_serial"]),
            ("power_players_at_most", ["maintenance_players_at_most", "rollout_players_at_most"]),
            ("roll_out_players_at_most", ["rollout_players_at_most"]),
            ("ROLLOUT-PLAYERS-AT-MOST", ["rollout_players_at_most"]),
            ("rolloutplayersatmost", ["rollout_players_at_most"]),
            ("power_canray", ["rollout_canary"]),
            ("power_state", []),
        ],
    )
    def test_a_misspelt_variable_gets_suggestions(self, name: str, suggestions: list[str]) -> None:
        assert likely_meant(name) == suggestions

    def test_the_message_names_each_unknown_variable_and_its_suggestion(self) -> None:
        assert variables_fault(["power_host", "power_hosts", "node_chek"]) == (
            "Cannot use unknown variables: node_chek (did you mean node_check?), power_host (did you mean power_hosts?); "
            "correct or remove them; nothing was done"
        )

    def test_an_old_name_is_refused_with_its_new_name(self) -> None:
        assert renamed_fault(["maintenance_memory", "power_hosts"]) == (
            "Cannot use variables under their old names: maintenance_memory is now maintenance_record; rename them; nothing was done"
        )
        assert renamed_fault(VARIABLES) == ""
        assert set(RENAMED.values()) <= VARIABLES and not set(RENAMED) & VARIABLES

    def test_an_unquoted_text_with_a_blank_is_refused(self) -> None:
        assert variables_fault(["rollout_reason", "_raw_params"]) == (
            "Cannot use a value of -e with a blank: Ansible cut it there; write that -e as JSON, "
            """as in -e '{"NAME": "two words"}'; nothing was done"""
        )


def played(tmp_path: Path, playbook: str, inventory: str = "", extra: tuple[str, ...] = ()) -> tuple[int, str]:
    """Run a playbook on this machine as the node, in check mode, so that a bug cannot change the machine."""
    pytest.importorskip("ansible.plugins.lookup")
    (tmp_path / "hosts.yml").write_text(
        "nodes: {hosts: {node-1: {ansible_connection: local, ansible_python_interpreter: '" + sys.executable + "', " + inventory + "}}}"
    )
    command = [str(Path(sys.executable).with_name("ansible-playbook")), "-i", str(tmp_path / "hosts.yml"), "--check", playbook]
    given = [word for each in ("power_become=false", *extra) for word in ("-e", each)]
    environment = {**os.environ, "HOME": str(tmp_path), "ANSIBLE_LOCALHOST_WARNING": "false"}
    ran = subprocess.run([*command, *given], capture_output=True, text=True, cwd=CHECKOUT, env=environment, check=False)
    return ran.returncode, re.sub(r"\s+", " ", ran.stdout + ran.stderr)


@pytest.mark.samples("power", "rolling_restart")
@pytest.mark.parametrize("playbook", sorted(file.stem for file in CHECKOUT.glob("playbooks/*.yml")))
def test_every_playbook_refuses_an_unknown_extra_variable_before_any_change(tmp_path: Path, playbook: str) -> None:
    code, output = played(tmp_path, f"fleet.power.{playbook}", extra=("power_acton=restart", "node_exporter_version=1.8"))
    assert code == 2, output
    assert "Cannot use unknown variables: power_acton (did you mean power_action?); correct or remove them; nothing was done" in output
    assert "changed=0" in output and "node_exporter_version" not in output
