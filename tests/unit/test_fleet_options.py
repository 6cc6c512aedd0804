# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What may stand in ``power_options`` is what both modules understand, and is refused by name otherwise."""

from __future__ import annotations

import importlib

import pytest
from ansible_collections.fleet.power.plugins.module_utils._fleet.options import SHARED_ALIASES, SHARED_OPTIONS, options_fault


def test_the_list_is_that_of_the_modules() -> None:
    pytest.importorskip("ansible.module_utils.basic")
    known = importlib.import_module("ansible_collections.fleet.power.plugins.module_utils._options").NODE_OPTIONS
    assert {*SHARED_OPTIONS, "server"} == set(known)
    assert set(SHARED_ALIASES) == {alias for name in SHARED_OPTIONS for alias in known[name].get("aliases", ())}


def test_what_both_modules_understand_may_be_given_by_any_of_its_names() -> None:
    assert options_fault("power_options", dict.fromkeys((*SHARED_OPTIONS, *SHARED_ALIASES), 1)) is None
    assert options_fault("power_options", []) is None


@pytest.mark.parametrize("name", ["adopt", "wait_seconds", "server", "uuid", "tail", "confg"])
def test_any_other_is_refused_by_name(name: str) -> None:
    fault = options_fault("power_options", {name: 1, "config": "/x"})
    assert fault is not None
    assert fault.startswith(f"Cannot use {name} in power_options: only what looking and acting share may stand there: config, ")


def test_text_is_no_map() -> None:
    assert options_fault("power_options", '{"config": 1}') == "Cannot use power_options: it is text; give a map of options"
