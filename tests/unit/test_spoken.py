# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where plugins tell what happens."""

from __future__ import annotations

import pytest
from ansible_collections.fleet.power.plugins.plugin_utils.spoken import is_read_by_people


@pytest.mark.parametrize(
    "callback", ["default", "ansible.builtin.default", "minimal", "oneline", "debug", "ansible.posix.debug", "tree", "awx_display"]
)
def test_people_read_what_these_print(callback: str) -> None:
    assert is_read_by_people(callback)


@pytest.mark.parametrize("callback", ["json", "ansible.posix.json", "ansible.posix.jsonl", "null", "", None])
def test_of_any_other_standard_output_is_left_alone(callback: object) -> None:
    assert not is_read_by_people(callback)
