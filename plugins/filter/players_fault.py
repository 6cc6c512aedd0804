# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The check in YAML that what is asked for the sake of players makes sense, before anything is done."""

from __future__ import annotations

DOCUMENTATION = r"""
name: players_fault
short_description: Why an action cannot have such regard to players
version_added: 1.0.0
author:
  - The fleet.power contributors (@fleet-power)
description:
  - Tells in a sentence what is wrong with options of M(fleet.power.server_power) that have an action wait for players or tell them, such as
    O(fleet.power.server_power#module:players_at_most). It is the sentence with which the module would refuse them.
positional: action
options:
  _input:
    description:
      - The options, a map. One that is null is not given.
    type: dict
    required: true
  action:
    description:
      - The O(fleet.power.server_power#module:action) that they are given for.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Mind what is given
  ansible.builtin.assert:
    that: "({'max_delay': delay} | fleet.power.players_fault('stop')) is none"
    fail_msg: "{{ {'max_delay': delay} | fleet.power.players_fault('stop') | default('', true) }}"
"""

RETURN = r"""
_value:
  description:
    - The sentence, or null if they make sense.
  type: str
"""

from collections.abc import Callable
from typing import Any

from ansible_collections.fleet.power.plugins.module_utils._fleet.options import players_fault


class FilterModule:
    """The filter under its name."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Filters by name."""
        return {"players_fault": players_fault}
