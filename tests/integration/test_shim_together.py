# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The HTTP shim with many clients at once, and beside the module as root on the same servers."""

from __future__ import annotations

import grp
import os
import stat
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from .controller import Controller
from .lab import Lab, lab_on
from .shim import NO_ENGINE, TOKEN, Shim, configure, shim_on


@pytest.mark.long
def test_many_concurrent_requests_get_their_usual_answers(tmp_path: Path) -> None:
    node = Lab(tmp_path, NO_ENGINE, None)
    servers = [node.server() for _number in range(32)]
    accepted: list[str] = []
    unnamed: list[str] = []
    rejected = [({}, TOKEN, 422), ({"action": "x"}, TOKEN, 422), ([], TOKEN, 400), ({"action": "stop"}, "wrong", 403)]

    def client(number: int) -> Counter[tuple[int, int]]:
        found: Counter[tuple[int, int]] = Counter()
        for turn in range(12):
            server = servers[(number + turn) % len(servers)]
            if (number + turn) % 2:
                action = ("stop", "start", "kill")[turn % 3]
                answer = shim.power(server, action, 60)
                assert answer.status == 202
                # A kill waits a quarter of a second for its row; without the row, the answer has no location.
                if "location" in answer.headers or action != "kill":
                    accepted.append(answer.headers["location"])
                else:
                    unnamed.append(server)
            else:
                body, token, expected = rejected[(number + turn) // 2 % len(rejected)]
                found[expected, shim.ask("POST", f"/api/servers/{server}/power", body, token=token).status] += 1
        return found

    with shim_on(node) as shim, ThreadPoolExecutor(64) as pool:
        found = sum(pool.map(client, range(64)), Counter())
        assert {expected for expected, _status in found} == {400, 403, 422}
        assert [pair for pair in found if pair[0] != pair[1]] == []
        assert len(set(accepted)) == len(accepted) == 64 * 6 - len(unnamed)
        ended = list(pool.map(lambda location: shim.operation(location, wait=60), accepted))
    # There is no engine: begun actions fail, and a kill cancels the waiting actions. The journal has all of them.
    assert {each["outcome"] for each in ended} <= {"failed", "cancelled"}
    recorded = {row.id for server in servers for row in node.node().journal.operations.of(server)}
    named = {location.rpartition("/")[2] for location in accepted}
    assert named <= recorded and len(recorded - named) <= len(unnamed)


#: A user without a name, and a group that exists on every Linux and owns no file of this test.
USER, GROUP = 64322, grp.getgrgid(100)


@contextmanager
def passable(*paths: Path) -> Iterator[None]:
    """Let all users pass through the directories above these paths during the block."""
    closed = {each: stat.S_IMODE(each.stat().st_mode) for path in paths for each in path.parents}
    try:
        for each, mode in closed.items():
            each.chmod(mode | stat.S_IXOTH)
        yield
    finally:
        for each, mode in closed.items():
            each.chmod(mode)


@pytest.fixture(name="lab")
def node_below_open_directories(docker_host: str) -> Iterator[Lab]:
    """A node that other users can reach, unlike the directories of pytest."""
    with tempfile.TemporaryDirectory(prefix="fleet-power-") as directory:
        os.chmod(directory, 0o755)
        yield from lab_on(Path(directory) / "node", docker_host)


@pytest.fixture(name="beside")
def shim_of_another_user(lab: Lab) -> Iterator[Shim]:
    """The HTTP shim as a user in the groups of the node and of the engine."""
    if os.geteuid() != 0:
        pytest.skip("only root can run a process as another user")
    # That user also owns the servers' data: it lacks the capabilities to work in the data of other users.
    lab.settings["system"].update({"group": GROUP.gr_name, "user": {"uid": USER, "gid": GROUP.gr_gid}})
    configure(lab)
    os.chown(lab.config, 0, GROUP.gr_gid)
    lab.config.chmod(0o640)
    engine = os.stat(lab.docker_host[len("unix://") :]).st_gid
    lab.power("stop", lab.server())
    user = {"user": USER, "group": GROUP.gr_gid, "extra_groups": [engine]}
    with (
        passable(Path(sys.executable), Path(sys.executable).resolve(), Path(os.__file__), *map(Path, sys.path)),
        Shim(lab.config, lab.docker_host, lab.root / "shim.log", user) as shim,
    ):
        assert os.stat(f"/proc/{shim.child.pid}").st_uid == USER
        yield shim


def module(controller: Controller, server: str, action: str, **options: Any) -> dict[str, Any]:
    found = controller.run_module("server_power", **controller.options(server=server, action=action, **options))
    entry: dict[str, Any] = found["servers"][0]
    return entry


def test_a_kill_by_module_or_shim_cancels_an_action_of_the_other(lab: Lab, controller: Controller, beside: Shim) -> None:
    server = lab.server(STOP_SECONDS=60, IGNORE_SIGNALS="all")
    module(controller, server, "start")
    lab.await_ready(server)
    location = beside.took(server, "restart")
    lab.await_phase(server, "stop")
    assert module(controller, server, "kill")["outcome"] == "done"
    cancelled = beside.operation(location, wait=30)
    assert (cancelled["outcome"], cancelled["code"]) == ("cancelled", "cancelled_by_kill")
    module(controller, server, "start")
    lab.await_ready(server)
    with controller.module(**controller.options(server=server, action="restart")) as running:
        lab.await_phase(server, "stop")
        assert beside.done(server, "kill")["outcome"] == "done"
        assert '"cancelled_by_kill"' in running.wait().output
    assert not lab.is_up(server)


def test_module_and_shim_take_turns_on_one_server_and_share_the_journal(lab: Lab, controller: Controller, beside: Shim) -> None:
    server = lab.server()
    module(controller, server, "start")
    actions = ("restart", "stop", "start", "restart")
    with ThreadPoolExecutor(2) as pool:
        root = pool.submit(lambda: [module(controller, server, action, wait_seconds=120) for action in actions])
        locations = [beside.took(server, action, 120) for action in ("restart", "kill", "start", "stop", "kill")]
        ended = [beside.operation(location, wait=60) for location in locations]
        entries = root.result()
    allowed = {("done", ""), ("unchanged", ""), ("cancelled", "cancelled_by_kill")}
    assert {(each["outcome"], each.get("code", "")) for each in (*ended, *entries)} <= allowed
    rows = lab.node().journal.operations.of(server)
    assert {each["id"] for each in ended} | {each["operation"]["id"] for each in entries} <= {row.id for row in rows}
    assert not any(row.under_way for row in rows)
    # Both kills count.
    assert lab.generation(server) >= 2
    assert not lab.node().locks.has_record(server)
    for file in (lab.root / "run" / f"{server}.lock", lab.root / "state" / "journal.sqlite", lab.root / "state" / f"{server}.kills"):
        assert (stat.S_IMODE(file.stat().st_mode), file.stat().st_gid) == (0o660, GROUP.gr_gid), file
