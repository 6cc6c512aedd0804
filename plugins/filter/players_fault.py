# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter that checks the options for players before an action begins."""

from __future__ import annotations

DOCUMENTATION = r"""
name: players_fault
short_description: Why options for players are wrong
version_added: 1.0.0
author: The fleet.power contributors (@fleet-power)
description: Returns the sentence with which M(fleet.power.server_power) would refuse options for players, such as
  O(fleet.power.server_power#module:players_at_most).
positional: action
options:
  _input:
    description: The options, a map. A null option counts as not given.
    type: dict
    required: true
  action:
    description: Their O(fleet.power.server_power#module:action).
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Check the options
  ansible.builtin.assert:
    that: "({'max_delay': delay} | fleet.power.players_fault('stop')) is none"
    fail_msg: "{{ {'max_delay': delay} | fleet.power.players_fault('stop') | default('', true) }}"
"""

RETURN = r"""
_value:
  description: The sentence, or null if the options are right.
  type: str
"""

from collections.abc import Callable

from ansible_collections.fleet.power.plugins.module_utils._fleet.options import players_fault


class FilterModule:
    def filters(self) -> dict[str, Callable[..., object]]:
        return {"players_fault": players_fault}
