# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What was meant to be up is started after a boot: by a program that is nothing but the core in an archive, as a unit runs it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import ansible_collections.fleet.power as collection
import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.model.caller import RESTORE_ORIGIN

from .lab import Lab, wait_until
from .many import assert_all_free, end, last_operations, power_each, seconds, started

PACKAGE = "ansible_collections.fleet.power.plugins.module_utils"
MODULE_UTILS = Path(next(iter(collection.__path__)), *PACKAGE.split(".")[3:])
PATIENCE = 60.0


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The collection's module_utils in a zip, each package with an empty __init__.py, and nothing else."""
    path = tmp_path_factory.mktemp("archive") / "power.zip"
    parts = PACKAGE.split(".")
    packages = {"/".join(parts[:depth]) for depth in range(1, len(parts) + 1)}
    with zipfile.ZipFile(path, "w") as file:
        for source in sorted(MODULE_UTILS.rglob("*.py")):
            if source.name != "__init__.py" or source.stat().st_size:
                name = "/".join((*parts, source.relative_to(MODULE_UTILS).as_posix()))
                packages.add(name.rpartition("/")[0])
                file.write(source, name)
        for package in packages - {name.rpartition("/")[0] for name in file.namelist() if name.endswith("/__init__.py")}:
            file.writestr(f"{package}/__init__.py", "")
    return path


class Restore:
    def __init__(self, lab: Lab, archive: Path, arguments: tuple[str, ...]) -> None:
        command = [sys.executable, "-P" if sys.version_info >= (3, 11) else "-s", "-m", f"{PACKAGE}.restore", "--config", str(lab.config)]
        environment = {**os.environ, "PYTHONPATH": str(archive), "DOCKER_HOST": lab.docker_host}
        self.child = subprocess.Popen(
            [*command, *arguments], env=environment, cwd="/", stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def ended(self) -> tuple[int, list[str], str]:
        """Its exit code, its lines, and what it said on standard error."""
        out, errors = self.child.communicate(timeout=PATIENCE)
        return self.child.returncode, out.splitlines(), errors


Begin = Callable[..., Restore]


@pytest.fixture
def begin(lab: Lab, archive: Path) -> Iterator[Begin]:
    begun: list[Restore] = []

    def restore(*arguments: str, node: Lab = lab) -> Restore:
        begun.append(Restore(node, archive, arguments))
        return begun[-1]

    yield restore
    for each in begun:
        if each.child.poll() is None:
            each.child.kill()
        each.child.communicate()


def halted(lab: Lab, *uuids: str) -> None:
    """End servers as a halt of the node does: nobody means them to be down."""
    end(lab, *uuids)
    for uuid in uuids:
        wait_until(lambda uuid=uuid: not lab.is_up(uuid), f"{uuid} is down")


def line_of(lines: list[str], uuid: str) -> str:
    (found,) = [line for line in lines if line.startswith(uuid)]
    return found


def test_what_was_meant_to_be_up_comes_up_in_order_and_apart_and_nothing_else_does(lab: Lab, begin: Begin) -> None:
    game, proxy, suspended, down = started(lab, 4)
    lab.edit(proxy, meta={"name": "Proxy", "priority": 10})
    lab.edit(suspended, suspended=True)
    power_each(lab, "stop", [down])
    never = lab.server()
    halted(lab, game, proxy, suspended)
    code, lines, errors = begin("--stagger", "2", "--wait-for", "running").ended()
    assert (code, errors) == (0, "")
    assert [line.rpartition(": ")[2] for line in lines if line.startswith((game, proxy))] == ["started"] * 2
    assert line_of(lines, proxy) == f"{proxy} Proxy: started"
    assert ": passed over, suspended: " in line_of(lines, suspended)
    assert len(lines) == 3
    assert [lab.is_up(uuid) for uuid in (game, proxy, suspended, down, never)] == [True, True, False, False, False]
    found = last_operations(lab, [game, proxy])
    assert {row.origin for row in found.values()} == {RESTORE_ORIGIN}
    assert seconds(found[game].begun_at) - seconds(found[proxy].begun_at) > 1.2
    assert seconds(found[game].begun_at) >= seconds(found[proxy].ended_at) - 0.002


def test_one_that_is_stopped_before_its_turn_stays_down(lab: Lab, begin: Begin) -> None:
    first, second = started(lab, 2)
    lab.edit(first, meta={"name": "First", "priority": 1}, environment={"BOOT_SECONDS": 4})
    halted(lab, first, second)
    restore = begin("--stagger", "0", "--wait-for", "running")
    wait_until(lambda: lab.is_up(first), "the first is up")
    power_each(lab, "stop", [second])
    code, lines, _errors = restore.ended()
    assert code == 0
    assert ": passed over, not_selected: " in line_of(lines, second) and "by test" in line_of(lines, second)
    assert not lab.is_up(second)


@pytest.mark.samples("15")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_lets_those_under_way_finish_and_no_other_begin(lab: Lab, begin: Begin, number: int) -> None:
    first, second = started(lab, 2)
    lab.edit(first, meta={"name": "First", "priority": 1})
    halted(lab, first, second)
    restore = begin("--stagger", "3600")
    wait_until(lambda: lab.is_up(first), "the first is up")
    restore.child.send_signal(number)
    code, lines, errors = restore.ended()
    assert (code, errors) == (1, "")
    assert line_of(lines, first).endswith(": started")
    assert ": skipped, interrupted_by_signal: " in line_of(lines, second)
    assert lab.is_up(first) and not lab.is_up(second)
    assert_all_free(lab, [first, second])


def test_two_at_once_start_each_server_once(lab: Lab, begin: Begin) -> None:
    uuids = started(lab, 3, DATA_WRITE=1)
    halted(lab, *uuids)
    for restore in [begin("--stagger", "0"), begin("--stagger", "0")]:
        assert restore.ended()[0] == 0
    assert [(lab.volume(uuid) / "boots").read_text().strip() for uuid in uuids] == ["2"] * 3


def test_a_journal_that_nobody_can_read_is_no_empty_one(lab: Lab, begin: Begin) -> None:
    uuids = started(lab, 1)
    halted(lab, *uuids)
    for file in (lab.root / "state").glob("journal.sqlite*"):
        file.write_bytes(b"no journal" * 1000)
    code, lines, errors = begin().ended()
    assert (code, lines) == (1, [])
    assert str(lab.root / "state") in errors and "Traceback" not in errors
    assert not lab.is_up(uuids[0])


@pytest.mark.samples("reboot-False")
@pytest.mark.parametrize("phase, up", [("reboot", False), ("start", True)])
def test_the_reboot_of_a_maintenance_is_left_to_it(lab: Lab, begin: Begin, phase: str, up: bool) -> None:
    (uuid,) = started(lab, 1)
    halted(lab, uuid)
    (lab.root / "state" / "maintenance.json").write_text(json.dumps({"schema": 1, "phase": phase, "boot_id": "b", "servers": []}))
    code, lines, errors = begin().ended()
    assert (code, len(lines), lab.is_up(uuid)) == (0, int(up), up)
    assert ("Nothing is started" in errors) == (not up)
