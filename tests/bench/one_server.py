# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One server: a restart beside community.docker, a start and a kill beside the engine's own; and the command's table of a hundred."""

from __future__ import annotations

import compileall
import contextlib
import os
import select
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from py_compile import PycInvalidationMode

import ansible_collections.fleet.power as collection
from ansible_collections.fleet.power.plugins.module_utils._core import PACKAGE
from ansible_collections.fleet.power.plugins.module_utils._power.actions.turn.perform import perform
from ansible_collections.fleet.power.tests.bench.commands import INFO, POWER, Commands
from ansible_collections.fleet.power.tests.bench.many import Restarts, equals, in_parallel, servers
from ansible_collections.fleet.power.tests.bench.measure import Row, Spread, bound, difference, in_turn, ratio
from ansible_collections.fleet.power.tests.bench.peer import PEER, PEER_NAME
from ansible_collections.fleet.power.tests.integration.lab import Lab, wait_until

POWER_PACKAGE = perform.__module__.rpartition(".actions.")[0]
CONFIG_FILES = f"{POWER_PACKAGE}.config_files"
_RESTARTS, _INFOS = 30, 15
_PING = "ansible.builtin.ping"
_STARTS = 25
_FILES = 500
_SHOWN = 100
_KILLS = 12


def restart(lab: Lab, collections: Path) -> list[Row]:
    """Measure whole commands: with Ansible's defaults, with pipelining, and with the whole module as on a node without the core."""
    with servers(lab, 1) as uuids, equals(lab, uuids) as (peer,):
        ways = (("", False, {}), (", pipelining", True, {}), (", whole module", False, {"FLEET_POWER_CORE": "0"}))
        return [
            ratio(f"ad-hoc restart{what}", *_compare(lab, collections, uuids[0], peer, environment, pipelining=piped), PEER_NAME, target)
            for (what, piped, environment), target in zip(ways, (1.0, 1.0, 1.9))
        ]


def _compare(
    lab: Lab, collections: Path, uuid: str, peer: str, environment: Mapping[str, str], *, pipelining: bool
) -> tuple[Spread, Spread]:
    commands = Commands(lab, collections, pipelining=pipelining)

    def one(container: str, module: str, options: Mapping[str, object]) -> float:
        with Restarts(lab, [container]):
            return commands.ad_hoc(module, options, environment).seconds

    return in_turn(
        lambda: one(uuid, POWER, commands.own(server=uuid, action="restart")),
        lambda: one(peer, PEER, {"name": peer, "restart": True}),
        _RESTARTS,
    )


def info(lab: Lab, collections: Path) -> list[Row]:
    """Measure the whole command that describes one server, and the bytes that a call sends."""
    commands = Commands(lab, collections)
    with servers(lab, 1) as uuids, equals(lab, uuids) as (peer,):
        ours, other = in_turn(
            lambda: commands.ad_hoc(INFO, commands.own(server=uuids[0])).seconds,
            lambda: commands.ad_hoc(f"{PEER}_info", {"name": peer}).seconds,
            _INFOS,
        )
        calls = (INFO, commands.own(server=uuids[0])), (_PING, {"data": "pong"})
        sent, least = (commands.payload(*call).size for call in calls)
    size = Spread(((sent - least) / 1000,), "KB")
    return [ratio("ad-hoc info", ours, other, f"{PEER_NAME}_info", 1.0), bound("bytes of a call, beyond ping", size, 15)]


def status(lab: Lab) -> Row:
    """Measure the command on the node that shows a hundred servers, beside the engine's own answers about them."""
    core = lab.root / "core"
    shutil.copytree(Path(collection.__path__[0]) / "plugins" / "module_utils", core / PACKAGE)
    compileall.compile_dir(core, quiet=2, invalidation_mode=PycInvalidationMode.UNCHECKED_HASH)
    program = f"import sys; sys.path.insert(0, {str(core)!r}); from fleet_power.command import main; sys.exit(main())"
    command = [sys.executable, "-I", "-B", "-c", program, "status", "--config", str(lab.config)]
    with servers(lab, _SHOWN) as uuids:

        def ours() -> float:
            begin = time.monotonic()
            shown = subprocess.run(command, env={**os.environ, "COLUMNS": "200"}, capture_output=True, text=True, check=True).stdout
            assert shown.count(" running ") == _SHOWN, shown
            return time.monotonic() - begin

        def engine() -> float:
            begin = time.monotonic()
            lab.client.containers(all=True)
            in_parallel(lab.client.inspect_container, uuids, 32)
            return time.monotonic() - begin

        mine, other = in_turn(ours, engine, _INFOS)
    return difference(f"fleet-power status of {_SHOWN}", mine, other, "the engine's answers", 500)


def start(lab: Lab) -> Row:
    """Measure our start from connection to end, with lock, journal and pre-boot, without reading the options."""
    uuid = lab.server(done=(), build={"disk_space": 1024})
    assert lab.power("start", uuid).outcome.value == "done"
    for number in range(_FILES):
        (lab.volume(uuid) / f"region-{number}").write_bytes(b"x" * 1000)
    _end(lab, uuid)
    assert lab.power("start", uuid).outcome.value == "done"

    def ours() -> float:
        _end(lab, uuid)
        node = lab.node()
        request = lab.request("start", uuid, node)
        began = time.monotonic()
        result = perform(request, node)
        seconds = time.monotonic() - began
        node.journal.close()
        assert (result.outcome.value, [step.step for step in result.preboot if step.changed]) == ("done", [])
        return seconds

    def plain() -> float:
        _end(lab, uuid)
        began = time.monotonic()
        lab.client.start(uuid)
        return time.monotonic() - began

    mine, other = in_turn(ours, plain, _STARTS)
    note = f"the start checks owner and size of {_FILES} files twice"
    return difference("start, nothing to change", mine, other, "plain start", 60, [note])


def files() -> Row:
    """Measure five configuration files of five parsers in a process that makes one call: in a child, and without a child."""
    program = f"""
import sys
sys.path.insert(0, {str(Path(collection.__path__[0]).parents[2])!r})
from {CONFIG_FILES}.edit import edited
from {CONFIG_FILES}.sandboxed_edit import editor
from {POWER_PACKAGE}.definitions.definition import ConfigFile
from {POWER_PACKAGE}.model.config_rule import ConfigRule
texts = {{"json": b'{{"a": 1}}', "yaml": b"a: 1\\n", "xml": b"<a>1</a>\\n", "toml": b"a = 1\\n", "ini": b"a=1\\n"}}
rules = (ConfigRule("a", 2),)
with editor({{}}, lambda: None) as edits:
    for place, (parser, text) in enumerate(texts.items()):
        assert b"2" in (edits.edit(place, ConfigFile("f", parser, rules), text) if sys.argv[1:] else edited(text, parser, rules))
"""

    def run(*words: str) -> float:
        began = time.monotonic()
        subprocess.run([sys.executable, "-c", program, *words], check=True)
        return time.monotonic() - began

    mine, other = in_turn(lambda: run("child"), run, _STARTS)
    return difference("five configuration files in a child", mine, other, "without a child", 60)


def _end(lab: Lab, uuid: str) -> None:
    if lab.is_up(uuid):
        lab.client.kill(uuid)
    wait_until(lambda: not lab.is_up(uuid), "the end of the server")


def kill(lab: Lab) -> Row:
    """Measure a kill while a restart holds the lock. The server ignores the restart's signal, so only the kill can end it."""
    uuid = lab.server(stop={"type": "signal", "value": "SIGTERM"}, done=(), IGNORE_SIGNALS="TERM")
    certain: list[float] = []

    def ours() -> float:
        _start(lab, uuid)
        with lab.actor("restart", uuid) as holder:
            lab.await_phase(uuid, "stop")
            node = lab.node()
            request = lab.request("kill", uuid, node)
            began = time.monotonic()
            died = _seconds_to_death(lab, uuid, lambda: perform(request, node))
            certain.append(time.monotonic() - began)
            node.journal.close()
            assert holder.result()["code"] == "cancelled_by_kill"
        return died

    def plain() -> float:
        _start(lab, uuid)
        return _seconds_to_death(lab, uuid, lambda: lab.client.kill(uuid))

    mine, other = in_turn(ours, plain, _KILLS)
    note = f"until the result of the kill: {Spread(tuple(certain[-_KILLS:])).text()}"
    return difference("kill under a held lock", mine, other, "plain kill", 150, [note])


def _start(lab: Lab, uuid: str) -> None:
    result = lab.power("start", uuid)
    assert result.outcome.value == "done", result.msg
    assert lab.is_up(uuid)


def _seconds_to_death(lab: Lab, uuid: str, send: Callable[[], object]) -> float:
    """Return the seconds from calling ``send`` to the end of the server's process, as the kernel reports it."""
    container = lab.container(uuid)
    assert container is not None
    descriptor = os.pidfd_open(container["State"]["Pid"])
    died_at: list[float] = []

    def watch() -> None:
        select.select([descriptor], [], [], 60)
        died_at.append(time.monotonic())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        began = time.monotonic()
        send()
        watcher.join()
    finally:
        with contextlib.suppress(OSError):
            os.close(descriptor)
    return died_at[0] - began
