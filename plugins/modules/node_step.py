#!/usr/bin/python
# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: node_step
short_description: Take a step of role node that needs no node
version_added: 1.0.0
description:
  - Reads the definitions and settings of a node from the variables of the role P(fleet.power.node#role), on the controller. It is a step of
    that role and of the playbook C(fleet.power.validate). Do not call it in a task of your own.
  - It reads the variables itself, since they hold secrets and Ansible may show a task's arguments. Messages show no secrets.
  - Runs on the controller and sends nothing to the hosts.
extends_documentation_fragment:
  - fleet.power.attributes
  - fleet.power.attributes.read_only
options:
  step:
    description:
      - V(definitions) returns the definitions that may be written to the node. A definition that a start could not use is not among them.
      - V(validate) checks all variables of the node, and prints and returns each fault and each warning.
      - V(together) warns of servers that several hosts of the play have, by V(validate). It fails if nothing was checked. Use C(run_once).
    type: str
    required: true
    choices: [definitions, validate, together]
author: The fleet.power contributors (@fleet-power)
"""

EXAMPLES = r"""
- name: Look at definitions and settings
  ansible.builtin.include_role:
    name: fleet.power.node
    tasks_from: validate.yml
"""

RETURN = r"""
files:
  description: The text of each usable definition, by the name of its file. It holds secrets, so use C(no_log).
  type: dict
  returned: step definitions
broken:
  description: Names of the files that may not be written, also those that the list would make.
  type: list
  elements: str
  returned: step definitions
refused:
  description: Why no definition may be written, empty if they may.
  type: str
  returned: step definitions
faults:
  description: The faults. For step definitions one sentence; for step validate one entry for each fault, with C(place), C(key) and C(msg).
  type: raw
  returned: steps definitions and validate
  sample: [{"place": "servers/node1/566bf9d7-c55a-45f8-91a6-e55e9b9b1325.yml", "key": "settings.build.memory_limit", "msg": "..."}]
doubts:
  description: Warnings, such as unknown keys. Entries are as in C(faults).
  type: list
  elements: dict
  returned: step validate
failure:
  description: The number of faults as a sentence, empty if there is none.
  type: str
  returned: step validate
servers:
  description: The UUIDs of the node's servers.
  type: list
  elements: str
  returned: step validate
given:
  description: Whether the node has any of these variables.
  type: bool
  returned: steps definitions and validate
"""
