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
  - Reads on the controller the definitions and settings that the variables of the role P(fleet.power.node#role) give a node. It is a step
    of that role and of the playbook C(fleet.power.validate), and nothing to be called in a task of your own.
  - It reads the variables itself, since they hold secrets and a task's arguments may be shown. No message shows a secret.
  - Runs on the controller and sends nothing to the hosts.
extends_documentation_fragment:
  - fleet.power.attributes
attributes:
  check_mode:
    support: full
    details:
      - The module changes nothing in any mode.
  diff_mode:
    support: N/A
    details:
      - The module changes nothing.
  idempotent:
    support: full
options:
  step:
    description:
      - V(definitions) tells which definitions may be written to the node. A definition that no start could use is none of them.
      - V(validate) looks at all that the node is given, prints each fault and each warning, and returns them.
      - V(together) warns of servers that several hosts of the play are given, by what V(validate) found, and fails if there was nothing to
        look at. Use C(run_once).
    type: str
    required: true
    choices: [definitions, validate, together]
seealso:
  - module: fleet.power.server_power_info
author:
  - The fleet.power contributors (@fleet-power)
"""

EXAMPLES = r"""
- name: Look at definitions and settings
  ansible.builtin.include_role:
    name: fleet.power.node
    tasks_from: validate.yml
"""

RETURN = r"""
files:
  description: Names of the files in the directory of definitions.
  type: list
  elements: str
  returned: step definitions
  sample: [566bf9d7-c55a-45f8-91a6-e55e9b9b1325.yml]
listed:
  description: The UUIDs of the list of definitions, in its order. An empty text stands for a definition that has none.
  type: list
  elements: str
  returned: step definitions
  sample: [0f4c5ad2-9a1b-4c39-8a6e-3f2b7d10c001]
broken:
  description: Names of the files that may not be written, those that the list would become included.
  type: list
  elements: str
  returned: step definitions
  sample: []
refused:
  description: Why no definition may be written, empty if they may.
  type: str
  returned: step definitions
  sample: ""
faults:
  description:
    - What is wrong. For step definitions one sentence; for step validate one entry for each fault, with C(place), C(key) and C(msg).
  type: raw
  returned: steps definitions and validate
  sample: [{"place": "servers/node1/566bf9d7-c55a-45f8-91a6-e55e9b9b1325.yml", "key": "settings.build.memory_limit", "msg": "..."}]
doubts:
  description: What works and is unlikely to be meant, such as unknown keys. Entries are as in C(faults).
  type: list
  elements: dict
  returned: step validate
  sample: []
failure:
  description: The faults as one sentence, empty if there is none.
  type: str
  returned: step validate
  sample: ""
servers:
  description: The UUIDs of the servers that the node is given.
  type: list
  elements: str
  returned: step validate
  sample: [566bf9d7-c55a-45f8-91a6-e55e9b9b1325]
given:
  description: Whether the node is given anything.
  type: bool
  returned: steps definitions and validate
  sample: true
"""
