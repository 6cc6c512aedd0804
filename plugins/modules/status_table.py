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
  - Prints the results of M(fleet.power.server_power_info) on all hosts of the play, a line for each server, by node, priority and name.
  - The table fits the terminal, and has 120 columns without one. The environment variable E(COLUMNS) has precedence. Less important columns
    are cut or left out first. O(snapshot) has everything.
  - After the table, it fails if a host was unreachable or could not be read, if a server could not be read, or if a list of servers is
    incomplete. The table names each with the reason. Hosts that the command has lost before count too.
  - With C(run_once), Ansible's recap would count the failure for the first host. RV(unseen) names the right hosts; see the example.
  - Runs on the controller and sends nothing to the hosts. Use C(run_once).
extends_documentation_fragment: fleet.power.attributes
attributes:
  check_mode:
    support: full
    details: Check mode prints the table and writes no O(snapshot).
  diff_mode:
    support: none
  idempotent:
    support: none
    details: A snapshot contains the time at which it was written.
options:
  seen:
    description:
      - Name of the variable with the registered result of M(fleet.power.server_power_info). That task needs C(ignore_errors) and
        C(ignore_unreachable), or the table has no reason for failed hosts.
    type: str
    required: true
  states:
    description: Show only servers in these states, and those that could not be read. The counts include all.
    type: list
    elements: str
    choices: [offline, starting, running, stopping]
    default: []
  snapshot:
    description:
      - A file on the controller for everything that was read, as JSON, mode 0600, written atomically. The guide to the status explains its
        format.
    type: path
seealso:
  - module: fleet.power.server_power_info
author: The fleet.power contributors (@fleet-power)
"""

EXAMPLES = r"""
- name: Read the servers of each node
  fleet.power.server_power_info:
  register: seen
  ignore_errors: true
  ignore_unreachable: true

- name: Show servers that are down
  fleet.power.status_table:
    seen: seen
    states: [offline]
  run_once: true
  register: shown
  failed_when: shown is failed and shown.unseen is not defined

- name: Fail hosts that could not be read completely
  ansible.builtin.fail:
    msg: "{{ shown.unseen[inventory_hostname] }}"
  when: inventory_hostname in shown.unseen
"""

RETURN = r"""
unseen:
  description: What could not be read, a sentence for each such host.
  type: dict
  returned: unless the snapshot cannot be written
  sample: {"node-3": "Cannot look at node-3: Failed to connect to the host via ssh"}
msg:
  description: Which hosts could not be read completely.
  type: str
  returned: failure
  sample: "Cannot look at 1 of 8 nodes: node-3; the reasons are below the table, the other nodes are complete"
"""
