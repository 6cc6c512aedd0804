# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The action plugin status_table, and the width of its table."""

from __future__ import annotations

import fcntl
import importlib
import json
import os
import pty
import struct
import subprocess
import sys
import termios
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.fleet.power.plugins.module_utils._fleet.table import width_of

pytest.importorskip("ansible.plugins.action")
plugin = importlib.import_module("ansible_collections.fleet.power.plugins.action.status_table")
errors = importlib.import_module("ansible.errors")
AnsibleError, AnsibleActionFail = errors.AnsibleError, errors.AnsibleActionFail

SEEN = {"servers": [{"server": "566bf9d7-c55a-45f8-91a6-e55e9b9b1325", "short_id": "566bf9d7", "name": "Lobby", "state": "running"}]}
HOSTS: dict[str, dict[str, Any]] = {
    "b": {"ansible_host": "192.0.2.2", "seen": {"unreachable": True, "msg": "no route"}},
    "a": {"ansible_host": "192.0.2.1", "ansible_password": "hush", "seen": SEEN},
    "other": {"seen": SEEN},
}
Run = Callable[..., dict[str, Any]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    """The task's result for its arguments, in a play over the hosts a and b, or over ``hosts``."""

    def returned(
        given: dict[str, Any],
        *,
        hosts: tuple[str, ...] = ("b", "a"),
        lost: tuple[str, ...] = (),
        variables: Mapping[str, Any] | None = None,
        check_mode: bool = False,
    ) -> dict[str, Any]:
        task = SimpleNamespace(args={"seen": "seen", **given}, check_mode=check_mode)
        action = plugin.ActionModule(task=task, connection=None, play_context=None, loader=None, templar=None, shared_loader_obj=None)
        monkeypatch.setattr(plugin.ActionBase, "run", lambda self, tmp=None, task_vars=None: {})
        active = [host for host in hosts if host not in lost]
        result: dict[str, Any] = action.run(
            task_vars={
                "hostvars": HOSTS if variables is None else variables,
                "ansible_play_hosts_all": list(hosts),
                "ansible_play_hosts": active,
            }
        )
        return result

    return returned


def test_the_table_has_all_hosts_of_the_play_and_fails_for_unreadable_hosts(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    result = run({})
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[2:4]] == ["a", "b"]
    assert "other" not in "".join(lines)
    assert result == {
        "changed": False,
        "failed": True,
        "unseen": {"b": "Cannot look at b: no route"},
        "msg": "Cannot look at 1 of 2 nodes: b; the reasons are below the table, the other nodes are complete",
    }


def test_an_unknown_state_is_refused_with_the_variable_of_the_playbook(run: Run) -> None:
    with pytest.raises(AnsibleActionFail, match=r"^Cannot use status_states=offlin: expected offline, starting, running or stopping$"):
        run({"states": "running,offlin"})


def test_a_lost_host_has_no_answer_although_an_earlier_play_got_its_answer(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    result = run({}, hosts=("a", "other"), lost=("other",))
    assert "1 server on 1 node: 1 running" in capsys.readouterr().out
    assert result["msg"].startswith("Cannot look at 1 of 2 nodes: other;")


class _Broken(dict[str, Any]):
    def get(self, key: str, default: Any = None) -> Any:
        if key == "ansible_user":
            raise AnsibleError("'nobody' is undefined")
        return super().get(key, default)


def test_a_host_with_a_bad_variable_does_not_affect_other_hosts(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    failed = {"failed": True, "msg": "Error processing keyword 'remote_user': 'nobody' is undefined"}
    broken = _Broken(ansible_user="{{ nobody }}", ansible_host="192.0.2.3", seen=failed)
    result = run({"snapshot": str(tmp_path / "fleet.json")}, hosts=("a", "broken"), variables={**HOSTS, "broken": broken})
    out = capsys.readouterr().out
    assert "1 server on 1 node: 1 running" in out and "'nobody' is undefined" in out
    assert result["msg"].startswith("Cannot look at 1 of 2 nodes: broken;")
    kept = {each["node"]: each["connection"] for each in json.loads((tmp_path / "fleet.json").read_text())["nodes"]}
    assert kept == {"a": {"ansible_host": "192.0.2.1"}, "broken": {"ansible_host": "192.0.2.3"}}


def test_the_snapshot_replaces_the_old_file_and_only_its_owner_reads_it(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "fleet.json"
    path.write_text("old")
    path.chmod(0o644)
    assert run({"snapshot": str(path)})["changed"]
    assert [each["node"] for each in json.loads(path.read_text())["nodes"]] == ["a", "b"]
    assert "hush" not in path.read_text()
    assert path.stat().st_mode & 0o777 == 0o600
    assert [each.name for each in tmp_path.iterdir()] == ["fleet.json"]


def test_a_failed_snapshot_leaves_no_file(run: Run, tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    with pytest.raises(AnsibleActionFail, match=r"Cannot write the snapshot .*; name a file in a directory you may write to"):
        run({"snapshot": str(tmp_path / "taken")})
    assert [each.name for each in tmp_path.iterdir()] == ["taken"]


def test_check_mode_writes_no_snapshot(run: Run, tmp_path: Path) -> None:
    assert not run({"snapshot": str(tmp_path / "fleet.json")}, check_mode=True)["changed"]
    assert list(tmp_path.iterdir()) == []


terminal = importlib.import_module("ansible_collections.fleet.power.plugins.plugin_utils._output")

OPERATION = {"action": "restart", "outcome": "done", "ended_at": "2026-01-31T12:00:01.500Z", "reason": "rollout 4f2a9c01: nightly update"}
SERVER = {"server": "566bf9d7-c55a-45f8-91a6-e55e9b9b1325", "short_id": "566bf9d7", "state": "running"}
TERMINAL_SEEN = {
    "servers": [{**SERVER, "name": f"Survival {name}", "last_operation": OPERATION} for name in ("生存 of the fittest", "long " * 40)]
}


def table_in(output: str) -> list[str]:
    lines = output.replace("\r\n", "\n").split("\n")
    first = next(number for number, line in enumerate(lines) if line.startswith("NODE"))
    return lines[first : lines.index("", first)]


@pytest.fixture
def command(tmp_path: Path) -> list[str]:
    tasks = [
        {"name": "Keep the answer", "ansible.builtin.set_fact": {"seen": TERMINAL_SEEN}},
        {"name": "Show", "fleet.power.status_table": {"seen": "seen"}, "run_once": True},
    ]
    play = {"name": "Look", "hosts": "all", "gather_facts": False, "connection": "local", "tasks": tasks}
    (tmp_path / "play.yml").write_text(json.dumps([play]))
    return [str(Path(sys.executable).with_name("ansible-playbook")), "-i", "node-1,", str(tmp_path / "play.yml")]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_") and name != "COLUMNS"}
    return {**kept, "ANSIBLE_HOME": str(tmp_path), "ANSIBLE_NOCOLOR": "1", "LANG": "C.UTF-8"}


# Ansible itself expects more than 60 columns.
@pytest.mark.parametrize("columns", [60, pytest.param(80, marks=pytest.mark.long), pytest.param(200, marks=pytest.mark.long)])
def test_the_table_is_no_wider_than_the_terminal(command: list[str], environment: dict[str, str], columns: int) -> None:
    own, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    with subprocess.Popen(command, env=environment, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True) as child:
        os.close(theirs)
        output = b""
        try:
            while read := os.read(own, 65536):
                output += read
        except OSError:
            # All processes closed the other end.
            pass
        os.close(own)
    assert child.returncode == 0, output.decode()
    widths = [width_of(line) for line in table_in(output.decode())]
    assert len(widths) == 3 and columns - 3 <= max(widths) <= columns
