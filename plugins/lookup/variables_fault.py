# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lookup that checks the names of variables."""

from __future__ import annotations

DOCUMENTATION = r"""
name: variables_fault
short_description: Find misspelt variables of this collection
version_added: 1.0.0
author: The fleet.power contributors (@fleet-power)
description: Ansible ignores unknown variables. The lookup names extra variables (C(-e)) that begin as this collection's do and are within
  two edits of one of them, such as C(rollout_players_at_mots). It warns about such variables in the inventory or in a play.
options:
  _terms:
    description: Hosts whose variables are checked, besides those of the task's host.
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: Refuse a misspelt variable
  ansible.builtin.fail:
    msg: "{{ misspelt }}"
  when: misspelt | length > 0
  vars:
    misspelt: "{{ lookup('fleet.power.variables_fault') }}"
"""

RETURN = r"""
_raw:
  description: The sentence, or an empty text if there is no such variable.
  type: list
  elements: str
"""

from typing import Any

from ansible.plugins.lookup import LookupBase
from ansible_collections.fleet.power.plugins.plugin_utils._variables import given_fault


class LookupModule(LookupBase):
    def run(self, terms: list[Any], variables: dict[str, Any] | None = None, **kwargs: Any) -> list[str]:
        """Return one sentence, empty without a fault."""
        return [given_fault(self._loader, variables or {}, terms)]
