#!/usr/bin/python
# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: server_power_job
short_description: Fetch the result of a job
version_added: 1.0.0
description: A step of M(fleet.power.server_power); use that module. Its action plugin polls an action on the node as a job, and calls this
  module at the end. See R(Watching, ansible_collections.fleet.power.docsite.watching_guide).
extends_documentation_fragment: fleet.power.attributes
attributes:
  check_mode:
    support: none
  diff_mode:
    support: N/A
    details: It changes nothing.
  idempotent:
    support: full
options:
  job:
    description: The id of the job.
    type: str
    required: true
author: The fleet.power contributors (@fleet-power)
"""

EXAMPLES = r"""
# Do not use it in a task. server_power calls it.
- name: Restart a server, and watch its progress
  fleet.power.server_power:
    server: 01234567-89ab-4cde-8f01-23456789abcd
    action: restart
"""

RETURN = r"""
fleet_follow:
  description: Where the job is while it goes on. After its end, the result is that of the action.
  type: dict
  returned: while the job goes on
  sample: {"job": "/run/fleet-power-jobs/0123456789abcdef0123456789abcdef", "python": "/usr/bin/python3"}
fleet_absent:
  description: V(true), if the node has no such job.
  type: bool
  returned: if there is none
fleet_life:
  description: Identifies the time between two boots of the node.
  type: str
  returned: if there is no such job
  sample: 6f1a8c0e-8f0e-4c57-9f0c-1d2b7f3c9a10.12
fleet_age:
  description: Seconds since the node's boot.
  type: float
  returned: if there is no such job
  sample: 86400.5
"""

import json
import sys

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.fleet.power.plugins.module_utils._job import FOLLOW, absent_answer, ended_job, job_path


def main() -> None:
    module = AnsibleModule(argument_spec={"job": {"type": "str", "required": True}})
    try:
        path = job_path(module.params["job"])
        ended = ended_job(path)
        if ended is not None:
            output, errors, code = ended
            json.loads(output)
    except FileNotFoundError:
        module.exit_json(**absent_answer())
    except OSError as error:
        module.fail_json(f"Cannot tell what became of the action: {error}; see server_power_info", code="interrupted")
    except ValueError:
        module.fail_json("Cannot tell how the action ended: its process left no answer; see server_power_info", code="interrupted")
    if ended is None:
        module.exit_json(changed=False, **{FOLLOW: {"job": path, "python": sys.executable}})
    # As the action itself would print it.
    sys.stderr.buffer.write(errors)
    sys.stdout.buffer.write(output)
    raise SystemExit(code)


if __name__ == "__main__":
    main()
