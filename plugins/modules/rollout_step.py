#!/usr/bin/python
# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: rollout_step
short_description: One step of a rolling run, on the controller
version_added: 1.0.0
description: The steps of the role P(fleet.power.rollout#role); use that role. Its tasks call each step with C(run_once). Nothing is done on
  a node. The run is recorded in one file on the controller, before a node is asked for anything.
extends_documentation_fragment: fleet.power.attributes
attributes:
  check_mode:
    support: full
    details: Check mode writes neither resume file nor result.
  diff_mode:
    support: N/A
    details: Other tasks act on the nodes.
  idempotent:
    support: N/A
    details: It is one step of many.
options:
  step:
    description:
      - V(clear) comes first, in a play of its own. It removes the last result, and fails if O(nodes) is empty.
      - V(take_up) begins a run. It removes the last result, and lists actions of the run to resume that may still be in flight.
      - V(plan) selects the servers and makes the batches.
      - V(next) counts the last batch and begins O(batch), with a line for each. It returns the work of each node. Without O(batch), or if
        no other batch may begin, it prints the table, writes the result, and fails unless all servers ended well.
      - V(soak) waits, if an action on a server of the batch ended well.
      - V(blame) fails for the failures of the node that it is called for.
      - V(confirm) comes last, in a play of its own. It fails if the run has not ended.
    type: str
    required: true
    choices: [clear, take_up, plan, next, soak, blame, confirm]
  given:
    description: The role's variables without their prefix, for V(plan).
    type: dict
  options:
    description: Names of the options that the run gives to the modules. V(take_up) refuses options that the two modules do not share.
    type: list
    elements: str
    default: []
  resume:
    description: Resume file of the run to continue.
    type: path
    default: ""
  resume_wait:
    description: Seconds to wait for its actions in flight, at least V(0).
    type: float
    default: 0
  resume_file:
    description: File for the run, if not below C(~/.ansible/fleet_power).
    type: path
    default: ""
  result_file:
    description: File for the result. C(~/.ansible/fleet_power/rollout.json) becomes a link to the run's own file beside it.
    type: path
    default: ""
  file:
    description: The run's file, as V(plan) returned it, for V(next), V(soak) and V(blame). Without it, V(confirm) reports no run.
    type: path
    default: ""
  run:
    description: The run's id, as V(plan) returned it, for V(next), V(soak) and V(blame). A file of another run is an error.
    type: str
    default: ""
  batch:
    description: Number of the batch, from V(1), for V(next) and V(soak).
    type: int
  pause:
    description: Seconds to wait before the batch, except the first, at least V(0).
    type: float
    default: 0
  soak:
    description: Seconds that the servers of a batch must stay up, at least V(0).
    type: float
    default: 0
  max_parallel:
    description: Servers of one node that are acted on at the same time, for the estimate. V(0) is unknown.
    type: int
    default: 0
  nodes:
    description: The nodes of the next run, for V(clear).
    type: list
    elements: str
    default: []
  tasks:
    description: File of the tasks before the batch, for V(next). If it cannot be used, no batch begins.
    type: str
    default: ""
author: The fleet.power contributors (@fleet-power)
"""

EXAMPLES = r"""
- name: Begin the first batch
  fleet.power.rollout_step:
    step: next
    file: "{{ __rollout_plan.file }}"
    run: "{{ __rollout_plan.run }}"
    batch: 1
  run_once: true
"""

RETURN = r"""
work:
  description: The work of each node, by its name.
  type: dict
  returned: by step V(next) if it begins a batch
  sample: {"node-1": {"servers": ["566bf9d7-c55a-45f8-91a6-e55e9b9b1325"], "only": [], "once": "rollout 1b2c3d4e", "max_failures": 0}}
batches:
  description: The batches with tasks for each node, by its name, with number and servers in words.
  type: dict
  returned: by step V(plan)
  sample: {"node-1": [{"number": 1, "label": "1 of 2: node-1 Lobby, Proxy"}], "node-2": [{"number": 2, "label": "2 of 2: node-2 Atlas"}]}
before:
  description: Whether any node has tasks before the batches.
  type: bool
  returned: by step V(plan)
file:
  description: The run's file.
  type: str
  returned: by step V(plan)
run:
  description: The run's id.
  type: str
  returned: by steps V(plan), and V(next) at the end of the run
runs:
  description: Ids of the runs that may still be in flight.
  type: list
  elements: str
  returned: by step V(take_up)
nodes:
  description: Names of their nodes.
  type: list
  elements: str
  returned: by step V(take_up)
until:
  description: When the wait for actions in flight ends, in seconds since 1970.
  type: float
  returned: by step V(take_up)
counts:
  description: Number of servers by outcome.
  type: dict
  returned: by step V(next) at the end of a run that ended well
  sample: {"selected": 20, "done": 20, "unchanged": 0, "nodes_unknown": 0}
failed_nodes:
  description: The nodes on which something went wrong, or the first of the play if it went wrong on none that is left.
  type: list
  elements: str
  returned: by step V(next) unless all ended well
resume_file:
  description: The resume file for the rest, V(null) if nothing is left.
  type: str
  returned: by step V(next) at the end of the run
"""
