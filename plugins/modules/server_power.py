#!/usr/bin/python
# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: server_power
short_description: Start, stop, restart and kill servers that are Docker containers
version_added: 1.0.0
description:
  - Controls the power of servers, long-running processes in one Docker container each, with the semantics of
    Pterodactyl Wings' power endpoint, and tells what really happened to each of them.
  - One lock a server holds between playbooks, ad-hoc commands and every other front door on the node, and dies with its holder.
  - A server is never stopped for a restart that cannot start it again. Definition, suspension, data directory, disk limit
    and container are checked first.
  - A kill always wins. What was requested before it gives up, even in the middle of a restart.
  - An action that has begun is finished and recorded, even if the controller is stopped or the connection breaks meanwhile.
  - A task that takes longer than two seconds says what its servers are at, and outlives the loss of its connection for up to a minute. See
    R(Watching, ansible_collections.fleet.power.docsite.watching_guide).
extends_documentation_fragment:
  - fleet.power.attributes
  - fleet.power.attributes.actiongroup_power
  - fleet.power.node
attributes:
  check_mode:
    support: full
    details:
      - Nothing is locked, made, pulled or recorded. Refusals that are certain refuse in check mode too.
  diff_mode:
    support: full
  idempotent:
    support: partial
    details:
      - A V(start) of a server that is up, and a V(stop) or V(kill) of one that is offline, change nothing.
      - A V(restart) restarts each time.
options:
  server:
    description:
      - The servers to act on, by UUID, by short id (the first 8 characters of the UUID) or by name, as long as it is unique.
      - V(all), standing alone, is every server of the node. It means those of the sources that can be listed, and every container
        that this collection or Wings made. See the notes on what it means for each action.
      - Absent, the action plugin takes the host variable C(server_uuid). There is no default; in particular, absent is never V(all).
      - An empty list is no server. The task is ok, changes nothing and asks nobody.
      - Quote short ids that consist of digits only in YAML, or it makes them numbers.
    type: list
    elements: str
    aliases: [servers, uuid]
  action:
    description:
      - V(start) boots a server that is offline. One that is up stays as it is.
      - V(stop) asks the process to end, the way its definition says, and kills it if it does not within O(stop_timeout).
      - V(restart) is V(stop) and V(start) under one lock. One that is offline is started.
      - V(kill) ends the process at once, whoever holds the lock, and cancels what was requested before it.
    type: str
    required: true
    choices: [start, stop, restart, kill]
  only:
    description:
      - Act on those servers only that are in one of these power states, looked at when their turn comes and again under their lock.
        The others are V(skipped), code C(not_selected).
      - A server whose state cannot be seen is not passed over. It is V(failed).
    type: list
    elements: str
    choices: [offline, starting, running, stopping]
  if_meant_up:
    description:
      - Act on those servers only that are meant to be up. The last action on them that ended V(done) or V(unchanged) was a V(start) or a
        V(restart). The others are V(skipped), code C(not_selected). Asked before anything is done and again under the lock of each.
      - This starts again what went down by itself or with its node, and leaves down what somebody stopped or killed.
      - Refused where O(action) is V(stop) or V(kill), with O(api_url), and, code C(intent_unknown), if the journal cannot be read or was
        damaged and has just been begun anew. Nothing is started on a guess.
    type: bool
    default: false
  outdated:
    description:
      - Act on those servers only whose container is not what its definition, the node's settings and its image say now, as
        C(servers[].outdated) of M(fleet.power.server_power_info) has it. Looked at when their turn comes and again under their lock. The
        others, and those that have no container, are V(skipped), code C(not_selected). For O(action=restart) alone.
      - A server of which nobody can tell, such as one whose definition cannot be read, is not passed over. It is V(refused) or V(failed).
      - Nothing is pulled to find out. An image that is to be a newer one has to be pulled before.
      - V(true) is refused with O(api_url).
    type: bool
    default: false
  max_parallel:
    description:
      - How many servers are acted on at a time, each from its turn to the end of its O(wait_for).
      - V(0) stops all at once and boots as many at a time as there are processors, at least 8. With O(max_failures) it acts on so many
        servers at a time.
      - With O(api_url), V(0) asks for all stops at once, and for as many boots at a time as there are processors where the module runs, at
        least 8. A restart counts as a boot from its beginning. Give a number for hundreds of servers, since each that is acted on is looked
        at again and again.
    type: int
    default: 0
  max_failures:
    description:
      - How many servers may end V(refused), V(cancelled) or V(failed) before no other begins. Those under way are finished, the rest is
        V(skipped), code C(failure_budget), and the task fails. V(0) stops at the first.
      - If not given, every server is acted on, whatever becomes of the others.
    type: int
  in_order:
    description:
      - Act on the servers of one priority together, and on those of the next when these have ended, each to the end of its O(wait_for).
      - The lowest priority comes first where O(action) is V(start) or V(restart), the highest where it is V(stop) or V(kill). A proxy with
        V(10) is up before games with V(100), and down after them.
      - The priority of a server is that in O(priorities), else that in C(system.priorities) of the node's settings, else
        C(settings.meta.priority) of its definition, else V(100). With O(api_url), it is that in O(priorities), else V(100).
    type: bool
    default: false
  stagger:
    description:
      - Seconds between the beginnings of two servers, at least, V(0) to V(3600). Servers that there is nothing to do for do not count.
      - Does not apply to O(action=kill), nor in check mode.
    type: int
    default: 0
  priorities:
    description:
      - Priorities for O(in_order), whole numbers by name or UUID. One that is not among the servers of the task is ignored.
    type: dict
  wait_seconds:
    description:
      - Seconds to wait for another action on the same server to end, V(0) to V(300). V(0) tries once.
        Anything else becomes V(30), with a warning.
      - Does not apply to O(action=kill).
    type: int
    default: 30
  stop_timeout:
    description:
      - Seconds from asking a server to stop to SIGKILL, at most a week. V(0) kills at once.
      - If not given, C(process_configuration.stop.timeout) of the definition with which the running container was made, or of
        O(definitions) if they have the server. If that is not set, C(system.stop_timeout) of the node's settings, which is 600 by default.
      - A new C(stop.timeout) in a definition counts once the server was restarted. Check mode shows the timeout in force.
      - Refused with O(api_url). An endpoint has its own.
    type: int
  wait_for:
    description:
      - When a start counts as done. The lock is released before this wait.
      - V(container) is when the process was started.
      - V(running) is when it has written one of the lines in the definition's C(process_configuration.startup.done). Where there are none,
        a live process counts.
      - V(healthy) is when the image's health check passes. Without a health check it means V(running), with a warning.
        Refused with an O(api_url) that is not this collection's own.
    type: str
    default: container
    choices: [container, running, healthy]
  wait_timeout:
    description:
      - Seconds that O(wait_for) may take, at most a week. Passing it fails the server with code C(start_timeout) and leaves it up.
    type: int
    default: 300
  players_at_most:
    description:
      - Act while at most so many people play on the server, V(0) to V(1000000), and wait for that until O(max_delay) is over. Bots do not
        count where the game tells them apart.
      - What is unknown is never nobody. If the game does not answer, or nothing says which game it is, it waits as if too many played. A
        countdown at whose end that is so is called off, unless O(max_delay) is over with O(on_max_delay=proceed).
      - Players are looked at every 5 seconds. Waiting takes neither the lock nor a place of O(max_parallel), so that servers that may go at
        once go first.
      - For O(action=stop) and O(action=restart) of servers that are up. Refused with any other action, and with an O(api_url) that is not
        this collection's own.
      - Which game a server plays is said in the node's settings. See R(Players, ansible_collections.fleet.power.docsite.players_guide).
    type: int
  max_delay:
    description:
      - For how many seconds after the request it may wait for players, V(0) to V(604800). The request is that of the whole task, also where
        a server has to wait for others first, as with O(in_order).
      - If not given, V(0) with O(players_at_most), else the first mark of O(warn). Below that mark it is refused.
    type: int
  on_max_delay:
    description:
      - What is done when O(max_delay) is over and too many still play.
      - V(skip) leaves the server alone. It ends V(refused), code C(players_online), or C(players_unknown) where it is unknown how many
        play. That fails the task, but is no failure that O(max_failures) counts.
      - V(proceed) acts at that moment, so that the countdown, if there is one, begins as much earlier as O(warn) says. It needs
        O(max_delay).
      - If not given, V(skip) with O(players_at_most), else V(proceed).
    type: str
    choices: [proceed, skip]
  warn:
    description:
      - Tell those who play, in the game, at each of these marks. Seconds before the action, V(1) to V(86400), at most 20, in any order.
      - First it waits, then it tells. Players who leave end the countdown at once, and nobody is told on an empty server.
      - It is refused with O(players_at_most=0) and O(on_max_delay=skip). Nobody could be told then.
      - Without O(players_at_most) the countdown begins at once, or, if O(max_delay) is given, so that it ends then.
      - Servers of one task that count down at nearly the same time end at the same moment, as many at a time as are acted on at a
        time (O(max_parallel)). With O(stagger) they end so many seconds apart. Both may be later than O(max_delay), if that is what it
        takes.
      - A countdown ends, and players are told so, if the action is called off, by a signal, because the controller is gone for three
        minutes, or because it is refused at its end. Whoever else stops, starts, restarts or kills the server by this collection
        meanwhile ends it too, outcome V(cancelled), code C(superseded) or C(cancelled_by_kill).
    type: list
    elements: int
  warn_message:
    description:
      - What players are told, with C({time}), C({action}), C({reason}) and C({server}) filled in. One line of plain text is made of it,
        at most 200 characters.
      - If not given, C(Server {action} in {time}. {reason}).
    type: str
  adopt:
    description:
      - Recreate a container of the server's name that neither this collection nor Wings made. Its anonymous volumes are kept,
        but no longer attached.
      - V(true) is refused with O(api_url).
    type: bool
    default: false
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
  once:
    description:
      - A key of your choice, such as the id of a deployment, under which the action is done once. It becomes the beginning of the reason.
      - A server on which the same action ended V(done) or V(unchanged) under this key is V(unchanged), also if another task asked for it,
        at the same time or before. One that is under way is awaited, and so is its O(wait_for).
      - A start or restart passes over O(only) for a server that is down although it is meant to be up, as after its node went down. It was
        chosen when it was up.
      - A node forgets it with its journal, which has the last 100 actions of each server. It has no effect with O(api_url).
    type: str
  phases:
    description:
      - Return RV(servers[].phases) and RV(servers[].operation) also of servers whose entries are brief, so that it can be seen what each
        was at, and when. C(-v) does the same.
    type: bool
    default: false
notes:
  - The module runs on the node whose engine runs the servers, as root or as a member of the groups C(docker) and C(fleet-power). With
    O(api_url) it runs anywhere, as anybody, and there is neither lock nor journal of ours.
  - The servers of one task are acted on at the same time, in the order given as far as O(max_parallel) makes one. A server that fails
    never hides or stops the others, unless O(max_failures) says so.
  - With O(server=all), V(restart) means the servers that are up, and leaves the others out of the result. V(start) and V(restart) skip
    suspended servers (a suspended server that is named is refused). V(stop) and V(kill) do not ask the Panel.
  - With O(server=all), what could be seen is acted on. Then the task fails, code V(incomplete), if servers could not be seen, or if for
    V(start) or V(restart) a source could not be listed.
  - C(journalctl -ft fleet-power) shows the end of each action as it comes.
seealso:
  - module: fleet.power.server_power_info
author:
  - The fleet.power contributors (@fleet-power)
"""

EXAMPLES = r"""
- name: Restart a server, waiting up to a minute for its turn
  fleet.power.server_power:
    server: 566bf9d7-c55a-45f8-91a6-e55e9b9b1325
    action: restart
    wait_seconds: 60

- name: Stop two servers, by short id and by name, with two minutes each to save their worlds
  fleet.power.server_power:
    server:
      - "9823beb1"
      - Cobalt Survival
    action: stop
    stop_timeout: 120
    reason: maintenance of the host

- name: Start a server and go on when it accepts players
  fleet.power.server_power:
    server: Cobalt Survival
    action: start
    wait_for: running
    wait_timeout: 120

- name: Restart every server that is up, ten at a time, and stop going on after three that failed
  fleet.power.server_power:
    server: all
    action: restart
    max_parallel: 10
    max_failures: 3
    wait_for: running

- name: Start all servers, the proxy first, then the lobby, then the others, two seconds from one to the next
  fleet.power.server_power:
    server: all
    action: start
    in_order: true
    stagger: 2
    wait_for: running
    priorities:
      Proxy: 10
      Lobby: 50

- name: Restart each server once for this deployment, however often the playbook is run
  fleet.power.server_power:
    server: all
    action: restart
    once: "deployment {{ deployment_id }}"

- name: Restart what is up and is not what its definition says any more, and nothing else
  fleet.power.server_power:
    server: all
    action: restart
    outdated: true

- name: Start again what is down and is meant to be up
  fleet.power.server_power:
    server: all
    action: start
    if_meant_up: true

- name: Stop what is still starting
  fleet.power.server_power:
    server: all
    action: stop
    only: [starting]

- name: Restart what is empty now, and what empties until 30 minutes are over, and leave the rest
  fleet.power.server_power:
    server: all
    action: restart
    players_at_most: 0
    max_delay: 1800

- name: Restart a server in ten minutes, or as soon as nobody plays, and tell those who do
  fleet.power.server_power:
    server: Cobalt Survival
    action: restart
    warn: [600, 300, 60, 10]
    warn_message: "{server} restarts in {time}: {reason}"
    reason: new map

- name: Kill a server that hangs
  fleet.power.server_power:
    server: Cobalt Survival
    action: kill

- name: Start a server from a definition beside the playbook
  fleet.power.server_power:
    server: Cobalt Survival
    action: start
    definitions:
      - "{{ lookup('ansible.builtin.file', 'cobalt.json') | from_json }}"

- name: Start a server whose definition is written here
  fleet.power.server_power:
    server: Echo
    action: start
    definitions:
      - settings:
          uuid: 7f9f2b60-6c32-4f4b-9d65-0d6a1dd9a3d1
          meta:
            name: Echo
          container:
            image: registry.example.test/echo:1
          invocation: !unsafe "echo-server --port {{SERVER_PORT}}"
"""

RETURN = r"""
action:
  description: The action.
  type: str
  returned: when the servers could be acted on at all
  sample: restart
servers:
  description:
    - One entry for each server, in the order asked. A server named twice has one. Null and empty fields are left out.
    - Where the task names several, or V(all), an entry that ended V(done), V(unchanged) or V(skipped) is brief.
    - In an ad-hoc command without C(-v) and without O(origin), which a person reads, every entry lacks C(action) and C(operation), and one
      that ended V(done), V(unchanged) or V(skipped) is brief and lacks C(changed), C(run) and C(preboot) as well.
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
      sample: restart
    outcome:
      description:
        - V(done), what was asked was done; V(unchanged), it was so already.
        - V(refused), it was not done and nothing was altered; V(cancelled), another action took precedence; V(failed), it went wrong.
        - V(skipped), it was passed over, and nothing was done to it.
      type: str
      returned: always
      sample: done
    code:
      description: Why an action did not end V(done) or V(unchanged). The guide on codes explains each.
      type: str
      returned: when there is one
      sample: suspended
    msg:
      description:
        - The reason in a sentence; in check mode, of a server that would be stopped, its stop timeout. Where one server alone is meant, and
          failed, it is the task's own RV(msg) as well; in an ad-hoc command it is only there.
      type: str
      returned: when there is one
      sample: "Cannot restart server 566bf9d7-c55a-45f8-91a6-e55e9b9b1325: it is suspended"
    changed:
      description: Whether anything on engine or disk was altered.
      type: bool
      returned: always
      sample: true
    state_before:
      description: Power state before, one of V(offline), V(starting), V(running), V(stopping).
      type: str
      returned: when it could be seen; if brief, when it differs from the state
      sample: running
    state:
      description: Power state as seen at the end.
      type: str
      returned: when it could be seen
      sample: starting
    stop_timeout:
      description: The seconds from asking the server to stop to SIGKILL that would count, and what sets them.
      type: dict
      returned: in check mode, when the server would be stopped
      contains:
        seconds:
          description: How many.
          type: int
          returned: always
          sample: 120
        from:
          description:
            - V(task) is O(stop_timeout), V(container) the definition with which the running container was made, V(definition) one of
              O(definitions), or the server's own where the container carries none, V(settings) the settings of the node.
          type: str
          returned: always
          sample: container
    stop:
      description: How the server was stopped.
      type: dict
      returned: when it was; if brief, when it was forced
      contains:
        how:
          description: V(command), V(signal), V(native) (the container's own stop signal) or V(kill) (no grace was asked for).
          type: str
          returned: always
          sample: command
        forced:
          description: Whether it was ended by SIGKILL, be it after the grace or by a kill that came in between.
          type: bool
          returned: always
          sample: false
        seconds:
          description: How long it took.
          type: float
          returned: always
          sample: 4.213
    lock:
      description: The wait for the lock, and who holds it.
      type: dict
      returned: when there was a wait or a holder
      contains:
        waited_seconds:
          description: How long was waited.
          type: float
          returned: when there was a wait
          sample: 12.5
        holder:
          description: Who holds the lock, with V(action), V(phase), V(phase_deadline), V(origin), V(reason), V(since), V(pid)
            and V(operation).
          type: dict
          returned: when the lock was not acquired, and in check mode when it is held
          sample: {"action": "restart", "origin": "alice@web1", "phase": "stop", "pid": 4711, "since": "2026-01-31T12:00:00.000Z"}
    players:
      description: Who played when the action went on, or was given up.
      type: dict
      returned: when O(players_at_most) or O(warn) was given and the server was up
      contains:
        online:
          description: How many people. Null if that is unknown.
          type: int
          returned: always
          sample: 3
        max:
          description: How many may play. Null if that is unknown.
          type: int
          returned: always
          sample: 20
        unknown_reason:
          description: Why nobody can tell. Null if it is known.
          type: str
          returned: always
          sample: "the game at 127.0.0.1:25565 refuses connections: nothing listens there"
    player_wait:
      description: What was done for the sake of players before the action.
      type: dict
      returned: when O(players_at_most) or O(warn) was given and the server was up, not in check mode
      contains:
        seconds:
          description: How long the action waited for them.
          type: float
          returned: always
          sample: 61.024
        marks:
          description: The marks of O(warn) at which they were told.
          type: list
          elements: int
          returned: always
          sample: [60, 30, 10]
        announced:
          description: Whether all that was said reached the game. Null if nothing was to be said.
          type: bool
          returned: always
          sample: true
    cancelled:
      description: The action under way that a kill cancelled.
      type: str
      returned: when a kill did
      sample: restart
    exit_code:
      description: Exit code of a process that did not stay up.
      type: int
      returned: when O(action) was V(start) or V(restart) and the process ended
      sample: 1
    run:
      description:
        - The run that was started, or found up. A server that is in another one later did not stay up, whoever has brought it back.
      type: dict
      returned: when O(action) was V(start) or V(restart) and the server was up, not through an endpoint
      contains:
        container:
          description: Id of the container.
          type: str
          returned: always
          sample: 4d2f1b...
        started_at:
          description: When the run started, by the engine's clock.
          type: str
          returned: always
          sample: "2026-01-31T12:00:00.123456789Z"
    log:
      description: The last lines of its log, at most 20, secrets masked.
      type: list
      elements: str
      returned: when O(action) was V(start) or V(restart) and the process ended
      sample: ["Unable to access jarfile server.jar"]
    plan:
      description: The steps, of V(await_exit), V(stop), V(kill), V(preboot), V(start).
      type: list
      elements: str
      returned: in check mode, or when the outcome is not V(done); not if brief
      sample: [stop, preboot, start]
    preboot:
      description: >-
        The steps of the boot, V(volume) (the data directory is there), V(container) (one is there, or waits under another name),
        V(disk) (limit and ownership), V(placement) (the new container takes the old one's place) and V(configuration). Those that
        changed something, failed or took more than a second; with C(-v), all of them. One that was refused before anything was touched
        is among them, V(image), V(mounts) and V(ports) too, which are only looked at.
      type: list
      elements: dict
      returned: when there are any
      sample: [{"changed": true, "seconds": 0.021, "step": "placement"}]
    phases:
      description:
        - When each phase, and each wait before the lock, began. Besides the phases of a lock's holder there are V(players), V(countdown),
          V(locked) (it waited for its lock for more than a second) and V(ready) (it is up, and awaited to be ready).
      type: list
      elements: dict
      returned: when it had any; if brief, with O(phases) or C(-v); not in an ad-hoc command without C(-v), nor through an endpoint
      contains:
        phase:
          description: The phase.
          type: str
          returned: always
          sample: stop
        at:
          description: When it began, in seconds since the action was taken up, which was RV(servers[].seconds) before its end.
          type: float
          returned: always
          sample: 0.021
    downtime:
      description:
        - For how long the server was down, by the engine's own times. It begins with the end of the run that the action ended.
      type: dict
      returned: >-
        when the action ended a run, and it can be told when that was; if brief, of V(start) and V(restart) alone, and not in an ad-hoc
        command
      contains:
        seconds:
          description: Seconds until the next run started.
          type: float
          returned: when the action started one
          sample: 1.412
        ready_seconds:
          description: Seconds until that run was seen to be ready.
          type: float
          returned: when that was waited for, and came
          sample: 24.3
        since:
          description: When the run ended, by the engine's clock.
          type: str
          returned: when the action started no other
          sample: "2026-01-31T12:00:00.123456789Z"
    seconds:
      description: How long it all took.
      type: float
      returned: always
      sample: 5.102
    operation:
      description: The operation as the journal knows it. Times are ISO 8601, UTC, with milliseconds.
      type: dict
      returned: not if brief
      contains:
        id:
          description: Its id.
          type: str
          returned: always
          sample: 0b1f7f3e-52d0-4e0e-8a57-3c4f7b6b9f10
        requested_at:
          description: When it was requested.
          type: str
          returned: always
          sample: "2026-01-31T12:00:00.000Z"
        ended_at:
          description: When it ended.
          type: str
          returned: always
          sample: "2026-01-31T12:00:05.102Z"
summary:
  description:
    - Counts by outcome. Of several servers also C(text), a line with name, outcome and code for each of at most 20 that are neither V(done)
      nor V(unchanged).
  type: dict
  returned: when the servers could be acted on at all
  sample: {"done": 7, "refused": 1, "text": ["Overdue: refused, suspended"]}
msg:
  description:
    - What there is to say of the whole task. Of servers that failed, the first few names with their codes; of a single one its reason.
  type: str
  returned: on failure, and when no server was meant
  sample: "Nothing to restart: no server of this node is meant"
code:
  description: Why nothing could be done at all; V(incomplete) where of all servers some could not be seen.
  type: str
  returned: on such a failure
  sample: settings_invalid
"""

from ansible_collections.fleet.power.plugins.module_utils._archive import compile_once


def main() -> None:
    """Run the module."""
    compile_once()
    # Not before that: it brings the core, which is what takes long to compile.
    from ansible_collections.fleet.power.plugins.module_utils._options import run_power_module

    run_power_module()


if __name__ == "__main__":
    main()
