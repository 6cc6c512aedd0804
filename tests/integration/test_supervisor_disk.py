# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What was stopped while nobody could write it down stays down, and nothing is started on a guess."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.host.supervisor_record import read_record
from ansible_collections.fleet.power.tests.unit.lock_support import fill, leave_room, small_disk

from .lab import Lab, ended, wait_until
from .supervisors import Supervising, await_run_after, await_verdicts, crash, die_in_restart, rows_of, run_of, state_directory, verdicts

_BYTES = 1024 * 1024


class StateDisk:
    """The node's state directory on a small disk of its own, which can be made one that takes nothing more."""

    def __init__(self, lab: Lab, path: Path) -> None:
        self._path = path
        # Whoever closes the journal last makes room: its log is removed.
        self._keeper = lab.node()
        self._keeper.journal.supervisor.set_values([("test", "")])

    def spoil(self, kind: str) -> None:
        assert os.path.ismount(self._path)
        if kind == "read-only":
            # It is opened again when it is read. No disk can be made read-only that somebody writes to.
            self.close()
            self._remount("ro")
            return
        fill(self._path)
        for _number in range(_BYTES):
            if not self._keeper.journal.supervisor.set_values([("test", "x" * 3000)]):
                return

    def leave(self, kibibytes: int) -> None:
        """Fill it up to so many KiB: some writes may still find room."""
        leave_room(self._path, kibibytes)

    def mend(self) -> None:
        (self._path / "filler").unlink() if (self._path / "filler").exists() else self._remount("rw")

    def says_up(self, uuid: str) -> bool:
        intent = self._keeper.journal.intents.of(uuid)
        return intent is not None and intent.up

    def close(self) -> None:
        self._keeper.journal.close()

    def _remount(self, how: str) -> None:
        assert os.path.ismount(self._path)
        subprocess.run(["mount", "-o", f"remount,{how}", str(self._path)], check=True)


@contextmanager
def on_small_disk(lab: Lab) -> Iterator[StateDisk]:
    with small_disk(state_directory(lab), _BYTES) as path:
        disk = StateDisk(lab, path)
        try:
            yield disk
        finally:
            disk.close()


def paused(lab: Lab) -> str:
    record = read_record(str(state_directory(lab)))
    return "" if record is None else record.paused


@pytest.mark.samples("restart-full, supervisor dead")
@pytest.mark.parametrize("disk_is", ["full, supervisor alive", "full, supervisor dead", "read-only, supervisor dead"])
@pytest.mark.parametrize("action", ["stop", "kill", "restart"])
def test_what_is_stopped_while_nothing_can_be_written_stays_down(lab: Lab, action: str, disk_is: str) -> None:
    """A restart that dies before its start is finished once that can be written down."""
    kind, _comma, supervisor = disk_is.partition(", supervisor ")
    with on_small_disk(lab) as disk:
        uuid = lab.up(STOP_SECONDS=4, MARK=1)
        with Supervising(lab) as supervising:
            before = run_of(lab, uuid)
            if supervisor == "dead":
                supervising.kill()
            disk.spoil(kind)
            if action == "restart":
                with lab.actor(action, uuid) as actor:
                    die_in_restart(lab, uuid, actor)
                wait_until(lambda: not lab.is_up(uuid), "it is down")
            else:
                result = lab.power(action, uuid)
                assert result.outcome.value == "done", result
            assert disk.says_up(uuid), "nobody could write what was done"
            if supervisor == "alive":
                wait_until(lambda: paused(lab) == "journal", "it says what keeps it from starting anything")
            if kind == "read-only":
                supervising.begin_again()
                assert supervising.child.wait(20) == 1 and "cannot be made: Read-only file system" in supervising.errors.read_text()
            time.sleep(1.0)
            assert (lab.is_up(uuid), verdicts(lab, uuid)) == (False, [])
            disk.mend()
            if supervisor == "dead":
                supervising.begin_again()
                supervising.await_ready()
            await_verdicts(lab, uuid, "restarting" if action == "restart" else "stopped")
            wait_until(lambda: paused(lab) == "", "nothing keeps it any more")
            if action == "restart":
                await_run_after(lab, uuid, before)
                return
            time.sleep(1.0)
            assert not lab.is_up(uuid)
        # As after a boot: whoever takes the lock finds what the record says.
        assert lab.power("start", uuid, meant_up=frozenset([uuid])).code == "not_selected"
        assert not disk.says_up(uuid)


@pytest.mark.samples("4-12")
@pytest.mark.parametrize("seconds", [12, pytest.param(600, marks=pytest.mark.long)])
@pytest.mark.parametrize("free", [0, 4, 20])
def test_a_stop_on_a_full_disk_stays_down_beside_the_supervisor(lab: Lab, free: int, seconds: int) -> None:
    """One server waits for its next try after a crash, which comes after ten seconds; the other is up again after one."""
    with on_small_disk(lab) as disk:
        down, up = lab.up(), lab.up()
        with Supervising(lab):
            await_run_after(lab, up, crash(lab, up))
            await_verdicts(lab, up, "crashed")
            crash_twice(lab, down)
            disk.leave(free)
            for uuid, outcome in ((down, "unchanged"), (up, "done")):
                result = lab.power("stop", uuid)
                assert result.outcome.value == outcome, result
                assert any("it should be down" in warning for warning in result.warnings) is disk.says_up(uuid)
            over = time.monotonic() + seconds
            while time.monotonic() < over:
                assert not lab.is_up(down) and not lab.is_up(up), (rows_of(lab, down), rows_of(lab, up))
                time.sleep(0.2)
            disk.mend()
            await_verdicts(lab, up, "stopped", "crashed", seconds=400.0)
            # The waits between its tries went on meanwhile.
            wait_until(lambda: not disk.says_up(down) and not any(row.due for row in rows_of(lab, down)), "its stop is written", 400.0)
            assert not lab.is_up(down) and not lab.is_up(up)
            for uuid in (down, up):
                assert ended(lab.power("start", uuid)) == ("done", "")


#: What may become of a journal under a supervisor that runs.
SPOILT = {
    "removed": lambda file: file.unlink(),
    "replaced by an empty one": lambda file: (file.with_name("fresh").touch(), os.replace(file.with_name("fresh"), file)),
}


@pytest.mark.samples("removed-before the crash")
@pytest.mark.parametrize("when", ["before the crash", "in its back-off"])
@pytest.mark.parametrize("what", SPOILT)
def test_what_nobody_knows_to_be_meant_up_is_not_started(lab: Lab, what: str, when: str) -> None:
    """Whoever starts it then says that it is meant to be up."""
    uuid = lab.up()
    with Supervising(lab):
        if when == "in its back-off":
            crash_twice(lab, uuid)
        SPOILT[what](state_directory(lab) / "journal.sqlite")
        if when == "before the crash":
            crash(lab, uuid)
        assert_left(lab, uuid, 12.0 if when == "in its back-off" else 2.0)


def crash_twice(lab: Lab, uuid: str) -> None:
    await_run_after(lab, uuid, crash(lab, uuid))
    await_verdicts(lab, uuid, "crashed")
    crash(lab, uuid)
    await_verdicts(lab, uuid, "crashed", "crashed")


def assert_left(lab: Lab, uuid: str, seconds: float) -> None:
    """It is not started until somebody does so; that says that it is meant to be up."""
    time.sleep(seconds)
    assert not lab.is_up(uuid)
    assert not any(row.due for row in rows_of(lab, uuid))
    assert ended(lab.power("start", uuid)) == ("done", "")
    await_run_after(lab, uuid, crash(lab, uuid))


@pytest.mark.samples("dead")
@pytest.mark.parametrize("supervisor", ["alive", "dead"])
def test_nothing_is_started_while_the_journal_cannot_be_read(lab: Lab, supervisor: str) -> None:
    uuid = lab.up()
    with Supervising(lab) as supervising:
        if supervisor == "dead":
            supervising.kill()
        file, aside = state_directory(lab) / "journal.sqlite", state_directory(lab) / "aside"
        file.rename(aside)
        file.symlink_to(aside)
        before = crash(lab, uuid)
        if supervisor == "dead":
            supervising.begin_again()
        wait_until(lambda: paused(lab) == "journal", "it says what keeps it from starting anything")
        time.sleep(1.0)
        assert not lab.is_up(uuid)
        aside.replace(file)
        await_run_after(lab, uuid, before)
        await_verdicts(lab, uuid, "crashed")
