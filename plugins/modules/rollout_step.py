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
      - V(take_up) begins a run. It removes the last result, and tells what may still be in flight of the run to resume, if one is.
      - V(plan) decides which servers are meant, and in which batches.
      - V(begin) begins a batch and returns what to ask of each node.
      - V(soak) waits.
      - V(count) counts a batch, and fails when no other may begin.
      - V(report) prints the table, writes the result, and fails unless all ended well.
    type: str
    required: true
    choices: [take_up, plan, begin, soak, count, report]
  given:
    description:
      - The role's variables, without their prefix.
    type: dict
  resume:
    description:
      - Resume file of the run to take up.
    type: path
  resume_file:
    description:
      - Where to keep the run, if not below C(~/.ansible/fleet_power).
    type: path
  result_file:
    description:
      - Where to write the result.
    type: path
  file:
    description:
      - The run's file, as V(plan) returned it.
    type: path
  run:
    description:
      - The run's id, as V(plan) returned it. A file that is another run's by now is an error.
    type: str
  batch:
    description:
      - Number of the batch, from 1.
    type: int
  pause:
    description:
      - Seconds to wait before the batch, unless it is the first.
    type: float
  soak:
    description:
      - Whether the batch had a soak time.
    type: bool
  seconds:
    description:
      - How long to wait.
    type: float
seealso:
  - module: fleet.power.server_power
author:
  - The fleet.power contributors (@fleet-power)
"""

EXAMPLES = r"""
- name: Count the batch
  fleet.power.rollout_step:
    step: count
    file: "{{ __rollout_plan.file }}"
    run: "{{ __rollout_plan.run }}"
    batch: 1
  run_once: true
"""

RETURN = r"""
work:
  description: What to ask of each node, by its name.
  type: dict
  returned: by step V(begin)
  sample: {"node-1": {"servers": ["566bf9d7-c55a-45f8-91a6-e55e9b9b1325"], "only": [], "max_failures": 0}}
numbers:
  description: The numbers of the batches.
  type: list
  elements: int
  returned: by step V(plan)
  sample: [1, 2, 3]
file:
  description: The run's file.
  type: str
  returned: by step V(plan)
  sample: /home/alice/.ansible/fleet_power/resume-1b2c3d4e.json
run:
  description: The run's id.
  type: str
  returned: by steps V(plan) and V(report)
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
counts:
  description: How many servers ended how.
  type: dict
  returned: by step V(report) if all ended well
  sample: {"selected": 20, "done": 20, "unchanged": 0}
resume_file:
  description: Where the next run finds what is left, V(null) if nothing is.
  type: str
  returned: by step V(report)
  sample: null
"""
