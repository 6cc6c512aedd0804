# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A process that is to outlive its login, by what the system's bus answers. On a real one: tests/fleet/test_follow_nodes.py."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from ansible_collections.fleet.power.plugins.module_utils import _own_session as login

SERVICE = "0::/system.slice/ssh.service\n"
LOGIN = "9:name=systemd:/\n0::/user.slice/user-1000.slice/session-3.scope\n"
COMMAND = "0::/system.slice/run-u12.service\n"


class Bus:
    """A ``busctl`` that answers as it is told, and keeps what it was asked."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def answers(self, kills: str, code: int = 0) -> None:
        program = self.directory / "busctl"
        program.write_text(
            f'#!/bin/sh\necho "$*" >> {self.directory}/asked\ncase "$*" in *KillUserProcesses*) echo "{kills}";; esac\nexit {code}\n'
        )
        program.chmod(0o755)

    @property
    def started(self) -> str:
        asked = self.directory / "asked"
        lines = asked.read_text().splitlines() if asked.exists() else []
        return next((line for line in lines if "StartTransientUnit" in line), "")


@pytest.fixture
def bus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bus:
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}/bin{os.pathsep}/usr/bin")
    return Bus(tmp_path)


@pytest.mark.parametrize(
    "units, kills, uid, outlives, moves",
    [
        (SERVICE, "b true", 1000, True, False),
        (LOGIN, "b false", 1000, True, False),
        (LOGIN, "b true", 1000, False, False),
        (LOGIN, "b true", 0, True, True),
        (COMMAND, "b false", 1000, False, False),
        (COMMAND, "b false", 0, True, True),
    ],
)
def test_a_process_is_moved_where_it_would_end_with_its_unit_and_may_be(
    bus: Bus, monkeypatch: pytest.MonkeyPatch, units: str, kills: str, uid: int, outlives: bool, moves: bool
) -> None:
    bus.answers(kills)
    monkeypatch.setattr(login, "_units_of", lambda pid: units)
    monkeypatch.setattr(login.os, "geteuid", lambda: uid)
    assert login.outlive_login(4711, "fleet-power-job-1") is outlives
    assert ("fleet-power-job-1.scope fail" in bus.started and bus.started.endswith("PIDs au 1 4711 0")) is moves


@pytest.mark.parametrize("code", [1, 127])
def test_a_bus_that_does_not_answer_is_no(bus: Bus, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    bus.answers("", code)
    monkeypatch.setattr(login, "_units_of", lambda pid: LOGIN)
    assert not login.outlive_login(4711, "fleet-power-job-1")


def test_a_process_that_is_no_more_does_not_outlive_anything() -> None:
    assert not login.outlive_login(1 << 30, "fleet-power-job-1")
