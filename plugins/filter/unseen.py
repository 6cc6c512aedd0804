# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The question in YAML what a look at servers did not show; one answer for all roles, playbooks and plays of users."""

from __future__ import annotations

DOCUMENTATION = r"""
name: unseen
short_description: What a look at servers did not show
version_added: 1.0.0
author:
  - The fleet.power contributors (@fleet-power)
description:
  - M(fleet.power.server_power_info) returns servers that are known and could not be seen with C(state) being V(null), and C(complete) being
    V(false) where the list of servers is not whole. This tells both, so that a play that acts on what it saw may stop where it did not see
    all.
  - Of a look that failed, be it that the task goes on all the same, it tells that no server was seen; of one that was skipped nothing.
positional: among
options:
  _input:
    description:
      - The result of M(fleet.power.server_power_info).
    type: dict
    required: true
  among:
    description:
      - UUIDs of servers. If given, only what matters for these is told. A list that is not whole matters for those that it lacks.
    type: list
    elements: str
"""

EXAMPLES = r"""
- name: Look at the servers
  fleet.power.server_power_info:
  register: seen

- name: Go no further unless all of them were seen
  ansible.builtin.assert:
    that: seen | fleet.power.unseen | length == 0
    fail_msg: "{{ seen | fleet.power.unseen | join('; ') }}"
"""

RETURN = r"""
_value:
  description:
    - A sentence for each server that was not seen, and one for a list that is not whole; empty if all was seen.
  type: list
  elements: str
"""

from collections.abc import Callable
from typing import Any

from ansible_collections.fleet.power.plugins.module_utils._fleet.look_result import unseen_in


class FilterModule:
    """The filter under its name."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Filters by name."""
        return {"unseen": lambda result, among=None: unseen_in(result, among)}
