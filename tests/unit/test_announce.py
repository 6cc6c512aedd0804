# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The syslog line of a server's end: one line, whatever names, origins and messages hold."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.host import system_log as module
from ansible_collections.fleet.power.plugins.module_utils._power.host.system_log import SystemLog, announce, line_of
from ansible_collections.fleet.power.plugins.module_utils._power.model.request import PowerAction, Request
from ansible_collections.fleet.power.plugins.module_utils._power.model.result import Outcome, Result, StopReport
from ansible_collections.fleet.power.plugins.module_utils._power.model.server import Server
from hypothesis import given, settings
from hypothesis import strategies as st

NOON = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)
UUID = "0f4c5ad2-9a1b-4c39-8a6e-3f2b7d10c001"


def ended(outcome: Outcome = Outcome.DONE, name: str = "Cobalt", **fields: Any) -> Result:
    return Result(Server(UUID, name), PowerAction.RESTART, outcome, "op-1", NOON, NOON, **{"seconds": 2.25, **fields})


def asked(origin: str = "alice@web1", reason: str = "update") -> Request:
    return Request(UUID, PowerAction.RESTART, "op-1", NOON, origin=origin, reason=reason)


def test_a_line_says_what_became_of_whom_and_who_asked() -> None:
    assert line_of(ended(stop=StopReport("signal", forced=True, seconds=2.0)), asked()) == (
        f"restart {UUID} (Cobalt) done in 2.2 s forced by alice@web1 for 'update' operation op-1"
    )
    assert line_of(ended(Outcome.REFUSED, name="", code="suspended", msg="it is suspended"), asked("", "")) == (
        f"restart {UUID} refused suspended in 2.2 s operation op-1: it is suspended"
    )


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=30), st.text(max_size=30), st.text(max_size=30), st.text(max_size=30))
def test_nothing_in_it_can_begin_another_line_or_move_a_terminals_cursor(name: str, origin: str, reason: str, msg: str) -> None:
    assert line_of(ended(name=name, msg=msg), asked(origin, reason)).isprintable()


@pytest.fixture
def reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """A daemon that reads the system log, or not."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as daemon:
        daemon.bind(str(tmp_path / "log"))
        daemon.settimeout(10)
        monkeypatch.setattr(module, "_SYSTEM_LOG", SystemLog(str(tmp_path / "log")))
        yield daemon


def test_a_log_that_nobody_reads_holds_nobody_up(reader: socket.socket) -> None:
    began = time.monotonic()
    for _number in range(2000):
        announce(ended(), asked())
    assert time.monotonic() - began < 8
    assert UUID in reader.recv(10_000).decode()
