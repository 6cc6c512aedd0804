#!/usr/bin/python
# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: status_table
short_description: Print the servers of all nodes of a play as one table
version_added: 1.0.0
description:
  - Prints what M(fleet.power.server_power_info) returned on the hosts of the play, a line for each server, by node, priority and name.
  - The table is as wide as the terminal, and 120 columns where there is none. The environment variable E(COLUMNS) counts before both.
    What has no room is cut or left out, the least important first. O(snapshot) has all.
  - It fails if a host was unreachable or could not look, if a server could not be seen, or a list of servers is not whole, after the table,
    which names each and the reason. So does a host that the play has lost before, or that was lost in an earlier play.
  - With C(run_once) the recap would blame the first host for that. RV(unseen) says whose it is; see the example.
  - Runs on the controller and sends nothing to the hosts. Use C(run_once).
extends_documentation_fragment:
  - fleet.power.attributes
attributes:
  check_mode:
    support: full
    details:
      - The table is printed in any mode. In check mode no O(snapshot) is written.
  diff_mode:
    support: none
  idempotent:
    support: none
    details:
      - A snapshot has the time at which it was written.
options:
  seen:
    description:
      - Name of the variable that the result of M(fleet.power.server_power_info) was registered as. The task needs C(ignore_errors)
        and C(ignore_unreachable), or the hosts that fail are told to be in the table without a reason.
    type: str
    required: true
  states:
    description:
      - Show servers in one of these states only, and those that could not be seen. The count below the table is of all.
    type: list
    elements: str
    choices: [offline, starting, running, stopping]
    default: []
  snapshot:
    description:
      - A file on the controller to write all that was seen to, as JSON, mode 0600, in one piece. The guide on status tells its format.
    type: path
seealso:
  - module: fleet.power.server_power_info
author:
  - The fleet.power contributors (@fleet-power)
"""

EXAMPLES = r"""
- name: Look at the servers of each node
  fleet.power.server_power_info:
  register: seen
  ignore_errors: true
  ignore_unreachable: true

- name: Show those that are down
  fleet.power.status_table:
    seen: seen
    states: [offline]
  run_once: true
  register: shown
  failed_when: shown is failed and shown.unseen is not defined

- name: Fail the hosts of which not all was seen
  ansible.builtin.fail:
    msg: "{{ shown.unseen[inventory_hostname] }}"
  when: inventory_hostname in shown.unseen
"""

RETURN = r"""
unseen:
  description: What was not seen of hosts, a sentence for each of which that is anything.
  type: dict
  returned: unless the snapshot cannot be written
  sample: {"node-3": "Cannot look at node-3: Failed to connect to the host via ssh"}
msg:
  description: Which hosts could not be looked at, or not be seen as a whole.
  type: str
  returned: failure
  sample: "Cannot look at 1 of 8 nodes: node-3; the reasons are below the table, the other nodes are complete"
"""
