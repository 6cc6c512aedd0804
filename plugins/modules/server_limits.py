#!/usr/bin/python
# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: server_limits
short_description: Bring the limits of running servers in line with their definitions, without a restart
version_added: 1.0.0
description:
  - Changes memory, swap, CPU time, CPUs, the weight of disk access and the number of threads of a server's container to what its definition
    and the node's settings say now, while it runs, as Wings does on a sync.
  - What no engine can change while a container runs takes a restart, and is named. That is what becomes unlimited again, but for CPU time
    and threads, swap that becomes unlimited, a weight that becomes the kernel's own, and all that is no limit.
  - Memory and swap are changed together. Memory below what the server uses is refused, code C(limit_below_use).
  - A server that is down stays as it is. Its next start brings it in line.
  - If the engine fails in the middle of it, the old limits are set again, and the sentence says so.
  - It takes the same lock as M(fleet.power.server_power), and is in the same journal, as action C(limit). What has nothing to change takes
    no lock and leaves no trace there.
  - A process sees a new C(SERVER_MEMORY) from its next start on. The limit itself is in force at once.
extends_documentation_fragment:
  - fleet.power.attributes
  - fleet.power.attributes.actiongroup_power
  - fleet.power.node
attributes:
  check_mode:
    support: full
    details:
      - Nothing is locked, changed or recorded. Refusals that are certain refuse in check mode too.
  diff_mode:
    support: full
    details:
      - Shows the limits that are changed, before and after.
  idempotent:
    support: full
options:
  server:
    description:
      - The servers to bring in line, by UUID, by short id (the first 8 characters of the UUID) or by name, as long as it is unique.
      - V(all), standing alone, is every server of the node that has a container made by this collection or by Wings, or a definition that
        can be listed without asking the Panel.
      - Absent, the action plugin takes the host variable C(server_uuid). There is no default; in particular, absent is never V(all).
      - An empty list is no server. The task is ok, changes nothing and asks nobody.
      - Quote short ids that consist of digits only in YAML, or it makes them numbers.
    type: list
    elements: str
    aliases: [servers, uuid]
  wait_seconds:
    description:
      - Seconds to wait for another action on the same server to end, V(0) to V(300). V(0) tries once.
        Anything else becomes V(30), with a warning.
    type: int
    default: 30
  origin:
    description:
      - Who asks. Shown to those who wait for the lock, and kept in the journal.
      - If not given, the action plugin says user, controller, play and task. Elsewhere it is the sudo or login user and
        the address of its SSH client.
    type: str
  reason:
    description:
      - Why. Shown and kept like O(origin).
    type: str
notes:
  - The module runs on the node whose engine runs the servers, as root or as a member of the groups C(docker) and C(fleet-power).
  - An endpoint has a way of its own, C(POST /api/servers/UUID/sync). With an O(api_url) that is not empty, and where the node's settings
    name an endpoint, the module is refused, code C(unsupported_by_endpoint).
  - With V(all), suspended servers are skipped. One that is named is refused.
seealso:
  - module: fleet.power.server_power
  - module: fleet.power.server_power_info
    description: Its C(servers[].outdated) says which limits differ, and what else does.
author:
  - The fleet.power contributors (@fleet-power)
"""

EXAMPLES = r"""
- name: Bring the limits of every running server in line with its definition
  fleet.power.server_limits:
    server: all

- name: Give a server the memory that its definition says now
  fleet.power.server_limits:
    server: Cobalt Survival
    reason: more players

- name: See what would be changed, and from what to what
  fleet.power.server_limits:
    server: all
  check_mode: true
  diff: true

- name: Change limits, so that what differs in nothing else need not be restarted
  fleet.power.server_limits:
    server: all

- name: Restart what differs in more than that
  fleet.power.server_power:
    server: all
    action: restart
    outdated: true
    wait_for: running
"""

RETURN = r"""
action:
  description: The action, V(limit).
  type: str
  returned: when the servers could be acted on at all
  sample: limit
servers:
  description:
    - One entry for each server, in the order asked. A server named twice has one. Null and empty fields are left out.
    - Where the task names several, or V(all), an entry that ended V(done), V(unchanged) or V(skipped) is brief.
    - In an ad-hoc command without C(-v) and without O(origin), which a person reads, every entry lacks C(action) and C(operation), and one
      that ended V(done), V(unchanged) or V(skipped) is brief and lacks C(changed) as well.
  type: list
  elements: dict
  returned: when the servers could be acted on at all
  contains:
    server:
      description: UUID of the server, or what was asked if it could not be identified.
      type: str
      returned: always
      sample: 566bf9d7-c55a-45f8-91a6-e55e9b9b1325
    short_id:
      description: The first 8 characters of the UUID.
      type: str
      returned: when the server could be identified, not if brief
      sample: 566bf9d7
    name:
      description: Name of the server.
      type: str
      returned: when known
      sample: Cobalt Survival
    action:
      description: The action.
      type: str
      returned: not if brief
      sample: limit
    outcome:
      description:
        - V(done), limits were changed; V(unchanged), none had to be, or could be while it runs, as C(msg) says.
        - V(refused), it was not done and nothing was altered; V(failed), it went wrong; V(skipped), it was passed over.
      type: str
      returned: always
      sample: done
    code:
      description: Why an action did not end V(done) or V(unchanged). The guide on codes explains each.
      type: str
      returned: when there is one
      sample: limit_below_use
    msg:
      description: The reason in a sentence.
      type: str
      returned: when there is one
      sample: its limits are what its definition says
    changed:
      description: Whether any limit was changed.
      type: bool
      returned: always
      sample: true
    limits:
      description: The limits that were changed, or in check mode would be.
      type: list
      elements: dict
      returned: when there are any
      contains:
        key:
          description: Key of the definition, without C(settings.), or of the node's settings.
          type: str
          returned: always
          sample: build.memory_limit
        before:
          description: >-
            What was in force, in the units of the key, such as MB or percent of a core. V(0) and empty are unlimited, of swap V(-1) is.
            Of C(docker.overhead) it is the memory in bytes with the overhead.
          type: raw
          returned: always
          sample: 1024
        after:
          description: What is in force now.
          type: raw
          returned: always
          sample: 2048
    restart:
      description: The keys of those limits that differ and can only be brought in line by a restart.
      type: list
      elements: str
      returned: when there are any
      sample: [build.threads]
    state_before:
      description: Power state before, one of V(offline), V(starting), V(running), V(stopping).
      type: str
      returned: when it could be seen; if brief, when it differs from the state
      sample: running
    state:
      description: Power state as seen at the end.
      type: str
      returned: when it could be seen
      sample: running
    plan:
      description: The steps, V(limit).
      type: list
      elements: str
      returned: in check mode, or when the outcome is not V(done), and there are any; not if brief
      sample: [limit]
    lock:
      description: The wait for the lock, and who holds it, as of M(fleet.power.server_power).
      type: dict
      returned: when there was a wait or a holder
      sample: {"waited_seconds": 12.5}
    phases:
      description: When each phase began, as of M(fleet.power.server_power).
      type: list
      elements: dict
      returned: when it had any; not if brief, unless with C(-v)
      sample: [{"phase": "limit", "at": 0.031}]
    seconds:
      description: How long it all took.
      type: float
      returned: always
      sample: 0.231
    operation:
      description: The operation as the journal knows it, as of M(fleet.power.server_power).
      type: dict
      returned: not if brief
      sample: {"id": "0b1f7f3e-52d0-4e0e-8a57-3c4f7b6b9f10", "requested_at": "2026-01-31T12:00:00.000Z"}
summary:
  description:
    - Counts by outcome. Of several servers also C(text), a line with name, outcome and code for each of at most 20 that are neither V(done)
      nor V(unchanged).
  type: dict
  returned: when the servers could be acted on at all
  sample: {"done": 2, "unchanged": 5}
msg:
  description: What there is to say of the whole task.
  type: str
  returned: on failure, and when no server was meant
  sample: "Nothing to limit: no server of this node is meant"
code:
  description: Why nothing could be done at all.
  type: str
  returned: on such a failure
  sample: settings_invalid
"""

from ansible_collections.fleet.power.plugins.module_utils._archive import compile_once


def main() -> None:
    """Run the module."""
    compile_once()
    # Not before that: it brings the core, which is what takes long to compile.
    from ansible_collections.fleet.power.plugins.module_utils._options import run_limits_module

    run_limits_module()


if __name__ == "__main__":
    main()
