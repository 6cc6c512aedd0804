# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Kill generations and the power state."""

from __future__ import annotations

import errno
import os
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.actions.node.node import age_seconds, derive_state
from ansible_collections.fleet.power.plugins.module_utils._power.locking.generation import KillGenerations
from ansible_collections.fleet.power.plugins.module_utils._power.model.clock import engine_time
from ansible_collections.fleet.power.plugins.module_utils._power.model.errors import LockUnavailable
from ansible_collections.fleet.power.plugins.module_utils._power.model.request import ALL
from ansible_collections.fleet.power.plugins.module_utils._power.model.server import PowerState, Run, Snapshot
from ansible_collections.fleet.power.plugins.module_utils._power.model.supervision import SeenRun
from ansible_collections.fleet.power.tests.unit.lock_support import (
    FORK,
    NO_GROUP,
    OTHER_UUID,
    UUID,
    as_nobody_below,
    fill,
    mode_of,
    small_disk,
    syncs,
)


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def generations(state: Path) -> KillGenerations:
    return KillGenerations(str(state), NO_GROUP)


def test_a_server_that_was_never_killed_has_generation_0_and_no_file(generations: KillGenerations, state: Path) -> None:
    assert generations.read(UUID) == 0
    assert generations.scan() == {ALL: 0}
    assert not generations.changed_since(UUID, 0)
    assert not state.exists()


def test_a_kill_changes_the_generation_of_its_server_only(generations: KillGenerations) -> None:
    before = generations.read(UUID)
    generations.raise_for(UUID)
    assert generations.changed_since(UUID, before)
    assert not generations.changed_since(UUID, generations.read(UUID))
    assert not generations.changed_since(OTHER_UUID, 0)
    # Only equality counts: a new file has a smaller number, which is a change, too.
    assert generations.changed_since(UUID, 1000)


def raise_often(directory: str, times: int) -> None:
    mine = KillGenerations(directory, NO_GROUP)
    for _unused in range(times):
        mine.raise_for(UUID)


def test_kills_of_several_processes_are_all_counted(generations: KillGenerations, state: Path) -> None:
    killers = [FORK.Process(target=raise_often, args=(str(state), 250)) for _unused in range(4)]
    for killer in killers:
        killer.start()
    for killer in killers:
        killer.join(60)
    assert [killer.exitcode for killer in killers] == [0] * 4
    assert generations.read(UUID) == 1000


def test_a_scan_finds_every_server_and_ignores_other_files(generations: KillGenerations, state: Path) -> None:
    generations.raise_for(UUID)
    generations.raise_for(UUID)
    generations.raise_for(OTHER_UUID)
    (state / "journal.db").write_text("x")
    (state / "nonsense.kills").write_text("x")
    (state / f"{UUID.upper()}.kills").write_text("x")
    (state / ".kills").write_text("x")
    (state / "11111111-1111-4111-8111-111111111111.kills").mkdir()
    (state / "22222222-2222-4222-8222-222222222222.kills").symlink_to("journal.db")
    assert generations.scan() == {ALL: 0, UUID: 2, OTHER_UUID: 1}


@pytest.mark.usefixtures("strict_umask")
def test_the_umask_does_not_affect_the_mode_of_the_file(generations: KillGenerations, state: Path) -> None:
    generations.raise_for(UUID)
    assert mode_of(state / f"{UUID}.kills") == 0o660


def test_keeping_a_kill_syncs_its_file_and_its_directory(
    generations: KillGenerations, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    generations.raise_for(UUID)
    synced = syncs(monkeypatch)
    generations.keep(UUID)
    assert synced == [(str(state / f"{UUID}.kills"), 1), (str(state), None)]
    generations.raise_for_all()
    del synced[:]
    generations.keep(UUID)
    assert (str(state / "all.kills"), 1) in synced


def test_a_state_directory_behind_a_link_is_synced_too(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "state").symlink_to("there")
    generations = KillGenerations(str(tmp_path / "state"), NO_GROUP)
    generations.raise_for(UUID)
    generations.keep(UUID)


def test_a_kill_that_cannot_be_synced_raises_an_error(generations: KillGenerations, monkeypatch: pytest.MonkeyPatch) -> None:
    generations.raise_for(UUID)

    def broken(_descriptor: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(LockUnavailable, match=r"Cannot keep the count of kills .*Input/output error"):
        generations.keep(UUID)


@pytest.mark.parametrize("kind", ["link", "pipe", "directory"])
def test_a_file_that_is_not_regular_is_refused(generations: KillGenerations, state: Path, kind: str) -> None:
    state.mkdir()
    path, target = state / f"{UUID}.kills", state / "target"
    target.write_text("untouched")
    if kind == "link":
        path.symlink_to("target")
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.mkdir()
    with pytest.raises(LockUnavailable):
        generations.read(UUID)
    with pytest.raises(LockUnavailable):
        generations.raise_for(UUID)
    assert target.read_text() == "untouched"


def test_a_missing_permission_raises_an_error(generations: KillGenerations, state: Path) -> None:
    generations.raise_for(UUID)
    with as_nobody_below(state / "x"):
        os.stat(state)
        assert generations.read(UUID) == 1
        with pytest.raises(LockUnavailable, match="Permission denied"):
            generations.raise_for(UUID)
        with pytest.raises(LockUnavailable, match="Permission denied"):
            generations.scan()
    state.chmod(0o700)
    with as_nobody_below(state.parent), pytest.raises(LockUnavailable, match="; act as root or as a member of the group"):
        generations.of_all()


def test_a_full_disk_refuses_a_first_kill_but_counts_later_kills(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        generations = KillGenerations(str(disk), NO_GROUP)
        generations.raise_for(UUID)
        fill(disk)
        generations.raise_for(UUID)
        assert generations.read(UUID) == 2
        with pytest.raises(LockUnavailable, match="No space left on device"):
            generations.raise_for(OTHER_UUID)
        assert not generations.changed_since(OTHER_UUID, 0)


@pytest.mark.parametrize("uuid", ["", "../../etc/passwd", UUID.upper(), UUID[:8], f"{UUID}\n", f"{UUID}/x"])
def test_only_a_canonical_uuid_names_a_file(generations: KillGenerations, state: Path, uuid: str) -> None:
    with pytest.raises(ValueError, match="UUID"):
        generations.raise_for(uuid)
    with pytest.raises(ValueError, match="UUID"):
        generations.read(uuid)
    assert not state.exists()


def test_a_kill_of_all_counts_for_known_and_unknown_servers(tmp_path: Path) -> None:
    generations = KillGenerations(str(tmp_path), NO_GROUP)
    generations.raise_for(UUID)
    before = {uuid: generations.read(uuid) for uuid in (UUID, OTHER_UUID)}
    generations.raise_for_all()
    assert all(generations.changed_since(uuid, generation) for uuid, generation in before.items())
    assert generations.scan() == {ALL: 1, UUID: 2}
    assert not generations.changed_since(OTHER_UUID, generations.of_all())


STARTED_AT = "2026-03-01T12:00:00.123456789Z"
NOW = datetime(2026, 3, 1, 12, 5, tzinfo=timezone.utc)
WINDOW = 900
LIVE = Snapshot("c1", "name", live=True, started_at=STARTED_AT)
ENDED = Snapshot("c1", "name", live=False, started_at=STARTED_AT)
EARLIER = Run("c1", "2026-03-01T11:00:00Z")
ELSEWHERE = Run("c2", STARTED_AT)


def state_of(
    snapshot: Snapshot | None, *, stopping: Run | None = None, started: SeenRun | None = None, now: datetime = NOW
) -> tuple[str, str]:
    state, startup = derive_state(snapshot, stopping=stopping, started=started, now=now, startup_window=WINDOW)
    return state.value, startup.value


def ours(run: Run = LIVE.run, *, matchers: bool = True, matched: bool = False) -> SeenRun:
    return SeenRun(run, matchers=matchers, matched=matched)


@pytest.mark.parametrize("snapshot", [None, ENDED], ids=["no container", "ended"])
@pytest.mark.parametrize("stopping", [None, LIVE.run])
@pytest.mark.parametrize("started", [None, ours()])
def test_a_server_without_a_process_is_always_offline(snapshot: Snapshot | None, stopping: Run | None, started: SeenRun | None) -> None:
    assert state_of(snapshot, stopping=stopping, started=started) == ("offline", "unknown")


@pytest.mark.parametrize(
    "started, state, startup",
    [
        (None, "running", "unknown"),
        (ours(), "starting", "waiting"),
        (ours(matched=True), "running", "matched"),
        (ours(matchers=False), "running", "unknown"),
        (ours(EARLIER), "running", "unknown"),
        (ours(ELSEWHERE), "running", "unknown"),
        (ours(EARLIER, matched=True), "running", "unknown"),
    ],
)
def test_a_live_server_is_starting_only_until_its_readiness_line(started: SeenRun | None, state: str, startup: str) -> None:
    assert state_of(LIVE, started=started) == (state, startup)


@pytest.mark.parametrize("seconds, state", [(0, "starting"), (WINDOW - 1, "starting"), (WINDOW, "running"), (10 * WINDOW, "running")])
def test_a_missing_readiness_line_ends_the_starting_state_after_the_startup_window(seconds: int, state: str) -> None:
    began = engine_time(STARTED_AT)
    assert began is not None
    assert state_of(LIVE, started=ours(), now=began + timedelta(seconds=seconds)) == (state, "waiting")


def test_an_unreadable_start_time_means_running() -> None:
    unread = Snapshot("c1", "name", live=True, started_at="some day")
    assert state_of(unread, started=ours(unread.run)) == ("running", "waiting")


@pytest.mark.parametrize("started", [None, ours(), ours(matched=True)])
def test_a_stop_of_this_run_means_stopping_with_or_without_readiness(started: SeenRun | None) -> None:
    assert state_of(LIVE, stopping=LIVE.run, started=started)[0] == "stopping"


@pytest.mark.parametrize("stopping", [EARLIER, ELSEWHERE])
def test_a_stop_of_another_run_does_not_affect_the_state(stopping: Run) -> None:
    assert state_of(LIVE, stopping=stopping)[0] == "running"


@pytest.mark.parametrize("paused", [True, False])
def test_a_paused_server_is_running(paused: bool) -> None:
    assert state_of(Snapshot("c1", "name", live=True, started_at=STARTED_AT, paused=paused))[0] == PowerState.RUNNING.value


@pytest.mark.parametrize(
    "text, moment",
    [
        ("2026-03-01T12:00:00.123456789Z", datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=timezone.utc)),
        ("2026-03-01T12:00:00.5Z", datetime(2026, 3, 1, 12, 0, 0, 500000, tzinfo=timezone.utc)),
        ("2026-03-01T12:00:00.999999999Z", datetime(2026, 3, 1, 12, 0, 0, 999999, tzinfo=timezone.utc)),
        ("2026-03-01T12:00:00Z", datetime(2026, 3, 1, 12, 0, tzinfo=timezone.utc)),
    ],
)
def test_the_engines_time_is_read_with_all_its_digits(text: str, moment: datetime) -> None:
    assert engine_time(text) == moment


@pytest.mark.parametrize(
    "text", ["0001-01-01T00:00:00Z", "0001-01-01T00:00:00.000000001Z", "", "yesterday", "2026-13-41T12:00:00Z", "2026-03-01T12:00:00+01:00"]
)
def test_an_invalid_time_is_none(text: str) -> None:
    assert engine_time(text) is None
    assert age_seconds(text, NOW) is None


def test_an_age_in_seconds_may_be_negative_if_clocks_differ() -> None:
    assert age_seconds("2026-03-01T12:04:58.5Z", NOW) == 1.5
    assert age_seconds("2026-03-01T12:05:01Z", NOW) == -1.0
