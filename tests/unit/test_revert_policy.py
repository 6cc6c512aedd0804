# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The policy after a failed start: request, definition, rules and settings."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.definitions.definition import Definition, parse_definition
from ansible_collections.fleet.power.plugins.module_utils._power.definitions.revert_policy import (
    RevertPolicy,
    forbidding_rule,
    revert_policy,
)
from ansible_collections.fleet.power.plugins.module_utils._power.definitions.settings import parse_settings
from ansible_collections.fleet.power.plugins.module_utils._power.model.errors import DefinitionInvalid, SettingsInvalid
from ansible_collections.fleet.power.plugins.module_utils._power.model.request import OnFailedStart, PowerAction, Request
from ansible_collections.fleet.power.plugins.module_utils._power.model.server import Server

PAPER = Server("566bf9d7-c55a-45f8-91a6-e55e9b9b1325", "Paper")
EGG = "5d96cf7f-265b-4da9-8f0c-26ef4243ed52"
LEAVE, REVERT = OnFailedStart.LEAVE, OnFailedStart.REVERT
ASKED = Request(PAPER.uuid, PowerAction.RESTART, "op", datetime.now(timezone.utc))


def definition(**own: Any) -> Definition:
    about = {"uuid": PAPER.uuid, "meta": {"name": PAPER.name}, "container": {"image": "acme/game:1"}}
    return parse_definition({"settings": {**about, "egg": {"id": EGG}, "labels": {"a": "b"}, **own}}, where="paper.json")


def policy(*rules: object, of: Definition | None = None, asked: dict[str, Any] | None = None, **own: object) -> RevertPolicy:
    settings = parse_settings({"revert": {**own, "rules": list(rules)}}, where="config.yml")
    return revert_policy(settings, of or definition(), Request(**{**vars(ASKED), **(asked or {})}))


def test_without_any_word_a_failed_start_is_left() -> None:
    assert policy() == RevertPolicy(LEAVE, settle=30, is_default=True)


def test_request_definition_rule_and_setting_count_in_this_order() -> None:
    rule = {"server": "Paper", "on_failed_start": "leave"}
    own = definition(on_failed_start="revert")
    assert policy(on_failed_start="revert").on_failed_start is REVERT
    assert policy(rule, on_failed_start="revert").on_failed_start is LEAVE
    assert policy(rule, of=own).on_failed_start is REVERT
    assert policy(rule, of=own, asked={"on_failed_start": LEAVE}).on_failed_start is LEAVE


def test_a_policy_tells_whether_the_request_asks_for_it() -> None:
    assert policy(on_failed_start="revert", asked={"on_failed_start": REVERT}).is_default is False
    assert policy(on_failed_start="revert", asked={"settle": 5}).is_default is True


def test_the_seconds_of_the_request_come_before_those_of_the_settings() -> None:
    assert policy(settle=60).settle == 60
    assert policy(settle=60, asked={"settle": 0}).settle == 0


def forbids(*rules: object, previous: str | None = None) -> str:
    settings = parse_settings({"revert": {"rules": list(rules)}}, where="config.yml")
    return forbidding_rule(settings, definition(), previous)


def test_the_first_matching_rule_with_a_key_counts_for_it_and_is_named() -> None:
    rules = (
        {"server": "Lobby", "revertible": True},
        {"egg": EGG.upper(), "on_failed_start": "revert"},
        {"image": "acme/game", "revertible": False, "on_failed_start": "leave"},
        {"label": {"a": "b"}, "revertible": True},
    )
    assert (policy(*rules).on_failed_start, forbids(*rules)) == (REVERT, "rule 3 of revert.rules")
    assert forbids({"server": PAPER.uuid, "revertible": True}, {"image": "acme/game", "revertible": False}) == ""


def test_a_rule_for_the_previous_image_forbids_the_way_back_too() -> None:
    rule = {"image": "acme/old", "revertible": False}
    assert [forbids(rule, previous=image) for image in (None, "acme/new:1", "acme/old:1")] == ["", "", "rule 1 of revert.rules"]


@pytest.mark.parametrize(
    ("rule", "fault"),
    [
        ({"server": "Paper"}, r"revert\.rules\[0\] sets nothing, expected one or more of on_failed_start and revertible"),
        ({"revertible": False}, r"revert\.rules\[0\] selects no server"),
        ({"server": "Paper", "on_failed_start": "undo"}, r"revert\.rules\[0\]\.on_failed_start is .*, expected leave or revert"),
        # If it were ignored, the old version would run on new data.
        ({"server": "Paper", "on_failed_start": "revert", "revertable": False}, r"revert\.rules\[0\]\.revertable is not a key of a rule"),
    ],
)
def test_a_rule_with_a_fault_is_refused(rule: dict[str, object], fault: str) -> None:
    with pytest.raises(SettingsInvalid, match=fault):
        policy(rule)


def test_other_values_are_refused_with_their_key() -> None:
    with pytest.raises(SettingsInvalid, match=r"revert\.settle is .*, expected a whole number of seconds from 0 to 3600"):
        policy(settle=3601)
    with pytest.raises(DefinitionInvalid, match=r"settings\.on_failed_start is .*, expected leave or revert"):
        definition(on_failed_start="undo")
