# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hooks: their settings, the words for systemd, and their place in an action. Real units run in tests/fleet/test_hooks.py.

Programs in place of systemd's only inject faults: they fail, hang, flood, or leave a unit behind.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.definitions.settings import Settings, load_settings, parse_settings
from ansible_collections.fleet.power.plugins.module_utils._power.definitions.settings_keys import POST_STOP, PRE_START, Hook
from ansible_collections.fleet.power.plugins.module_utils._power.host import hook_unit, pauses
from ansible_collections.fleet.power.plugins.module_utils._power.host.hook_unit import words_of
from ansible_collections.fleet.power.plugins.module_utils._power.model.errors import SettingsInvalid
from ansible_collections.fleet.power.plugins.module_utils._power.model.report import entry
from ansible_collections.fleet.power.plugins.module_utils._power.model.result import Result
from ansible_collections.fleet.power.tests.unit.fake_node import UUID, FakeNode

HOOKS_CODE = "ansible_collections.fleet.power.plugins.module_utils._power.actions.turn.hooks"
FALSE = {"command": ["/bin/false"]}
#: What a unit's shell does before it runs the hook.
BEGUN = "echo; read -r _ || exit 9"


def parse(*rules: object) -> Settings:
    return parse_settings({"hooks": list(rules)}, where="config.yml")


def faults(*rules: object) -> list[str]:
    with pytest.raises(SettingsInvalid) as raised:
        parse(*rules)
    cause = raised.value.__context__
    return [str(each) for each in cause.every]  # type: ignore[union-attr]


class TestSettings:
    def test_a_rule_has_a_hook_of_each_kind(self) -> None:
        (rule,) = parse({"server": "Lobby", POST_STOP: {"command": ["/bin/a", "-x"], "on_failure": "stay_down"}, PRE_START: FALSE}).hooks
        assert rule.post_stop == Hook(("/bin/a", "-x"), 600, "root", "stay_down")
        assert rule.pre_start == Hook(("/bin/false",), 600, "root", "warn")

    def test_all_faults_are_found_at_once(self) -> None:
        assert faults(
            {"server": "a", POST_STOP: {"command": "/bin/a b", "timeout": 0, "on_failure": "start"}},
            {POST_STOP: {"command": ["backup"]}, PRE_START: {"user": "x y"}},
            {PRE_START: {"timeout": 5}},
            {"server": "a"},
            {"server": "a", "servers": "b", PRE_START: {**FALSE, "on_failure": "warn"}},
        ) == [
            "hooks[0].post_stop.command is text, expected a list of words, the program first",
            "hooks[0].post_stop.timeout is 0 (a whole number), expected a whole number of seconds from 1 to 604800",
            'hooks[0].post_stop.on_failure is "start" (text), expected warn or stay_down',
            "hooks[1].post_stop.command is a list, expected a list of words, the program with its whole path first",
            'hooks[1].pre_start.user is "x y" (text), expected the name of a user',
            "hooks[2] selects no server, expected one or more of server, egg, image and label",
            "hooks[2].pre_start.command is missing, expected a list of words, the program with its whole path first",
            "hooks[3] has no hook, expected post_stop, pre_start or both",
            "hooks[4].servers is not a key of a hook (did you mean server?)",
            "hooks[4].pre_start.on_failure is not a key of a hook",
        ]

    def test_the_file_of_wings_has_no_hooks_because_the_panel_can_write_it(self, tmp_path: Path) -> None:
        wings, ours = tmp_path / "wings.yml", tmp_path / "config.yml"
        wings.write_text("app_name: Theirs\nhooks: [{server: all, pre_start: {command: [/bin/false]}}]\n")
        ours.write_text(f"wings_config: {wings}\n")
        found = load_settings(str(ours))
        assert (found.app_name, found.hooks) == ("Theirs", ())


class TestWords:
    @pytest.mark.parametrize("text", ["%h", "$HOME ${HOME}", "a\nb", "'\"\\", "--help", "", "=", "ü"])
    def test_any_text_reaches_systemd_as_it_is_but_for_doubled_dollars_in_arguments(self, text: str) -> None:
        words = words_of(UUID, POST_STOP, ["/bin/echo", text], "nobody", 5, {"REASON": text})
        assert f"--setenv=REASON={text}" in words
        end = words.index("--")
        assert [word.replace("$$", "$") for word in words[-2:]] == ["/bin/echo", text]
        assert words[-1].count("$") == 2 * text.count("$")
        assert {"--uid=nobody", "--property=RuntimeMaxSec=5", f"--unit=fleet-power-hook-{UUID}.service"} <= set(words[:end])


class Programs:
    """Programs in place of systemd's, on a machine that looks as if systemd ran it, with root as the user."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._bin, self.units, self.patch = root / "bin", root / "transient", monkeypatch
        self._bin.mkdir()
        self.units.mkdir()
        monkeypatch.setenv("PATH", f"{self._bin}{os.pathsep}{os.environ['PATH']}")
        monkeypatch.setattr(hook_unit, "_NEEDED", (str(root),))
        monkeypatch.setattr(pauses, "_TRANSIENT_UNITS", str(self.units))
        monkeypatch.setattr(hook_unit.os, "geteuid", lambda: 0)
        self.run(f"{BEGUN}; exit 0")
        self._write("systemctl", f"rm -f {self.unit}")

    @property
    def unit(self) -> Path:
        return self.units / f"fleet-power-hook-{UUID}.service"

    def run(self, script: str) -> None:
        """What systemd-run does, with any hook."""
        self._write("systemd-run", script)

    def cannot_end(self) -> None:
        self._write("systemctl", "exit 1")
        self.patch.setattr(hook_unit, "_END_SECONDS", 0.1)

    def _write(self, name: str, script: str) -> None:
        (self._bin / name).write_text(f"#!/bin/sh\n{script}\n")
        (self._bin / name).chmod(0o755)


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Programs:
    (tmp_path / "programs").mkdir()
    return Programs(tmp_path / "programs", monkeypatch)


def configure(fake: FakeNode, **hooks: object) -> None:
    fake.configure(hooks=[{"server": "all", **hooks}])


def ending(result: Result) -> tuple[str, str]:
    return result.outcome.value, result.code


def shown(result: Result) -> list[dict[str, Any]]:
    """The hooks of a result as users see them, without times."""
    found = entry(result, check=False, all_steps=True).get("hooks", [])
    return [{name: value for name, value in hook.items() if name != "seconds"} for hook in found]


def phases(result: Result) -> list[str]:
    return [name for name, _at in result.phases]


class TestOrder:
    def test_a_restart_runs_post_stop_after_the_stop_and_pre_start_before_any_edit(self, fake: FakeNode, programs: Programs) -> None:
        configure(fake, post_stop=FALSE, pre_start=FALSE)
        fake.up()
        result = fake.perform("restart")
        assert ending(result) == ("done", "")
        assert phases(result)[:5] == ["pull", "stop", "hook", "hook", "preboot"]
        assert shown(result) == [{"hook": POST_STOP, "exit_code": 0}, {"hook": PRE_START, "exit_code": 0}]

    def test_a_stop_runs_only_post_stop_and_a_start_only_pre_start(self, fake: FakeNode, programs: Programs) -> None:
        configure(fake, post_stop=FALSE, pre_start=FALSE)
        fake.up()
        assert shown(fake.perform("stop")) == [{"hook": POST_STOP, "exit_code": 0}]
        assert shown(fake.perform("stop")) == []
        assert shown(fake.perform("start")) == [{"hook": PRE_START, "exit_code": 0}]
        assert shown(fake.perform("start")) == shown(fake.perform("kill")) == []

    def test_the_first_rule_with_a_hook_of_the_kind_counts(self, fake: FakeNode, programs: Programs) -> None:
        fake.up()
        rules = [
            {"server": "another", POST_STOP: FALSE, PRE_START: FALSE},
            {"image": "game", POST_STOP: {"command": ["/no/such/program"]}},
            {"server": "Cobalt", POST_STOP: FALSE, PRE_START: {"command": ["/no/other/program"]}},
            {"server": "all", PRE_START: FALSE},
        ]
        fake.configure(hooks=rules)
        assert "/no/such/program" in fake.perform("stop").msg
        assert fake.live
        fake.configure(hooks=rules[2:])
        assert ending(fake.perform("stop")) == ("done", "")
        assert "/no/other/program" in fake.perform("start").msg

    def test_a_stop_is_in_the_journal_before_its_hook_begins(self, fake: FakeNode, programs: Programs, tmp_path: Path) -> None:
        configure(fake, post_stop=FALSE)
        fake.up()
        programs.run(
            f"{BEGUN}; cat {tmp_path}/locks/{UUID}.lock; touch {tmp_path}/in-hook; while [ -e {tmp_path}/in-hook ]; do sleep 0.01; done"
        )
        thread = threading.Thread(target=fake.perform, args=("stop",))
        thread.start()
        try:
            wait((tmp_path / "in-hook").exists)
            intent = fake.build().journal.intents.of(UUID)
            assert intent is not None and not intent.up
            holder = fake.node.locks.holder(UUID)
            assert holder is not None and (holder.phase, holder.phase_deadline is None) == ("hook", False)
        finally:
            (tmp_path / "in-hook").unlink(missing_ok=True)
            thread.join()


def wait(predicate: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not predicate():
        assert time.monotonic() < deadline
        time.sleep(0.01)


class TestFailure:
    @pytest.mark.parametrize("action", ["stop", "restart"])
    def test_a_failed_post_stop_is_a_warning_with_its_last_lines(self, fake: FakeNode, programs: Programs, action: str) -> None:
        configure(fake, post_stop=FALSE)
        fake.define(environment={"TOKEN": "hunter22"})
        fake.up()
        programs.run(f"{BEGUN}; seq 100000; printf 'the token is hunter22 %01000d\\n' 0; exit 3")
        result = fake.perform(action)
        assert (ending(result), fake.live) == (("done", "hook_failed"), action == "restart")
        said = f"its hook post_stop ended with exit code 3 (its last lines: 99999 / 100000 / the token is ******** {'0' * 78})"
        assert f"server {UUID}: {said}" in result.warnings
        assert result.msg == said and fake.node.journal.operations.of(UUID)[0].msg == said
        ((hook),) = shown(result)
        assert (hook["exit_code"], len(hook["output"]), hook["output"][-2]) == (3, 20, "100000")
        assert hook["output"][-1].startswith("the token is ******** 000")
        assert len(hook["output"][-1]) == 500

    def test_with_stay_down_a_restart_fails_and_nothing_starts_the_server(self, fake: FakeNode, programs: Programs) -> None:
        configure(fake, post_stop={**FALSE, "on_failure": "stay_down"})
        fake.up()
        programs.run(f"{BEGUN}; exit 3")
        result = fake.perform("restart")
        assert (ending(result), fake.live) == (("failed", "hook_failed"), False)
        intent = fake.node.journal.intents.of(UUID)
        assert intent is not None and not intent.up

    @pytest.mark.parametrize("action", ["start", "restart"])
    def test_a_failed_pre_start_leaves_the_server_down_as_it_was(self, fake: FakeNode, programs: Programs, action: str) -> None:
        snapshot = fake.up() if action == "restart" else fake.down()
        configure(fake, pre_start=FALSE)
        fake.define(environment={"NEW": "1"})
        fake.engine.calls.clear()
        programs.run(f"{BEGUN}; exit 1")
        result = fake.perform(action)
        assert (ending(result), fake.live) == (("failed", "hook_failed"), False)
        assert "its hook pre_start ended with exit code 1" in result.msg
        assert fake.seen().id == snapshot.id
        assert "preboot" not in phases(result)

    def test_a_program_of_systemd_that_cannot_start_is_a_failure(self, fake: FakeNode, programs: Programs) -> None:
        configure(fake, pre_start=FALSE)
        programs.patch.setattr(hook_unit, "words_of", lambda *_words: ["/no/such/program"])
        assert "its hook pre_start did not run: No such file or directory" in fake.perform("start").msg

    @pytest.mark.parametrize(
        "script, why",
        [
            (
                "echo 'Failed to start transient service unit: Access denied' >&2; exit 1",
                "Failed to start transient service unit: Access denied",
            ),
            ("exit 217", "systemd-run ended with exit code 217"),
        ],
    )
    def test_a_hook_that_systemd_does_not_begin_has_no_exit_code(self, fake: FakeNode, programs: Programs, script: str, why: str) -> None:
        configure(fake, pre_start=FALSE)
        programs.run(script)
        result = fake.perform("start")
        assert ending(result) == ("failed", "hook_failed")
        assert result.msg.endswith(f"its hook pre_start did not run: {why}")

    def test_an_overdue_unit_is_ended(self, fake: FakeNode, programs: Programs) -> None:
        configure(fake, pre_start={**FALSE, "timeout": 1})
        for name in ("_GRACE_SECONDS", "_LATE_SECONDS"):
            programs.patch.setattr(hook_unit, name, 0)
        programs.run(f"touch {programs.unit}; {BEGUN}; exec sleep 60")
        result = fake.perform("start")
        assert ending(result) == ("failed", "hook_failed")
        assert result.msg.endswith("its hook pre_start was ended after 1 s, its timeout")
        assert not programs.unit.exists()

    def test_a_hook_that_survives_its_end_prevents_a_start(self, fake: FakeNode, programs: Programs) -> None:
        configure(fake, post_stop=FALSE)
        fake.up()
        programs.run(f"touch {programs.unit}; {BEGUN}; exit 1")
        programs.cannot_end()
        assert ending(fake.perform("restart")) == ("failed", "hook_failed")
        assert not fake.live

    def test_a_flood_of_output_and_a_pipe_that_stays_open_delay_nothing(self, fake: FakeNode, programs: Programs, tmp_path: Path) -> None:
        configure(fake, pre_start=FALSE)
        programs.run(f"{BEGUN}; sh -c 'echo $$ >{tmp_path}/pid; exec yes' & sleep 0.2; exit 0")
        began = time.monotonic()
        try:
            assert ending(fake.perform("start")) == ("done", "")
            assert time.monotonic() - began < 20
        finally:
            os.kill(int((tmp_path / "pid").read_text()), 9)


class TestKill:
    @pytest.mark.parametrize("action, expected", [("stop", ("done", "hook_failed")), ("restart", ("cancelled", "cancelled_by_kill"))])
    def test_a_kill_ends_the_hook_within_a_second(self, fake: FakeNode, programs: Programs, action: str, expected: tuple[str, str]) -> None:
        configure(fake, post_stop=FALSE)
        fake.up()
        programs.run(f"touch {programs.unit}; {BEGUN}; exec sleep 60")
        began: list[float] = []

        def kill() -> None:
            wait(programs.unit.exists)
            began.append(time.monotonic())
            fake.kill_elsewhere()

        thread = threading.Thread(target=kill)
        thread.start()
        result = fake.perform(action)
        ended = time.monotonic()
        thread.join()
        assert ending(result) == expected
        assert ended - began[0] < 1 + 1
        assert shown(result) == [{"hook": POST_STOP}]
        assert (fake.live, programs.unit.exists()) == (False, False)

    def test_a_kill_before_the_first_line_of_a_hook_cancels_the_action(self, fake: FakeNode, programs: Programs) -> None:
        configure(fake, pre_start=FALSE)
        fake.down()
        programs.run(f"touch {programs.unit}; while [ -e {programs.unit} ]; do sleep 0.01; done; exit 1")

        def kill() -> None:
            wait(programs.unit.exists)
            fake.kill_elsewhere()
            programs.unit.unlink(missing_ok=True)

        thread = threading.Thread(target=kill)
        thread.start()
        result = fake.perform("start")
        thread.join()
        assert ending(result) == ("cancelled", "cancelled_by_kill")

    def test_a_kill_ends_the_hook_of_a_dead_action(self, fake: FakeNode, programs: Programs) -> None:
        fake.down()
        programs.unit.touch()
        fake.perform("kill")
        assert not programs.unit.exists()

    def test_a_kill_that_cannot_end_a_hook_works_and_says_so(self, fake: FakeNode, programs: Programs) -> None:
        fake.up()
        programs.unit.touch()
        programs.patch.setattr(hook_unit.os, "geteuid", lambda: 1000)
        result = fake.perform("kill")
        assert (ending(result), fake.live) == (("done", ""), False)
        assert [warning for warning in result.warnings if "only root can end it" in warning] != []


class TestRefusal:
    @pytest.mark.parametrize("action", ["stop", "start", "restart"])
    @pytest.mark.parametrize("check", [False, True])
    def test_without_root_an_action_with_hooks_is_refused_before_the_stop(
        self, fake: FakeNode, programs: Programs, action: str, check: bool
    ) -> None:
        snapshot = fake.down() if action == "start" else fake.up()
        configure(fake, **{PRE_START if action == "start" else POST_STOP: FALSE})
        fake.engine.calls.clear()
        programs.patch.setattr(hook_unit.os, "geteuid", lambda: 1000)
        result = fake.perform(action, check=check)
        assert (*ending(result), result.changed) == ("refused", "hook_unavailable", False)
        assert (fake.seen(), fake.engine.calls) == (snapshot, [])

    def test_without_root_an_action_without_hooks_of_its_own_goes_on(self, fake: FakeNode, programs: Programs) -> None:
        configure(fake, pre_start=FALSE)
        programs.patch.setattr(hook_unit.os, "geteuid", lambda: 1000)
        assert ending(fake.perform("start")) == ("refused", "hook_unavailable")
        fake.configure(hooks=[])
        fake.up()
        configure(fake, pre_start=FALSE)
        assert ending(fake.perform("stop")) == ("done", "")

    @pytest.mark.parametrize("given", [{"user": "no-such-user"}, {"command": ["/etc/passwd"]}, {}])
    def test_a_hook_that_cannot_run_is_refused(self, fake: FakeNode, programs: Programs, given: dict[str, Any]) -> None:
        configure(fake, pre_start={**FALSE, **given})
        if not given:
            programs.patch.setattr(hook_unit, "_NEEDED", ("/no/such/directory",))
        result = fake.perform("start")
        assert ending(result) == ("refused", "hook_unavailable")
        assert result.hooks == ()

    @pytest.mark.parametrize("action", ["stop", "start", "restart", "limit"])
    def test_an_action_from_inside_a_hook_of_the_server_is_refused_at_once(
        self, fake: FakeNode, programs: Programs, tmp_path: Path, action: str
    ) -> None:
        configure(fake, pre_start=FALSE)
        fake.up()
        (tmp_path / "cgroup").write_text(f"0::/system.slice/fleet-power-hook-{UUID}.service\n")
        programs.patch.setattr(hook_unit, "_CGROUPS", str(tmp_path / "cgroup"))
        with fake.lock():
            assert ending(fake.perform(action)) == ("refused", "inside_hook")
        (tmp_path / "cgroup").write_text(f"0::/system.slice/fleet-power-hook-{UUID.replace('0f', '1f')}.service\n")
        assert fake.perform(action).code != "inside_hook"

    def test_check_mode_names_the_hooks_and_runs_none(self, fake: FakeNode, programs: Programs, tmp_path: Path) -> None:
        configure(fake, post_stop=FALSE, pre_start=FALSE)
        fake.up()
        programs.run(f"touch {tmp_path}/ran")
        assert shown(fake.perform("restart", check=True)) == [{"hook": POST_STOP}, {"hook": PRE_START}]
        assert not (tmp_path / "ran").exists()


class TestDeadAction:
    @pytest.mark.parametrize("action", ["start", "restart", "limit"])
    def test_the_next_action_ends_the_hook_that_a_dead_one_left(self, fake: FakeNode, programs: Programs, action: str) -> None:
        fake.down() if action != "limit" else fake.up()
        programs.unit.touch()
        if action == "limit":
            fake.define(build={"memory_limit": 512})
        assert ending(fake.perform(action))[0] == "done"
        assert not programs.unit.exists()

    def test_an_action_that_cannot_end_it_is_refused(self, fake: FakeNode, programs: Programs) -> None:
        fake.down()
        programs.unit.touch()
        programs.cannot_end()
        assert ending(fake.perform("start")) == ("refused", "hook_unavailable")
        assert not fake.live


def test_without_hooks_an_action_imports_no_code_for_them(fake: FakeNode, monkeypatch: pytest.MonkeyPatch) -> None:
    names = (HOOKS_CODE, hook_unit.__name__)
    for name in names:
        monkeypatch.delitem(sys.modules, name, raising=False)
    for action in ("start", "restart", "stop", "kill"):
        fake.perform(action)
        fake.perform(action, check=True)
    assert [name for name in names if name in sys.modules] == []
