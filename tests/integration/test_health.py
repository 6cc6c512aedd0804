# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The supervisor restarts servers that hang by the engine's health check, and leaves all others alone."""

from __future__ import annotations

import contextlib
import math
import os
import random
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.actions.many.server_facts import FactOptions, describe
from ansible_collections.fleet.power.plugins.module_utils._power.journal.freezes import freeze
from ansible_collections.fleet.power.plugins.module_utils._power.model.clock import engine_time
from ansible_collections.fleet.power.plugins.module_utils._power.model.server import Run
from ansible_collections.fleet.power.plugins.module_utils._power.model.supervision import ORIGIN, EndedRun, Verdict

from .lab import Lab, ended, lab_on, wait_until
from .own_engine import OwnEngine, own_engine
from .supervisors import Supervising, await_run_after, await_verdicts, rows_of, run_of, verdicts

#: Each connection gets an answer. If the file exists, it comes after a minute, and the port stays open.
ANSWER = "[ -e /home/container/deadlock ] && sleep 60; echo ok"
ENTRYPOINT = f'ENTRYPOINT ["/bin/busybox", "nc", "-ll", "-p", "8080", "-e", "/bin/sh", "-c", "{ANSWER}"]'
PROBE = ["CMD-SHELL", "busybox nc -w 1 127.0.0.1 8080 </dev/null | busybox grep ok"]
INTERVAL, TIMEOUT, RETRIES = 1, 1, 1
#: The longest time from a hang to the next run.
RESTART_SECONDS = (INTERVAL + TIMEOUT) * (RETRIES + 1) + 40.0
#: How many engines the test at high load has, and for how long. "-n" with that number runs them at the same time.
SOAK_ENGINES = int(os.environ.get("FLEET_POWER_SOAK_ENGINES") or 1)
SOAK_SECONDS = float(os.environ.get("FLEET_POWER_SOAK_SECONDS") or 300.0)


@pytest.fixture(name="own", scope="module")
def start_engine(docker_host: str) -> Iterator[OwnEngine]:
    """An engine without servers of other tests: they would count for the majority of the node."""
    yield from own_engine(docker_host)


@pytest.fixture(name="lab")
def node_on_it(tmp_path: Path, own: OwnEngine) -> Iterator[Lab]:
    yield from lab_on(tmp_path, own.host)


@pytest.fixture(name="image")
def port_server(lab: Lab) -> str:
    """The image of a server that answers on a port."""
    return lab.image(ENTRYPOINT)


@contextlib.contextmanager
def checked(
    lab: Lab, image: str, count: int = 1, times: tuple[int, int] = (INTERVAL, TIMEOUT), **settings: Any
) -> Iterator[tuple[Supervising, list[str]]]:
    """Supervise that many healthy servers, which a rule gives a health check."""
    rule = {"image": image[1:], "test": PROBE, "interval": times[0], "timeout": times[1], "retries": RETRIES}
    lab.write_settings(healthchecks=[rule], supervisor={"restart_unhealthy": True, "unhealthy_stop_timeout": 1, **settings})
    uuids = [lab.server(image=image, done=()) for _server in range(count)]
    for uuid in uuids:
        assert ended(lab.power("start", uuid)) == ("done", "")
    for uuid in uuids:
        await_health(lab, uuid, "healthy")
    with Supervising(lab) as supervising:
        yield supervising, uuids


def health_of(lab: Lab, uuid: str) -> str:
    found = lab.container(uuid)
    return "" if found is None else str((found["State"].get("Health") or {}).get("Status"))


def await_health(lab: Lab, uuid: str, health: str) -> None:
    wait_until(lambda: health_of(lab, uuid) == health, f"{uuid} is {health}", 30.0)


def send(lab: Lab, uuid: str, number: int) -> Run:
    """Send a signal to the server's process without the engine; return its run."""
    found = lab.container(uuid)
    # The process 0 would be our own group.
    assert found is not None and found["State"]["Pid"]
    os.kill(found["State"]["Pid"], number)
    return run_of(lab, uuid)


def stop_process(lab: Lab, uuid: str) -> Run:
    return send(lab, uuid, signal.SIGSTOP)


def deadlock(lab: Lab, uuid: str) -> Run:
    (lab.volume(uuid) / "deadlock").touch()
    return run_of(lab, uuid)


def stays(lab: Lab, uuid: str, run: Run, seconds: float = 3.0 * INTERVAL + 2.0) -> bool:
    """Tell if a server stays unhealthy in its run for some intervals."""
    await_health(lab, uuid, "unhealthy")
    time.sleep(seconds)
    return run_of(lab, uuid) == run and not verdicts(lab, uuid)


@pytest.mark.samples("deadlock with an open port")
@pytest.mark.parametrize("hang", [stop_process, deadlock], ids=["stopped process", "deadlock with an open port"])
def test_a_server_that_hangs_is_restarted_in_time(lab: Lab, image: str, hang: Any) -> None:
    with checked(lab, image) as (_supervising, (uuid,)):
        before, began = hang(lab, uuid), time.monotonic()
        await_verdicts(lab, uuid, "hung", seconds=RESTART_SECONDS)
        (lab.volume(uuid) / "deadlock").unlink(missing_ok=True)
        after = await_run_after(lab, uuid, before, RESTART_SECONDS)
        assert time.monotonic() - began < RESTART_SECONDS
        await_health(lab, uuid, "healthy")
        wait_until(lambda: not rows_of(lab, uuid)[0].due, "the row is closed")
        (row,) = rows_of(lab, uuid)
        assert (row.run, row.next_run, row.consecutive_crashes, row.origin) == (before, after, 1, ORIGIN)
        operation = lab.operations(uuid)[0]
        assert (operation.action, operation.origin, operation.outcome) == ("restart", ORIGIN, "done")
        assert operation.reason.startswith("unhealthy for ")


def test_a_server_that_is_healthy_at_the_next_check_is_left_alone(lab: Lab, image: str) -> None:
    with checked(lab, image, times=(INTERVAL, 3)) as (_supervising, (uuid,)):
        run = stop_process(lab, uuid)
        await_health(lab, uuid, "unhealthy")
        send(lab, uuid, signal.SIGCONT)
        await_health(lab, uuid, "healthy")
        time.sleep(5.0)
        assert run_of(lab, uuid) == run and not verdicts(lab, uuid)


@pytest.mark.long
def test_a_supervisor_that_dies_in_the_restart_leaves_one_hang_and_one_server(lab: Lab, image: str) -> None:
    with checked(lab, image, unhealthy_stop_timeout=4) as (supervising, (uuid,)):
        before = stop_process(lab, uuid)
        wait_until(lambda: phase_of(lab, uuid) == "stop", "the stop has begun", RESTART_SECONDS)
        supervising.kill()
        supervising.begin_again()
        await_run_after(lab, uuid, before, RESTART_SECONDS)
        await_verdicts(lab, uuid, "hung")
        assert rows_of(lab, uuid)[0].consecutive_crashes == 1


@pytest.mark.long
def test_a_stop_by_a_person_during_the_restart_wins(lab: Lab, image: str) -> None:
    with checked(lab, image, unhealthy_stop_timeout=4) as (_supervising, (uuid,)):
        stop_process(lab, uuid)
        wait_until(lambda: phase_of(lab, uuid) == "stop", "the stop has begun", RESTART_SECONDS)
        assert ended(lab.power("kill", uuid)) == ("done", "")
        time.sleep(5.0)
        assert not lab.is_up(uuid) and "hung" not in verdicts(lab, uuid)


def phase_of(lab: Lab, uuid: str) -> str:
    holder = lab.node().locks.holder(uuid)
    return "" if holder is None else holder.phase


@pytest.mark.long
def test_sixty_of_sixty_are_restarted_in_time(lab: Lab, image: str) -> None:
    interval, timeout = 5, 5
    limit = (interval + timeout) * (RETRIES + 1) + 40.0
    # A stopped process hears no signal, so each stop takes its whole default timeout.
    with checked(lab, image, 26, (interval, timeout), unhealthy_stop_timeout=30) as (_supervising, uuids):
        for number in range(6):
            # Each group is less than half of the node, and turns unhealthy more than a minute before the next.
            next_at = time.monotonic() + 80.0
            group = [uuids[(10 * number + place) % len(uuids)] for place in range(10)]
            before = {uuid: (stop_process if place % 2 else deadlock)(lab, uuid) for place, uuid in enumerate(group)}
            began = time.monotonic()
            for uuid in group:
                await_run_after(lab, uuid, before[uuid], limit)
                (lab.volume(uuid) / "deadlock").unlink(missing_ok=True)
            print(f"group {number}: {time.monotonic() - began:.1f} s of {limit:.0f} s")
            assert time.monotonic() - began <= limit
            time.sleep(max(0.0, next_at - time.monotonic()))
        assert sum(len(verdicts(lab, uuid)) for uuid in uuids) == 60
        assert {verdict for uuid in uuids for verdict in verdicts(lab, uuid)} == {"hung"}


class HealthEvents:
    """The health events of an engine: its time in seconds, container and state. A thread collects them."""

    def __init__(self, client: Any) -> None:
        self.seen: list[tuple[float, str, str]] = []
        self._stream = client.events(decode=True, filters={"event": "health_status"})
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        for event in self._stream:
            self.seen.append((event["timeNano"] / 1e9, event["Actor"]["ID"], event["Action"].rpartition(" ")[2]))

    def close(self) -> None:
        self._stream.close()
        self._thread.join()

    def fault_of(self, row: EndedRun, restarted_at: str, servers: int, seconds: float) -> str:
        """Return why no rule allows the restart that ended a run; "" if the rules do. It looks at the server after ``restarted_at``."""
        began, over = (moment.timestamp() for text in (row.run.started_at, restarted_at) if (moment := engine_time(text)))
        of_run = [each for each in self.seen if each[1] == row.run.container and began <= each[0] <= over]
        if not of_run or of_run[-1][2] != "unhealthy":
            return f"it was not unhealthy at {over:.3f}: {of_run[-5:]}"
        since = of_run[-1][0]
        if over - since < seconds:
            return f"it was unhealthy for {over - since:.1f} s only"
        # Five seconds, because the supervisor hears of a change a little later than it happens.
        together = {container for at, container, health in self.seen if health == "unhealthy" and since - 55 < at <= since}
        return f"{len(together)} servers turned unhealthy within a minute" if 2 * len(together) > servers else ""


@contextlib.contextmanager
def busy(processes: int) -> Iterator[None]:
    """Keep that many processes busy."""
    children = [subprocess.Popen(["sh", "-c", "while :; do :; done"]) for _number in range(processes)]
    try:
        yield
    finally:
        for child in children:
            child.kill()
            child.wait()


@pytest.mark.long
@pytest.mark.parametrize("engine", range(SOAK_ENGINES))
def test_at_high_load_only_servers_that_hang_are_restarted(lab: Lab, image: str, own: OwnEngine, engine: int) -> None:
    seed = int(os.environ.get("FLEET_POWER_SEED") or random.randrange(1_000_000))
    dice, (interval, timeout) = random.Random(seed), (5, 3)
    with checked(lab, image, 12, (interval, timeout)) as (_supervising, uuids), contextlib.closing(HealthEvents(own.client)) as events:
        with busy(math.ceil(8 / SOAK_ENGINES)):
            over = time.monotonic() + SOAK_SECONDS
            while time.monotonic() < over:
                uuid = dice.choice(uuids)
                # It may be down, for a restart.
                with contextlib.suppress(ProcessLookupError, AssertionError):
                    if dice.random() < 0.2:
                        deadlock(lab, uuid)
                    else:
                        stop_process(lab, uuid)
                        time.sleep(dice.uniform(1.0, 3.0 * (interval + timeout)))
                        send(lab, uuid, signal.SIGCONT)
                time.sleep(dice.uniform(5.0, 40.0))
                for each in uuids:
                    if dice.random() < 0.1:
                        (lab.volume(each) / "deadlock").unlink(missing_ok=True)
        rows = [row for uuid in uuids for row in rows_of(lab, uuid)]
        hangs = [row for row in rows if row.verdict is Verdict.HUNG]
        turned = sum(health == "unhealthy" for _at, _container, health in events.seen)
        print(f"engine {engine}, seed {seed}: {SOAK_SECONDS:.0f} s, {turned} times unhealthy, {len(hangs)} restarts")
        assert [row for row in rows if row not in hangs] == [], "only hangs end runs"
        with contextlib.closing(lab.node().journal) as journal:
            begun = {row.id: row.begun_at for uuid in uuids for row in journal.operations.of(uuid)}
        found = {row.run: events.fault_of(row, begun[row.operation], len(uuids), interval + timeout) for row in hangs}
        faults = {run: fault for run, fault in found.items() if fault}
        times = {uuid: sorted(filter(None, (engine_time(row.ended_at) for row in hangs if row.server.uuid == uuid))) for uuid in uuids}
        assert all(later - first > timedelta(hours=1) for ends in times.values() for first, later in zip(ends, ends[3:]))
        assert faults == {}, seed


@pytest.mark.long
class TestLeftAlone:
    def test_without_the_setting(self, lab: Lab, image: str) -> None:
        with checked(lab, image, restart_unhealthy=False) as (_supervising, (uuid,)):
            assert stays(lab, uuid, stop_process(lab, uuid))

    def test_during_a_freeze(self, lab: Lab, image: str) -> None:
        with checked(lab, image) as (_supervising, (uuid,)):
            until = datetime.now(timezone.utc) + timedelta(hours=1)
            freeze(lab.node().journal.freezes, (), until=until, reason="final", origin="alice")
            assert stays(lab, uuid, stop_process(lab, uuid))

    def test_while_paused(self, lab: Lab, image: str) -> None:
        with checked(lab, image) as (_supervising, (uuid,)):
            run = stop_process(lab, uuid)
            await_health(lab, uuid, "unhealthy")
            lab.client.pause(uuid)
            time.sleep(3.0 * INTERVAL)
            assert run_of(lab, uuid) == run and not verdicts(lab, uuid)

    def test_within_its_start_period(self, lab: Lab, image: str) -> None:
        with checked(lab, image) as (_supervising, (uuid,)):
            (rule,) = lab.settings["healthchecks"]
            lab.write_settings(healthchecks=[{**rule, "start_period": 600}])
            deadlock(lab, uuid)
            assert ended(lab.power("kill", uuid)) == ("done", "")
            assert ended(lab.power("start", uuid)) == ("done", "")
            run = run_of(lab, uuid)
            time.sleep(4.0 * INTERVAL)
            assert health_of(lab, uuid) == "starting" and run_of(lab, uuid) == run

    def test_after_three_restarts_in_an_hour(self, lab: Lab, image: str) -> None:
        with checked(lab, image) as (_supervising, (uuid,)):
            for number in range(1, 4):
                stop_process(lab, uuid)
                await_verdicts(lab, uuid, *["hung"] * number, seconds=RESTART_SECONDS)
                wait_until(lambda: lab.is_up(uuid), "it is up again", 30.0)
                await_health(lab, uuid, "healthy")
            run = stop_process(lab, uuid)
            wait_until(lambda: supervision(lab, uuid)["hang"] == "too_often", "it is reported", 60.0)
            assert run_of(lab, uuid) == run and len(verdicts(lab, uuid)) == 3

    def test_with_most_servers_of_its_node(self, lab: Lab, image: str) -> None:
        with checked(lab, image, 3) as (_supervising, uuids):
            runs = [stop_process(lab, uuid) for uuid in uuids[:2]]
            wait_until(lambda: supervision(lab, uuids[0])["hang"] == "suspect", "it is reported", 30.0)
            time.sleep(3.0 * INTERVAL)
            assert [run_of(lab, uuid) for uuid in uuids[:2]] == runs and not verdicts(lab, uuids[0])
            for uuid in uuids[:2]:
                send(lab, uuid, signal.SIGCONT)
                await_health(lab, uuid, "healthy")
            wait_until(lambda: supervision(lab, uuids[1])["hang"] is None, "the episode is over", 30.0)
            # A minute later the next hang is one of a single server.
            time.sleep(61.0)
            before = stop_process(lab, uuids[0])
            await_run_after(lab, uuids[0], before, RESTART_SECONDS)


def supervision(lab: Lab, uuid: str) -> dict[str, Any]:
    """Return the supervision of a server as the module reports it."""
    node = lab.node()
    with contextlib.closing(node.journal):
        (entry,) = describe([uuid], node, FactOptions(), remember=lambda _uuid, _run: None).entries
    return dict(entry["supervision"])
