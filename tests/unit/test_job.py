# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files of a job: private, in whole lines, and with a single end; and the waiter that reads them."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import random
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from ansible_collections.fleet.power.plugins.module_utils import _job, _job_wait
from ansible_collections.fleet.power.plugins.module_utils._job import (
    AskedJob,
    Job,
    absent_answer,
    asked_for,
    asking,
    ended_job,
    give_up_command,
    job_path,
)
from ansible_collections.fleet.power.plugins.module_utils._job_wait import Watched, wait
from ansible_collections.fleet.power.plugins.module_utils._power.host import machine
from ansible_collections.fleet.power.tests.unit.forked_support import wait_for

NAME = "0123456789abcdef" * 2
OTHER_NAME = "fedcba9876543210" * 2
#: Longer than any test: a wait of this length is a failure.
LONG = 60.0
OLD_PYTHON = subprocess.run(
    [Path(__file__).resolve().parents[1] / "tools" / "python", "3.9", "3.9"], capture_output=True, text=True, check=False
).stdout.strip()


@pytest.fixture(name="home")
def home_of_jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The directory of this user's jobs. The jobs of this process end with the test."""
    path = tmp_path / "jobs"
    monkeypatch.setattr(_job, "_home", lambda: str(path))
    yield path
    end_below(path)


def end_below(path: Path | str) -> None:
    """End a job of this process, or all jobs in a directory, as the end of its process does."""
    for descriptor in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            if os.readlink(f"/proc/self/fd/{descriptor}").startswith(str(path)):
                os.close(int(descriptor))


def mode(path: Path | str) -> int:
    return stat.S_IMODE(os.stat(path).st_mode)


def left_behind(home: Path, name: str, age: float, *, live: bool = False, whole: bool = True) -> Path:
    """The files of a job that is ``age`` seconds old."""
    path = home / name
    path.mkdir(parents=True, mode=0o700)
    (path / "lines").write_text("{}\n")
    if whole:
        (path / "alive").touch()
        (path / "asked").touch()
        os.utime(path / "asked", (time.monotonic() - age, time.monotonic() - age))
    if live:
        fcntl.flock(os.open(path / "alive", os.O_RDWR), fcntl.LOCK_EX)
    os.utime(path, (time.time() - age, time.time() - age))
    return path


@pytest.mark.parametrize("name", ["", "../x", NAME[1:], NAME.upper(), NAME + "\n", "g" * 32])
def test_an_invalid_job_name_raises_an_error(home: Path, name: str) -> None:
    with pytest.raises(ValueError, match="is no job"):
        job_path(name)


def test_a_job_directory_of_another_user_is_refused(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left_behind(home, NAME, 0, live=True)
    home.chmod(0o700)
    assert ended_job(job_path(NAME)) is None
    us = os.geteuid()
    monkeypatch.setattr(_job.os, "geteuid", lambda: us + 1)
    with pytest.raises(PermissionError):
        Job(OTHER_NAME)
    with pytest.raises(PermissionError):
        ended_job(job_path(NAME))


@pytest.mark.parametrize("open_to", [0o750, 0o701, 0o777])
def test_a_job_directory_open_to_others_is_refused(home: Path, open_to: int) -> None:
    home.mkdir()
    home.chmod(open_to)
    with pytest.raises(PermissionError):
        Job(NAME)
    assert list(home.iterdir()) == []


def test_a_job_that_cannot_create_its_files_leaves_no_files(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_unused: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(_job.fcntl, "flock", full)
    with pytest.raises(OSError):
        Job(NAME)
    assert list(home.iterdir()) == []


@pytest.mark.parametrize("blocks, free, has_room", [(1 << 20, 1 << 10, False), (1 << 20, 1 << 14, True), (0, 0, True)])
def test_a_nearly_full_disk_refuses_a_job(home: Path, monkeypatch: pytest.MonkeyPatch, blocks: int, free: int, has_room: bool) -> None:
    monkeypatch.setattr(_job.os, "statvfs", lambda _path: SimpleNamespace(f_blocks=blocks, f_bavail=free, f_frsize=4096))
    if has_room:
        Job(NAME)
        return
    with pytest.raises(OSError, match="No space left"):
        Job(NAME)
    assert list(home.iterdir()) == []


@pytest.mark.parametrize("days", [2, -2])
def test_a_clock_change_of_days_removes_no_job_files(home: Path, monkeypatch: pytest.MonkeyPatch, days: int) -> None:
    killed, ended = Job(NAME), Job("a" * 32)
    ended.end(0)
    end_below(home)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 86400 * days)
    Job(OTHER_NAME)
    assert Path(killed.path).exists() and Path(ended.path).exists()


def test_a_job_that_ends_while_another_begins_keeps_its_files(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quick = Job(NAME)
    # As it is before its first poll is recorded.
    os.utime(home / NAME / "asked")

    def ends(path: str) -> bool:
        quick.end(0)
        end_below(path)
        return False

    monkeypatch.setattr(_job, "_is_live", ends)
    Job(OTHER_NAME)
    assert ended_job(str(home / NAME)) == (b"", b"", 0)


def test_an_invalid_job_variable_is_ignored() -> None:
    assert asked_for({"FLEET_POWER_JOB": f"{NAME}:2.0"}) == AskedJob(NAME, 2.0)
    assert asked_for({"FLEET_POWER_JOB": f"{NAME}:0"}) == AskedJob(NAME, 0.0)
    assert asked_for({"FLEET_POWER_JOB": asking(NAME, 2.0)}) == AskedJob(NAME, 2.0)
    absent = {"fleet_life": "6f1a8c0e-8f0e.12", "fleet_age": 100.0}
    assert asked_for({"FLEET_POWER_JOB": asking(NAME, 2.0, absent)}) == AskedJob(NAME, 2.0, "6f1a8c0e-8f0e.12", 340.0)
    for text in (
        "",
        "0",
        "1",
        NAME,
        f"{NAME}:",
        f"{NAME}:-1",
        f"{NAME}:2e9",
        f"{NAME}:nan",
        f"../{NAME}:2",
        f"{NAME}:2\n",
        f"{NAME}:2:a.1",
    ):
        assert asked_for({"FLEET_POWER_JOB": text}) is None
    assert asked_for({}) is None


def test_a_repeated_job_begins_only_in_the_same_boot_and_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = asked_for({"FLEET_POWER_JOB": asking(NAME, 2.0, absent_answer())})
    assert asked is not None and asked.may_begin
    now, age = _job.life()
    assert 0 < age <= machine.boot_seconds()
    monkeypatch.setattr(_job, "life", lambda: (now, age + _job.KEPT_SECONDS + 5))
    assert not asked.may_begin
    # After a boot, and in a restarted container.
    for other in (f"a{now}", f"{now}1"):
        monkeypatch.setattr(_job, "life", lambda: (other, 1.0))  # noqa: B023
        assert not asked.may_begin
    assert AskedJob(NAME, 2.0).may_begin


def test_the_time_since_the_last_poll_ignores_the_wall_clock(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = Job(NAME)
    assert job.silence < LONG
    monkeypatch.setattr(time, "monotonic", lambda: 1000.0)
    Watched(job.path).touch(ago=40.0)
    assert job.silence == pytest.approx(40.0)
    monkeypatch.setattr(time, "time", lambda: 0.0)
    assert job.silence == pytest.approx(40.0)
    Watched(job.path).touch()
    assert job.silence == 0.0
    shutil.rmtree(job.path)
    assert job.silence == 0.0


def test_progress_of_many_threads_is_read_in_whole_lines_and_in_order(home: Path) -> None:
    job, watched = Job(NAME), Watched(job_path(NAME))

    def write_lines(writer: int) -> None:
        for number in range(60):
            job.tell({"writer": writer, "number": number, "long": "\u2028\n" * random.choice((1, 3000))})

    threads = [threading.Thread(target=write_lines, args=(writer,)) for writer in range(4)]
    for thread in threads:
        thread.start()
    heard, offset = [], 0
    while any(thread.is_alive() for thread in threads) or watched.news(offset):
        found = watched.news(offset)
        assert found[-1:] in (b"", b"\n")
        offset += len(found)
        heard += [json.loads(line) for line in found.decode().splitlines()]
    for writer in range(4):
        assert [each["number"] for each in heard if each["writer"] == writer] == list(range(60))


def test_a_job_either_ends_first_or_is_handed_over(home: Path) -> None:
    first = {True: 0, False: 0}
    for number in range(50):
        job = Job(f"{number:032x}")
        ready, go = os.pipe()
        child = os.fork()
        if child == 0:
            code = 9
            with contextlib.suppress(BaseException):
                os.read(ready, 1)
                time.sleep(random.choice((0.0, 0.0, 0.0002)))
                code = int(job.end(0))
            os._exit(code)
        os.write(go, b"x")
        handed_over = job.hand_over()
        ended_first = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert (handed_over, ended_first) in ((True, 0), (False, 1))
        first[handed_over] += 1
        end_below(job.path)
        os.close(ready)
        os.close(go)
    assert sum(first.values()) == 50


def test_a_killed_job_and_a_missing_job_raise_different_errors(home: Path) -> None:
    job = Job(NAME)
    assert ended_job(job.path) is None
    end_below(job.path)
    with pytest.raises(ValueError, match="no exit code"):
        ended_job(job.path)
    with pytest.raises(FileNotFoundError):
        ended_job(job_path(OTHER_NAME))


def test_an_ended_job_returns_its_output_byte_for_byte(home: Path) -> None:
    job = Job(NAME)
    (Path(job.path) / "out").write_bytes(b'{"a": "\xff"}\n')
    (Path(job.path) / "err").write_bytes(b"warned\r\n")
    job.end(3)
    assert ended_job(job.path) is None
    end_below(job.path)
    assert ended_job(job.path) == (b'{"a": "\xff"}\n', b"warned\r\n", 3)


def test_a_timeout_ends_a_wait_with_the_lines_so_far(home: Path) -> None:
    job, began = Job(NAME), time.monotonic()
    assert wait(Watched(job.path), 0, 0.0, 0.2) == (b"", True)
    assert time.monotonic() - began >= 0.2
    job.tell({"n": 1})
    assert wait(Watched(job.path), 0, LONG, 0.2) == (b'{"n":1}\n', True)
    assert wait(Watched(job.path), 8, LONG, 0.1) == (b"", True)


def waiter(job: Job, *arguments: object, program: Path | None = None, python: str = sys.executable) -> subprocess.Popen[bytes]:
    """Start the waiter as a controller does: the job's copy of the program, without the environment of the test."""
    command = [python, "-I", "-S", str(program or Path(job.path) / "wait"), job.path, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={})


def followed(home: Path) -> Job:
    job = Job(NAME)
    assert job.hand_over()
    return job


@pytest.mark.parametrize(
    "python", [sys.executable, pytest.param(OLD_PYTHON, marks=pytest.mark.skipif(not OLD_PYTHON, reason="no Python 3.9 here"))]
)
def test_the_waiter_is_a_single_file_that_any_python_runs_from_anywhere(home: Path, tmp_path: Path, python: str) -> None:
    job = followed(home)
    job.tell({"name": "Gr\u00fc\u00dfe"})
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    shutil.copy(Path(job.path) / "wait", elsewhere / "copied")
    output, errors = waiter(job, 0, 0.0, LONG, program=elsewhere / "copied", python=python).communicate(timeout=30)
    (line,) = output.decode("ascii").splitlines()
    assert errors == b""
    answer = json.loads(line)
    assert [json.loads(each) for each in answer.pop("fleet_lines")] == [{"name": "Gr\u00fc\u00dfe"}]
    assert answer == {"fleet_offset": os.path.getsize(Path(job.path) / "lines"), "fleet_live": True, "fleet_result": None}
    # A controller finds the answer among other output by its beginning.
    assert line.startswith('{"fleet_lines"')


@pytest.mark.parametrize("how", ["closed", "SIGHUP", "SIGINT", "SIGTERM"])
def test_a_clean_exit_of_the_waiter_counts_as_silence(home: Path, how: str) -> None:
    job = followed(home)
    asked = Path(job.path) / "asked"
    os.utime(asked, (0, 0))
    waiting = waiter(job, 0, 0.0, LONG)
    wait_for(lambda: asked.stat().st_mtime > 0, "a waiter")
    if how == "closed":
        assert waiting.stdout is not None
        waiting.stdout.close()
        waiting.stdout = None
    else:
        waiting.send_signal(signal.Signals[how])
    output, errors = waiting.communicate(timeout=30)
    assert (waiting.returncode, output or b"", errors) == (1, b"", b"")
    assert job.silence > _job.HOLD_SECONDS
    # The controller may still return within the grace.
    assert job.silence < _job.GRACE_SECONDS


@pytest.mark.parametrize(
    "out, err, is_sent",
    [
        (b'\n{"changed": true}\n', b"", True),
        ('{"msg": "Gr\u00fc\u00dfe"}'.encode(), b"", True),
        (b'{"changed": true}', b"a warning of Python", False),
        (b'{"long": "' + b"x" * (1 << 18) + b'"}', b"", False),
    ],
)
def test_a_plain_result_comes_with_the_last_lines_and_others_are_fetched(home: Path, out: bytes, err: bytes, is_sent: bool) -> None:
    job = Job(NAME)
    Path(job.path, "out").write_bytes(out)
    Path(job.path, "err").write_bytes(err)
    assert _job_wait.Watched(job.path).result() is None, "the job has not ended yet"
    job.end(0)
    found = _job_wait.Watched(job.path).result()
    assert found == (out.decode() if is_sent else None)


def test_the_removal_of_job_files_works_with_any_path_variable(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_job, "KEPT_SECONDS", 0.3)
    monkeypatch.setenv("PATH", str(home / "nothing"))
    jobs = [Job(name) for name in (NAME, NAME[::-1])]
    for job in jobs:
        job.end(0)
        job.leave()
    wait_for(lambda: not any(Path(job.path).exists() for job in jobs), "the files are removed")


def give_up(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for each in ("_HOME_OF_ROOT", "_HOME_OF_OTHERS"):
        monkeypatch.setattr(_job, each, str(home))
    command = give_up_command(NAME).replace(f"{home}$user", str(home))
    for shell in ("sh", "bash"):
        subprocess.run([shell, "-c", command], check=True, env={"PATH": os.defpath})


def test_a_given_up_job_reads_its_mark(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = Job(NAME)
    assert not job.is_given_up
    give_up(home, monkeypatch)
    assert job.is_given_up
    assert mode(job_path(NAME) + "/given-up") == 0o600
    assert ended_job(job_path(NAME)) is None


def test_a_job_given_up_before_its_beginning_does_not_begin(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    give_up(home, monkeypatch)
    assert mode(home) == 0o700
    with pytest.raises(FileExistsError):
        Job(NAME)
    monkeypatch.setattr(_job, "KEPT_SECONDS", 0.3)
    other = Job(OTHER_NAME)
    other.end(0)
    end_below(other.path)
    other.leave()
    wait_for(lambda: not (home / NAME).exists(), "the files are removed")


def test_the_give_up_command_does_not_write_to_a_directory_of_another_user(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    home.symlink_to(elsewhere)
    give_up(home, monkeypatch)
    assert list(elsewhere.iterdir()) == []
    if os.geteuid() == 0:
        home.unlink()
        home.mkdir()
        os.chown(home, 65534, 65534)
        give_up(home, monkeypatch)
        assert list(home.iterdir()) == []
        os.chown(home, 0, 0)


def test_the_give_up_command_and_the_job_use_the_same_directory() -> None:
    assert "home=/run/fleet-power-jobs; else home=/var/tmp/fleet-power-jobs-$user;" in give_up_command(NAME)
    assert job_path(NAME) == f"/run/fleet-power-jobs/{NAME}" if os.geteuid() == 0 else f"/var/tmp/fleet-power-jobs-{os.geteuid()}/{NAME}"
