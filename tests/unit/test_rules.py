# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rules of the settings: the servers that they select, and the rules that a tenant could turn to his server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.fleet.power.plugins.module_utils._command.gather import gather
from ansible_collections.fleet.power.plugins.module_utils._command.why import why_lines
from ansible_collections.fleet.power.plugins.module_utils._power.definitions.definition import Definition, parse_definition
from ansible_collections.fleet.power.plugins.module_utils._power.definitions.rules import idle
from ansible_collections.fleet.power.plugins.module_utils._power.definitions.selectors import ServerSelector
from ansible_collections.fleet.power.plugins.module_utils._power.definitions.settings import load_settings, parse_settings, selectors_in
from ansible_collections.fleet.power.plugins.module_utils._power.model.errors import SettingsInvalid
from ansible_collections.fleet.power.plugins.module_utils._power.model.server import Server
from ansible_collections.fleet.power.tests.unit.fake_node import UUID, FakeNode

OTHER = "6b1f0f6e-27a5-4d0c-9f7e-8a3c2d10c002"
PROGRAM = {"command": ["/bin/true"]}
#: A rule of each kind, for the servers that ``rule`` selects.
KINDS: dict[str, Any] = {
    "supervisor.rules": lambda rule: {"supervisor": {"rules": [{**rule, "supervise": False}]}},
    "healthchecks": lambda rule: {"healthchecks": [{**rule, "test": ["CMD", "true"]}]},
    "revert.rules": lambda rule: {"revert": {"rules": [{**rule, "revertible": False}]}},
    "hooks": lambda rule: {"hooks": [{**rule, "pre_start": PROGRAM}]},
    "games.rules": lambda rule: {"games": {"rules": [{**rule, "game": "minecraft"}]}},
    "events.receivers": lambda rule: {"events": {"receivers": [{"name": "a", "url": "https://a.test", "servers": [rule]}]}},
}
TRUSTED = ("healthchecks", "revert.rules", "hooks")
WITH_IMAGE = (*TRUSTED, "games.rules")


def selector(kind: str, rule: dict[str, Any], **others: Any) -> ServerSelector:
    (found,) = selectors_in(parse_settings({**KINDS[kind](rule), **others}, where="config.yml")).values()
    return found


def server(uuid: str = UUID, **meta: str) -> Definition:
    settings = {"uuid": uuid, "meta": meta, "container": {"image": "game:1"}}
    return parse_definition({"settings": settings, "process_configuration": {}}, where="test")


@pytest.mark.parametrize("kind", KINDS)
def test_all_is_every_server_in_every_rule(kind: str) -> None:
    found = selector(kind, {"server": "all"})
    assert found.selects(Server(UUID, "Lobby"), server(name="Lobby"))
    assert found.selects(Server(UUID), None) and found.may_select(Server(UUID), None)
    labelled = selector(kind, {"server": "all", "label": {"tier": "gold"}})
    assert not labelled.selects(Server(UUID), server()) and not labelled.selects(Server(UUID), None)


def test_a_name_that_is_the_uuid_of_another_server_does_not_make_it_that_server() -> None:
    found = selector("hooks", {"server": OTHER.upper()})
    assert found.selects(Server(OTHER), server(OTHER))
    assert not found.selects(Server(UUID, OTHER), server(name=OTHER)) and not found.may_select(Server(UUID, OTHER), None)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rule", [{"server": UUID}, {"server": "all"}, {"egg": "5"}, {"label": {"tier": "gold"}}])
def test_with_a_panel_every_rule_may_select_by_what_the_tenant_cannot_change(kind: str, rule: dict[str, Any]) -> None:
    selector(kind, rule, remote="https://panel.test")


@pytest.mark.parametrize(
    "kind, rule",
    [*((kind, {"server": "Lobby"}) for kind in KINDS), *((kind, {"image": "games/arena"}) for kind in WITH_IMAGE)],
)
def test_with_a_panel_a_tenant_cannot_turn_a_rule_to_his_server(kind: str, rule: dict[str, Any]) -> None:
    assert selector(kind, rule)
    if kind not in TRUSTED:
        assert selector(kind, rule, remote="https://panel.test")
        return
    with pytest.raises(SettingsInvalid) as refused:
        selector(kind, rule, remote="https://panel.test")
    (key,) = rule
    why = "can be changed by the tenant in the Panel, expected all or a UUID as server, an egg or a label"
    assert str(refused.value) == f"Cannot read settings config.yml: {kind}[0].{key} {why}"


def test_the_panel_of_the_file_of_wings_counts_for_the_own_rules_too(tmp_path: Path) -> None:
    wings, ours = tmp_path / "wings.yml", tmp_path / "config.yml"
    ours.write_text(f"wings_config: {wings}\nhooks: [{{server: Lobby, pre_start: {{command: [/bin/true]}}}}]\n")
    wings.write_text("app_name: Theirs\n")
    assert load_settings(str(ours)).hooks
    wings.write_text("remote: https://panel.test\n")
    with pytest.raises(SettingsInvalid, match=r"hooks\[0\]\.server can be changed by the tenant"):
        load_settings(str(ours))


def test_an_idle_rule_selects_no_server_and_an_unknown_definition_leaves_it_open() -> None:
    rules = {"egg": ServerSelector(egg="5"), "name": ServerSelector(name="Lobby"), "all": ServerSelector()}
    assert idle(rules, []) == ["egg", "name", "all"]
    assert idle(rules, [(Server(UUID), server(name="Arena"))]) == ["egg", "name"]
    assert idle(rules, [(Server(UUID, "Lobby"), server(name="Lobby"))]) == ["egg"]
    assert idle(rules, [(Server(UUID, "Arena"), None)]) == ["name"]


def test_why_names_the_rules_that_select_no_server_of_the_node(fake: FakeNode) -> None:
    hook = {"pre_start": PROGRAM}
    fake.configure(hooks=[{"server": "all", **hook}, {"server": "Loby", **hook}], games={"rules": [{"egg": "5", "game": "minecraft"}]})
    known = gather(fake.node, Server(UUID))
    assert known.unused_rules == ["hooks[1]", "games.rules[0]"]
    assert "hooks[1] of the settings selects no server of this node." in why_lines(known)
    (fake.file.parent / f"{OTHER}.json").write_text("{")
    assert gather(fake.build(), Server(UUID)).unused_rules == ["hooks[1]"]
