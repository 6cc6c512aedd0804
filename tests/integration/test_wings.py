# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Beside a living Wings daemon everything but a kill is refused; and what counts as one."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from ansible_collections.fleet.power.plugins.module_utils.power.perform import perform
from ansible_collections.fleet.power.plugins.module_utils.power.wings import wings_pid

from .lab import Lab, wait_until


def up(lab: Lab) -> str:
    """A server that is up and ready."""
    uuid = lab.server()
    assert lab.power("start", uuid, wait_for="running").outcome.value == "done"
    return uuid


def test_beside_wings_a_kill_kills_and_warns(lab: Lab) -> None:
    uuid = up(lab)
    node = replace(lab.node(), wings_pid=lambda: 4321)
    result = perform(lab.request("kill", uuid, node), node)
    assert (result.outcome.value, result.state.value) == ("done", "offline")
    assert any("Wings (pid 4321)" in warning for warning in result.warnings)


@pytest.mark.parametrize("action", ["start", "stop", "restart"])
@pytest.mark.parametrize("check", [False, True], ids=["", "check"])
def test_beside_wings_everything_else_is_refused_with_both_ways_out(lab: Lab, action: str, check: bool) -> None:
    uuid = lab.server() if action == "start" else up(lab)
    node = replace(lab.node(), wings_pid=lambda: 4321)
    before = lab.container(uuid)
    result = perform(lab.request(action, uuid, node, check=check), node)
    assert (result.outcome.value, result.code, result.changed) == ("refused", "wings_active", False)
    assert "HTTP endpoint" in result.msg
    assert "stop Wings" in result.msg
    assert lab.container(uuid) == before


def test_beside_wings_that_is_allowed_everything_goes_on(lab: Lab) -> None:
    uuid = lab.server()
    lab.write_settings(system={"allow_wings": True})
    node = replace(lab.node(), wings_pid=lambda: 4321)
    for action in ("start", "kill"):
        result = perform(lab.request(action, uuid, node), node)
        assert (result.outcome.value, [warning for warning in result.warnings if "Wings" in warning]) == ("done", [])


#: A user that nothing else on this machine acts as: a process called wings of root's would be seen by every other test.
_LONELY = 64321


@contextmanager
def process_called_wings() -> Iterator[int]:
    """A living process of that name, run by the lonely user."""
    child = os.fork()
    if child == 0:
        name = os.open("/proc/self/comm", os.O_WRONLY)
        os.setuid(_LONELY)
        os.write(name, b"wings")
        signal.pause()
    try:
        wait_until(lambda: Path(f"/proc/{child}/comm").read_text() == "wings\n", "it has its name")
        yield child
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def wings_seen_by(user: int) -> int:
    """The pid that ``wings_pid`` finds when another user asks, 0 for none."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.setuid(user)
        os.write(writing, str(wings_pid() or 0).encode())
        os._exit(0)
    os.close(writing)
    with open(reading) as source:
        found = int(source.read())
    os.waitpid(child, 0)
    return found


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_a_process_called_wings_is_wings_only_where_root_or_we_run_it() -> None:
    with process_called_wings() as pid:
        assert wings_seen_by(_LONELY) == pid
        # A server's own process may call itself what it likes.
        assert wings_seen_by(0) != pid
        assert wings_seen_by(_LONELY + 1) != pid
    assert wings_seen_by(_LONELY) != pid


def test_a_process_called_wings_that_root_runs_is_wings(tmp_path: Path) -> None:
    for pid, name in (("1", "systemd"), ("77", "wings2"), ("78", "wings"), ("self", "wings")):
        (tmp_path / pid).mkdir()
        (tmp_path / pid / "comm").write_text(f"{name}\n")
    (tmp_path / "79").mkdir()  # it ended while we looked
    assert wings_pid(proc=str(tmp_path)) == 78
