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
  - Starts, stops, restarts and kills servers, each a process in one Docker container, as Pterodactyl Wings does. Each server has a result
    of its own.
  - Each server has a lock on the node. It works between playbooks, ad hoc commands and all other tools, and ends with its holder.
  - A restart checks definition, suspension, data directory, disk limit and container before it stops the server.
  - A kill always wins. It cancels earlier requests, even in the middle of a restart.
  - An action that has begun is finished and recorded, even if the connection breaks.
  - A task that takes longer than two seconds prints its progress, and survives a lost connection for up to a minute. See
    R(Watching, ansible_collections.fleet.power.docsite.watching_guide).
extends_documentation_fragment:
  - fleet.power.attributes
  - fleet.power.attributes.actiongroup_power
  - fleet.power.node
  - fleet.power.node.acting
attributes:
  check_mode:
    support: full
    details: Check mode locks, makes, pulls and records nothing. It refuses what would certainly be refused.
  diff_mode:
    support: full
  idempotent:
    support: partial
    details:
      - A V(start) of a server that is up, and a V(stop) or V(kill) of an offline server, change nothing.
      - A V(restart) always restarts.
options:
  server:
    description:
      - The servers, by UUID, by short id (the first 8 characters of the UUID) or by unique name.
      - V(all), alone, is every server of the node. These are the servers of all sources that can be listed, and all containers of this
        collection or of Wings.
      - Without it, the action plugin uses the host variable C(server_uuid). The default is never V(all).
      - An empty list selects no server. The task is ok and changes nothing.
      - Quote short ids that consist of digits only, or YAML makes them numbers.
    type: list
    elements: str
    aliases: [servers, uuid]
  action:
    description:
      - V(start) boots an offline server. A server that is up stays as it is.
      - V(stop) asks the process to end, as the definition says, and kills it after O(stop_timeout).
      - V(restart) is V(stop) and V(start) under one lock. An offline server is started.
      - V(kill) ends the process at once, without the lock, and cancels earlier requests.
    type: str
    required: true
    choices: [start, stop, restart, kill]
  only:
    description:
      - Act only on servers in one of these power states. The state is read at the server's turn and again under its lock. The others are
        V(skipped), code C(not_selected).
      - A server whose state cannot be read is V(failed).
    type: list
    elements: str
    choices: [offline, starting, running, stopping]
  if_meant_up:
    description:
      - Act only on servers that should be up. Their last action with the outcome V(done) or V(unchanged) was V(start) or V(restart). The
        others are V(skipped), code C(not_selected). Checked before the action and again under the lock.
      - With V(start), this starts servers that crashed or went down with their node. Stopped or killed servers stay down.
      - Refused for V(stop) and V(kill), and with O(api_url). If the journal cannot be read or was just made again after damage, the code is
        C(intent_unknown).
    type: bool
    default: false
  outdated:
    description:
      - Act only on servers whose container differs from its definition, the node's settings or its image, see C(servers[].outdated) of
        M(fleet.power.server_power_info). Checked at the server's turn and again under its lock. The others, and those without a container,
        are V(skipped), code C(not_selected). For O(action=restart) only.
      - If the node cannot compare a server, for example because its definition cannot be read, it is V(refused) or V(failed).
      - No image is pulled for this. Pull a newer image before.
      - V(true) is refused with O(api_url).
    type: bool
    default: false
  retry_reverted:
    description:
      - With O(outdated), act also on servers whose present definition and image failed before and were reverted, see O(on_failed_start).
        Without it they are V(skipped), code C(not_selected), until the definition or the image changes.
      - For O(action=restart) only. An action without O(outdated) always tries the present definition. V(true) is refused with O(api_url).
    type: bool
    default: false
  max_parallel:
    description:
      - How many servers are acted on at the same time, each from its turn to the end of its O(wait_for).
      - V(0) stops all at once, and boots as many at a time as there are processors, at least 8. With O(max_failures), this limit holds for
        all actions.
      - With O(api_url), V(0) requests all stops at once. The limit for boots is the processors of the machine that runs the module, at
        least 8. A restart counts as a boot. For hundreds of servers give a number, since each server is polled.
    type: int
    default: 0
  max_failures:
    description:
      - How many servers may end V(refused), V(cancelled) or V(failed) before no other begins. Actions that have begun are finished. The
        rest is V(skipped), code C(failure_budget), and the task fails. V(0) stops at the first failure. Without it, failures stop nothing.
    type: int
  in_order:
    description:
      - Act on all servers of one priority, and on the next priority when these have ended, with their O(wait_for).
      - V(start) and V(restart) begin with the lowest priority, V(stop) and V(kill) with the highest. A proxy with V(10) is up before games
        with V(100), and down after them.
      - The priority comes from O(priorities), then C(system.priorities) of the node's settings, then C(settings.meta.priority) of the
        definition, then V(100). With O(api_url), only O(priorities) and V(100).
    type: bool
    default: false
  stagger:
    description:
      - Least seconds between the beginnings of two servers, V(0) to V(3600). Unchanged servers do not count.
      - No effect with O(action=kill) and in check mode.
    type: int
    default: 0
  priorities:
    description: Priorities for O(in_order), whole numbers by name or UUID. Other servers' entries are ignored.
    type: dict
  stop_timeout:
    description:
      - Seconds from asking a server to stop to SIGKILL, at most a week. V(0) kills at once.
      - The default is C(process_configuration.stop.timeout) of the definition that made the running container, or of O(definitions). Then
        comes C(system.stop_timeout) of the node's settings, V(600) by default.
      - A new C(stop.timeout) in a definition takes effect after a restart. Check mode shows the timeout in force.
      - Refused with O(api_url).
    type: int
  wait_for:
    description:
      - When a start counts as done. The lock is released before this wait.
      - V(container), the process was started.
      - V(running), the process has printed a line of the definition's C(process_configuration.startup.done). Without such lines, a live
        process counts.
      - V(healthy), the image's health check passes. Without a health check it means V(running), with a warning. Refused with an O(api_url)
        that is not the HTTP shim of this collection.
    type: str
    default: container
    choices: [container, running, healthy]
  wait_timeout:
    description: Timeout of O(wait_for) in seconds, at most a week. After it the server fails with code C(start_timeout) and stays up.
    type: int
    default: 300
  on_failed_start:
    description:
      - What happens after a V(start) or V(restart) that fails. Refused for V(stop) and V(kill), and with O(api_url).
      - V(leave), the server stays as it is.
      - V(revert), if a new version of the server does not become ready within O(wait_timeout), or ends within O(settle) seconds after
        that, the supervisor takes it down and starts the previous container again. The server is V(failed), code C(reverted). With this,
        O(wait_for=container) means V(running).
      - "B(Attention:) an old version can destroy data that the new one converted. Set C(revertible: false) in C(revert.rules) of the node's
        settings for such servers. They stay down instead, code C(left_down)."
      - V(revert) needs root and a running supervisor, else the server is V(refused), code C(revert_unavailable). Without a previous version
        a failed start is left, with a warning before the stop.
      - The default is C(settings.on_failed_start) of the definition, then C(revert.rules) and C(revert.on_failed_start) of the node's
        settings, V(leave) if they have none. If V(revert) is only the default, an action that cannot revert gives a warning and goes on.
    type: str
    choices: [leave, revert]
  settle:
    description:
      - Seconds that a new version must stay up after it is ready, V(0) to V(3600), for O(on_failed_start=revert). The action ends after
        them. Refused for V(stop) and V(kill), and with O(api_url).
      - The default is C(revert.settle) of the node's settings, V(30) if they have none.
    type: int
  players_at_most:
    description:
      - Wait until at most this many people play on the server, V(0) to V(1000000), for at most O(max_delay). Bots do not count if the game
        separates them.
      - Unknown players count as too many. A countdown is cancelled if this is so at its end, unless O(max_delay) is over with
        O(on_max_delay=proceed).
      - Players are counted every 5 seconds. The wait needs neither the lock nor a place of O(max_parallel).
      - For O(action=stop) and O(action=restart) of servers that are up. Refused with other actions, and with an O(api_url) that is not the
        HTTP shim of this collection.
      - The node's settings say which game a server plays. See R(Players, ansible_collections.fleet.power.docsite.players_guide).
    type: int
  max_delay:
    description:
      - How many seconds after the request the action may wait for players, V(0) to V(604800). The request is that of the whole task, also
        with O(in_order).
      - The default is V(0) with O(players_at_most), else the first mark of O(warn). A smaller value than that mark is refused.
    type: int
  on_max_delay:
    description:
      - What happens if too many players are there after O(max_delay).
      - V(skip) ends the server V(refused), code C(players_online), or C(players_unknown) if they cannot be counted. The task fails, but
        O(max_failures) does not count it.
      - V(proceed) acts at that moment. A countdown of O(warn) begins that much earlier. It needs O(max_delay).
      - The default is V(skip) with O(players_at_most), else V(proceed).
    type: str
    choices: [proceed, skip]
  warn:
    description:
      - Send players a message in the game at each of these marks. Seconds before the action, V(1) to V(86400), at most 20, in any order.
      - The wait comes first, then the countdown. If all players leave, the countdown ends at once. An empty server gets no message.
      - Refused with O(players_at_most=0) and O(on_max_delay=skip), since no player is there then.
      - Without O(players_at_most) the countdown begins at once. With O(max_delay), it ends then.
      - Countdowns of one task that begin at nearly the same time end at the same moment, up to O(max_parallel) of them. With O(stagger)
        they end that many seconds apart. Both may be later than O(max_delay).
      - The countdown is cancelled, with a message to players, by a signal, after the controller is gone for three minutes, or by a refusal
        at its end. Another stop, start, restart or kill of the server cancels it too. The outcome is V(cancelled), code C(superseded) or
        C(cancelled_by_kill).
    type: list
    elements: int
  warn_message:
    description:
      - The message, with C({time}), C({action}), C({reason}) and C({server}) filled in. Players get one line of plain text of at most 200
        characters.
      - The default is C(Server {action} in {time}. {reason}).
    type: str
  adopt:
    description:
      - Replace a container of the server's name that neither this collection nor Wings made. Its anonymous volumes stay, but are no longer
        attached.
      - V(true) is refused with O(api_url).
    type: bool
    default: false
  once:
    description:
      - A key of your choice, such as the id of a deployment. The action is done once under it. The reason begins with it.
      - A server on which the same action ended V(done) or V(unchanged) under this key is V(unchanged), also if another task asked for it.
        If that action goes on, the task waits for it and its O(wait_for).
      - A start or restart ignores O(only) for a server that is down and should be up, for example after its node went down.
      - The node's journal has the last 100 actions of each server. No effect with O(api_url).
    type: str
  phases:
    description: Return RV(servers[].phases) and RV(servers[].operation) also in brief entries. C(-v) does the same.
    type: bool
    default: false
notes:
  - The module runs on the node, as root or as a member of the groups C(docker) and C(fleet-power). With O(api_url) it runs anywhere, as any
    user, without lock and journal.
  - It acts on the servers of one task at the same time, in the given order as far as O(max_parallel) limits it. A failed server never stops
    the others, unless O(max_failures) says so.
  - With O(server=all), V(restart) acts on servers that are up and leaves the others out of the result. V(start) and V(restart) skip
    suspended servers; a suspended server that you name is refused. V(stop) and V(kill) do not ask the Panel.
  - With O(server=all), the module acts on all servers that it sees. Then the task fails with code V(incomplete) if it could not see some,
    or, for V(start) and V(restart), could not list a source.
  - C(journalctl -ft fleet-power) shows the end of each action.
seealso:
  - module: fleet.power.server_power_info
author: The fleet.power contributors (@fleet-power)
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

- name: Restart every server that is up, ten at a time, with a budget of three failures
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

- name: Restart only outdated servers
  fleet.power.server_power:
    server: all
    action: restart
    outdated: true

- name: Restart outdated servers, and go back to the previous version of those that do not come up
  fleet.power.server_power:
    server: all
    action: restart
    outdated: true
    on_failed_start: revert

- name: Start the servers that should be up and are down
  fleet.power.server_power:
    server: all
    action: start
    if_meant_up: true

- name: Stop the servers that are still starting
  fleet.power.server_power:
    server: all
    action: stop
    only: [starting]

- name: Restart empty servers, and others that become empty within 30 minutes
  fleet.power.server_power:
    server: all
    action: restart
    players_at_most: 0
    max_delay: 1800

- name: Warn players, and restart a server in ten minutes or as soon as it is empty
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
    - One entry for each server, in the given order. A server that is named twice has one. Null and empty fields are left out.
    - If the task names several servers, or V(all), an entry that ended V(done), V(unchanged) or V(skipped) is brief.
    - In an ad hoc command without C(-v) and without O(origin), entries have neither C(action) nor C(operation). Brief entries also lack
      C(changed), C(run) and C(preboot), even for one server.
  type: list
  elements: dict
  returned: when the servers could be acted on at all
  contains:
    server:
      description: UUID of the server, or the given text if no server matches.
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
        - V(done), the action was done; V(unchanged), there was nothing to do.
        - V(refused), nothing was done or changed; V(cancelled), another action had precedence; V(failed), an error occurred.
        - V(skipped), the server was left out on request.
      type: str
      returned: always
      sample: done
    code:
      description: Why the outcome is neither V(done) nor V(unchanged). See the guide to codes.
      type: str
      returned: when there is one
      sample: suspended
    msg:
      description:
        - The reason in a sentence. In check mode, the stop timeout of a server that the action would stop. If the task names one server and
          it fails, this is RV(msg) too; in an ad hoc command only there.
      type: str
      returned: when there is one
      sample: "Cannot restart server 566bf9d7-c55a-45f8-91a6-e55e9b9b1325: it is suspended"
    changed:
      description: Whether the engine or the disk was changed.
      type: bool
      returned: always
      sample: true
    state_before:
      description: Power state before, one of V(offline), V(starting), V(running), V(stopping).
      type: str
      returned: when it could be seen; if brief, when it differs from the state
      sample: running
    state:
      description: Power state at the end.
      type: str
      returned: when it could be seen
      sample: starting
    stop_timeout:
      description:
        - The seconds from asking the server to stop to SIGKILL, and their origin.
        - C(from) is V(task), O(stop_timeout); V(container), the definition that made the running container; V(definition), one of
          O(definitions), or the server's own if the container has none; V(settings), the node's settings.
      type: dict
      returned: in check mode, when the server would be stopped
      sample: {"from": "container", "seconds": 120}
    stop:
      description:
        - How the server was stopped, V(command), V(signal), V(native) (the container's own stop signal) or V(kill) (without grace), and how
          long it took.
        - C(forced), SIGKILL ended it, after the grace or by a kill. RV(servers[].msg) names the kill.
      type: dict
      returned: when it was; if brief, when it was forced
      sample: {"forced": false, "how": "command", "seconds": 4.213}
    lock:
      description:
        - How long the action waited for the lock, and its holder.
        - C(holder) is returned when the lock was not acquired, and in check mode when it is held. It may also have C(phase_since),
          C(phase_deadline), C(reason) and C(operation).
      type: dict
      returned: when there was a wait or a holder
      sample:
        holder: {"action": "restart", "origin": "alice@web1", "phase": "stop", "pid": 4711, "since": "2026-01-31T12:00:00.000Z"}
        waited_seconds: 12.5
    players:
      description: The players when the action went on or was cancelled, as in M(fleet.power.server_power_info).
      type: dict
      returned: when O(players_at_most) or O(warn) was given and the server was up
      sample: {"max": 20, "online": 3, "unknown_reason": null}
    player_wait:
      description:
        - How long the action waited for players, and the marks of O(warn) at which they got a message.
        - C(announced), all messages reached the game. Null if there were none.
      type: dict
      returned: when O(players_at_most) or O(warn) was given and the server was up, not in check mode
      sample: {"announced": true, "marks": [60, 30, 10], "seconds": 61.024}
    cancelled:
      description: The action that a kill cancelled.
      type: str
      returned: when it held the lock
      sample: restart
    exit_code:
      description: Exit code of a process that did not stay up.
      type: int
      returned: when O(action) was V(start) or V(restart) and the process ended
      sample: 1
    run:
      description:
        - The run that was started, or that was already up. If the server is in another run later, it did not stay up.
        - The id of its container, and when it started, by the engine's clock.
      type: dict
      returned: when O(action) was V(start) or V(restart) and the server was up, not through an endpoint
      sample: {"container": "4d2f1b...", "started_at": "2026-01-31T12:00:00.123456789Z"}
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
      description:
        - The steps before the start. V(volume), the data directory exists; V(container), a container exists; V(disk), limit and owner;
          V(placement), the new container replaces the old one; V(configuration), the configuration files.
        - Without C(-v), only steps that changed something, failed, or took more than a second. A refusal may also come from V(image),
          V(mounts) or V(ports).
      type: list
      elements: dict
      returned: when there are any
      sample: [{"changed": true, "seconds": 0.021, "step": "placement"}]
    hooks:
      description:
        - The hooks that ran, with the last lines of their output, at most 20, secrets masked. In check mode, the hooks that would run.
        - Without C(exit_code), the hook was ended, or did not start.
      type: list
      elements: dict
      returned: when there are any, not in an ad-hoc command without C(-v) that went well
      sample: [{"exit_code": 0, "hook": "post_stop", "output": ["snapshot 79766175 saved"], "seconds": 12.3}]
    proof:
      description:
        - The proof of a new version, with O(on_failed_start=revert). C(ended) is V(proved), V(reverted), V(left_down), V(void) (somebody
          acted on the server), V(failed) (there was no way back), or V(open) if the action ended before it.
        - C(run) is the run of the new version. C(differs) has the keys in which the versions
          differ. C(restored) and C(not_restored) are configuration files that were put back, and those that were not.
      type: dict
      returned: if the action put a new version on trial
      sample: {"at": "2026-01-31T04:12:00.123Z", "differs": ["image"], "ended": "reverted", "msg": "its process ended with exit code 3",
               "operation": "0b1f7f3e-52d0-4e0e-8a57-3c4f7b6b9f10",
               "run": {"container": "4d2f1b...", "started_at": "2026-01-31T04:12:01.456789Z"}}
    phases:
      description:
        - When each phase and each wait before the lock began. Besides the phases of a lock holder these are V(players), V(countdown),
          V(locked) (a wait of more than a second for the lock), V(ready) (up, but not ready) and V(proof) (on trial).
        - C(at) is in seconds after the action's beginning, which is RV(servers[].seconds) before its end.
      type: list
      elements: dict
      returned: when it had any; if brief, with O(phases) or C(-v); not in an ad-hoc command without C(-v), nor through an endpoint
      sample: [{"at": 0.021, "phase": "stop"}]
    downtime:
      description:
        - How long the server was down, by the engine's clock, from the end of the run that the action ended until the next run started.
        - C(ready_seconds), until that run was ready, if that was waited for and came. If the action started no run, there is only C(since),
          when the run ended.
      type: dict
      returned: >-
        when the action ended a run and the time is known; if brief, only for V(start) and V(restart), and not in an ad hoc command
      sample: {"ready_seconds": 24.3, "seconds": 1.412}
    seconds:
      description: How long the action took.
      type: float
      returned: always
      sample: 5.102
    operation:
      description: The operation in the journal. Times are ISO 8601, UTC, with milliseconds.
      type: dict
      returned: not if brief
      sample: {"ended_at": "2026-01-31T12:00:05.102Z", "id": "0b1f7f3e-52d0-4e0e-8a57-3c4f7b6b9f10",
               "requested_at": "2026-01-31T12:00:00.000Z"}
summary:
  description:
    - Counts by outcome. For several servers also C(text), a line with name, outcome and code for each of at most 20 servers that are
      neither V(done) nor V(unchanged).
  type: dict
  returned: when the servers could be acted on at all
  sample: {"done": 7, "refused": 1, "text": ["Overdue: refused, suspended"]}
msg:
  description: A message for the whole task. After failures, the first few names with their codes; for a single server, its reason.
  type: str
  returned: on failure, and when no server was selected
  sample: "No server to restart: no server of this node is up"
code:
  description: Why nothing could be done; V(incomplete) if some of all servers could not be seen.
  type: str
  returned: on such a failure
  sample: settings_invalid
"""

from ansible_collections.fleet.power.plugins.module_utils._archive import compile_once


def main() -> None:
    compile_once()
    # This import brings in the core, so it must follow `compile_once`.
    from ansible_collections.fleet.power.plugins.module_utils._options import run_power_module

    run_power_module()


if __name__ == "__main__":
    main()
