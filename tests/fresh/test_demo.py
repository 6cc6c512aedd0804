# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The first commands of a new user on a machine with Debian's base, make, git and Python; ``make fresh`` runs them."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

CHECKOUT = Path(__file__).parents[2]
FRESH = CHECKOUT / "tests" / "lab" / "fresh"
NOBODY = ("setpriv", "--reuid", "65534", "--clear-groups")
#: The files in .build after a demo and its removal.
KEPT = {"ansible_collections", "engine.lock", "venv.lock"}
#: Lists the processes apart from its own, the mounts, the network devices, and the temporary files.
STATE = r"""for each in /proc/[0-9]*; do tr '\0\n' '  ' <$each/cmdline 2>/dev/null && echo; done | grep -vE '^$|^(sh|tr|grep|sleep) '
awk '{print $2}' /proc/mounts
ls /sys/class/net /tmp"""


def enter(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [FRESH, "enter", *command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )


def said(*command: str) -> str:
    ran = enter(*command)
    assert ran.returncode == 0, ran.stdout
    return ran.stdout


def state() -> list[str]:
    """Return the machine's processes, mounts, network devices and temporary files."""
    return sorted(said("sh", "-c", STATE).splitlines())


@dataclass(frozen=True)
class Seen:
    refused: subprocess.CompletedProcess[str]
    operations: list[dict[str, Any]]
    up: list[str]
    seconds: tuple[float, float]
    farewell: str
    before: list[str]
    after: list[str]
    kept: set[str]


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Seen:
    """Run ``make demo`` and ``make demo-down`` on the fresh machine."""
    refused = enter(*NOBODY, "tests/lab/needs", "demo")
    before = state()
    began = time.monotonic()
    demo = enter("make", "demo")
    assert demo.returncode == 0, demo.stdout
    between = time.monotonic()
    root = Path(subprocess.run([FRESH, "root"], check=True, capture_output=True, text=True).stdout.strip()) / "srv" / "checkout"
    operations = journal(root / ".build" / "demo" / "state", tmp_path_factory.mktemp("journal"))
    up = said("sh", "-c", 'DOCKER_HOST=$(tests/lab/engine host) docker ps --format "{{.Names}}"').split()
    down_began = time.monotonic()
    farewell = said("make", "demo-down")
    seconds = (between - began, time.monotonic() - down_began)
    return Seen(refused, operations, up, seconds, farewell, before, state(), {path.name for path in (root / ".build").iterdir()})


def journal(directory: Path, copy: Path) -> list[dict[str, Any]]:
    """Return the operations in a copy of the journal, the oldest first."""
    for path in directory.glob("journal.sqlite*"):
        shutil.copy(path, copy)
    with sqlite3.connect(copy / "journal.sqlite") as connection:
        connection.row_factory = sqlite3.Row
        return [dict(row) for row in connection.execute("SELECT * FROM operations ORDER BY number")]


def of(seen: Seen, name: str) -> list[tuple[str, str, str]]:
    return [(row["action"], row["outcome"], row["code"] or "") for row in seen.operations if row["name"] == name]


def test_a_user_without_root_sees_the_missing_packages_at_once(seen: Seen) -> None:
    assert seen.refused.returncode == 1
    (sentence,) = seen.refused.stdout.splitlines()
    assert "apt-get install busybox-static docker-cli python3-venv' as root" in sentence
    assert "no Docker Engine answers" in sentence


def test_a_task_starts_ten_servers_and_another_restarts_eight(seen: Seen) -> None:
    assert len({row["name"] for row in seen.operations}) == 10
    assert Counter(of(seen, name)[0] for name in {row["name"] for row in seen.operations}) == {("start", "done", ""): 10}
    restarted = {row["name"] for row in seen.operations[10:18] if (row["action"], row["outcome"]) == ("restart", "done")}
    assert len(restarted) == 8


def test_a_second_restart_waits_its_turn(seen: Seen) -> None:
    first, second = [row for row in seen.operations if row["name"] == "Harbor"][2:4]
    assert [(row["action"], row["outcome"]) for row in (first, second)] == [("restart", "done")] * 2
    assert first["waited_seconds"] < 0.1 <= second["waited_seconds"]


def test_a_suspended_server_refuses_a_restart_and_keeps_running(seen: Seen) -> None:
    assert of(seen, "Overdue")[1:] == [("restart", "refused", "suspended")]
    assert [row["uuid"] in seen.up for row in seen.operations if row["name"] == "Overdue"] == [True, True]


def test_a_server_that_ignores_its_stop_is_killed_after_the_stop_timeout(seen: Seen) -> None:
    (stop,) = [row for row in seen.operations if row["name"] == "Stubborn" and row["action"] == "stop"]
    assert (stop["outcome"], stop["forced"], stop["state"]) == ("done", 1, "offline")


def test_a_kill_in_the_middle_of_a_restart_wins(seen: Seen) -> None:
    assert sorted(of(seen, "Fjord")[2:]) == [("kill", "done", ""), ("restart", "cancelled", "cancelled_by_kill")]
    assert next(row["uuid"] for row in seen.operations if row["name"] == "Fjord") not in seen.up


def test_the_next_action_works_after_a_kill_of_the_playbook(seen: Seen) -> None:
    assert of(seen, "Grove")[2:] == [("stop", "failed", "interrupted"), ("restart", "done", "")]
    assert next(row["uuid"] for row in seen.operations if row["name"] == "Grove") in seen.up


def test_demo_down_removes_everything_and_reports_it(seen: Seen) -> None:
    assert seen.after == seen.before
    assert seen.kept == KEPT
    assert "10 containers, 1 network, 3 images" in seen.farewell


def test_the_demo_reports_its_time(seen: Seen, capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled():
        print("\non a fresh machine, downloads included: make demo {:.0f} s, make demo-down {:.0f} s".format(*seen.seconds))
