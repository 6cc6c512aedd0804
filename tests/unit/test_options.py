# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The modules' options: their bounds, and the options that a result shows."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power import call
from ansible_collections.fleet.power.plugins.module_utils._power.model.errors import SettingsInvalid
from ansible_collections.fleet.power.plugins.module_utils._power.model.option import Option, argument_spec
from ansible_collections.fleet.power.plugins.module_utils._power.options import POWER_OPTIONS

options: Any = pytest.importorskip("ansible_collections.fleet.power.plugins.module_utils._options")
testing: Any = pytest.importorskip("ansible.module_utils.testing")


def module_with(**params: Any) -> Any:
    module = object.__new__(options.PowerModule)
    module.argument_spec = argument_spec(POWER_OPTIONS)
    module.params = {name: option.default for name, option in POWER_OPTIONS.items()} | {"server": ["x"], **params}
    return module


@pytest.mark.parametrize("host", ["tcp://bob:hunter22@h:2375", "bob:hunter22@h:2375"])
def test_the_engines_address_is_shown_without_its_user(host: str) -> None:
    arguments = module_with(docker_host=host)._invocation()["module_args"]
    assert arguments["docker_host"].endswith("h:2375")
    assert "bob" not in str(arguments)
    assert "hunter22" not in str(arguments)


def test_a_result_shows_other_options_as_given_but_no_definitions() -> None:
    arguments = module_with(docker_host="unix:///a@b.sock", timeout=5, definitions=[{"settings": {}}])._invocation()["module_args"]
    assert (arguments["docker_host"], arguments["timeout"], arguments["server"]) == ("unix:///a@b.sock", 5, ["x"])
    assert "definitions" not in arguments
    assert "docker_host" not in module_with()._invocation()["module_args"]


def test_a_misspelt_option_gets_the_nearest_name_also_without_the_required_action(capsys: pytest.CaptureFixture[str]) -> None:
    with testing.patch_module_args({"servr": "x"}), pytest.raises(SystemExit):
        options.PowerModule(POWER_OPTIONS)
    printed = capsys.readouterr().out
    assert '"Cannot use the options: there is no servr (did you mean server?)"' in printed and '"settings_invalid"' in printed


def checked(**params: Any) -> Any:
    return call.checked(module_with(**params).params, pytest.fail)


@pytest.mark.parametrize(
    ("option", "value", "fitting"),
    [
        ("if_meant_up", True, ["start", "restart"]),
        ("outdated", True, ["restart"]),
        ("retry_reverted", True, ["restart"]),
        ("on_failed_start", "leave", ["start", "restart"]),
        ("settle", 0, ["start", "restart"]),
    ],
)
def test_an_option_is_refused_for_actions_that_cannot_have_it(option: str, value: object, fitting: list[str]) -> None:
    for action in ("start", "stop", "restart", "kill"):
        if action in fitting:
            assert checked(action=action, **{option: value})[option] == value
        else:
            with pytest.raises(SettingsInvalid, match=f"Cannot {action} with {option}: it applies only to {' and '.join(fitting)};"):
                checked(action=action, **{option: value})


@pytest.mark.parametrize("seconds", [-1, 3601])
def test_the_stagger_is_an_hour_at_most(seconds: int) -> None:
    with pytest.raises(SettingsInvalid, match=f"Cannot use stagger={seconds}: expected a whole number from 0 to 3600"):
        checked(stagger=seconds)
    assert checked(stagger=3600)["stagger"] == 3600


def test_invalid_priorities_are_refused() -> None:
    assert checked()["priorities"] == {}
    assert checked(priorities={"Proxy": "10"})["priorities"] == {"Proxy": 10}
    with pytest.raises(SettingsInvalid, match=r"priorities\.Proxy"):
        checked(priorities={"Proxy": "first"})


@pytest.mark.parametrize(
    ("option", "within", "beyond", "limit"),
    [
        (Option("int", least=0), [0, 10**9], [-1], "of at least 0"),
        (Option("int", least=1, most=3), [1, 3], [0, 4], "from 1 to 3"),
        (Option("float", least=0), [0.0, 0.5], [-0.5, float("nan")], "of at least 0"),
    ],
)
def test_a_number_is_checked_against_its_bounds(option: Option, within: list[float], beyond: list[float], limit: str) -> None:
    assert [option.holds(value) for value in within] == [True] * len(within)
    assert [option.holds(value) for value in beyond] == [False] * len(beyond)
    assert option.limit == limit


@pytest.mark.parametrize(("action", "which"), [("restart", "up"), ("stop", "selected")])
def test_an_action_on_all_servers_without_a_server_says_so(action: str, which: str) -> None:
    left: list[dict[str, Any]] = []
    module = SimpleNamespace(check_mode=False, _diff=False, _verbosity=0, exit_json=lambda **report: left.append(report))
    options._leave(module, module_with(action=action, server=["all"], origin="alice@web1").params, [], [])
    assert left[0]["msg"] == f"No server to {action}: no server of this node is {which}"
