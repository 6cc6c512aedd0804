# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which process an engine is, as far as the machine can tell."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.host import engine_process
from ansible_collections.fleet.power.plugins.module_utils._power.host.engine_process import engine_life
from ansible_collections.fleet.power.plugins.module_utils._power.host.liveness import boot_id, start_of

OWN_COMMAND = Path("/proc/self/comm").read_text().rstrip("\n")


def own_life() -> str:
    return f"{boot_id()}/{os.getpid()}/{start_of(os.getpid())}"


@pytest.fixture(name="host")
def listen(tmp_path: Path) -> str:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "s"))
    listener.listen()
    listener.detach()
    return f"unix://{tmp_path}/s"


def test_who_listens_is_the_engine_if_it_is_called_so(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_process, "_COMMAND", OWN_COMMAND)
    assert engine_life(host) == own_life()


@pytest.mark.parametrize("host", ["tcp://127.0.0.1:2375", "ssh://somewhere", "", "unix:///nowhere/docker.sock", "unix://", "unix://a\0b"])
def test_nobody_can_tell_of_an_engine_that_is_elsewhere_or_down(host: str) -> None:
    assert engine_life(host) == ""


def test_behind_somebody_elses_socket_it_is_what_the_pid_file_names_if_that_is_one(
    host: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listener = os.getpid()
    commands = {listener: "systemd", os.getppid(): "dockerd"}
    monkeypatch.setattr(engine_process, "_command_of", lambda pid: commands.get(pid, ""))
    monkeypatch.setattr(engine_process, "_PID_FILES", (str(tmp_path / "none"), str(tmp_path / "pid")))
    parent = f"{boot_id()}/{os.getppid()}/{start_of(os.getppid())}"
    (tmp_path / "pid").write_text(f"{os.getppid()}\n")
    monkeypatch.setattr(engine_process, "_processes", lambda: iter(()))
    assert engine_life(host) == parent
    for text in (str(listener), "999999999999999999999999999", "-1", "", "x" * 100, "\u0665"):
        (tmp_path / "pid").write_text(text)
        assert engine_life(host) == "", text
