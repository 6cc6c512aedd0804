# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A long module becomes a job: really forked, really killed. Each script is a module that writes notes."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.fleet.power.plugins.module_utils._job import ended_job
from ansible_collections.fleet.power.plugins.module_utils._job_wait import Watched
from ansible_collections.fleet.power.plugins.module_utils._power.host.machine import life
from ansible_collections.fleet.power.tests.unit.forked_support import ForkedModule, environment, wait_for

NAME = "0123456789abcdef" * 2
UTILS = "ansible_collections.fleet.power.plugins.module_utils"
PRELUDE = f"""
import atexit, json, os, signal, sys, time
from {UTILS} import _followed_session, _job
from {UTILS}._followed_session import in_followed_session

notes, _job._home, _job.KEPT_SECONDS = sys.argv[1], lambda: sys.argv[2], 2
_followed_session.outlive_login = lambda pid, name: True

def note(text):
    with open(notes, "a") as file:
        file.write(text + "\\n")

def until(condition):
    deadline = time.monotonic() + 20
    while not condition():
        if time.monotonic() > deadline:
            return note("never")
        time.sleep(0.01)

def released():
    return os.path.exists(notes + ".released")

def followed(main, after=0.05):
    in_followed_session(main, _job.AskedJob("{NAME}", after))
"""
#: Runs until the test releases it.
LONG = """
def main(interrupted, job):
    note(f"begun {os.getpid()} {os.getsid(0)}")
    until(released)
    note(f"finished {interrupted()}")
    print(json.dumps({"changed": True}))
    print("a warning", file=sys.stderr)
    sys.exit(3)
"""
#: Runs until a signal interrupts it.
ENDS = """
def main(interrupted, job):
    note(f"begun {os.getpid()} {os.getsid(0)}")
    until(interrupted)
    time.sleep(0.05)
    note("finished")
    print(json.dumps({"changed": True}))
"""
Start = Callable[[str], "FollowedModule"]


class FollowedModule(ForkedModule):
    def __init__(self, script: str, directory: Path) -> None:
        self.home = directory / "jobs"
        self.job = self.home / NAME
        super().__init__(PRELUDE + script, directory / "notes", str(self.home))

    def close(self) -> None:
        """End also the process groups of the jobs, with the processes that remove their files."""
        super().close()
        for note in self.noted():
            if note.startswith("begun"):
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(int(note.split()[1]), signal.SIGKILL)

    def release(self) -> None:
        Path(f"{self.notes}.released").touch()

    def handed_over(self) -> dict[str, Any]:
        """Wait until the call hands over to the job; return its answer."""
        code, output, errors = self.end()
        assert (code, errors) == (0, "")
        answer: dict[str, Any] = json.loads(output)
        assert answer == {"changed": False, "fleet_follow": {"job": str(self.job), "python": sys.executable}}
        return answer

    def await_end(self) -> tuple[bytes, bytes, int]:
        """Wait for the end of the job; return its output, errors and exit code."""
        wait_for(lambda: not Watched(str(self.job)).is_live(), "the end of the job")
        ended = ended_job(str(self.job))
        assert ended is not None
        return ended

    def fetched(self) -> tuple[int, dict[str, Any], str]:
        pytest.importorskip("ansible.module_utils.basic")
        script = f"""
import sys
from {UTILS} import _job
_job._home = lambda: sys.argv[2]
from ansible_collections.fleet.power.plugins.modules import server_power_job
sys.argv = sys.argv[:1]
server_power_job.main()
""".replace("sys.argv[2]", repr(str(self.home)))
        arguments = json.dumps({"ANSIBLE_MODULE_ARGS": {"job": NAME}})
        command = [sys.executable, "-c", script]
        done = subprocess.run(command, input=arguments, env=environment(), capture_output=True, text=True, timeout=30, check=False)
        answer = json.loads(done.stdout)
        answer.pop("invocation", None)
        return done.returncode, answer, done.stderr


@pytest.fixture(name="run")
def start_followed_module(tmp_path: Path) -> Iterator[Start]:
    with ExitStack() as started:
        yield lambda script: started.enter_context(closing(FollowedModule(script, tmp_path)))


def lives(job: Path) -> bool:
    try:
        return Watched(str(job)).is_live()
    except FileNotFoundError:
        return False


#: Like a module of Ansible: it runs from files that are removed at its end.
WRAPPED = """
def exits():
    note(f"exit {os.path.exists(unpacked)}")

unpacked = notes + ".unpacked"
open(unpacked, "w").close()
atexit.register(exits)
print("before")
try:
    followed(main, AFTER)
finally:
    note(f"unpacked {os.path.exists(unpacked)}")
    os.unlink(unpacked)
"""


def test_a_long_module_hands_over_to_a_job_and_its_result_is_fetched_later(run: Start) -> None:
    module = run(LONG + "followed(main)")
    answer = module.handed_over()
    assert module.fetched() == (0, answer, "")
    module.release()
    assert module.await_end() == (b'{"changed": true}\n', b"a warning\n", 3)
    assert module.fetched() == (3, {"changed": True}, "a warning\n")
    assert module.noted()[1:] == ["finished False"]


def test_a_killed_job_and_a_missing_job_have_different_answers(run: Start) -> None:
    module = run(LONG + "followed(main)")
    module.handed_over()
    os.kill(module.child(), signal.SIGKILL)
    wait_for(lambda: not Watched(str(module.job)).is_live(), "the end of the job")
    code, answer, errors = module.fetched()
    assert (code, answer["failed"], answer["code"], errors) == (1, True, "interrupted", "")
    assert "left no answer" in answer["msg"]
    module.job.rename(module.home / "another")
    code, answer, errors = module.fetched()
    assert (code, answer["fleet_absent"], answer["fleet_life"], errors) == (0, True, life()[0], "")


@pytest.mark.parametrize("ended", [False, True])
def test_a_second_call_of_a_job_answers_and_does_not_act(run: Start, ended: bool) -> None:
    module = run(LONG + "followed(main)")
    module.handed_over()
    if ended:
        module.release()
        module.await_end()
    again = run(LONG + "try:\n    followed(main)\nfinally:\n    note('left')")
    again.handed_over()
    begun = [note.split()[0] for note in module.noted()]
    assert begun == ["begun", "finished", "left"] if ended else ["begun", "left"]


def test_either_the_call_or_the_job_returns_the_result(run: Start, tmp_path: Path) -> None:
    # Each round ends right at the handover.
    script = """
_job.KEPT_SECONDS = 10

def round(number):
    output = os.open(f"{notes}-{number}", os.O_WRONLY | os.O_CREAT)
    os.dup2(output, 1)
    seconds = 0.02 + number % 5 * 0.0005
    asked = _job.AskedJob(f"{number:032x}", 0.02)
    in_followed_session(lambda interrupted, job: [note(f"begun {os.getpid()}"), time.sleep(seconds), print("done")], asked)

children = []
for number in range(24):
    child = os.fork()
    if not child:
        round(number)
    children.append(child)
for child in children:
    assert os.waitpid(child, 0)[1] == 0
"""
    module = run(script)
    assert module.end() == (0, "", "")
    for number in range(24):
        job, said = module.home / f"{number:032x}", (tmp_path / f"notes-{number}").read_text()
        if said == "done\n":
            continue
        assert json.loads(said)["fleet_follow"]["job"] == str(job)
        wait_for(lambda each=job: not lives(each), "the end of the job")  # type: ignore[misc]
        assert ended_job(str(job)) == (b"done\n", b"", 0)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_a_signal_before_the_hand_over_is_passed_on(run: Start, number: signal.Signals) -> None:
    module = run(ENDS + "followed(main, 20)")
    module.await_note("begun")
    module.parent.send_signal(number)
    assert module.end() == (0, '{"changed": true}\n', "")
    assert module.noted()[1:] == ["finished"]


@pytest.mark.parametrize("side", ["after_in_parent", "after_in_child"])
def test_a_signal_right_after_the_fork_is_not_lost(run: Start, side: str) -> None:
    module = run(f"os.register_at_fork({side}=lambda: os.kill(os.getpid(), signal.SIGTERM))\n" + ENDS + "followed(main, 20)")
    assert module.end() == (0, '{"changed": true}\n', "")
    assert module.noted()[1:] == ["finished"]


def test_a_job_finishes_and_removes_its_files_after_its_call_was_killed(run: Start) -> None:
    module = run("_job.KEPT_SECONDS = 0.3\n" + ENDS + WRAPPED.replace("AFTER", "20"))
    module.await_note("begun")
    module.parent.kill()
    module.parent.wait()
    module.await_note("exit")
    assert module.noted()[1:] == ["finished", "unpacked True", "exit False"]
    wait_for(lambda: not module.job.exists(), "the files are removed")


def test_a_job_stays_interrupted_when_polls_return_too_late(run: Start) -> None:
    script = """
class Silent:
    is_handed_over, silence, is_given_up = True, _job.GRACE_SECONDS + 1, False

job = Silent()
followed = _followed_session.Followed(job, -1)
seen = [followed()]
job.silence = 0.0
print(seen + [followed()])
"""
    assert run(script).end() == (0, "[True, True]\n", "")


def test_a_given_up_job_stays_interrupted(run: Start) -> None:
    script = """
class GivenUp:
    is_handed_over, silence, is_given_up = False, 0.0, False

job = GivenUp()
followed = _followed_session.Followed(job, os.getppid())
seen = [followed()]
job.is_given_up = True
seen.append(followed())
job.is_given_up = False
print(seen + [followed()])
"""
    assert run(script).end() == (0, "[False, True, True]\n", "")


#: Begins servers one after another.
MANY = """
def main(interrupted, job):
    note(f"begun {os.getpid()}")
    for number in range(10000):
        interrupted.hold()
        if interrupted():
            return note("given up")
        note(f"server {number}")
        time.sleep(0.01)
followed(main)
"""


def test_a_job_pauses_without_polls_and_continues_with_polls(run: Start) -> None:
    # A short uptime of the machine must not disturb the test.
    module = run("_followed_session.GRACE_SECONDS = 40.0\n" + MANY)
    module.handed_over()
    watched = Watched(str(module.job))
    # As a waiter that exits cleanly.
    watched.touch(ago=20.0)
    held = _stable_note_count(module)
    watched.touch()
    wait_for(lambda: len(module.noted()) > held + 5, "more servers")
    watched.touch(ago=45.0)
    module.await_note("given up")
    assert module.await_end() == (b"", b"", 0)


def _stable_note_count(module: FollowedModule) -> int:
    count, since = -1, time.monotonic()
    while time.monotonic() - since < 0.3:
        now = len(module.noted())
        if now != count:
            count, since = now, time.monotonic()
        time.sleep(0.01)
    assert "given up" not in module.noted()
    return count


def test_a_job_without_polls_for_too_long_gives_up(run: Start) -> None:
    module = run("_followed_session.HOLD_SECONDS, _followed_session.GRACE_SECONDS = 0.1, 0.4\n" + MANY)
    module.handed_over()
    module.await_note("given up")
    assert module.await_end() == (b"", b"", 0)


ACTS = 'followed(lambda interrupted, job: note("acted"))\n'


def not_begun(module: FollowedModule) -> dict[str, Any]:
    code, output, errors = module.end()
    assert (code, errors, module.noted()) == (0, "", [])
    answer: dict[str, Any] = json.loads(output)
    return answer


@pytest.mark.parametrize(
    "spoil",
    [
        lambda home: home.touch(0o600),
        lambda home: home.mkdir(mode=0o755),
        lambda home: [home.mkdir(mode=0o700), os.chown(home, 65534, 65534)],
        lambda home: home.symlink_to(home.parent),
    ],
    ids=["a file", "open to others", "of another user", "a link"],
)
def test_an_unsafe_job_directory_prevents_the_action(run: Start, tmp_path: Path, spoil: Callable[[Path], Any]) -> None:
    try:
        spoil(tmp_path / "jobs")
    except PermissionError:
        pytest.skip("only root can change the owner")
    module = run(ACTS)
    assert "is not ours alone" in not_begun(module)["fleet_unfollowed"]
    code, fetched, _errors = module.fetched()
    assert (code, fetched["failed"], fetched["code"]) == (1, True, "interrupted")
    assert fetched["msg"].startswith("Cannot tell what became of the action: ")
