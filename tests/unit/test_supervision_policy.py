# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which servers are supervised and how, whose word counts, and by what a changed definition is noticed."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.definitions.definition import Definition, parse_definition, secrets_of
from ansible_collections.fleet.power.plugins.module_utils._power.definitions.settings import Settings, parse_settings
from ansible_collections.fleet.power.plugins.module_utils._power.definitions.supervision import Policy, definition_fingerprint, policy_of
from ansible_collections.fleet.power.plugins.module_utils._power.model.errors import SettingsInvalid
from ansible_collections.fleet.power.plugins.module_utils._power.model.server import Server
from ansible_collections.fleet.power.plugins.module_utils._power.model.supervision import Limits

FIXTURES = Path(__file__).parent / "fixtures" / "definitions"
PAPER = Server("566bf9d7-c55a-45f8-91a6-e55e9b9b1325", "Paper")
EGG = "5d96cf7f-265b-4da9-8f0c-26ef4243ed52"
LABELS = {"tier": "gold", "kind": "lobby"}


def definition(**own: Any) -> Definition:
    written = {"uuid": PAPER.uuid, "meta": {"name": PAPER.name}, "container": {"image": "game:1"}, "egg": {"id": EGG}, "labels": LABELS}
    return parse_definition({"settings": {**written, **own}}, where="paper.json")


def settings(*rules: object, wings: object = None, **own: object) -> Settings:
    system = {} if wings is None else {"system": {"crash_detection": wings}}
    return parse_settings({**system, "supervisor": {**own, "rules": list(rules)}}, where="config.yml")


def policy(*rules: object, of: Definition | None = None, wings: object = None, **own: object) -> Policy:
    return policy_of(settings(*rules, wings=wings, **own), PAPER, definition() if of is None else of)


class TestSupervised:
    def test_where_nothing_says_otherwise_every_server_is_and_a_clean_exit_is_left(self) -> None:
        assert policy() == Policy(supervised=True, clean_exit=False, limits=Limits(10, 600.0), why="")
        assert policy_of(settings(), PAPER, None) == policy()


class TestCleanExit:
    def test_ours_counts_before_wings_and_a_rule_before_both(self) -> None:
        wings = {"detect_clean_exit_as_crash": True}
        assert not policy(wings=wings, clean_exit="leave").clean_exit
        assert policy(clean_exit="restart").clean_exit
        assert policy({"server": "Paper", "clean_exit": "restart"}, clean_exit="leave").clean_exit
        assert not policy({"server": "Paper", "clean_exit": "leave"}, wings=wings, clean_exit="restart").clean_exit


class TestRules:
    @pytest.mark.parametrize(
        "selectors",
        [
            {"server": "Paper"},
            {"server": PAPER.uuid.upper()},
            {"egg": EGG.upper()},
            {"label": {"tier": "gold"}},
            {"server": "Paper", "egg": EGG, "label": LABELS},
        ],
    )
    def test_a_rule_is_for_the_servers_that_have_all_it_names(self, selectors: dict[str, object]) -> None:
        assert not policy({**selectors, "supervise": False}).supervised

    @pytest.mark.parametrize(
        "selectors",
        [
            {"server": "paper"},
            {"egg": "other"},
            {"label": {"tier": "silver"}},
            {"server": "Paper", "egg": "other"},
            {"server": "Lobby", "egg": EGG, "label": LABELS},
        ],
    )
    def test_it_is_for_no_other(self, selectors: dict[str, object]) -> None:
        assert policy({**selectors, "supervise": False}).supervised

    @pytest.mark.parametrize("selectors", [{}, {"egg": ""}, {"label": {}}])
    def test_a_rule_that_is_for_no_server_is_refused(self, selectors: dict[str, object]) -> None:
        with pytest.raises(SettingsInvalid) as caught:
            settings({"server": "Paper", "supervise": True}, {**selectors, "supervise": False})
        assert str(caught.value) == (
            "Cannot read settings config.yml: supervisor.rules[1] says of no server that it is for it, "
            "expected one or more of server, egg and label"
        )

    @pytest.mark.parametrize(
        ("key", "value", "expected"),
        [
            ("clean_exit", "crash", "restart or leave"),
            ("max_restarts", 1001, "a whole number from 0 to 1000"),
            ("max_restarts", -1, "a whole number from 0 to 1000"),
            ("reset_after", 0, "a whole number of seconds from 1 to 604800"),
            ("supervise", "no", "true or false"),
        ],
    )
    def test_what_a_rule_says_has_the_bounds_of_the_settings(self, key: str, value: object, expected: str) -> None:
        with pytest.raises(SettingsInvalid, match=rf"supervisor\.rules\[0\]\.{key} is .*, expected {expected}$"):
            settings({"server": "Paper", key: value})
        own = "enabled" if key == "supervise" else key
        with pytest.raises(SettingsInvalid, match=rf"supervisor\.{own} is .*, expected {expected}$"):
            settings(**{own: value})


class TestFingerprint:
    RAW: dict[str, Any] = json.loads((FIXTURES / "paper.json").read_text(encoding="utf-8"))

    def of(self, raw: object) -> str:
        return definition_fingerprint(parse_definition(raw, where="paper.json"))

    @pytest.mark.parametrize(
        ("path", "value"),
        [
            ("settings.suspended", True),
            ("settings.build.memory_limit", 1),
            ("settings.environment.NEW", "x"),
            ("settings.mounts", [{"source": "/srv/maps", "target": "/maps"}]),
            ("process_configuration.configs", []),
        ],
    )
    def test_it_changes_with_all_that_bears_on_a_boot(self, path: str, value: object) -> None:
        raw = copy.deepcopy(self.RAW)
        *outer, last = path.split(".")
        node = raw
        for name in outer:
            node = node[name]
        node[last] = value
        assert self.of(raw) != self.of(self.RAW)

    def test_no_secret_can_be_read_from_it(self) -> None:
        found = definition(environment={"PASSWORD": "hunter22"})
        assert len(definition_fingerprint(found)) == 64
        assert not any(secret in definition_fingerprint(found) for secret in secrets_of(found))
