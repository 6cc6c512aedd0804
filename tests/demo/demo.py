# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The demo: ansible-playbook acts on servers in real containers. It writes only below .build/demo; ``make demo-down`` removes all."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.fleet.power.plugins.module_utils._power.locking.holder import Holder
from ansible_collections.fleet.power.plugins.module_utils._power.locking.lock import Locks

CHECKOUT = Path(__file__).resolve().parents[2]
HOME = CHECKOUT / ".build" / "demo"
CONFIG = HOME / "config.yml"
NETWORK = "fleet-power-demo"
FIRST_PORT = 42600

FLEET = ("Atlas", "Borealis", "Cascade", "Dune", "Ember", "Fjord", "Grove", "Harbor")
STUBBORN, SUSPENDED = "Stubborn", "Overdue"
#: Seconds that these servers take to stop from their second run on, so that a scene can show a stop under way. Fjord is killed during its
#: stop, so its stop lasts longer than the start of a playbook on a busy machine.
SLOW = {"Fjord": 300.0, "Grove": 4.0, "Harbor": 3.0}
#: Seconds between the starts of two playbooks. The second one waits for the first.
LEAD_SECONDS = 0.5


def definition(index: int, name: str, **environment: object) -> dict[str, Any]:
    """Return a definition as the Panel has it. The environment sets the test server's behaviour."""
    port = FIRST_PORT + index
    return {
        "settings": {
            "uuid": f"{index:08x}-de30-4000-8000-{index:012x}",
            "meta": {"name": name},
            "container": {"image": "~fleet-power/testserver:latest"},
            "environment": environment,
            "build": {"memory_limit": 64, "disk_space": 100},
            "allocations": {"default": {"ip": "127.0.0.1", "port": port}, "mappings": {"127.0.0.1": [port]}},
        },
        "process_configuration": {"startup": {"done": ["ready"]}, "stop": {"type": "command", "value": "stop"}},
    }


def write(each: dict[str, Any]) -> None:
    (HOME / "servers" / f"{each['settings']['uuid']}.json").write_text(json.dumps(each, indent=2))


def prepare() -> None:
    """Write the node's settings and the definitions of ten servers."""
    (HOME / "servers").mkdir(parents=True, exist_ok=True)
    for index, name in enumerate(FLEET, 1):
        write(definition(index, name, STOP_SECONDS=0.2))
    write(definition(9, STUBBORN, IGNORE_SIGNALS="all", STOP_COMMAND="nothing would"))
    write(definition(10, SUSPENDED))
    network = {"name": NETWORK, "network_mode": NETWORK, "interface": "127.0.0.1"}
    # No IPv6: its default network may belong to a Wings node on this machine.
    network["interfaces"] = {"v4": {"subnet": "10.213.77.0/24", "gateway": "10.213.77.1"}, "v6": {"subnet": "", "gateway": ""}}
    directories = {"definitions": "servers", "lock_directory": "run", "state_directory": "state", "data": "volumes"}
    settings = {
        "system": {key: str(HOME / name) for key, name in directories.items()},
        "docker": {"host": os.environ["DOCKER_HOST"], "network": network},
    }
    CONFIG.write_text(json.dumps(settings, indent=2))


def slow_down() -> None:
    """Let these servers stop slowly from their next run on."""
    for name, seconds in SLOW.items():
        write(definition(FLEET.index(name) + 1, name, STOP_SECONDS=seconds))


@dataclass
class Running:
    child: subprocess.Popen[bytes]
    result: Path
    began: float

    def finish(self) -> list[dict[str, Any]]:
        """Wait for the end, and return one entry for each server."""
        self.child.wait()
        if not self.result.exists():
            sys.exit(f"the demo stops here: see {HOME / 'ansible.log'}")
        power = json.loads(self.result.read_text())["result"]
        self.result.unlink()
        if "servers" not in power:
            sys.exit(f"the demo stops here: {power.get('msg', power)}")
        entries: list[dict[str, Any]] = power["servers"]
        return entries


def begin(action: str, *names: str, **options: object) -> Running:
    """Start ansible-playbook and print the command. Its output goes to a log."""
    result = HOME / f"result-{time.monotonic_ns()}.json"
    variables = {"demo_servers": list(names), "demo_action": action, "demo_config": str(CONFIG)}
    variables.update({f"demo_{name}": value for name, value in options.items()})
    shown = " ".join(f"{name}={value}" for name, value in options.items())
    print(f"  $ ansible-playbook power.yml  # {action} {', '.join(names)} {shown}".rstrip())
    with (HOME / "ansible.log").open("ab") as log:
        command = ["ansible-playbook", str(Path(__file__).with_name("power.yml")), "-e", json.dumps(variables)]
        recording = {
            "ANSIBLE_CALLBACK_PLUGINS": str(CHECKOUT / "tests" / "integration" / "callback"),
            "ANSIBLE_CALLBACKS_ENABLED": "record",
            "FLEET_POWER_RECORD": str(result),
        }
        child = subprocess.Popen(command, cwd=CHECKOUT, stdout=log, stderr=log, env={**os.environ, **recording}, start_new_session=True)
    return Running(child, result, time.monotonic())


def act(action: str, *names: str, **options: object) -> list[dict[str, Any]]:
    """Run a playbook to its end and print the result of each server."""
    entries = begin(action, *names, **options).finish()
    show(entries)
    return entries


def show(entries: list[dict[str, Any]]) -> None:
    """Print the action's result for each server on one line, with its duration."""
    for entry in entries:
        words = [f"{entry['state_before']} -> {entry['state']}"] if "state_before" in entry else []
        stop = entry.get("stop")
        if stop:
            forced = "SIGKILL from the kill" if entry.get("code") == "cancelled_by_kill" else "SIGKILL after the stop timeout"
            words.append(f"stopped by {forced if stop['forced'] else stop['how']} in {stop['seconds']:.1f} s")
        waited = entry.get("lock", {}).get("waited_seconds", 0)
        if waited >= 0.1:
            words.append(f"waited {waited:.1f} s for the lock")
        if "cancelled" in entry:
            words.append(f"cancelled the running {entry['cancelled']}")
        print(f"    {entry['name']:<10}{entry['outcome']:<11}{entry['seconds']:5.1f} s  {', '.join(words)}")
        if "code" in entry:
            print(f"              {entry['code']}: {entry['msg']}")


def info(name: str) -> dict[str, Any]:
    command = ["ansible", "localhost", "-m", "fleet.power.server_power_info", "-a", json.dumps({"server": [name], "config": str(CONFIG)})]
    output = subprocess.run(command, cwd=CHECKOUT, check=True, capture_output=True, text=True).stdout
    entry: dict[str, Any] = json.loads(output[output.index("{") :])["servers"][0]
    return entry


def await_phase(name: str, phase: str, seconds: float = 60.0) -> Holder:
    """Wait until a server's lock holder is in a phase, and return the holder."""
    uuid = definition(FLEET.index(name) + 1, name)["settings"]["uuid"]
    locks = Locks(str(HOME / "run"), "")
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        holder = locks.holder(uuid)
        if holder is not None and holder.phase == phase:
            return holder
        time.sleep(0.02)
    sys.exit(f"the demo stops here: no action on {name} reached the phase {phase}")


def scene(number: int, title: str) -> None:
    print(f"\n{number}. {title}")


def scene_waiting() -> None:
    """Two restarts of one server: the second one waits for the lock and names its holder."""
    first = begin("restart", "Harbor", wait_seconds=60, wait_for="running")
    time.sleep(LEAD_SECONDS)
    second = begin("restart", "Harbor", wait_seconds=60, wait_for="running")
    holder = await_phase("Harbor", "stop")
    print(f"  the lock holder: {holder.action} by {holder.origin}, phase {holder.phase}, pid {holder.pid}, since {holder.since}")
    show(first.finish())
    show(second.finish())


def scene_suspended() -> None:
    """A suspended server is running: a restart is refused before the stop."""
    write({**(suspended := definition(10, SUSPENDED)), "settings": {**suspended["settings"], "suspended": True}})
    act("restart", SUSPENDED)
    print(f"  the server is still {info(SUSPENDED)['state']}")


def scene_kill() -> None:
    """A kill during a restart: the server stays down."""
    restart = begin("restart", "Fjord")
    await_phase("Fjord", "stop")
    act("kill", "Fjord")
    show(restart.finish())
    print(f"  the server stays {info('Fjord')['state']}")


def scene_crash() -> None:
    """SIGKILL to the playbook and its module during a stop: the lock is free, and the journal has the interrupted stop."""
    stop = begin("stop", "Grove")
    holder = await_phase("Grove", "stop")
    os.killpg(stop.child.pid, signal.SIGKILL)
    os.kill(holder.pid, signal.SIGKILL)
    stop.child.wait()
    left = info("Grove")
    operation = left["last_operation"]
    lock = "free" if left["lock"] is None else "held"
    print(f"  SIGKILL to ansible-playbook and to its module: the lock is {lock}, the server is {left['state']}")
    print(f"  the journal's entry of the stop: {operation['outcome']}, {operation['code']}")
    act("restart", "Grove", wait_for="running")


def main() -> None:
    began = time.monotonic()
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    was_there = CONFIG.exists()
    prepare()
    print(f"Ten servers, one container each, defined in {(HOME / 'servers').relative_to(CHECKOUT)}. The first task starts them.")
    if was_there:
        # A server of an earlier demo may take minutes to stop.
        act("kill", *FLEET, STUBBORN, SUSPENDED)
    act("start", *FLEET, STUBBORN, SUSPENDED, wait_for="running")
    slow_down()
    scene(1, "One task restarts eight servers.")
    act("restart", *FLEET, wait_for="running")
    scene(2, "A second restart of a server waits for the first.")
    scene_waiting()
    scene(3, "A restart of a suspended server is refused, and the server keeps running.")
    scene_suspended()
    scene(4, "A server that ignores its stop is killed after the stop timeout.")
    act("stop", STUBBORN, stop_timeout=2)
    scene(5, "A kill ends a running restart.")
    scene_kill()
    scene(6, "After a SIGKILL to the playbook during a stop, the next action works.")
    scene_crash()
    print(f"\nThe demo took {time.monotonic() - began:.0f} s. Eight servers are up. Try your own commands, such as these:")
    for module, asked in ("server_power", "server=Atlas action=restart wait_for=running"), ("server_power_info", "server=Atlas tail=20"):
        print(f'  $ .venv/bin/ansible localhost -m fleet.power.{module} -a "{asked} config={CONFIG.relative_to(CHECKOUT)}"')
    print("`make shim` starts the HTTP shim. `make demo-down` removes everything.")


if __name__ == "__main__":
    try:
        # ansible-core 2.21 leaves a socket there when it is killed.
        with tempfile.TemporaryDirectory(prefix="fleet-power-demo-") as os.environ["TMPDIR"]:
            main()
    except KeyboardInterrupt:
        sys.exit("\nThe demo was interrupted. Running actions still finish. `make demo-down` removes everything.")
