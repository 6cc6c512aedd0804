# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A command that the engine forgets does not block the next one. Integration tests show commands in a real engine."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.engine import engine_commands
from ansible_collections.fleet.power.plugins.module_utils._power.engine.engine_commands import CommandEnd, CommandRunner
from ansible_collections.fleet.power.plugins.module_utils._power.model.errors import EngineError


class ForgetfulEngine:
    """An engine, and its client, whose first command hangs; once it has forgotten that, the next ones print a number and end."""

    timeout = 1.0

    def __init__(self) -> None:
        self.forgets = False
        self._number = 0
        self._ends: list[socket.socket] = []

    @contextlib.contextmanager
    def asking(self, what: str, *, own_seconds: float) -> Iterator[ForgetfulEngine]:
        yield self

    def exec_create(self, container: str, words: list[str], **_streams: bool) -> dict[str, Any]:
        self._number += 1
        return {"Id": str(self._number)}

    def exec_start(self, command: str, **_way: bool) -> socket.socket:
        ours, theirs = socket.socketpair()
        self._ends.append(theirs)
        if self.forgets:
            theirs.sendall(b"\1\0\0\0\0\0\0\2" + b"3\n")
            theirs.close()
        return ours

    def exec_inspect(self, command: str) -> dict[str, Any]:
        if command != "1":
            return {"Running": False, "ExitCode": 0}
        if self.forgets:
            raise EngineError("Cannot end a command: No such exec instance", status=404)
        return {"Running": True, "ExitCode": None}


def test_one_that_the_engine_has_forgotten_keeps_no_other_from_being_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_commands, "_END_SECONDS", 0.05)
    engine = ForgetfulEngine()
    runner = CommandRunner(engine, local=False)  # type: ignore[arg-type]
    assert runner.run("c", ["count"], seconds=0.05, most_bytes=10).why == "has not ended in time"
    assert runner.run("c", ["count"], seconds=0.05, most_bytes=10).why == "was not run: the one before still runs in its container"
    engine.forgets = True
    assert runner.run("c", ["count"], seconds=5.0, most_bytes=10) == CommandEnd(0, b"3\n")
