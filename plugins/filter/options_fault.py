# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter that checks the options which all tasks of a role or playbook share."""

from __future__ import annotations

DOCUMENTATION = r"""
name: options_fault
short_description: Find options that some modules do not have
version_added: 1.0.0
author: The fleet.power contributors (@fleet-power)
description:
  - Names options in variables such as C(power_options) that M(fleet.power.server_power) and M(fleet.power.server_power_info) do not share.
positional: variable
options:
  _input:
    description: The options, a map, or their names.
    type: raw
    required: true
  variable:
    description: Name of their variable, for the sentence.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Check the options
  ansible.builtin.assert:
    that: (power_options | fleet.power.options_fault('power_options')) is none
    fail_msg: "{{ power_options | fleet.power.options_fault('power_options') | default('', true) }}"
"""

RETURN = r"""
_value:
  description: The sentence, or null if both modules have all options.
  type: str
"""

from collections.abc import Callable

from ansible_collections.fleet.power.plugins.module_utils._fleet.options import options_fault


class FilterModule:
    def filters(self) -> dict[str, Callable[..., object]]:
        return {"options_fault": lambda given, variable: options_fault(variable, given)}
