# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bad input: one clear sentence and a code, no traceback however verbose, and nothing changed; only a kill still kills."""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .controller import MODULE, Controller
from .lab import Lab

NOT_HERE = "00000000-0000-4000-8000-000000000000"
#: Options that are wrong in themselves, and words of the sentence that says so.
WRONG_OPTIONS: list[tuple[dict[str, object], str]] = [
    ({}, "no server is named"),
    ({"server": NOT_HERE, "action": "explode"}, "must be one of: start, stop, restart, kill, got: explode"),
    ({"server": NOT_HERE, "wait_seconds": "soon"}, "wait_seconds"),
    ({"server": NOT_HERE, "stop_timeout": 10**12}, "Cannot use stop_timeout=1000000000000"),
    ({"server": NOT_HERE, "action": "stop", "if_meant_up": True}, "Cannot stop with if_meant_up"),
    ({"server": NOT_HERE, "definitions": {"settings": {}}}, "definitions"),
    ({"server": NOT_HERE, "sever": "x"}, "Unsupported parameters"),
    ({"server": NOT_HERE, "config": "/nowhere/config.yml"}, "Cannot read settings /nowhere/config.yml: No such file or directory"),
]


def refusal(result: dict[str, Any]) -> tuple[str, str]:
    """Outcome and code of the only server, for which nothing was changed."""
    assert result["failed"] is True
    assert result["changed"] is False
    (entry,) = result["servers"]
    assert entry["changed"] is False
    assert entry["msg"] in result["msg"]
    return entry["outcome"], entry["code"]


@pytest.mark.parametrize("wrong, words", WRONG_OPTIONS, ids=[words for _wrong, words in WRONG_OPTIONS])
def test_wrong_options_are_one_sentence_and_leave_no_trace(lab: Lab, controller: Controller, wrong: dict[str, object], words: str) -> None:
    with controller.module(**{**controller.options(action="start"), "_ansible_verbosity": 4, **wrong}) as module:
        run = module.wait()
    assert run.code == 1
    assert words in run.output
    assert '"code": "settings_invalid"' in run.output
    assert "Traceback" not in run.output
    assert sorted(path.name for path in lab.root.iterdir()) == ["config.yml", "controller", "servers"]


@pytest.fixture
def powerless() -> list[str]:
    """What runs a command so that the permissions of files count for it, for root too."""
    if os.geteuid() != 0:
        return []
    return ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-all"]


def forbid(path: Path) -> None:
    """Give a file to somebody else and take every right from others."""
    path.chmod(0o700 if path.is_dir() else 0o600)
    if os.geteuid() == 0:
        os.chown(path, 1, 1)
    else:
        path.chmod(0)


@contextlib.contextmanager
def forbidden_socket(path: Path) -> Iterator[None]:
    """A socket that others own."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        forbid(path)
        yield


def test_a_socket_that_may_not_be_used_is_told_from_one_that_is_not_there(lab: Lab, controller: Controller, powerless: list[str]) -> None:
    uuid = lab.server()
    path = lab.root / "docker.sock"
    with forbidden_socket(path):
        result = controller.run_module(
            through=powerless, **{**controller.options(action="stop", server=uuid), "docker_host": f"unix://{path}"}
        )
    assert refusal(result) == ("failed", "engine_unreachable")
    assert "permission denied on its socket; become root, or join the group" in result["msg"]


def test_definitions_that_may_not_be_read_are_not_a_server_that_is_unknown(lab: Lab, controller: Controller, powerless: list[str]) -> None:
    # What is in no definition is looked for on the engine, which has servers of other tests, too.
    hidden = f"Hidden {secrets.token_hex(4)}"
    uuid = lab.server(name=hidden)
    forbid(lab.root / "servers")
    for name in (uuid, hidden):
        result = controller.run_module(through=powerless, **controller.options(action="start", server=name))
        assert refusal(result) == ("refused", "source_unreachable")
        assert f"{lab.root}/servers" in result["msg"]


def test_a_kill_without_lock_and_generation_kills_and_says_it_is_not_guarded(lab: Lab, controller: Controller) -> None:
    uuid = lab.server()
    lab.power("start", uuid, wait_for="running")
    for name in ("run", "state"):
        (lab.root / name).rename(lab.root / f"{name}-before")
        (lab.root / name).write_text("in the way")
    result = controller.run_module(**controller.options(action="kill", server=uuid))
    (entry,) = result["servers"]
    assert (entry["outcome"], entry["code"], entry["state"], result["changed"]) == ("done", "unguarded", "offline", True)
    assert not lab.is_up(uuid)


def test_no_traceback_reaches_the_user_however_verbose(lab: Lab, controller: Controller) -> None:
    broken, no_engine = lab.server(), f"unix://{lab.root}/none.sock"
    (lab.root / "servers" / f"{broken}.json").write_text("{")
    bad: list[dict[str, object]] = [
        {"server": NOT_HERE},
        {"server": NOT_HERE, "action": "explode"},
        {"server": broken},
        {"server": broken, "docker_host": no_engine},
        {"server": "x", "config": "/nowhere/config.yml"},
        {"server": ""},
    ]
    tasks = [{MODULE: controller.options(**{"action": "start", **options}), "ignore_errors": True} for options in bad]
    run = controller.play(tasks, "-vvvv")
    assert run.code == 0, run.output
    assert "Traceback" not in run.output
    assert [bool(result["msg"]) for result in run.results] == [True] * len(bad)
    codes = [result.get("code") or result["servers"][0]["code"] for result in run.results]
    assert codes == [
        "server_not_found",
        "settings_invalid",
        "definition_invalid",
        "engine_unreachable",
        "settings_invalid",
        "settings_invalid",
    ]
