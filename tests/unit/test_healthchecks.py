# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Health checks that the settings give to containers, in the create call and among the differences of a container."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.definitions.settings import Settings, parse_settings
from ansible_collections.fleet.power.plugins.module_utils._power.model.errors import SettingsInvalid
from ansible_collections.fleet.power.tests.unit.test_container_spec import UUID, hash_of, spec
from ansible_collections.fleet.power.tests.unit.test_outdated import differences, keys

TEST = ["CMD", "/probe", "--port", "25565"]
CHECK = {"test": TEST, "interval": 15, "timeout": 3, "retries": 4, "start_period": 120}


def ruled(*rules: dict[str, Any]) -> Settings:
    system = {"user": {"uid": 988, "gid": 987}, "timezone": "UTC"}
    return parse_settings({"system": system, "healthchecks": list(rules)}, where="config.yml")


def test_the_create_call_has_the_check_of_the_first_rule_that_selects_the_server() -> None:
    node = ruled({"server": "Another", "test": ["NONE"]}, {"server": UUID, **CHECK}, {"server": UUID, "test": ["NONE"]})
    assert spec(node=node).config["Healthcheck"] == {
        "Test": TEST,
        "Interval": 15_000_000_000,
        "Timeout": 3_000_000_000,
        "Retries": 4,
        "StartPeriod": 120_000_000_000,
    }


def test_unset_times_are_left_to_the_image() -> None:
    assert spec(node=ruled({"server": UUID, "test": TEST})).config["Healthcheck"] == {"Test": TEST}


def test_a_container_is_outdated_only_if_a_rule_changes_its_check() -> None:
    none, other, one = ruled(), ruled({"server": "Another", **CHECK}), ruled({"server": UUID, **CHECK})
    longer = ruled({"server": UUID, **CHECK, "interval": 16})
    assert "Healthcheck" not in spec(node=other).config and hash_of(node=none) == hash_of(node=other)
    assert not differences(old_node=none, new_node=other).is_outdated
    for old, new in ((none, one), (one, none), (one, longer)):
        assert keys(differences(old_node=old, new_node=new)) == {"healthchecks"}


@pytest.mark.parametrize(
    "test, valid",
    [
        (["CMD", "/probe"], True),
        (["CMD-SHELL", "probe || exit 1"], True),
        (["NONE"], True),
        (["CMD"], False),
        (["CMD-SHELL"], False),
        (["CMD-SHELL", "probe", "--port"], False),
        (["NONE", "x"], False),
        (["/probe"], False),
        ([], False),
        ("/probe", False),
        (["CMD", 3], False),
    ],
    ids=str,
)
def test_a_test_has_the_form_of_the_docker_api(test: object, valid: bool) -> None:
    if valid:
        assert ruled({"server": UUID, "test": test}).healthchecks[0].check["Test"] == test
        return
    with pytest.raises(SettingsInvalid, match=r"healthchecks\[0\]\.test"):
        ruled({"server": UUID, "test": test})


@pytest.mark.parametrize("change", [{"interval": 0}, {"retries": 0}, {"timeout": "3s"}, {"start_period": -1}, {"server": None}], ids=str)
def test_a_bad_rule_is_refused_with_its_place(change: dict[str, Any]) -> None:
    with pytest.raises(SettingsInvalid, match=r"healthchecks\[0\]"):
        ruled({"server": UUID, **CHECK, **change})
