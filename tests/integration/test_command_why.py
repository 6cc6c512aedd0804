# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``fleet-power why`` gives the right reason and the next step, in one screen, for prepared incidents."""

from __future__ import annotations

import json
import re
import socket
import subprocess
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone

import pytest
from ansible_collections.fleet.power.plugins.module_utils import command
from ansible_collections.fleet.power.plugins.module_utils._power.actions.node import node
from ansible_collections.fleet.power.plugins.module_utils._power.model.clock import engine_time

from .command import fleet_power
from .engine_proxy import EngineProxy
from .lab import Lab, free_port, wait_until
from .played import GAMES, PATIENT, Played
from .supervisors import Supervising, await_verdicts, crash

#: Lines and columns of a terminal.
SCREEN = (24, 80)
FOR_EVER = 600


@dataclass
class Scene:
    """A node, whose engine a test can disturb, and the things to end after the test."""

    lab: Lab
    proxy: EngineProxy
    stack: ExitStack
    environment: dict[str, str] = field(default_factory=dict)


def suspended(scene: Scene) -> str:
    return scene.lab.server(suspended=True)


def never_started(scene: Scene) -> str:
    return scene.lab.server()


def stopped_by_somebody(scene: Scene) -> str:
    uuid = scene.lab.up()
    scene.lab.power("stop", uuid, origin="alice@web1", reason="update of the map")
    return uuid


def running_well(scene: Scene) -> str:
    return scene.lab.up()


def crashed_without_supervisor(scene: Scene) -> str:
    uuid = scene.lab.up(EXIT_CODE=3)
    crash(scene.lab, uuid)
    return uuid


def in_back_off(scene: Scene) -> str:
    uuid = scene.lab.up()
    supervising = scene.stack.enter_context(Supervising(scene.lab))
    for number in range(1, 3):
        wait_until(lambda: scene.lab.is_up(uuid), "it is up")
        crash(scene.lab, uuid)
        await_verdicts(scene.lab, uuid, *["crashed"] * number)
    supervising.freeze()
    scene.stack.callback(supervising.thaw)
    return uuid


def crash_loop(scene: Scene) -> str:
    scene.lab.write_settings(supervisor={"max_restarts": 0})
    uuid = scene.lab.up()
    scene.stack.enter_context(Supervising(scene.lab))
    crash(scene.lab, uuid)
    await_verdicts(scene.lab, uuid, "crashed")
    return uuid


def stopped_at_the_engine(scene: Scene) -> str:
    uuid = scene.lab.up()
    scene.stack.enter_context(Supervising(scene.lab))
    scene.lab.client.stop(uuid, timeout=0)
    await_verdicts(scene.lab, uuid, "stopped_externally")
    return uuid


def long_stop(scene: Scene) -> str:
    uuid = scene.lab.up(STOP_SECONDS=FOR_EVER, MARK=1)
    stop = scene.stack.enter_context(scene.lab.actor("stop", uuid, origin="bob@web1", reason="end of season"))
    scene.lab.await_phase(uuid, "stop")
    scene.stack.callback(stop.kill)
    return uuid


def killed_in_a_restart(scene: Scene) -> str:
    uuid = scene.lab.up(STOP_SECONDS=FOR_EVER, MARK=1)
    with scene.lab.actor("restart", uuid, origin="ci") as restart:
        scene.lab.await_phase(uuid, "stop")
        wait_until(lambda: "got command stop" in scene.lab.log(uuid), "the stop arrived")
        restart.kill()
    scene.lab.client.kill(uuid)
    wait_until(lambda: not scene.lab.is_up(uuid), "it is down")
    return uuid


def disk_over_its_limit(scene: Scene) -> str:
    uuid = scene.lab.server(build={"disk_space": 1})
    scene.lab.volume(uuid).mkdir(parents=True)
    (scene.lab.volume(uuid) / "world").write_bytes(b"x" * 2 * 1024 * 1024)
    return uuid


def port_taken(scene: Scene) -> str:
    scene.lab.write_settings(docker={"network": {"network_mode": "bridge"}})
    port = free_port()
    listener = scene.stack.enter_context(socket.socket())
    listener.bind(("0.0.0.0", port))
    listener.listen()
    uuid = scene.lab.server()
    scene.lab.edit(uuid, allocations={"default": {"ip": "0.0.0.0", "port": port}, "mappings": {"0.0.0.0": [port]}})
    return uuid


def image_missing(scene: Scene) -> str:
    return scene.lab.server(image="~fleet-power/no-such-image:1")


def definition_broken(scene: Scene) -> str:
    uuid = scene.lab.server()
    (scene.lab.root / "servers" / f"{uuid}.json").write_text('{"settings": {"uuid": ')
    return uuid


def volume_missing(scene: Scene) -> str:
    uuid = scene.lab.up()
    scene.lab.power("stop", uuid)
    subprocess.run(["rm", "-r", scene.lab.volume(uuid)], check=True)
    return uuid


def mount_source_missing(scene: Scene) -> str:
    uuid = scene.lab.server()
    scene.lab.write_settings(allowed_mounts=[str(scene.lab.root)])
    scene.lab.edit(uuid, mounts=[{"source": str(scene.lab.root / "gone"), "target": "/maps", "read_only": True}])
    return uuid


def foreign_container(scene: Scene) -> str:
    uuid = scene.lab.server()
    scene.lab.outsider(uuid)
    scene.lab.volume(uuid).mkdir(parents=True)
    return uuid


def engine_dead(scene: Scene) -> str:
    uuid = scene.lab.up()
    scene.proxy.vanish()
    return uuid


def engine_frozen(scene: Scene) -> str:
    uuid = scene.lab.up()
    scene.proxy.freeze()
    scene.stack.callback(scene.proxy.thaw)
    return uuid


def journal_unreadable(scene: Scene) -> str:
    uuid = scene.lab.up()
    journal = scene.lab.root / "state" / "journal.sqlite"
    journal.unlink()
    journal.mkdir()
    return uuid


def frozen(scene: Scene) -> str:
    uuid = scene.lab.server()
    until = (datetime.now(timezone.utc) + timedelta(hours=2)).isoformat(timespec="seconds")
    assert fleet_power(scene.lab, "freeze", "--until", until, "--reason", "final of the cup").code == 0
    return uuid


def maintenance_left_behind(scene: Scene) -> str:
    uuid = scene.lab.up()
    scene.lab.power("stop", uuid, origin="carol@ops (maintenance)")
    record = {"schema": 1, "phase": "stop", "begun_by": "carol@ops", "begun_at": "2026-01-31T00:00:00Z", "servers": [uuid]}
    (scene.lab.root / "state" / "maintenance.json").write_text(json.dumps(record))
    return uuid


def outdated(scene: Scene) -> str:
    uuid = scene.lab.up()
    scene.lab.edit(uuid, environment={"DIFFICULTY": "hard"})
    return uuid


def waiting_for_players(scene: Scene) -> str:
    scene.lab.write_settings(games=GAMES)
    played = Played(scene.lab)
    restart = scene.stack.enter_context(scene.lab.actor("restart", played.uuid, origin="ci", reason="deploy 7", **_policy()))
    played.await_countdown("waiting")
    scene.stack.callback(restart.kill)
    return played.uuid


def _policy() -> dict[str, object]:
    return {"players": PATIENT}


def unhealthy(scene: Scene) -> str:
    uuid = scene.lab.server(image="~fleet-power/testserver:health", HEALTHY_AFTER=FOR_EVER)
    scene.lab.power("start", uuid)
    wait_until(
        lambda: (scene.lab.container(uuid) or {}).get("State", {}).get("Health", {}).get("Status") == "unhealthy", "it is unhealthy", 60.0
    )
    return uuid


def paused(scene: Scene) -> str:
    uuid = scene.lab.up()
    scene.lab.client.pause(uuid)
    scene.stack.callback(scene.lab.client.unpause, uuid)
    return uuid


#: For each incident: how it is prepared, what the sentences say, and what the last line advises.
INCIDENTS: dict[str, tuple[Callable[[Scene], str], tuple[str, ...], str]] = {
    "suspended": (suspended, (r"would be refused, code suspended",), r"clear settings\.suspended"),
    "never started": (never_started, (r"have not started or stopped it yet", r"would pass its checks"), r"fleet-power start"),
    "stopped by somebody": (stopped_by_somebody, (r"should be down.*alice@web1", r"stop done.*update of the map"), r"fleet-power start"),
    "running": (running_well, (r"is running since", r"should be up"), r"nothing"),
    "crashed without supervisor": (crashed_without_supervisor, (r"should be up", r"No supervisor runs"), r"fleet-power start"),
    "back-off": (in_back_off, (r"crashed with exit code", r"crashed 2 times in a row", r"supervisor starts it at"), r"log .*start"),
    "crash loop": (crash_loop, (r"a crash loop", r"starts it at .*min from now"), r"fleet-power log"),
    "stopped at the engine": (stopped_at_the_engine, (r"stopped at the engine", r"does not start it again"), r"fleet-power start"),
    "long stop": (long_stop, (r"A stop by bob@web1 \(end of season\) holds its lock", r"phase stop until"), r"fleet-power kill"),
    "killed in a restart": (killed_in_a_restart, (r"restart failed, interrupted, by ci",), r"fleet-power start"),
    "disk over its limit": (disk_over_its_limit, (r"code disk_full: .*2 MiB of 1 MiB",), r"free some space"),
    "port taken": (port_taken, (r"code preboot_failed: .*port 0\.0\.0\.0:",), r"free the port"),
    "image missing": (image_missing, (r"code image_unavailable",), r"image"),
    "definition broken": (definition_broken, (r"code definition_invalid: .*\.json",), r"correct that file"),
    "volume missing": (volume_missing, (r"code volume_missing",), r"mount or restore the directory"),
    "mount source missing": (mount_source_missing, (r"source of its mount /maps",), r"create it"),
    "foreign container": (
        foreign_container,
        (r"now would be refused, code container_foreign", r"now with --adopt would pass"),
        r"fleet-power restart \S+ --adopt",
    ),
    "engine dead": (engine_dead, (r"its state is unknown", r"should be up", r"start done"), r"start the engine.*fleet-power kill"),
    "engine frozen": (engine_frozen, (r"its state is unknown", r"should be up"), r"start the engine.*fleet-power kill"),
    "journal unreadable": (
        journal_unreadable,
        (r"is running", r"unknown: the journal", r"Warning: Cannot read the journal"),
        r"nothing|journal",
    ),
    "frozen": (frozen, (r"node is frozen until .* by .*final of the cup", r"code frozen"), r"fleet-power thaw"),
    "maintenance left behind": (
        maintenance_left_behind,
        (r"A maintenance by carol@ops.*has not ended",),
        r"remove maintenance\.json in .*, then fleet-power start",
    ),
    "outdated after a push": (outdated, (r"is outdated: .*environment\.DIFFICULTY",), r"fleet-power restart"),
    "waiting for players": (waiting_for_players, (r"A restart by ci \(deploy 7\) waits for its players",), r"fleet-power kill .* cancels"),
    "unhealthy": (unhealthy, (r"health check fails\. not healthy yet",), r"fleet-power log"),
    "paused": (paused, (r"paused",), r"docker unpause"),
}


@pytest.mark.samples("suspended", "crash loop", "engine dead")
@pytest.mark.parametrize("incident", INCIDENTS)
def test_why_names_the_cause_and_the_next_step_in_one_screen(lab: Lab, proxy: EngineProxy, incident: str) -> None:
    prepare, reasons, advice = INCIDENTS[incident]
    with ExitStack() as stack:
        uuid = prepare(Scene(lab, proxy, stack))
        seen = fleet_power(lab.at(proxy.host), "why", uuid)
        lines = seen.out.splitlines()
        text = " ".join(line.strip() for line in lines)
        assert seen.code == 0, seen.err
        assert [reason for reason in reasons if not re.search(reason, text)] == [], seen.out
        last = text.rpartition(" Do: ")[2]
        assert re.search(advice, last), seen.out
        assert len(lines) <= SCREEN[0] and max(map(len, lines)) <= SCREEN[1], seen.out
        # Only a terminal gets colours.
        assert "\033" not in seen.out


def test_why_and_status_say_when_a_stop_began_and_that_sigkill_ended_it(lab: Lab) -> None:
    uuid = lab.up(STOP_SECONDS=FOR_EVER, MARK=1)
    started = engine_time(lab.container(uuid)["State"]["StartedAt"])
    assert started is not None
    wait_until(lambda: datetime.now(timezone.utc) - started > timedelta(seconds=2), "the run is older than the stop")
    with lab.actor("stop", uuid, stop_timeout=8) as stop:
        lab.await_phase(uuid, "stop")
        begun = lab.operations(uuid)[0].begun_at or ""
        said = fleet_power(lab, "why", uuid).out, fleet_power(lab, "status").out
        assert stop.result()["outcome"] == "done"
    assert f"is stopping since {begun[11:19]} UTC" in " ".join(said[0].split()) and begun[11:19] in said[1]
    assert f"since {started:%H:%M:%S}" not in said[0] and f"{started:%H:%M:%S}" not in said[1]
    assert "stop done, ended by SIGKILL, by" in " ".join(fleet_power(lab, "why", uuid).out.split())


def test_why_names_a_live_wings(lab: Lab, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    # A process of that name would stop the tests beside this one.
    monkeypatch.setattr(node, "wings_pid", lambda **_facts: 4321)
    monkeypatch.setenv("DOCKER_HOST", lab.docker_host)
    assert command.main(["why", lab.server(), "--config", str(lab.config)]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "code wings_active" in text and "Do: use the Panel, or stop Wings" in text


def test_why_explains_each_server_of_one_name(lab: Lab) -> None:
    uuid = lab.server(name="Arena")
    lab.server(name="Arena", suspended=True)
    seen = fleet_power(lab, "why", "Arena")
    assert (seen.out.count("Do: "), "suspended" in seen.out, "give the full UUID" in seen.err) == (2, True, True)
    # The engine may have servers of tests beside this one.
    assert fleet_power(lab, "why", "all").out.count("Arena is offline") == 2
    assert f"Do: fleet-power start {uuid}" in seen.out
    missing = fleet_power(lab, "why", "Nowhere", uuid, "Nobody")
    assert (missing.out.count("Do: "), missing.code) == (1, 3)
    assert [f'Cannot find server "{name}"' in missing.err for name in ("Nowhere", "Nobody")] == [True, True]
    dashed = lab.server(name="-x")
    assert f"Do: fleet-power start {dashed}" in fleet_power(lab, "why", dashed).out


@pytest.mark.samples("journal unreadable")
@pytest.mark.parametrize("incident", ["engine dead", "engine frozen", "journal unreadable", "definition broken", "frozen"])
def test_kill_works_in_an_incident(lab: Lab, proxy: EngineProxy, incident: str) -> None:
    uuid = lab.up()
    with ExitStack() as stack:
        scene = Scene(lab, proxy, stack)
        if incident == "definition broken":
            (lab.root / "servers" / f"{uuid}.json").write_text("{")
        elif incident == "journal unreadable":
            (lab.root / "state" / "journal.sqlite").unlink()
            (lab.root / "state" / "journal.sqlite").mkdir()
        elif incident == "frozen":
            frozen(scene)
        elif incident == "engine dead":
            proxy.vanish()
        else:
            proxy.latency = lambda seen: 3.0 if seen.method == "GET" else 0.0
        seen = fleet_power(lab.at(proxy.host), "kill", uuid)
        assert seen.code == 0, seen.err
        wait_until(lambda: not lab.is_up(uuid), "it is down")
        if incident == "engine dead":
            assert "kill done, unguarded" in seen.out
            assert "should be down" in fleet_power(lab, "why", uuid).out
