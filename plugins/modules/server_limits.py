#!/usr/bin/python
# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: server_limits
short_description: Set the limits of running servers as their definitions say, without a restart
version_added: 1.0.0
description:
  - Sets memory, swap, CPU time, CPUs, disk weight and the number of threads of a running container to the values of its definition and the
    node's settings, as Wings does on a sync.
  - Some changes need a restart, and the result names them. These are limits that are removed, except of CPU time and threads, unlimited
    swap, the kernel's own weight, and all that is no limit.
  - Memory and swap change together. Memory below the server's use is refused, code C(limit_below_use).
  - A server that is down is not changed. Its next start uses the new limits.
  - If the engine fails in the middle, the old limits are restored, and the message says so.
  - It uses the lock of M(fleet.power.server_power) and the same journal, as action C(limit). Without a change it takes no lock and records
    nothing.
  - A process sees a new C(SERVER_MEMORY) after its next start. The limit itself is in force at once.
extends_documentation_fragment:
  - fleet.power.attributes
  - fleet.power.attributes.actiongroup_power
  - fleet.power.node
  - fleet.power.node.acting
attributes:
  check_mode:
    support: full
    details: Check mode locks, changes and records nothing. It refuses what would certainly be refused.
  diff_mode:
    support: full
    details: Shows the limits before and after.
  idempotent:
    support: full
options:
  server:
    description:
      - The servers, by UUID, by short id (the first 8 characters of the UUID) or by unique name.
      - V(all), alone, is every server of the node that has a container of this collection or of Wings, or a definition that is not on the
        Panel.
      - Without it, the action plugin uses the host variable C(server_uuid). The default is never V(all).
      - An empty list selects no server. The task is ok and changes nothing.
      - Quote short ids that consist of digits only, or YAML makes them numbers.
    type: list
    elements: str
    aliases: [servers, uuid]
notes:
  - The module runs on the node, as root or as a member of the groups C(docker) and C(fleet-power).
  - An endpoint has C(POST /api/servers/UUID/sync) for this. With an O(api_url) that is not empty, or an endpoint in the node's settings,
    the module is refused, code C(unsupported_by_endpoint).
  - With V(all), suspended servers are skipped. A suspended server that you name is refused.
seealso:
  - module: fleet.power.server_power
  - module: fleet.power.server_power_info
    description: Its C(servers[].outdated) says which limits differ, and what else does.
author: The fleet.power contributors (@fleet-power)
"""

EXAMPLES = r"""
- name: Set the limits of every running server
  fleet.power.server_limits:
    server: all

- name: Restart servers with other differences
  fleet.power.server_power:
    server: all
    action: restart
    outdated: true
    wait_for: running

- name: Set the new limits of one server
  fleet.power.server_limits:
    server: Cobalt Survival
    reason: more players

- name: Show the limits that would change
  fleet.power.server_limits:
    server: all
  check_mode: true
  diff: true
"""

RETURN = r"""
servers:
  description:
    - One entry for each server, in the given order, as from M(fleet.power.server_power), which explains the other fields. C(action) and
      each step of C(plan) are V(limit).
    - V(unchanged) also means that only a restart applies the differences, as C(msg) says.
  type: list
  elements: dict
  returned: when the servers could be acted on at all
  contains:
    limits:
      description:
        - The changed limits; in check mode, the limits that would change. C(key) is that of the definition without C(settings.), or of the
          node's settings.
        - C(before) and C(after) are in the units of the key, such as MB or percent of a core. V(0) and empty are unlimited, V(-1) for swap.
          For C(docker.overhead) they are the memory in bytes with the overhead.
      type: list
      elements: dict
      returned: when there are any
      sample: [{"after": 2048, "before": 1024, "key": "build.memory_limit"}]
    restart:
      description: The keys of limits that differ and need a restart.
      type: list
      elements: str
      returned: when there are any
      sample: [build.threads]
summary:
  description: Counts by outcome, as from M(fleet.power.server_power).
  type: dict
  returned: when the servers could be acted on at all
  sample: {"done": 2, "unchanged": 5}
"""

from ansible_collections.fleet.power.plugins.module_utils._archive import compile_once


def main() -> None:
    compile_once()
    # This import brings in the core, so it must follow `compile_once`.
    from ansible_collections.fleet.power.plugins.module_utils._options import run_limits_module

    run_limits_module()


if __name__ == "__main__":
    main()
