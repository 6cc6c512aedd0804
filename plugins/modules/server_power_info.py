#!/usr/bin/python
# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: server_power_info
short_description: Read the power state of servers, lock holders and last operations
version_added: 1.0.0
description:
  - Reads servers and changes nothing. It takes no lock and waits for none.
  - A server that cannot be read has an entry with C(servers[].state) V(null) and a C(servers[].code). If a list of servers cannot be read,
    C(complete) is V(false). Neither fails the task.
  - An unreadable journal is a warning, and its fields are V(null).
  - An unknown name is a warning, and has no entry.
  - A Panel is asked once for servers and definitions, for 10 seconds at most.
  - With O(api_url), the result has only what the endpoint returns.
  - Several servers are read at the same time.
  - If no readiness line was seen yet, the module looks for it in the logs, for half a second in all. If many servers boot at once, a ready
    server may still be V(starting). The next call continues.
  - Games of servers that are up are asked for their players, several at a time, for 10 seconds in all. The node's settings say which game a
    server plays.
extends_documentation_fragment:
  - fleet.power.attributes
  - fleet.power.attributes.actiongroup_power
  - fleet.power.node
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
  server:
    description:
      - The servers, by UUID, short id or unique name.
      - On a host that is a server, the default of the action plugin is the host variable C(server_uuid).
      - V(all), alone, or no value, is every server of the node. These are the servers of O(definitions), of the Panel and of the
        definitions directory, and all containers of this collection or of Wings. With O(api_url), all servers of the endpoint.
      - An empty list selects no server.
    type: list
    elements: str
    aliases: [servers, uuid]
  tail:
    description:
      - Return this many last lines of each server's log, at most 10000. Values of its environment with 6 characters or more are masked.
      - With O(api_url), logs are read one after another, and Wings returns at most 100 lines of each.
    type: int
    default: 0
  operations:
    description:
      - Return this many last operations of each server, at most 100. The journal has no more.
      - No effect with O(api_url).
    type: int
    default: 0
  crashes:
    description:
      - Return this many last ended runs of each server, at most 100, also those that an action stopped. The journal has no more.
      - No effect with O(api_url).
    type: int
    default: 0
seealso:
  - module: fleet.power.server_power
author:
  - The fleet.power contributors (@fleet-power)
"""

EXAMPLES = r"""
- name: Read all servers of the node
  fleet.power.server_power_info:
  register: power

- name: Show servers that should be up and are down
  ansible.builtin.debug:
    msg: "{{ should_be_up | selectattr('state', 'eq', 'offline') | map(attribute='name') }}"
  vars:
    should_be_up: "{{ power.servers | selectattr('intent') | selectattr('intent.up') }}"

- name: Stop unless the result is complete
  ansible.builtin.assert:
    that:
      - power.complete
      - power.servers | selectattr('state', 'none') | length == 0

- name: Read all servers with their last crash
  fleet.power.server_power_info:
    crashes: 1
  register: power

- name: Show the servers that crashed in the last 24 hours
  ansible.builtin.debug:
    msg: "{{ power.servers | selectattr('supervision') | selectattr('supervision.crashes_today') | map(attribute='name') }}"

- name: Show servers that have players or may have some
  ansible.builtin.debug:
    msg: "{{ power.servers | selectattr('players') | rejectattr('players.online', 'eq', 0) | map(attribute='name') }}"

- name: Show outdated servers and their differences
  ansible.builtin.debug:
    msg: "{{ outdated | items2dict(key_name='name', value_name='outdated') }}"
  vars:
    outdated: "{{ power.servers | selectattr('outdated') | selectattr('outdated.is_outdated') }}"

- name: Read one server and the end of its log
  fleet.power.server_power_info:
    server: 566bf9d7-c55a-45f8-91a6-e55e9b9b1325
    tail: 20
"""

RETURN = r"""
complete:
  description:
    - Whether C(servers) has every server. V(false) if a list cannot be read, such as that of the Panel or the directory of definitions.
      C(msg) says why.
    - The HTTP shim of this collection reports this for its list. A list of Wings counts as complete.
  type: bool
  returned: success
  sample: true
servers:
  description: One entry for each server. Unknown values are V(null). Values that an endpoint does not return are left out.
  type: list
  elements: dict
  returned: success
  contains:
    server:
      description: UUID of the server, or the given text if it is unknown which server that is.
      type: str
      returned: always
      sample: 566bf9d7-c55a-45f8-91a6-e55e9b9b1325
    short_id:
      description: The first 8 characters of the UUID.
      type: str
      returned: always
      sample: 566bf9d7
    name:
      description: Name of the server, empty if it has none, V(null) if unknown.
      type: str
      returned: always
      sample: Cobalt Survival
    state:
      description: Power state, one of V(offline), V(starting), V(running), V(stopping); V(null) if the server could not be read.
      type: str
      returned: always
      sample: running
    startup:
      description: Whether its readiness line was seen in this run, V(matched), V(waiting) or V(unknown).
      type: str
      returned: not through an endpoint
      sample: matched
    suspended:
      description: Whether it is suspended.
      type: bool
      returned: always
      sample: false
    priority:
      description:
        - Its place with C(in_order) of M(fleet.power.server_power). A lower one starts first and stops last.
        - From C(system.priorities) of the node's settings, then C(settings.meta.priority) of its definition, then V(100).
      type: int
      returned: not through an endpoint
      sample: 100
    egg:
      description: UUID of its egg, V(null) if unknown.
      type: str
      returned: always, with an endpoint if it reports one
      sample: 5d7b0c1e-7f5e-4f0c-9e2b-6b1d3c8a9f10
    labels:
      description: The labels of its definition, V(null) without a definition.
      type: dict
      returned: always, with an endpoint if it reports them
      sample: {"group": "lobby"}
    container:
      description: Its container, V(null) if it has none. Times are the engine's.
      type: dict
      returned: always, with an endpoint if it reports the image
      contains:
        id:
          description: Id of the container.
          type: str
          returned: not through an endpoint
          sample: 4d2f1b...
        image:
          description: Image it was created from.
          type: str
          returned: always
          sample: registry.example.test/echo:1
        started_at:
          description: When this run started.
          type: str
          returned: not through an endpoint
          sample: "2026-01-31T12:00:00.123456789Z"
        finished_at:
          description: When the run ended, V(null) while it lives.
          type: str
          returned: not through an endpoint
          sample: null
        exit_code:
          description: Exit code, V(null) while it lives.
          type: int
          returned: not through an endpoint
          sample: null
        oom_killed:
          description: Whether the kernel killed it for memory.
          type: bool
          returned: not through an endpoint
          sample: false
        health:
          description: The result of its health check, V(null) if it has none.
          type: str
          returned: not through an endpoint
          sample: healthy
        paused:
          description: Whether it is paused.
          type: bool
          returned: not through an endpoint
          sample: false
    outdated:
      description:
        - Whether its container differs from its definition, the node's settings and its image, as its next start would decide. No image is
          pulled. V(null) without a container.
        - Keys are those of the definition without C(settings.), such as V(build.memory_limit) or C(environment.NAME), V(image), also if its
          tag now names another image, and keys of the node's settings with their whole names. V(fleet.power) is a change in another version
          of this collection. Values are never returned.
      type: dict
      returned: always, with an endpoint if it reports it
      contains:
        is_outdated:
          description: >-
            Whether it is outdated. V(null) if unknown. A warning says why, unless it has no definition.
          type: bool
          returned: always
          sample: true
        differs:
          description: The keys that differ. V(null) if unknown, for example for a container of Wings or an earlier version.
          type: list
          elements: str
          returned: always
          sample: [build.memory_limit, image]
        restart:
          description: The keys that need a restart.
          type: list
          elements: str
          returned: always
          sample: [image]
        in_place:
          description: The keys that M(fleet.power.server_limits) can set while the server runs.
          type: list
          elements: str
          returned: always
          sample: [build.memory_limit]
        next_start:
          description:
            - Keys that are up to date, but that the process sees only after its next start. They do not make it outdated.
              V(environment.SERVER_MEMORY), after its memory was changed while it ran.
          type: list
          elements: str
          returned: always
          sample: []
        why:
          description: Why the difference or the keys are unknown.
          type: str
          returned: always
          sample: null
    lock:
      description: Its lock holder, V(null) if there is none.
      type: dict
      returned: not through an endpoint
      sample: null
    countdown:
      description: The action that waits for the server's players or counts down, V(null) if there is none.
      type: dict
      returned: always, with an endpoint if it reports it
      contains:
        action:
          description: The action, V(stop) or V(restart).
          type: str
          returned: always
          sample: restart
        phase:
          description: V(waiting), until few enough players are there; V(counting), players get messages.
          type: str
          returned: always
          sample: counting
        due:
          description: When the wait or the countdown ends.
          type: str
          returned: always
          sample: "2026-01-31T04:10:00.000Z"
        since:
          description: Since when it waits.
          type: str
          returned: always
          sample: "2026-01-31T04:00:00.000Z"
        origin:
          description: The requester.
          type: str
          returned: if it is known
          sample: alice@web1
        reason:
          description: The reason.
          type: str
          returned: if one was given
          sample: update
        operation:
          description: Id of the operation.
          type: str
          returned: always
          sample: 0b1f7f3e-52d0-4e0e-8a57-3c4f7b6b9f10
    freeze:
      description:
        - The freeze that forbids its starts and restarts, V(null) if there is none. All values are V(null) if that is unknown.
        - C(supervisor), the supervisor starts nothing, too. C(node), the whole node is frozen.
      type: dict
      returned: always, with an endpoint if it reports it
      sample: {"at": "2026-01-31T00:00:00.000Z", "is_frozen": true, "node": true, "origin": "alice@web1", "reason": "final",
               "supervisor": false, "until": "2026-01-31T06:00:00.000Z"}
    players:
      description:
        - The server's players. V(null) while it is down, and if the node's settings do not say which game it plays.
        - The HTTP shim of this collection returns this for a single server that is named by its UUID.
      type: dict
      returned: always, with an endpoint if it reports it
      contains:
        online:
          description: Number of players, V(null) if unknown.
          type: int
          returned: always
          sample: 3
        max:
          description: Number of places, V(null) if unknown.
          type: int
          returned: always
          sample: 20
        unknown_reason:
          description: Why it is unknown, V(null) where it is known.
          type: str
          returned: always
          sample: null
    intent:
      description: Whether the server should be up, by its last action that ended V(done) or V(unchanged).
      type: dict
      returned: not through an endpoint
      sample: {"at": "2026-01-31T12:00:00.000Z", "origin": "alice@web1", "up": true}
    last_operation:
      description:
        - The last operation that runs, changed something, or failed. V(unchanged) and V(skipped) operations count only if the journal
          has no other. V(null) if it has none.
      type: dict
      returned: not through an endpoint
      sample: {"action": "restart", "id": "0b1f7f3e-52d0-4e0e-8a57-3c4f7b6b9f10", "origin": "alice@web1", "outcome": "done"}
    operations:
      description: The last operations of any outcome, newest first, each like C(last_operation). With O(operations) only.
      type: list
      elements: dict
      returned: not through an endpoint
      sample: [{"action": "restart", "id": "0b1f7f3e-52d0-4e0e-8a57-3c4f7b6b9f10", "origin": "alice@web1", "outcome": "done"}]
    supervision:
      description:
        - The end of its last run, and the supervisor's reaction. V(null) if the journal cannot be read.
        - The guide to crashes explains verdicts and states.
      type: dict
      returned: always, with an endpoint if it reports it
      contains:
        state:
          description:
            - V(ok), the supervisor does nothing; V(backoff), it is down and will be started; V(crash_loop), it crashed too often in a row,
              with one try an hour. V(flapping), it is up and crashed more than 5 times in 24 hours.
            - V(stays_down), it is down and stays so, see C(verdict); V(off), the node's policy exempts it, see C(why).
          type: str
          returned: always
          sample: backoff
        why:
          description: What exempts the server from supervision, V(null) if it is supervised.
          type: str
          returned: always
          sample: supervisor.enabled
        running:
          description: Whether a supervisor runs on the node, V(null) if unknown.
          type: bool
          returned: always
          sample: true
        paused:
          description: Why the supervisor starts nothing, as in C(supervisor) of the result; V(frozen), a freeze with the supervisor.
          type: str
          returned: always
          sample: null
        verdict:
          description:
            - The verdict on its last run, V(null) while it is up or has no verdict yet.
            - V(crashed), V(ended) (by itself, exit code 0), V(ended_unobserved), V(stopped), V(restarting), V(engine_stopped),
              V(stopped_externally), V(initially_down).
          type: str
          returned: always
          sample: crashed
        exit_code:
          description: Exit code of that run.
          type: int
          returned: always
          sample: 3
        oom_killed:
          description: Whether the kernel ended it for memory.
          type: bool
          returned: always
          sample: false
        ended_at:
          description: When it ended.
          type: str
          returned: always
          sample: "2026-01-31T04:12:00.123456789Z"
        code:
          description: Why the last try failed, such as V(suspended) or V(disk_full).
          type: str
          returned: always
          sample: null
        msg:
          description: The same in a sentence.
          type: str
          returned: always
          sample: null
        next_at:
          description: When the supervisor tries again. V(null) without a supervisor, or if it is paused or a freeze holds it back.
          type: str
          returned: always
          sample: "2026-01-31T04:12:10.000Z"
        consecutive_crashes:
          description: How often it has crashed in a row.
          type: int
          returned: always
          sample: 3
        crashes_today:
          description: How often it has crashed in the last 24 hours.
          type: int
          returned: always
          sample: 3
    crashes:
      description: The last ended runs, newest first, V(null) if the journal cannot be read. Only if O(crashes) is not V(0).
      type: list
      elements: dict
      returned: not through an endpoint
      contains:
        verdict:
          description: The verdict on the run, as above; V(pending) until there is one.
          type: str
          returned: not through an endpoint
          sample: crashed
        exit_code:
          description: Exit code, V(null) if unknown.
          type: int
          returned: not through an endpoint
          sample: 3
        oom_killed:
          description: Whether the kernel ended it for memory.
          type: bool
          returned: not through an endpoint
          sample: false
        seconds:
          description: How long it was up, V(null) if unknown.
          type: float
          returned: not through an endpoint
          sample: 93.5
        ended_at:
          description: When it ended.
          type: str
          returned: not through an endpoint
          sample: "2026-01-31T04:12:00.123456789Z"
        container:
          description: Id of its container. With C(started_at) it identifies the run, as in C(run) of M(fleet.power.server_power).
          type: str
          returned: not through an endpoint
          sample: 4d2f1b...
        started_at:
          description: When it started.
          type: str
          returned: not through an endpoint
          sample: "2026-01-31T04:10:26.623456789Z"
        origin:
          description: The requester of its end, V(null) if there was none.
          type: str
          returned: not through an endpoint
          sample: null
        operation:
          description: The operation that ended it, V(null) if there was none.
          type: str
          returned: not through an endpoint
          sample: null
        consecutive_crashes:
          description: Which crash in a row it was.
          type: int
          returned: not through an endpoint
          sample: 3
        log:
          description: Its last lines, with the values of its environment masked.
          type: list
          elements: str
          returned: not through an endpoint
          sample: ["java.lang.OutOfMemoryError"]
    utilization:
      description:
        - Its use of resources, with the endpoint's own names and units. Wings has C(memory_bytes), C(memory_limit_bytes), C(disk_bytes),
          C(cpu_absolute) (percent of one core), C(uptime) (milliseconds), and C(rx_bytes) and C(tx_bytes) in C(network).
      type: dict
      returned: through an endpoint, if it reports them
      sample: {"cpu_absolute": 12.3, "disk_bytes": 52428800, "memory_bytes": 734003200, "memory_limit_bytes": 1177600000,
               "network": {"rx_bytes": 10240, "tx_bytes": 20480}, "uptime": 93500}
    log:
      description: The last lines of its log, V(null) if it cannot be read.
      type: list
      elements: str
      returned: when O(tail) is not V(0)
      sample: ["ready"]
    code:
      description:
        - Why the server could not be read, such as V(engine_error), V(engine_unreachable) or V(source_unreachable). All values except
          C(server), C(short_id), C(name), C(code) and C(msg) are V(null) then. See the guide to codes.
      type: str
      returned: where the server could not be seen
      sample: engine_error
    msg:
      description: The same in a sentence.
      type: str
      returned: where the server could not be seen
      sample: "Cannot inspect container 566bf9d7-c55a-45f8-91a6-e55e9b9b1325: input/output error"
supervisor:
  description: The supervisor of the node, V(null) if unknown, for example through an endpoint.
  type: dict
  returned: success
  contains:
    running:
      description: Whether it runs, V(null) if unknown; a warning says why.
      type: bool
      returned: always
      sample: true
    since:
      description: Since when it runs.
      type: str
      returned: always
      sample: "2026-01-31T00:00:00.000Z"
    paused:
      description:
        - Why it starts nothing, V(null) if it is not paused. V(wings), Wings runs; V(maintenance), a maintenance is under way;
          V(maintenance_unreadable), the file of a maintenance cannot be read; V(journal), the journal cannot be used; V(engine), the engine
          does not answer.
      type: str
      returned: always
      sample: null
freeze:
  description: The freeze of the whole node, as C(freeze) of a server. V(null) if there is none, and through an endpoint.
  type: dict
  returned: success
  sample: null
events:
  description: The node's events and their receivers, V(null) if unknown, for example through an endpoint.
  type: dict
  returned: success
  contains:
    running:
      description: Whether the service that sends events runs, V(null) if unknown; a warning says why.
      type: bool
      returned: always
      sample: true
    since:
      description: Since when it runs.
      type: str
      returned: always
      sample: "2026-01-31T00:00:00.000Z"
    enabled:
      description: Whether the node keeps events, V(null) if unknown.
      type: bool
      returned: always
      sample: true
    receivers:
      description: The state of each receiver, V(null) if events are disabled or unknown.
      type: list
      elements: dict
      returned: always
      contains:
        receiver:
          description: Its name.
          type: str
          returned: always
          sample: pager
        waiting:
          description: How many events it has not received yet. This may include events that its filter excludes.
          type: int
          returned: always
          sample: 12
        oldest_at:
          description: When the first of these happened, V(null) if there are none.
          type: str
          returned: always
          sample: "2026-01-31T04:12:00.123Z"
        "off":
          description: Whether it has unsubscribed (410 Gone).
          type: bool
          returned: always
          sample: false
        failing_since:
          description: Since when tries have failed, V(null) if the last one succeeded.
          type: str
          returned: always
          sample: "2026-01-31T04:12:01.000Z"
        error:
          description: The error of the last failed try.
          type: str
          returned: always
          sample: "it answered with status 503"
        dropped:
          description: How many events were dropped before it received them.
          type: int
          returned: always
          sample: 0
        sent:
          description: How many it has received.
          type: int
          returned: always
          sample: 1024
        sent_at:
          description: When it received the last one.
          type: str
          returned: always
          sample: "2026-01-31T04:11:58.000Z"
msg:
  description: Why C(complete) is V(false), or why nothing could be read.
  type: str
  returned: when C(complete) is V(false), and on failure
  sample: "Cannot read definitions in /etc/fleet-power/servers: Permission denied"
code:
  description: Why nothing could be read.
  type: str
  returned: on failure
  sample: engine_unreachable
"""

from ansible_collections.fleet.power.plugins.module_utils._archive import compile_once


def main() -> None:
    compile_once()
    # This import brings in the core, so it must follow `compile_once`.
    from ansible_collections.fleet.power.plugins.module_utils._options import run_info_module

    run_info_module()


if __name__ == "__main__":
    main()
