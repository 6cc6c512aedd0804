# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A task follows its job to the end: each line once, the whole result, and over lost connections that return in time."""

from __future__ import annotations

import importlib
import json
import shlex
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.fleet.power.plugins.module_utils._job import give_up_command

pytest.importorskip("ansible.plugins.action")
following = importlib.import_module("ansible_collections.fleet.power.plugins.plugin_utils._job_follower")
plugin = importlib.import_module("ansible_collections.fleet.power.plugins.action.server_power")
server_host = importlib.import_module("ansible_collections.fleet.power.plugins.plugin_utils._server_action")
errors = importlib.import_module("ansible.errors")

JOB = "0123456789abcdef" * 2
FOLLOWED = {"job": f"/run/fleet power's jobs/{JOB}", "python": "/usr/bin/python3"}
GOES_ON = {"changed": False, "fleet_follow": FOLLOWED}
RESULT = {"changed": True, "servers": [{"outcome": "done"}]}
LOST = "Failed to connect to the host via ssh: Shared connection to node-1 closed."


class Lines:
    def __init__(self, *_host: object, **_options: object) -> None:
        self.lines: list[str] = []
        self.said: list[str] = []
        self.pace = (0.5, 10.0)

    def __enter__(self) -> Lines:
        return self

    def __exit__(self, *_error: object) -> None:
        """Do nothing."""

    def take(self, lines: Sequence[str]) -> None:
        self.lines += lines

    def say(self, text: str) -> None:
        self.said.append(text)


class ScriptedNode:
    """A node with a job: ``lines`` lines, one for each poll. Waits advance its clock. It is out of reach during ``cuts``, in seconds."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, lines: int = 3, seconds: float = 4.0) -> None:
        self.now = 1000.0
        self.began = self.now
        self.lines = [f'{{"n":{number}}}' for number in range(lines)]
        self.seconds = seconds
        self.cuts: list[tuple[float, float]] = []
        self.noise: Callable[[str], str] = str
        self.plain: str | None = None
        self.answers: dict[str, Any] = RESULT
        self.absent_after = float("inf")
        self.age, self.life = 86400.0, "6f1a8c0e-8f0e-4c57.12"
        self.texts: list[str] = []
        self.asked: list[str] = []
        self.fetched = 0
        self.begun = 0
        self.reconnected = 0
        self.given_up: list[str] = []
        self.progress = Lines()
        clock = SimpleNamespace(monotonic=lambda: self.now, time=lambda: self.now, sleep=self.pass_time)
        monkeypatch.setattr(following, "time", clock)

    def pass_time(self, seconds: float) -> None:
        self.now += seconds

    @property
    def passed(self) -> float:
        return self.now - self.began

    def node(self) -> Any:
        return following.NodeOfTask(self.run, self.fetch, self.begin, self.disconnect, self.given_up.append)

    def follower(self) -> Any:
        return following.JobFollower(self.node(), JOB, self.progress, following.os.getppid())

    def run(self, command: str) -> str:
        """Answer as the job's waiter does, with the next line."""
        if command == give_up_command(JOB):
            self.given_up.append(JOB)
            return ""
        self.asked.append(command)
        python, program, job, offset, _gather, patience = shlex.split(command)
        assert (python, program, job) == (FOLLOWED["python"], f"{FOLLOWED['job']}/wait", FOLLOWED["job"])
        self._reach(at_most=float(patience))
        if self.passed >= self.absent_after:
            return "python3: can't open file 'wait'\n"
        known, start = int(offset), 0
        for line in self.lines:
            if start >= known:
                due = line if start == known else None
                if due is not None:
                    return self._printed([due], known + len(due) + 1)
            start += len(line) + 1
        assert known == start
        return self._printed([], known)

    def fetch(self, job: str) -> dict[str, Any]:
        assert job == JOB
        self.fetched += 1
        self._reach()
        if self.passed >= self.absent_after:
            return {"changed": False, "fleet_absent": True, "fleet_life": self.life, "fleet_age": self.age + self.passed}
        return dict(self.answers) if self.passed >= self.seconds else dict(GOES_ON)

    def begin(self, text: str) -> dict[str, Any]:
        self.begun += 1
        self.texts.append(text)
        self._reach()
        self.absent_after = float("inf")
        return dict(GOES_ON)

    def disconnect(self) -> None:
        self.reconnected += 1

    def _reach(self, at_most: float = 0.0) -> None:
        """Let a second pass. During a cut, the connection fails."""
        before = self.passed
        self.pass_time(1.0)
        if any(start <= self.passed and before < end for start, end in self.cuts):
            raise errors.AnsibleConnectionFailure(LOST)

    def _printed(self, lines: list[str], offset: int) -> str:
        live = self.passed < self.seconds
        answer = {"fleet_lines": lines, "fleet_offset": offset, "fleet_live": live or bool(lines)}
        return self.noise(json.dumps(answer if answer["fleet_live"] else {**answer, "fleet_result": self.plain}) + "\n")


@pytest.fixture(name="script")
def scripted_node(monkeypatch: pytest.MonkeyPatch) -> Callable[..., ScriptedNode]:
    return lambda **options: ScriptedNode(monkeypatch, **options)


Script = Callable[..., ScriptedNode]


@pytest.mark.parametrize(
    "text",
    [
        "",
        '{"half": ',
        '{"msg": ' + "[" * 200_000,
        json.dumps({**RESULT, "servers": [{"__ansible_type": "X"}]}),
    ],
)
def test_an_invalid_result_is_fetched_again(script: Script, text: str) -> None:
    scripted = script()
    scripted.plain = text
    assert scripted.follower().result(FOLLOWED) == RESULT
    assert scripted.fetched == 1


@pytest.mark.parametrize("start", [0.5, 1.5, 2.5, 3.5, 4.5])
def test_a_connection_that_returns_in_time_loses_no_line(script: Script, start: float) -> None:
    scripted = script()
    scripted.cuts = [(start, start + 20.0)]
    assert scripted.follower().result(FOLLOWED) == RESULT
    assert scripted.progress.lines == scripted.lines
    assert [text.partition(",")[0] for text in scripted.progress.said] == ["is out of reach", "is back"]
    # Each try makes a new connection, because the old one may hang.
    assert scripted.reconnected > 5


def test_a_long_poll_does_not_count_as_a_lost_connection(script: Script) -> None:
    scripted = script(lines=1, seconds=200.0)
    reach, first = scripted._reach, iter((True,))

    def reach_late(at_most: float = 0.0) -> None:
        reach(at_most)
        if next(first, False):
            # A quiet poll, and then the connection breaks.
            scripted.pass_time(100.0)
            raise errors.AnsibleConnectionFailure(LOST)

    scripted._reach = reach_late  # type: ignore[method-assign]
    assert scripted.follower().result(FOLLOWED) == RESULT


def test_a_connection_lost_for_too_long_raises_its_own_error(script: Script) -> None:
    scripted = script()
    scripted.cuts = [(1.5, 1e9)]
    with pytest.raises(errors.AnsibleConnectionFailure, match="Shared connection"):
        scripted.follower().result(FOLLOWED)
    assert following.LOST_SECONDS <= scripted.passed <= following.LOST_SECONDS + 10
    assert scripted.progress.lines == scripted.lines[:1]
    assert len(scripted.progress.said) == 1


@pytest.mark.parametrize("is_cut", [False, True])
def test_a_task_stops_its_polls_when_ansible_was_killed(script: Script, monkeypatch: pytest.MonkeyPatch, is_cut: bool) -> None:
    scripted = script(lines=10, seconds=20.0)
    scripted.cuts = [(2.5, 1e9)] if is_cut else []
    monkeypatch.setattr(following.os, "getppid", lambda: 1 if scripted.passed > 3 else 2)
    with pytest.raises(errors.AnsibleError, match="the run of Ansible has ended") as raised:
        scripted.follower().result(FOLLOWED)
    assert not isinstance(raised.value, errors.AnsibleConnectionFailure)
    assert (scripted.passed < 10, len(scripted.asked) < 6, scripted.fetched) == (True, True, 0)
    assert scripted.given_up == [JOB]


class TestLostBeforeTheAnswer:
    error = errors.AnsibleConnectionFailure(LOST)

    def rejoined(self, scripted: ScriptedNode, **given: Any) -> Any:
        return scripted.follower().rejoined(self.error, **{"elapsed": following.Elapsed(), **given})

    def test_a_job_that_never_began_begins_when_the_node_returns(self, script: Script) -> None:
        scripted = script()
        scripted.absent_after = 0.0
        scripted.cuts = [(1.5, 4.5)]
        assert self.rejoined(scripted) == RESULT
        assert (scripted.begun >= 1, scripted.progress.lines) == (True, scripted.lines)

    def test_a_node_that_does_not_return_is_unreachable(self, script: Script) -> None:
        scripted = script()
        scripted.cuts = [(0.0, 1e9)]
        with pytest.raises(errors.AnsibleConnectionFailure, match="Shared connection"):
            self.rejoined(scripted)
        assert scripted.passed <= following.LOST_SECONDS + 10

    def unknown(self, scripted: ScriptedNode, **given: Any) -> str:
        """Check that the outcome is unknown and the job does not begin again; return the reason."""
        result = self.rejoined(scripted, **given)
        assert (result["failed"], result["code"], scripted.begun) == (True, "interrupted", 0)
        assert result["msg"].startswith("Cannot tell whether the action has begun: ")
        return str(result["msg"])

    def test_a_job_that_a_boot_possibly_ended_does_not_begin_again(self, script: Script) -> None:
        scripted = script()
        scripted.absent_after, scripted.age = 0.0, -2.0
        assert "has rebooted" in self.unknown(scripted)

    def test_a_job_that_a_boot_ended_between_two_polls_does_not_begin_again(self, script: Script) -> None:
        scripted = script()
        scripted.absent_after = 0.0

        def begun_and_booted(text: str) -> dict[str, Any]:
            scripted.texts.append(text)
            scripted.age = -30.0
            scripted.pass_time(25.0)
            raise errors.AnsibleConnectionFailure(LOST)

        scripted.begin = begun_and_booted  # type: ignore[method-assign]
        assert "has rebooted" in self.unknown(scripted)
        assert len(scripted.texts) == 1

    @pytest.mark.parametrize("clock", ["monotonic", "time"])
    def test_an_answer_after_four_minutes_does_not_begin_the_job_again(
        self, script: Script, monkeypatch: pytest.MonkeyPatch, clock: str
    ) -> None:
        scripted = script()
        scripted.absent_after = 0.0
        fetch = scripted.fetch

        def stalled(job: str) -> dict[str, Any]:
            # Only a single clock advances: the other stands still while a machine sleeps.
            monkeypatch.setattr(following.time, clock, lambda: scripted.now + 240.0)
            return fetch(job)

        scripted.fetch = stalled  # type: ignore[method-assign]
        assert "for 240 s" in self.unknown(scripted)

    @pytest.mark.parametrize("life, age", [("x", 1e5), ("a.1:9", 1e5), ("a.1", None), ("a.1", "1e5")])
    def test_an_invalid_uptime_of_the_node_does_not_begin_the_job_again(self, script: Script, life: str, age: Any) -> None:
        scripted = script()
        scripted.absent_after = 0.0
        scripted.fetch = lambda job: {"fleet_absent": True, "fleet_life": life, "fleet_age": age}  # type: ignore[method-assign]
        assert "since when" in self.unknown(scripted)

    def test_a_job_begins_on_a_node_that_boots_with_its_task(self, script: Script) -> None:
        scripted = script()
        scripted.absent_after, scripted.age = 0.0, -2.0
        assert self.rejoined(scripted, elapsed=None) == RESULT
        assert scripted.begun == 1

    def test_a_job_that_reaches_its_node_too_late_does_not_begin(self, script: Script) -> None:
        scripted = script()
        scripted.absent_after = 0.0
        scripted.begin = lambda _text: scripted.fetch(JOB)  # type: ignore[method-assign]
        assert "took too long" in self.unknown(scripted)


@pytest.fixture(name="act")
def run_action(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Run the action plugin of a task on a scripted node. ``module`` returns the answer of the module."""

    def acted(scripted: ScriptedNode, module: Callable[[], dict[str, Any]], **task: Any) -> Any:
        fields = {"async_val": 0, "check_mode": False, "delegate_to": None, "environment": None, "no_log": False, **task}
        given = SimpleNamespace(args={"action": "start", "server": "a"}, get_name=lambda: "bring it up", **fields)
        connection = SimpleNamespace(transport="local", close=scripted.disconnect)
        action = plugin.ActionModule(
            task=given, connection=connection, play_context=None, loader=None, templar=None, shared_loader_obj=None
        )
        monkeypatch.setattr(server_host.ActionBase, "run", lambda self, tmp=None, task_vars=None: {})
        monkeypatch.setattr(plugin, "TaskProgress", lambda host, *, mute, reports: scripted.progress)
        monkeypatch.setattr(plugin, "new_job", lambda: JOB)

        def execute(_self: object, module_name: str = "", module_args: Any = None, **_rest: Any) -> dict[str, Any]:
            if module_name.endswith("server_power_job"):
                return scripted.fetch(module_args["job"])
            scripted.asked.append(json.dumps(given.environment))
            return module()

        monkeypatch.setattr(plugin.ActionModule, "_execute_module", execute)
        monkeypatch.setattr(plugin.ActionModule, "_low_level_execute_command", lambda _self, command: {"stdout": scripted.run(command)})
        return action.run(task_vars={"inventory_hostname": "node-1"})

    return acted


Act = Callable[..., Any]


def test_an_action_that_cannot_be_a_job_runs_once_without_a_job(script: Script, act: Act) -> None:
    scripted = script()
    answers = [{"changed": False, "fleet_unfollowed": "no room"}, dict(RESULT)]
    assert act(scripted, lambda: answers.pop(0), environment=[{"TMPDIR": "/x"}]) == RESULT
    # TMPDIR, the core, and the job.
    assert [len(json.loads(text)) for text in scripted.asked] == [3, 2]


def test_after_a_reconnect_an_action_that_cannot_be_a_job_runs_once_without_a_job(script: Script, act: Act) -> None:
    scripted = script()
    scripted.absent_after = 0.0
    answers: list[Any] = [None, {"changed": False, "fleet_unfollowed": "no room"}, dict(RESULT)]

    def answer() -> dict[str, Any]:
        found: dict[str, Any] | None = answers.pop(0)
        if found is None:
            raise errors.AnsibleConnectionFailure(LOST)
        return found

    assert act(scripted, answer) == RESULT
    assert [len(json.loads(text)) for text in scripted.asked] == [2, 3, 1]


def test_a_kill_of_ansible_during_the_module_gives_up_the_job(script: Script, act: Act, monkeypatch: pytest.MonkeyPatch) -> None:
    scripted = script()

    def answer() -> dict[str, Any]:
        monkeypatch.setattr(following.os, "getppid", lambda: 1)
        return dict(GOES_ON)

    with pytest.raises(errors.AnsibleError, match="the run of Ansible has ended"):
        act(scripted, answer)
    # The task made only the call of the module, and gave up the job on the node.
    assert (len(scripted.asked), scripted.fetched, scripted.given_up) == (1, 0, [JOB])


@pytest.mark.parametrize(
    "text",
    ["Host key verification failed.", "Permission denied (publickey).", "Connection refused", "ssh: connect to host x port 22: timed out"],
)
def test_a_node_without_a_first_connection_is_unreachable_at_once(
    script: Script, act: Act, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    scripted = script()
    monkeypatch.setattr(plugin, "was_reached", lambda host: False)
    error = errors.AnsibleConnectionFailure(f"Failed to connect to the host via ssh: {text}")

    def fail() -> dict[str, Any]:
        raise error

    with pytest.raises(errors.AnsibleConnectionFailure) as raised:
        act(scripted, fail)
    assert raised.value is error
    assert (scripted.passed, scripted.fetched, scripted.progress.said) == (0.0, 0, [])


def test_a_node_that_answered_earlier_is_tried_again(script: Script, act: Act, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugin, "was_reached", lambda host: True)
    scripted = script()

    def fail() -> dict[str, Any]:
        raise errors.AnsibleConnectionFailure("Failed to connect to the host via ssh: ssh: connect to host x port 22: No route to host")

    assert act(scripted, fail) == RESULT


def test_a_node_that_stayed_out_of_reach_is_not_tried_again_by_the_next_task(
    script: Script, act: Act, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted = script()
    scripted.cuts = [(0.0, float("inf"))]
    reached = {"node-1"}
    monkeypatch.setattr(plugin, "was_reached", lambda host: host in reached)
    monkeypatch.setattr(plugin, "forget_reached", reached.discard)

    def fail() -> dict[str, Any]:
        raise errors.AnsibleConnectionFailure("Failed to connect to the host via ssh: ssh: connect to host x port 22: No route to host")

    for patience in (following.LOST_SECONDS, 0.0):
        began = scripted.passed
        with pytest.raises(errors.AnsibleConnectionFailure):
            act(scripted, fail)
        assert patience <= scripted.passed - began <= patience + 10
