# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hooks on nodes with a real systemd: their environment, their end, actors that die, and a backup with restic."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.fleet.power.tests.unit.docs_support import GUIDES, Example, examples

from .lab import Going, Node, adhoc_begun, phase_of, playbook, server, uuid_of, wait_until
from .people import PERSON, person
from .servers import holder_of
from .supervised import BACK_SECONDS, act, crash, facts, is_back, starts, supervised

HOOK = "/usr/local/sbin/hook"
#: A name and arguments with all that a shell or systemd could replace or take for an option.
HOSTILE = "--help %h %%n $HOME ${HOME} $$ `id` 'a' \"b\" \\n \\ é ;"
#: Each process of such a hook has this in its arguments.
MARK = "87654.25"
#: A kill ends a hook within a second. A loaded machine may need another one.
KILL_SECONDS = 2.0
#: A hook with three processes, one in another session and one that ignores signals. They last for a day.
FOREVER = f"setsid sleep {MARK} &\nsh -c 'trap \"\" TERM INT HUP; sleep {MARK}; sleep {MARK}' &\nsleep {MARK}; sleep {MARK}"


def hooked(node: Node, script: str, **hooks: object) -> None:
    """Write a hook's program and the settings with these hooks for all servers."""
    node.write(HOOK, f"#!/bin/sh\n{script}\n")
    node.ssh(f"chmod 755 {HOOK}")
    node.write("/etc/fleet-power/config.yml", json.dumps({"hooks": [{"server": "all", **hooks}]}))


def named(definition: Mapping[str, Any], **options: object) -> dict[str, object]:
    return {"server": uuid_of(definition), **options}


def result_of(going: Going) -> dict[str, Any]:
    ran = going.finish()
    assert ran.results, ran.output
    return dict(ran.results[-1]["result"]["servers"][0])


def done(node: Node, definition: Mapping[str, Any], action: str, **options: object) -> dict[str, Any]:
    """Act with all details; return the result, also of a failure."""
    return result_of(adhoc_begun([node], "server_power", named(definition, action=action, **options), "-v"))


def processes(node: Node) -> list[str]:
    return node.ssh(f"pgrep -f '[s]leep {MARK}'", check=False).split()


def is_unit_left(node: Node, definition: Mapping[str, Any]) -> bool:
    return node.ssh(f"systemctl is-active fleet-power-hook-{uuid_of(definition)}", check=False).strip() in ("active", "deactivating")


def watch_end(node: Node) -> None:
    """Note the time at which all processes of the hook have ended."""
    script = (
        f"while pgrep -f '[s]leep {MARK}' >/dev/null; do sleep 0.02; done; date +%s.%N >/root/ended.new; mv /root/ended.new /root/ended"
    )
    node.ssh(f"rm -f /root/ended; setsid sh -c {shlex.quote(script)} >/dev/null 2>&1 </dev/null &")


def ended_after(node: Node, moment: str) -> float:
    """Return the seconds from a moment of a result until the hook's processes had ended, by the node's clock."""
    ended = float(wait_until(lambda: node.ssh("cat /root/ended", check=False).strip(), "the hook has ended", 30))
    return ended - datetime.strptime(moment, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=timezone.utc).timestamp()


def test_hooks_get_their_environment_and_arguments_unchanged_and_a_failure_is_shown(node: Node) -> None:
    lobby = server(f"{HOSTILE}\nnext line")
    node.define(lobby)
    arguments = [HOSTILE, "-x", "%i", "$1", "a\nb"]
    script = """
[ "$ACTION" = stop ] && { echo the data is at "$DATA"; ls "$DATA"; exit 7; }
cat /proc/$$/environ >/root/environment-$1; shift
printf '%s\\0' "$@" >/root/arguments; id -un >/root/user; touch "$DATA/restored"; chown root: "$DATA/restored"
"""
    hooks = {name: {"command": [HOOK, name, *arguments]} for name in ("post_stop", "pre_start")}
    hooked(node, script, **hooks)
    done(node, lobby, "start")
    found = done(node, lobby, "restart", reason=HOSTILE)
    assert [(hook["hook"], hook["exit_code"]) for hook in found["hooks"]] == [("post_stop", 0), ("pre_start", 0)], found
    # After slow hooks the definition is read again, with its image.
    phases = [row["phase"] for row in found["phases"] if row["phase"] != "pull"]
    assert phases == ["stop", "hook", "hook", "preboot", "start"]
    for name in hooks:
        given = dict(entry.split("=", 1) for entry in node.read(f"/root/environment-{name}").split("\0") if entry)
        expected = {"SERVER_UUID": uuid_of(lobby), "SERVER_NAME": f"{HOSTILE} next line", "ACTION": "restart", "REASON": HOSTILE}
        assert {key: given[key] for key in expected} == expected
        assert given["DATA"] == f"/var/lib/fleet-power/volumes/{uuid_of(lobby)}"
        assert given["OPERATION"] == found["operation"]["id"] and given["ORIGIN"] and given["HOME"] == "/root"
    assert node.read("/root/arguments").split("\0")[:-1] == arguments
    assert node.read("/root/user") == "root\n"
    # The owners are set after the hook.
    assert node.ssh(f"stat -c %u /var/lib/fleet-power/volumes/{uuid_of(lobby)}/restored") != "0\n"

    found = done(node, lobby, "stop")
    (hook,) = found["hooks"]
    assert (found["outcome"], found["code"], hook["exit_code"]) == ("done", "hook_failed", 7)
    assert hook["output"] == [f"the data is at /var/lib/fleet-power/volumes/{uuid_of(lobby)}", "restored"]
    assert not is_unit_left(node, lobby)
    # A person who looks later finds it, too.
    said = f"its hook post_stop ended with exit code 7 (its last lines: {' / '.join(hook['output'])})"
    assert found["msg"] == said
    assert "done hook_failed in" in (log := node.ssh("journalctl --no-pager -o cat -t fleet-power")) and said in log
    assert facts(node, lobby)[0]["operations"][0]["msg"] == said
    assert "stop done (hook_failed)" in playbook("status", [node]).output


@pytest.mark.long
@pytest.mark.parametrize("action", ["stop", "restart"])
def test_a_kill_ends_a_hook_with_all_its_processes_within_a_second(node: Node, action: str) -> None:
    lobby = server("lobby")
    node.define(lobby)
    hooked(node, FOREVER, post_stop={"command": [HOOK]})
    done(node, lobby, "start")
    going = adhoc_begun([node], "server_power", named(lobby, action=action), "-v")
    wait_until(lambda: len(processes(node)) >= 3, "the hook runs", 30)
    assert phase_of(node, lobby) == "hook"
    watch_end(node)
    killed = done(node, lobby, "kill")
    assert killed["outcome"] == ("done" if action == "restart" else "unchanged"), killed
    assert ended_after(node, killed["operation"]["requested_at"]) < KILL_SECONDS
    found = result_of(going)
    assert found.get("code", "") == ("cancelled_by_kill" if action == "restart" else ""), found
    assert not node.is_up(uuid_of(lobby)) and not is_unit_left(node, lobby)


@pytest.mark.long
def test_the_timeout_ends_all_that_a_hook_began(node: Node) -> None:
    lobby = server("lobby")
    node.define(lobby)
    hooked(node, FOREVER, pre_start={"command": [HOOK], "timeout": 2})
    found = done(node, lobby, "start")
    assert (found["outcome"], found["code"]) == ("failed", "hook_failed")
    assert found["msg"].endswith("its hook pre_start was ended after 2 s, its timeout")
    # One process ignores SIGTERM.
    assert 12 <= found["hooks"][0]["seconds"] < 20
    assert (processes(node), is_unit_left(node, lobby), node.is_up(uuid_of(lobby))) == ([], False, False)
    hooked(node, "exit 0", pre_start={"command": [HOOK], "user": "daemon"})
    assert done(node, lobby, "start")["outcome"] == "done"


@pytest.mark.long
def test_the_next_action_ends_the_hook_of_a_dead_actor_and_starts_the_server_once(node: Node) -> None:
    lobby = server("lobby")
    node.define(lobby)
    hooked(node, FOREVER, post_stop={"command": [HOOK]})
    done(node, lobby, "start")
    for action, follower in (("restart", "start"), ("stop", "start"), ("stop", "kill")):
        going = adhoc_begun([node], "server_power", named(lobby, action=action))
        wait_until(lambda: len(processes(node)) >= 3, "the hook runs", 30)
        node.ssh(f"kill -9 {holder_of(node, lobby)['pid']}")
        going.finish()
        assert len(processes(node)) >= 3 and is_unit_left(node, lobby)
        assert not facts(node, lobby)[0]["intent"]["up"] or action == "restart"
        watch_end(node)
        found = done(node, lobby, follower)
        assert "code" not in found, found
        assert ended_after(node, found["operation"]["requested_at"]) < (
            KILL_SECONDS * node.slowness if follower == "kill" else BACK_SECONDS
        )
        assert (processes(node), is_unit_left(node, lobby), node.is_up(uuid_of(lobby))) == ([], False, follower == "start")
    assert len(starts(node, lobby)[0]) == 3


#: Kills a lock's holder as soon as its record has the phase of hooks: before the hook's unit exists.
KILL_AT_ONCE = """
import json, os, sys
while True:
    try:
        record = json.loads(open(sys.argv[1]).read().strip(" \\0") or "{}")
    except (OSError, ValueError):
        continue
    if record.get("phase") == "hook":
        os.kill(record["pid"], 9)
        break
"""


@pytest.mark.long
def test_a_hook_never_begins_after_the_next_action_of_a_dead_actor(node: Node) -> None:
    lobby = server("lobby")
    node.define(lobby)
    hooked(node, FOREVER, post_stop={"command": [HOOK]})
    node.write("/root/kill.py", KILL_AT_ONCE)
    for _round in range(3):
        done(node, lobby, "start")
        node.ssh(f"setsid python3 /root/kill.py /run/fleet-power/{uuid_of(lobby)}.lock >/dev/null 2>&1 </dev/null &")
        going = adhoc_begun([node], "server_power", named(lobby, action="restart"))
        follower = adhoc_begun([node], "server_power", named(lobby, action="start", wait_seconds=60), "-v")
        assert going.finish().rc != 0
        assert result_of(follower)["outcome"] in ("done", "unchanged")
        done(node, lobby, "start")
        node.ssh("sleep 1")
        assert (processes(node), is_unit_left(node, lobby), node.is_up(uuid_of(lobby))) == ([], False, True)


@pytest.mark.long
def test_the_supervisor_runs_pre_start_alone_and_ends_the_hook_of_a_dead_actor(node: Node) -> None:
    lobby = server("lobby")
    command = {"command": [HOOK]}
    script = f'echo "$ACTION $ORIGIN" >>/root/hooks\n[ ! -e /root/stays ] || {{ rm /root/stays; {FOREVER}; }}'
    hooked(node, script, post_stop=command)
    supervised(node, lobby, node_settings={"hooks": [{"server": uuid_of(lobby), "post_stop": command, "pre_start": command}]})
    act(node, "start")
    before = node.started_at(uuid_of(lobby))
    crash(node, lobby)
    wait_until(lambda: is_back(node, lobby, before), "the server was started again", BACK_SECONDS)
    assert [line.split(" ", 1)[0] for line in node.read("/root/hooks").splitlines()] == ["start", "start"]
    assert node.read("/root/hooks").splitlines()[1] == "start supervisor"

    # It ends the hook of the restart that died, and does its start.
    before = node.started_at(uuid_of(lobby))
    node.write("/root/stays", "")
    going = adhoc_begun([node], "server_power", named(lobby, action="restart"))
    wait_until(lambda: len(processes(node)) >= 3, "the hook runs", 30)
    node.ssh(f"kill -9 {holder_of(node, lobby)['pid']}")
    going.finish()
    wait_until(lambda: is_back(node, lobby, before), "the supervisor did the start", BACK_SECONDS)
    assert (processes(node), [row[1:] for row in starts(node, lobby)]) == ([], [["supervisor"] * 2])

    node.write("/root/hooks", "")
    node.faults.halt()
    node.faults.boot()
    wait_until(lambda: node.is_up(uuid_of(lobby)), "the server is back", BACK_SECONDS)
    assert node.read("/root/hooks") == "start supervisor\n"

    # A failing hook keeps it down, and the supervisor repeats the start.
    node.write(HOOK, "#!/bin/sh\n[ -e /root/fine ]\n")
    crash(node, lobby)
    wait_until(lambda: facts(node, lobby)[0]["last_operation"]["code"] == "hook_failed", "the start failed", BACK_SECONDS)
    assert not node.is_up(uuid_of(lobby))
    node.write("/root/fine", "")
    wait_until(lambda: node.is_up(uuid_of(lobby)), "the server is back", BACK_SECONDS)

    hooked(node, "exit 1", post_stop={**command, "on_failure": "stay_down"})
    assert done(node, lobby, "restart")["code"] == "hook_failed"
    count = len(starts(node, lobby)[0])
    node.ssh("sleep 5")
    assert not node.is_up(uuid_of(lobby)) and len(starts(node, lobby)[0]) == count
    node.faults.halt()
    node.faults.boot()
    wait_until(lambda: node.ssh("systemctl is-active fleet-power-supervisor", check=False) == "active\n", "it runs", BACK_SECONDS)
    node.ssh("sleep 5")
    assert not node.is_up(uuid_of(lobby)) and facts(node, lobby)[0]["intent"]["up"] is False


@pytest.mark.long
def test_without_rights_and_from_inside_a_hook_an_action_is_refused(node: Node) -> None:
    lobby, proxy = server("lobby"), server("proxy")
    command = {"command": [HOOK]}
    script = "fleet-power restart lobby 2>&1; fleet-power start proxy 2>&1; true"
    hooked(node, script, post_stop=command)
    supervised(node, lobby, proxy, node_settings={"hooks": [{"server": "lobby", "post_stop": command}]})
    act(node, "start", lobby)
    with person(node, groups=("docker", "fleet-power")):
        said = node.ssh(f"runuser -l {PERSON} -c 'fleet-power stop lobby' 2>&1; true")
        assert "hook_unavailable" in said and "only root" in said
        assert node.is_up(uuid_of(lobby))
        node.ssh(f"runuser -l {PERSON} -c 'fleet-power kill lobby'")
    act(node, "start", lobby)
    found = done(node, lobby, "restart")
    said = " ".join(found["hooks"][0]["output"])
    assert found["outcome"] == "done" and "inside_hook" in said and "proxy: start done" in said, found
    assert found["hooks"][0]["seconds"] < 20


def guide(language: str, word: str) -> Example:
    (found,) = (each for each in examples(GUIDES / "hooks_guide.rst") if each.language == language and word in each.text)
    return found


@pytest.mark.long
def test_the_guides_backup_restores_a_thousand_files_as_they_were(node: Node) -> None:
    node.needs_network()
    node.ssh("apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends restic >/dev/null")
    lobby = server("lobby")
    node.define(lobby)
    data = Path("/var/lib/fleet-power/volumes") / uuid_of(lobby)
    script = guide("text", "restic").text
    settings = yaml.safe_load(guide("yaml", "hooks").text)
    program = settings["hooks"][0]["post_stop"]["command"][0]
    node.write(program, script)
    node.ssh(f"chmod 700 {program}; echo hunter22 >/root/restic-password")
    node.write("/etc/fleet-power/config.yml", json.dumps(settings))
    done(node, lobby, "start")
    node.ssh(
        f"cd {data}; for i in $(seq 1000); do mkdir -p world/$((i % 30)); head -c $((i * 17)) /dev/urandom >world/$((i % 30))/$i.mca; done;"
        f" ln -s world/1 link; mkdir empty; chown -R --reference=. ."
    )
    listed = f"cd {data}; find . -printf '%p %y %m %U %s %T@ %l\\n' | sort; find . -type f -print0 | sort -z | xargs -0 sha256sum"
    found = done(node, lobby, "stop")
    assert (found["outcome"], found["hooks"][0]["exit_code"]) == ("done", 0), found
    before = node.ssh(listed)
    assert before.count(".mca ") >= 1000

    (variables,) = (line for line in script.splitlines() if line.startswith("export "))
    (shown, aside, back) = (line.removeprefix("# ") for line in guide("console", "restic").text.splitlines())
    example = "0f4c5ad2-9a1b-4c39-8a6e-3f2b7d10c001"
    (snapshot,) = json.loads(node.ssh(f"{variables}; {shown} --json".replace(example, uuid_of(lobby))))
    node.ssh(f"{variables}; {aside}; {back}".replace(example, uuid_of(lobby)).replace("79766175", snapshot["short_id"]))
    assert node.ssh(listed) == before
    assert done(node, lobby, "start")["outcome"] == "done"
