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
  - An unreadable journal is a warning, and its fields are V(null). An unknown name is a warning, and has no entry.
  - A Panel is asked once for servers and definitions, for 10 seconds at most.
  - With O(api_url), the result has only what the endpoint returns.
  - Several servers are read at the same time.
  - If no readiness line was seen yet, the module looks for it in the logs, for half a second in all. If many servers boot at once, a ready
    server may still be V(starting). The next call continues.
  - Games of servers that are up are asked for their players, several at a time, for 10 seconds in all. The node's settings say which game a
    server plays.
extends_documentation_fragment:
  - fleet.power.attributes
  - fleet.power.attributes.read_only
  - fleet.power.attributes.actiongroup_power
  - fleet.power.node
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
author: The fleet.power contributors (@fleet-power)
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
      description:
        - Its container, V(null) if it has none. An endpoint returns only C(image), the image that it was created from.
        - Times are the engine's. C(finished_at) and C(exit_code) are V(null) while it lives, C(health) without a health check.
          C(oom_killed), the kernel killed it for memory; Docker 20.10 misses some of these kills.
        - C(health_output), the last lines of a failed health check while C(health) is V(unhealthy), at most 3.
      type: dict
      returned: always, with an endpoint if it reports the image
      sample: {"exit_code": null, "finished_at": null, "health": "healthy", "health_output": [], "id": "4d2f1b...",
               "image": "registry.example.test/echo:1", "oom_killed": false, "paused": false,
               "started_at": "2026-01-31T12:00:00.123456789Z"}
    outdated:
      description:
        - Whether its container differs from its definition, the node's settings and its image, as its next start would decide. No image is
          pulled. V(null) without a container.
        - Keys are those of the definition without C(settings.), such as V(build.memory_limit) or C(environment.NAME), V(image), also if its
          tag now names another image, and keys of the node's settings with their whole names. V(fleet.power) is a change in another version
          of this collection. Values are never returned.
        - C(is_outdated) is V(null) if unknown. A warning says why, unless it has no definition.
        - C(differs) has the keys that differ, V(null) if unknown, for example for a container of Wings or an earlier version; C(why) says
          why. C(restart) has those that need a restart, C(in_place) those that M(fleet.power.server_limits) can set while the server runs.
        - C(failed) is V(true) if this definition with this image failed and was taken back; see the guide to updates. An action with
          O(fleet.power.server_power#module:outdated) skips the server then. V(null) if unknown.
        - C(next_start) has keys that are up to date, but that the process sees only after its next start. They do not make it outdated.
          V(environment.SERVER_MEMORY), after its memory was changed while it ran.
      type: dict
      returned: always, with an endpoint if it reports it
      sample: {"differs": ["build.memory_limit", "image"], "in_place": ["build.memory_limit"], "is_outdated": true, "failed": false,
               "next_start": [], "restart": ["image"], "why": null}
    proof:
      description:
        - The last proof of a new version, V(null) if there was none; see the guide to updates. C(ended) is V(open) while it is on trial,
          then V(proved), V(reverted), V(left_down), V(void) (somebody acted on the server) or V(failed) (there was no way back).
        - C(run) is the run of the new version, C(msg) says why it failed. C(differs) has the keys that differ from the previous version.
          C(restored) and C(not_restored) are configuration files that were put back, and those that were not. Empty values are omitted.
      type: dict
      returned: not through an endpoint
      sample: {"at": "2026-01-31T04:12:00.123Z", "differs": ["image"], "ended": "reverted", "msg": "its process ended with exit code 3",
               "operation": "0b1f7f3e-52d0-4e0e-8a57-3c4f7b6b9f10"}
    lock:
      description: Its lock holder, V(null) if there is none.
      type: dict
      returned: not through an endpoint
      sample: null
    countdown:
      description:
        - The action that waits for the server's players or counts down, V(null) if there is none. C(since), when the wait began; C(due),
          when the wait or the countdown ends.
        - C(phase) is V(waiting), until few enough players are there, or V(counting), players get messages.
        - C(origin) and C(reason) are left out if unknown.
      type: dict
      returned: always, with an endpoint if it reports it
      sample: {"action": "restart", "due": "2026-01-31T04:10:00.000Z", "operation": "0b1f7f3e-52d0-4e0e-8a57-3c4f7b6b9f10",
               "origin": "alice@web1", "phase": "counting", "reason": "update", "since": "2026-01-31T04:00:00.000Z"}
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
        - The server's players, and its places as C(max). V(null) while it is down, and if the node's settings do not say which game it
          plays. If a number is unknown, it is V(null), and C(unknown_reason) says why.
        - The HTTP shim of this collection returns this for a single server that is named by its UUID.
      type: dict
      returned: always, with an endpoint if it reports it
      sample: {"max": 20, "online": 3, "unknown_reason": null}
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
      sample: {"action": "restart", "begun_at": "2026-01-31T12:00:00.002Z", "code": null, "ended_at": "2026-01-31T12:00:05.102Z",
               "forced": false, "id": "0b1f7f3e-52d0-4e0e-8a57-3c4f7b6b9f10", "msg": null, "origin": "alice@web1", "outcome": "done",
               "reason": null, "requested_at": "2026-01-31T12:00:00.000Z"}
    operations:
      description: The last operations of any outcome, newest first, each like C(last_operation). With O(operations) only.
      type: list
      elements: dict
      returned: not through an endpoint
    supervision:
      description:
        - The end of its last run, and the supervisor's reaction. V(null) if the journal cannot be read.
        - The guide to crashes explains verdicts and states.
        - C(state) is V(ok), the supervisor does nothing. V(backoff), it is down and will be started. V(crash_loop), it crashed too often in
          a row, with one try an hour. V(flapping), it is up and crashed more than 5 times in 24 hours. V(stays_down), see C(verdict).
          V(off), the node's policy exempts it, and C(why) names the setting.
        - C(running) and C(paused) are as in C(supervisor) of the result. C(paused) is also V(frozen), a freeze with the supervisor.
        - C(verdict) is that on its last run, V(null) while it is up or has none yet. V(crashed), V(hung), V(ended) (by itself, exit
          code 0), V(ended_unobserved), V(stopped), V(restarting), V(engine_stopped), V(stopped_externally), V(initially_down).
        - C(exit_code), C(oom_killed) (by the kernel, for memory) and C(ended_at) are of that run.
        - C(code), such as V(suspended) or V(disk_full), and C(msg) say why the last try failed. C(next_at) is the time of the next one,
          V(null) without a supervisor, or if it is paused or a freeze holds it back.
        - C(consecutive_crashes) are in a row, C(crashes_today) in the last 24 hours. A hang counts as a crash.
        - C(restarts_unhealthy), the supervisor restarts the server if it hangs.
        - C(hang) says why the supervisor leaves the server up although it is unhealthy. V(suspect), most servers of the node turned
          unhealthy together. V(too_often), it was restarted for that three times within an hour.
      type: dict
      returned: always, with an endpoint if it reports it
      sample: {"code": null, "consecutive_crashes": 3, "crashes_today": 3, "ended_at": "2026-01-31T04:12:00.123456789Z", "exit_code": 3,
               "hang": null, "msg": null, "next_at": "2026-01-31T04:12:10.000Z", "oom_killed": false, "paused": null,
               "restarts_unhealthy": false, "running": true, "state": "backoff", "verdict": "crashed", "why": null}
    crashes:
      description:
        - The last ended runs, newest first, V(null) if the journal cannot be read. Only if O(crashes) is not V(0).
        - Unknown values are V(null). C(verdict), C(exit_code) and C(oom_killed) are as in C(supervision), V(pending) until there is a
          verdict. C(consecutive_crashes), which crash in a row it was. C(seconds), how long it was up.
        - C(container) and C(started_at) identify the run, as in C(run) of M(fleet.power.server_power).
        - C(origin) is the requester of its end, C(operation) the operation that ended it, V(null) if there was none.
        - C(log) has its last lines, with the values of its environment masked.
      type: list
      elements: dict
      returned: not through an endpoint
      sample: [{"consecutive_crashes": 3, "container": "4d2f1b...", "ended_at": "2026-01-31T04:12:00.123456789Z", "exit_code": 3,
                "log": ["java.lang.OutOfMemoryError"], "oom_killed": false, "operation": null, "origin": null, "seconds": 93.5,
                "started_at": "2026-01-31T04:10:26.623456789Z", "verdict": "crashed"}]
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
  description:
    - The supervisor of the node, V(null) if unknown, for example through an endpoint. C(running) is V(null) if unknown; a warning says why.
    - C(paused) says why it starts nothing, V(null) if it is not paused. V(wings), Wings runs; V(wings_unknown), the
      node's processes cannot be read, so Wings may run; V(maintenance), a maintenance is under way; V(maintenance_unreadable), the file
      of a maintenance cannot be read; V(journal), the journal cannot be used; V(engine), the engine does not answer.
      V(node_stopping), the machine or its engine stops.
  type: dict
  returned: success
  sample: {"paused": null, "running": true, "since": "2026-01-31T00:00:00.000Z"}
freeze:
  description: The freeze of the whole node, as C(freeze) of a server. V(null) if there is none, and through an endpoint.
  type: dict
  returned: success
  sample: null
events:
  description:
    - The node's events and their receivers, V(null) if unknown, for example through an endpoint. C(running) and C(since) are of the service
      that sends events, as in C(supervisor). C(enabled), the node keeps events.
    - C(receivers) is V(null) if events are disabled or unknown. C(waiting) is the number of events that a receiver has not received yet,
      perhaps with some that its filter excludes. C(oldest_at) is when the first of these happened.
    - C(sent) is the number that it has received, C(sent_at) when it received the last one, C(dropped) the number that were dropped before.
    - C(failing_since) is V(null) if the last try succeeded, else C(error) is that of the last one. C(off), it has unsubscribed (410 Gone).
  type: dict
  returned: success
  sample:
    enabled: true
    receivers: [{"dropped": 0, "error": null, "failing_since": null, "off": false, "oldest_at": null, "receiver": "pager", "sent": 1024,
                 "sent_at": "2026-01-31T04:11:58.000Z", "waiting": 0}]
    running: true
    since: "2026-01-31T00:00:00.000Z"
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
