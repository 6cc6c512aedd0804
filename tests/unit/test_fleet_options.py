# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What may stand in ``power_options`` is what both modules understand, and is refused by name otherwise."""

from __future__ import annotations

import importlib

import pytest
from ansible_collections.fleet.power.plugins.module_utils._fleet.options import options_fault
from ansible_collections.fleet.power.plugins.module_utils._power.options import INFO_OPTIONS, POWER_OPTIONS, SHARED_OPTIONS

NAMES = [each for name, option in SHARED_OPTIONS.items() for each in (name, *option.aliases)]


def test_what_both_modules_understand_may_be_given_by_any_of_its_names() -> None:
    assert set(SHARED_OPTIONS) == set(POWER_OPTIONS) & set(INFO_OPTIONS) - {"server"}
    assert options_fault("power_options", dict.fromkeys(NAMES, 1)) is None
    assert options_fault("power_options", []) is None


def test_a_task_names_its_servers_as_the_plugin_that_adds_one_knows() -> None:
    pytest.importorskip("ansible.plugins.action")
    known = importlib.import_module("ansible_collections.fleet.power.plugins.plugin_utils._server_action")._SERVER_NAMES
    assert [("server", *options["server"].aliases) for options in (POWER_OPTIONS, INFO_OPTIONS)] == [known, known]


@pytest.mark.parametrize("name", ["adopt", "wait_seconds", "server", "uuid", "tail", "confg"])
def test_any_other_is_refused_by_name(name: str) -> None:
    fault = options_fault("power_options", {name: 1, "config": "/x"})
    assert fault is not None
    assert fault.startswith(f"Cannot use {name} in power_options: only what looking and acting share may stand there: config, ")
