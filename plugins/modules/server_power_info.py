#!/usr/bin/python
# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: server_power_info
short_description: Read the power state of servers, who holds them, and what was last done to them
version_added: 1.0.0
description:
  - Looks at servers and changes nothing. It takes no lock and waits for none.
  - What is not known is not taken for absent. A server that is known, or named, but cannot be seen has an entry with the C(servers[].state)
    V(null) and a C(servers[].code); where a list of servers cannot be had, C(complete) is V(false). Neither fails the task.
  - A journal that cannot be read is a warning, and what it would have told is V(null).
  - A name that nothing here has is a warning, and has no entry.
  - With a Panel, it is asked which servers it has and what they are, once, for 10 seconds at most.
  - With O(api_url), what the endpoint tells is returned, and the rest left out.
  - Several servers are asked about at a time, each once.
  - The readiness line of servers that nobody watched becoming ready is looked for in their logs, for half a second in all. Where many
    boot at once, one that is ready may still be told as V(starting); what was found is remembered, so that the next look gets further.
  - The games of servers that are up are asked who plays, several at a time, for 10 seconds in all. Which game a server plays is said in the
    node's settings. Nobody is asked where they say none.
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
      - The servers to look at, by UUID, short id or unique name.
      - On a host that is a server, the action plugin takes the host variable C(server_uuid) if none is given.
      - If not given, or V(all), standing alone, every server of the node. These are those in the task's O(definitions), of the Panel and in
        the definitions directory, and all that have a container made by this collection or by Wings. With O(api_url), all that the
        endpoint has.
      - An empty list, as a variable may come out, is no server, and nobody is asked. It is not the same as no list.
    type: list
    elements: str
    aliases: [servers, uuid]
  tail:
    description:
      - Return the last lines of each server's log, this many, at most 10000. Values of its environment of 6 characters or more are masked.
      - With O(api_url), servers are asked for their logs one after another, and Wings gives at most 100 lines of each.
    type: int
    default: 0
  operations:
    description:
      - Return the last operations of each server, this many, at most 100, which is as many as the journal keeps.
      - Does not apply with O(api_url).
    type: int
    default: 0
  crashes:
    description:
      - Return the last ended runs of each server, this many, at most 100, as many as the journal keeps. Those that somebody stopped
        are among them.
      - Does not apply with O(api_url).
    type: int
    default: 0
  downtime_since:
    description:
      - Return what each server was down for since then, and how long it was up and down, as far as the journal tells.
      - How long ago, such as V(30d), V(12h) or a number of seconds; or a moment in ISO 8601, such as V(2026-01-31T12:00:00Z), in UTC
        unless it names a zone.
      - Does not apply with O(api_url).
    type: str
    default: ""
  downtime_until:
    description:
      - The end of that time, given as O(downtime_since) is. Now, if it is not given, or is later.
    type: str
    default: ""
seealso:
  - module: fleet.power.server_power
author:
  - The fleet.power contributors (@fleet-power)
"""

EXAMPLES = r"""
- name: Look at all servers of the node
  fleet.power.server_power_info:
  register: power

- name: Show which servers are meant to be up but are not
  ansible.builtin.debug:
    msg: "{{ meant_up | selectattr('state', 'eq', 'offline') | map(attribute='name') }}"
  vars:
    meant_up: "{{ power.servers | selectattr('intent') | selectattr('intent.up') }}"

- name: Go on only if all of the node could be seen
  ansible.builtin.assert:
    that:
      - power.complete
      - power.servers | selectattr('state', 'none') | length == 0

- name: Show what crashed in the last 24 hours, and how it ended last
  fleet.power.server_power_info:
    crashes: 1
  register: power

- name: Name them
  ansible.builtin.debug:
    msg: "{{ power.servers | selectattr('supervision') | selectattr('supervision.crashes_today') | map(attribute='name') }}"

- name: Look at what went down in the last month, when and why
  fleet.power.server_power_info:
    downtime_since: 30d
  register: power

- name: Show the outages that nobody wanted
  ansible.builtin.debug:
    msg: "{{ item.downtime.outages | rejectattr('planned', 'eq', true) }}"
  loop: "{{ power.servers | selectattr('downtime') }}"
  loop_control:
    label: "{{ item.name }}, {{ item.downtime.availability }} % of the time that is known"

- name: Name those on which somebody plays, or may play
  ansible.builtin.debug:
    msg: "{{ power.servers | selectattr('players') | rejectattr('players.online', 'eq', 0) | map(attribute='name') }}"

- name: Name those whose containers are not what their definitions say, and what differs
  ansible.builtin.debug:
    msg: "{{ outdated | items2dict(key_name='name', value_name='outdated') }}"
  vars:
    outdated: "{{ power.servers | selectattr('outdated') | selectattr('outdated.is_outdated') }}"

- name: Look at one server and the end of its log
  fleet.power.server_power_info:
    server: 566bf9d7-c55a-45f8-91a6-e55e9b9b1325
    tail: 20
"""

RETURN = r"""
complete:
  description:
    - Whether C(servers) has every server that was meant. V(false) where a list cannot be had that would name more of them, such as that of
      the Panel or the directory of definitions. C(msg) then says why.
    - The HTTP face of this collection tells that of its list. That of Wings is taken for whole.
  type: bool
  returned: success
  sample: true
servers:
  description: One entry for each server. What is not known is V(null); what an endpoint does not tell is left out.
  type: list
  elements: dict
  returned: success
  contains:
    server:
      description: UUID of the server, or what was asked if nobody can tell which server that is.
      type: str
      returned: always
      sample: 566bf9d7-c55a-45f8-91a6-e55e9b9b1325
    short_id:
      description: The first 8 characters of the UUID.
      type: str
      returned: always
      sample: 566bf9d7
    name:
      description: Name of the server, empty if it has none, V(null) if that is not known either.
      type: str
      returned: always
      sample: Cobalt Survival
    state:
      description: Power state, one of V(offline), V(starting), V(running), V(stopping); V(null) if the server could not be seen.
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
        - Where C(in_order) of M(fleet.power.server_power) puts it. A lower one starts first and stops last.
        - From C(system.priorities) of the node's settings, else C(settings.meta.priority) of its definition, else V(100).
      type: int
      returned: not through an endpoint
      sample: 100
    egg:
      description: UUID of the egg it was made from, V(null) if none is known.
      type: str
      returned: always, with an endpoint where it tells one
      sample: 5d7b0c1e-7f5e-4f0c-9e2b-6b1d3c8a9f10
    labels:
      description: The labels in its definition, V(null) if there is no definition.
      type: dict
      returned: always, with an endpoint where it tells them
      sample: {"group": "lobby"}
    container:
      description: Its container, V(null) if it has none. Times are the engine's.
      type: dict
      returned: always, with an endpoint where it tells the image
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
          description: What its health check says, V(null) if it has none.
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
        - Whether its container is what its definition, the node's settings and its image say now, as the next start would decide it.
          Nothing is pulled. What the engine tells otherwise than it was asked does not count. V(null) if it has no container.
        - Keys are those of the definition, without C(settings.), such as V(build.memory_limit) or C(environment.NAME), V(image), which
          also counts if its tag names another image by now, and keys of the node's settings by their whole names. V(fleet.power) is what
          another version of this collection does otherwise. Never values.
      type: dict
      returned: always, with an endpoint where it tells it
      contains:
        is_outdated:
          description: >-
            Whether it is outdated. V(null) if nobody can tell. A warning says why, unless it is for want of a definition.
          type: bool
          returned: always
          sample: true
        differs:
          description: The keys that differ. V(null) if that is not known, as of a container of Wings or an earlier version.
          type: list
          elements: str
          returned: always
          sample: [build.memory_limit, image]
        restart:
          description: Those of them that a restart alone brings in line.
          type: list
          elements: str
          returned: always
          sample: [image]
        in_place:
          description: Those of them that M(fleet.power.server_limits) brings in line while it runs.
          type: list
          elements: str
          returned: always
          sample: [build.memory_limit]
        next_start:
          description: >-
            What is as it should be and its process will only see when it starts anew. It does not make it outdated.
            V(environment.SERVER_MEMORY), after its memory was changed while it ran.
          type: list
          elements: str
          returned: always
          sample: []
        why:
          description: Why nobody can tell, or why there are no keys.
          type: str
          returned: always
          sample: null
    lock:
      description: Who holds its lock, V(null) if nobody does.
      type: dict
      returned: not through an endpoint
      sample: null
    countdown:
      description: The action that waits for the server's players, or tells them, before it takes its turn; V(null) if none does.
      type: dict
      returned: always, with an endpoint where it tells it
      contains:
        action:
          description: The action, V(stop) or V(restart).
          type: str
          returned: always
          sample: restart
        phase:
          description: V(waiting), until few enough play; V(counting), those who play are told.
          type: str
          returned: always
          sample: counting
        due:
          description: When it waits no longer, or when the countdown is over.
          type: str
          returned: always
          sample: "2026-01-31T04:10:00.000Z"
        since:
          description: Since when it waits.
          type: str
          returned: always
          sample: "2026-01-31T04:00:00.000Z"
        origin:
          description: Who asked for it.
          type: str
          returned: if it is known
          sample: alice@web1
        reason:
          description: Why.
          type: str
          returned: if one was given
          sample: update
        operation:
          description: Id of the operation.
          type: str
          returned: always
          sample: 0b1f7f3e-52d0-4e0e-8a57-3c4f7b6b9f10
    players:
      description:
        - Who plays on the server. V(null) while it is down, and where the node's settings do not say which game it plays.
        - An endpoint that is the HTTP face of this collection tells it where the server is looked at alone and named by its UUID.
      type: dict
      returned: always, with an endpoint where it tells it
      contains:
        online:
          description: How many play, V(null) if that is unknown, which is not the same as V(0).
          type: int
          returned: always
          sample: 3
        max:
          description: How many may, V(null) where the game does not tell.
          type: int
          returned: always
          sample: 20
        unknown_reason:
          description: Why it is unknown, V(null) where it is known.
          type: str
          returned: always
          sample: null
    intent:
      description: What the last action that ended V(done) or V(unchanged) meant it to be.
      type: dict
      returned: not through an endpoint
      sample: {"at": "2026-01-31T12:00:00.000Z", "origin": "alice@web1", "up": true}
    last_operation:
      description:
        - The last operation that is under way, did something, or was not done as asked. One that was V(unchanged) or V(skipped) is here
          only if the journal has no other of the server. V(null) if it has none.
      type: dict
      returned: not through an endpoint
      sample: {"action": "restart", "id": "0b1f7f3e-52d0-4e0e-8a57-3c4f7b6b9f10", "origin": "alice@web1", "outcome": "done"}
    operations:
      description: The last operations of any outcome, newest first, each like C(last_operation). There where O(operations) is not V(0).
      type: list
      elements: dict
      returned: not through an endpoint
      sample: [{"action": "restart", "id": "0b1f7f3e-52d0-4e0e-8a57-3c4f7b6b9f10", "origin": "alice@web1", "outcome": "done"}]
    supervision:
      description:
        - What became of its last run, and what the supervisor does about it. V(null) if the journal cannot be read.
        - The guide on crashes explains verdicts and states.
      type: dict
      returned: always, with an endpoint where it tells it
      contains:
        state:
          description:
            - V(ok), nothing is to be done; V(backoff), it is down, to be started; V(crash_loop), it has crashed too often in a row, and
              is tried once an hour; V(flapping), it is up, and has crashed more than 5 times in 24 hours.
            - V(stays_down), it is down, and stays so, as C(verdict) says; V(off), the node's policy exempts it, as C(why) says.
          type: str
          returned: always
          sample: backoff
        why:
          description: What says that the server is not supervised, V(null) where it is.
          type: str
          returned: always
          sample: supervisor.enabled
        running:
          description: Whether a supervisor runs on the node, V(null) if that cannot be told.
          type: bool
          returned: always
          sample: true
        paused:
          description: What keeps the supervisor from starting anything, as in C(supervisor) of the result.
          type: str
          returned: always
          sample: null
        verdict:
          description:
            - What the end of its last run is taken for, V(null) while it is up, and where nobody has judged it.
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
          description: Why the last try did not bring the server up, such as V(suspended) or V(disk_full).
          type: str
          returned: always
          sample: null
        msg:
          description: The same in a sentence.
          type: str
          returned: always
          sample: null
        next_at:
          description: When it is tried again. V(null) where nobody will, as with no supervisor, or one that is paused.
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
      description: The last ended runs, newest first, V(null) if the journal cannot be read. There where O(crashes) is not V(0).
      type: list
      elements: dict
      returned: not through an endpoint
      contains:
        verdict:
          description: What the end is taken for, as above; V(pending) as long as nobody has judged it.
          type: str
          returned: not through an endpoint
          sample: crashed
        exit_code:
          description: Exit code, V(null) if it is not known.
          type: int
          returned: not through an endpoint
          sample: 3
        oom_killed:
          description: Whether the kernel ended it for memory.
          type: bool
          returned: not through an endpoint
          sample: false
        seconds:
          description: How long it was up, V(null) if that is not known.
          type: float
          returned: not through an endpoint
          sample: 93.5
        ended_at:
          description: When it ended.
          type: str
          returned: not through an endpoint
          sample: "2026-01-31T04:12:00.123456789Z"
        container:
          description: Id of its container. With C(started_at) the name of the run, as C(run) of M(fleet.power.server_power) has it.
          type: str
          returned: not through an endpoint
          sample: 4d2f1b...
        started_at:
          description: When it started.
          type: str
          returned: not through an endpoint
          sample: "2026-01-31T04:10:26.623456789Z"
        origin:
          description: Who ended it, V(null) if nobody here did.
          type: str
          returned: not through an endpoint
          sample: null
        operation:
          description: The operation that ended it, V(null) if none did.
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
    downtime:
      description:
        - What it was over the span from O(downtime_since) to O(downtime_until), V(null) if the journal cannot be read, or the server could
          not be seen. There where O(downtime_since) is given.
        - The journal keeps the last 100 runs and the last 100 operations of each server. Before C(known_since), and where somebody started
          and stopped the server past us with no supervisor to see it, nothing is known. What is unknown counts neither as up nor as down.
        - Times are those of the engine. It was up from the start of its process to its end, ready or not.
      type: dict
      returned: not through an endpoint
      contains:
        since:
          description: The beginning of the span.
          type: str
          returned: not through an endpoint
          sample: "2026-01-01T00:00:00.000Z"
        until:
          description: Its end.
          type: str
          returned: not through an endpoint
          sample: "2026-01-31T00:00:00.000Z"
        known_since:
          description: The start of the earliest run that is known, V(null) if none is. It may be earlier than the span.
          type: str
          returned: not through an endpoint
          sample: "2025-11-12T08:00:01.412Z"
        up_seconds:
          description: How long it was up in the span.
          type: float
          returned: not through an endpoint
          sample: 2591000.0
        down_seconds:
          description: How long it was down.
          type: float
          returned: not through an endpoint
          sample: 1000.0
        planned_seconds:
          description: How much of that somebody wanted.
          type: float
          returned: not through an endpoint
          sample: 600.0
        unknown_seconds:
          description: Of how much of the span nothing is known.
          type: float
          returned: not through an endpoint
          sample: 0.0
        availability:
          description: The part of the known time in which it was up, in percent. V(null) if nothing is known.
          type: float
          returned: not through an endpoint
          sample: 99.9614
        outages:
          description: >-
            The times in which it was down, the oldest first, the last 100 of the span, or 20 where several servers are looked at. They
            never overlap. Where somebody came to want it down, or a start failed, a new one begins.
          type: list
          elements: dict
          returned: not through an endpoint
          contains:
            from:
              description: Its beginning, within the span.
              type: str
              returned: not through an endpoint
              sample: "2026-01-20T04:12:00.123Z"
            until:
              description: Its end, V(null) while it goes on.
              type: str
              returned: not through an endpoint
              sample: "2026-01-20T04:12:11.901Z"
            seconds:
              description: How long it lasted within the span.
              type: float
              returned: not through an endpoint
              sample: 11.778
            why:
              description: >-
                What the end of its run is taken for, a verdict as in C(servers[].crashes); V(not_started), an action was to bring it up,
                and failed; V(null), nobody has judged it.
              type: str
              returned: not through an endpoint
              sample: crashed
            planned:
              description: >-
                Whether somebody wanted it down, here or at the engine. V(false) for a crash, a stop of the engine, and a start that failed;
                V(null) if nobody can tell.
              type: bool
              returned: not through an endpoint
              sample: false
            action:
              description: The action that took it down, or failed to bring it up, V(null) if none did, or the journal has it no more.
              type: str
              returned: not through an endpoint
              sample: null
            origin:
              description: Who asked for that.
              type: str
              returned: not through an endpoint
              sample: null
            reason:
              description: The reason that was given.
              type: str
              returned: not through an endpoint
              sample: null
            code:
              description: The code with which that action ended, V(null) if it ended well.
              type: str
              returned: not through an endpoint
              sample: null
            operation:
              description: Its id.
              type: str
              returned: not through an endpoint
              sample: null
            exit_code:
              description: Exit code of the run, V(null) if it is not known.
              type: int
              returned: not through an endpoint
              sample: 3
            oom_killed:
              description: Whether the kernel ended the run for memory, V(null) if that is not known.
              type: bool
              returned: not through an endpoint
              sample: false
        omitted:
          description: How many earlier ones are not listed. They are counted in all sums.
          type: int
          returned: not through an endpoint
          sample: 0
    utilization:
      description: >-
        What it uses, in the endpoint's own names and units. Those of Wings are C(memory_bytes), C(memory_limit_bytes), C(disk_bytes),
        C(cpu_absolute) (percent of one core), C(uptime) (milliseconds), and C(rx_bytes) and C(tx_bytes) in C(network).
      type: dict
      returned: through an endpoint, as far as it tells
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
        - Why the server could not be seen, such as V(engine_error), V(engine_unreachable) or V(source_unreachable). All but C(server),
          C(short_id), C(name), C(code) and C(msg) is V(null) then. The guide on codes explains each.
      type: str
      returned: where the server could not be seen
      sample: engine_error
    msg:
      description: The same in a sentence.
      type: str
      returned: where the server could not be seen
      sample: "Cannot inspect container 566bf9d7-c55a-45f8-91a6-e55e9b9b1325: input/output error"
supervisor:
  description: The supervisor of the node, V(null) where nobody tells, as an endpoint.
  type: dict
  returned: success
  contains:
    running:
      description: Whether one runs, V(null) if that cannot be told; a warning says why.
      type: bool
      returned: always
      sample: true
    since:
      description: Since when it runs.
      type: str
      returned: always
      sample: "2026-01-31T00:00:00.000Z"
    paused:
      description: >-
        What keeps it from starting anything, V(null) where nothing does. V(wings), Wings is alive; V(maintenance), a maintenance is under
        way; V(maintenance_unreadable), whether one is cannot be read; V(journal), the journal cannot be used; V(engine), the engine does
        not answer.
      type: str
      returned: always
      sample: null
events:
  description: The node's events, and who is told of them, V(null) where nobody tells, as an endpoint.
  type: dict
  returned: success
  contains:
    running:
      description: Whether what sends them runs, V(null) if that cannot be told; a warning says why.
      type: bool
      returned: always
      sample: true
    since:
      description: Since when it runs.
      type: str
      returned: always
      sample: "2026-01-31T00:00:00.000Z"
    enabled:
      description: Whether events are kept on this node, V(null) if that cannot be told.
      type: bool
      returned: always
      sample: true
    receivers:
      description: How far each receiver has come, V(null) where no events are kept, or nobody can tell.
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
          description: How many events it has not taken yet. Also those that may not be for it, where nobody has looked yet.
          type: int
          returned: always
          sample: 12
        oldest_at:
          description: When the first of these happened, V(null) if none wait.
          type: str
          returned: always
          sample: "2026-01-31T04:12:00.123Z"
        "off":
          description: Whether it has asked to be told nothing more (410 Gone).
          type: bool
          returned: always
          sample: false
        failing_since:
          description: Since when no try has reached it, V(null) where the last one did.
          type: str
          returned: always
          sample: "2026-01-31T04:12:01.000Z"
        error:
          description: What became of the last try that failed.
          type: str
          returned: always
          sample: "it answered with status 503"
        dropped:
          description: How many events were let go of before it had taken them.
          type: int
          returned: always
          sample: 0
        sent:
          description: How many it has taken.
          type: int
          returned: always
          sample: 1024
        sent_at:
          description: When it took the last one.
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
    """Run the module."""
    compile_once()
    # Not before that: it brings the core, which is what takes long to compile.
    from ansible_collections.fleet.power.plugins.module_utils._options import run_info_module

    run_info_module()


if __name__ == "__main__":
    main()
