# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Full, read-only and damaged journals: stopped servers stay down, and the supervisor starts no server on a guess."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.host.supervisor_record import read_record
from ansible_collections.fleet.power.tests.unit.lock_support import fill, leave_room, small_disk

from .command import fleet_power
from .lab import Lab, ended, wait_until
from .supervisors import Supervising, await_run_after, await_verdicts, crash, die_in_restart, rows_of, run_of, state_directory, verdicts

#: The log of the journal alone grows to 4 MiB.
_BYTES = 8 * 1024 * 1024


class StateDisk:
    """The node's state directory on a small disk, which a test can fill or make read-only."""

    def __init__(self, lab: Lab, path: Path) -> None:
        self._path = path
        # The last close of the journal removes its log and frees room: keep one open.
        self._keeper = lab.node()
        self._keeper.journal.supervisor.set_values([("test", "")])

    def spoil(self, kind: str) -> None:
        assert os.path.ismount(self._path)
        if kind == "read-only":
            # An open writer prevents a read-only remount. The next read opens the journal again.
            self.close()
            self._remount("ro")
            return
        fill(self._path)
        for _number in range(_BYTES):
            if not self._keeper.journal.supervisor.set_values([("test", "x" * 3000)]):
                return

    def leave(self, kibibytes: int) -> None:
        """Fill the disk up to some free KiB: some writes may still find room."""
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


@contextmanager
def failing_disk(path: Path) -> Iterator[Callable[[], None]]:
    """A disk at ``path``, and a function that lets it turn read-only, as after an error. If a mount is impossible, skip the test."""
    image = path.with_name("disk")
    path.mkdir()
    with open(image, "wb") as file:
        file.truncate(_BYTES)
    subprocess.run(["mkfs.ext4", "-q", str(image)], check=True)
    if subprocess.run(["mount", "-o", "loop,errors=remount-ro", str(image), str(path)], check=False).returncode != 0:
        pytest.skip("a mount is impossible here")

    def fail() -> None:
        subprocess.run(["mount", "-o", "remount,abort", str(path)], check=True)

    try:
        yield fail
    finally:
        subprocess.run(["umount", str(path)], check=True)
        image.unlink()


def paused(lab: Lab) -> str:
    record = read_record([str(lab.root / "run")])
    return "" if record is None else record.paused


@pytest.mark.samples("restart-full, supervisor dead")
@pytest.mark.parametrize("disk_is", ["full, supervisor alive", "full, supervisor dead", "read-only, supervisor dead"])
@pytest.mark.parametrize("action", ["stop", "kill", "restart"])
def test_a_server_stopped_on_an_unwritable_disk_stays_down(lab: Lab, action: str, disk_is: str) -> None:
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
                wait_until(lambda: not lab.is_up(uuid), "the server is down")
            else:
                result = lab.power(action, uuid)
                assert result.outcome.value == "done", result
            assert disk.says_up(uuid), "the intent of the action could not be written"
            if supervisor == "alive":
                wait_until(lambda: paused(lab) == "journal", "the supervisor is paused for the journal")
            if kind == "read-only":
                supervising.begin_again()
                assert supervising.child.wait(20) == 1 and "is read-only; see system.state_directory" in supervising.errors.read_text()
            time.sleep(1.0)
            assert (lab.is_up(uuid), verdicts(lab, uuid)) == (False, [])
            disk.mend()
            if supervisor == "dead":
                supervising.begin_again()
                supervising.await_ready()
            await_verdicts(lab, uuid, "restarting" if action == "restart" else "stopped")
            wait_until(lambda: paused(lab) == "", "the pause is over")
            if action == "restart":
                await_run_after(lab, uuid, before)
                return
            time.sleep(1.0)
            assert not lab.is_up(uuid)
        # Like the restore after a boot: the lock record still has the intent of the stop.
        assert lab.power("start", uuid, should_be_up=frozenset([uuid])).code == "not_selected"
        assert not disk.says_up(uuid)


def test_a_disk_that_turns_read_only_shows_the_pause_of_the_supervisor(lab: Lab) -> None:
    with failing_disk(state_directory(lab)) as fail:
        uuid = lab.up()
        with Supervising(lab):
            fail()
            crash(lab, uuid)
            wait_until(lambda: paused(lab) == "journal", "the supervisor is paused for the journal")
            assert "Supervisor paused, the journal cannot be used" in fleet_power(lab, "status").out
            assert "The supervisor is paused (journal), so it stays down." in fleet_power(lab, "why", uuid).out
            assert not lab.is_up(uuid)


@pytest.mark.long
@pytest.mark.samples("4-12")
@pytest.mark.parametrize("seconds", [12, pytest.param(600, marks=pytest.mark.long)])
@pytest.mark.parametrize("free", [0, 4, 20])
def test_a_stop_on_a_full_disk_stays_down_beside_the_supervisor(lab: Lab, free: int, seconds: int) -> None:
    """One server waits in a back-off. The other is up again after its first crash."""
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
            # Meanwhile its back-off may have grown to minutes.
            wait_until(lambda: not disk.says_up(down) and not any(row.due for row in rows_of(lab, down)), "its stop is recorded", 400.0)
            assert not lab.is_up(down) and not lab.is_up(up)
            for uuid in (down, up):
                assert ended(lab.power("start", uuid)) == ("done", "")


#: Damage to the journal under a running supervisor.
DAMAGES = {
    "removed": lambda file: file.unlink(),
    "replaced by an empty one": lambda file: (file.with_name("fresh").touch(), os.replace(file.with_name("fresh"), file)),
}


@pytest.mark.samples("removed-before the crash")
@pytest.mark.parametrize("when", ["before the crash", "in its back-off"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_server_without_a_recorded_intent_is_not_started(lab: Lab, damage: str, when: str) -> None:
    uuid = lab.up()
    with Supervising(lab):
        if when == "in its back-off":
            crash_twice(lab, uuid)
        DAMAGES[damage](state_directory(lab) / "journal.sqlite")
        if when == "before the crash":
            crash(lab, uuid)
        assert_left(lab, uuid, 12.0 if when == "in its back-off" else 2.0)


def crash_twice(lab: Lab, uuid: str) -> None:
    await_run_after(lab, uuid, crash(lab, uuid))
    await_verdicts(lab, uuid, "crashed")
    crash(lab, uuid)
    await_verdicts(lab, uuid, "crashed", "crashed")


def assert_left(lab: Lab, uuid: str, seconds: float) -> None:
    """Assert that the server stays down for ``seconds``, and that supervision works again after a start."""
    time.sleep(seconds)
    assert not lab.is_up(uuid)
    assert not any(row.due for row in rows_of(lab, uuid))
    assert ended(lab.power("start", uuid)) == ("done", "")
    await_run_after(lab, uuid, crash(lab, uuid))


@pytest.mark.samples("dead")
@pytest.mark.parametrize("supervisor", ["alive", "dead"])
def test_the_supervisor_starts_no_server_while_the_journal_is_unreadable(lab: Lab, supervisor: str) -> None:
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
        wait_until(lambda: paused(lab) == "journal", "the supervisor is paused for the journal")
        time.sleep(1.0)
        assert not lab.is_up(uuid)
        aside.replace(file)
        await_run_after(lab, uuid, before)
        await_verdicts(lab, uuid, "crashed")
