#!/usr/bin/python
# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: rollout_step
short_description: One step of a rolling run, on the controller
version_added: 1.0.0
description:
  - The steps of role P(fleet.power.rollout#role), which is what to use. Each is called with C(run_once) by the role's tasks and reads what
    these registered for each node.
  - Nothing is done on any node. The run is kept in one file on the controller, written before a node is asked for anything.
extends_documentation_fragment:
  - fleet.power.attributes
attributes:
  check_mode:
    support: full
    details:
      - Neither resume file nor result is written.
  diff_mode:
    support: N/A
    details:
      - What is done on nodes is done by other tasks.
  idempotent:
    support: N/A
    details:
      - It is one step of many.
  platform:
    support: full
    platforms: posix
options:
  step:
    description:
      - V(clear) comes first in a play of its own. It removes the last result, and fails if O(nodes) is empty.
      - V(take_up) begins a run. It removes the last result, and tells what may still be in flight of the run to resume, if one is.
      - V(plan) decides which servers are meant, and in which batches.
      - V(next) counts the batch before and begins O(batch); it returns what to ask of each node. Without O(batch), or where none may
        begin any more, it prints the table, writes the result, and fails unless all ended well.
      - V(next) prints a line as a batch begins, and one as it has ended.
      - V(soak) waits, if any server of the batch was acted on.
      - V(blame) fails, for what went wrong on the node that it is called for.
      - V(confirm) comes last in a play of its own. It fails if the run has not come to its end.
    type: str
    required: true
    choices: [clear, take_up, plan, next, soak, blame, confirm]
  given:
    description:
      - The role's variables, without their prefix. Needed by V(plan).
    type: dict
  options:
    description:
      - Names of the options that the run gives to the modules. Any that looking and acting do not share is refused by V(take_up).
    type: list
    elements: str
    default: []
  resume:
    description:
      - Resume file of the run to take up.
    type: path
    default: ""
  resume_wait:
    description:
      - Seconds to wait for what is in flight of it, at least V(0).
    type: float
    default: 0
  resume_file:
    description:
      - Where to keep the run, if not below C(~/.ansible/fleet_power).
    type: path
    default: ""
  result_file:
    description:
      - Where to write the result. C(~/.ansible/fleet_power/rollout.json) is made a link to a file of the run's own beside it.
    type: path
    default: ""
  file:
    description:
      - The run's file, as V(plan) returned it. Needed by V(next), V(soak) and V(blame). Without it, V(confirm) has no run to tell of.
    type: path
    default: ""
  run:
    description:
      - The run's id, as V(plan) returned it. A file that is another run's by now is an error. Needed by V(next), V(soak)
        and V(blame).
    type: str
    default: ""
  batch:
    description:
      - Number of the batch, from V(1). Needed by V(soak).
    type: int
  pause:
    description:
      - Seconds to wait before the batch, unless it is the first, at least V(0).
    type: float
    default: 0
  soak:
    description:
      - Seconds that the servers of a batch must stay up, at least V(0), which is no such time.
    type: float
    default: 0
  max_parallel:
    description:
      - Servers of one node that are acted on at the same moment, for the estimate of what is left. V(0) is unknown.
    type: int
    default: 0
  nodes:
    description:
      - The nodes of the run that is to begin, for V(clear).
    type: list
    elements: str
    default: []
  tasks:
    description:
      - File of the tasks before the batch, for V(next), which begins none if it cannot be used.
    type: str
    default: ""
seealso:
  - module: fleet.power.server_power
author:
  - The fleet.power contributors (@fleet-power)
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
  description: What to ask of each node, by its name.
  type: dict
  returned: by step V(next) if it begins a batch
  sample: {"node-1": {"servers": ["566bf9d7-c55a-45f8-91a6-e55e9b9b1325"], "only": [], "once": "rollout 1b2c3d4e", "max_failures": 0}}
batches:
  description: The batches that each node has tasks for, by its name, with number and servers in words.
  type: dict
  returned: by step V(plan)
  sample: {"node-1": [{"number": 1, "label": "1 of 2: node-1 Lobby, Proxy"}], "node-2": [{"number": 2, "label": "2 of 2: node-2 Atlas"}]}
before:
  description: Whether tasks come before the batches, on any node.
  type: bool
  returned: by step V(plan)
  sample: false
file:
  description: The run's file.
  type: str
  returned: by step V(plan)
  sample: /home/alice/.ansible/fleet_power/resume-1b2c3d4e.json
run:
  description: The run's id.
  type: str
  returned: by steps V(plan), and V(next) at the end of the run
  sample: 1b2c3d4e
runs:
  description: Ids of the runs that may still be in flight.
  type: list
  elements: str
  returned: by step V(take_up)
  sample: [1b2c3d4e]
nodes:
  description: Names of the nodes where they may be.
  type: list
  elements: str
  returned: by step V(take_up)
  sample: [node-1]
until:
  description: When the wait for what is in flight is over, in seconds since 1970.
  type: float
  returned: by step V(take_up)
  sample: 1769860800.5
counts:
  description: How many servers ended how.
  type: dict
  returned: by step V(next) at the end of a run that ended well
  sample: {"selected": 20, "done": 20, "unchanged": 0, "nodes_unknown": 0}
failed_nodes:
  description: The nodes on which something went wrong, or the first of the play if it went wrong on none that is left.
  type: list
  elements: str
  returned: by step V(next) unless all ended well
  sample: [node-2]
resume_file:
  description: Where the next run finds what is left, V(null) if nothing is.
  type: str
  returned: by step V(next) at the end of the run
  sample: null
"""
