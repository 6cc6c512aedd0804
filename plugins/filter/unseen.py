# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter that lists what a look at servers did not show."""

from __future__ import annotations

DOCUMENTATION = r"""
name: unseen
short_description: Servers that could not be read
version_added: 1.0.0
author: The fleet.power contributors (@fleet-power)
description:
  - In the result of M(fleet.power.server_power_info), servers that could not be read have the C(state) V(null), and an incomplete list has
    C(complete) V(false). The filter returns a sentence for each, so that a play can stop.
  - For a failed task it returns that no server was read, also with C(ignore_errors). For a skipped task it returns nothing.
positional: among
options:
  _input:
    description: The result of M(fleet.power.server_power_info).
    type: dict
    required: true
  among:
    description: UUIDs of servers. The filter then ignores all others. An incomplete list counts only if it lacks one of them.
    type: list
    elements: str
"""

EXAMPLES = r"""
- name: Read the servers
  fleet.power.server_power_info:
  register: seen

- name: Stop unless the result is complete
  ansible.builtin.assert:
    that: seen | fleet.power.unseen | length == 0
    fail_msg: "{{ seen | fleet.power.unseen | join('; ') }}"
"""

RETURN = r"""
_value:
  description: A sentence for each server that could not be read, and one for an incomplete list. Empty if everything was read.
  type: list
  elements: str
"""

from collections.abc import Callable

from ansible_collections.fleet.power.plugins.module_utils._fleet.look_result import unseen_in


class FilterModule:
    def filters(self) -> dict[str, Callable[..., object]]:
        return {"unseen": lambda result, among=None: unseen_in(result, among)}
