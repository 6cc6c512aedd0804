# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which lines of a container's log belong to a run: the engine often stamps what a quick server says first before its StartedAt."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.engine.connection import Connection
from ansible_collections.fleet.power.plugins.module_utils._power.engine.docker_engine import DockerEngine
from ansible_collections.fleet.power.plugins.module_utils._power.model.server import Run

BEFORE, ENDED, FIRST, STARTED, LATER = (f"2026-01-31T12:00:0{second}Z" for second in ("1.9", "2.1", "4.1", "4.105", "5"))
LOG = f"{BEFORE} of the run before\n{FIRST} ready\n{LATER} more\n".encode()


class Client:
    def __init__(self, **state: Any) -> None:
        self.asked_since = 0
        self._state = state

    def inspect_container(self, _name: str) -> dict[str, Any]:
        return {"State": self._state}

    def logs(self, _name: str, *, since: int, **_options: Any) -> bytes:
        self.asked_since = since
        return LOG


def log_of_run(client: Client) -> bytes:
    engine = DockerEngine(Connection(api_version="1.45"))
    engine._calls._clients._idle.append(client)
    return engine.logs.of_run(Run("c1", STARTED))


def test_a_line_stamped_between_the_last_end_and_the_start_belongs_to_the_run() -> None:
    assert log_of_run(Client(Running=True, StartedAt=STARTED, FinishedAt=ENDED)) == b"ready\nmore\n"


def test_the_first_run_of_a_container_has_all_of_its_log() -> None:
    client = Client(Running=True, StartedAt=STARTED, FinishedAt="0001-01-01T00:00:00Z")
    assert (log_of_run(client), client.asked_since > 0) == (b"of the run before\nready\nmore\n", True)


@pytest.mark.parametrize("running, started", [(False, STARTED), (True, LATER)])
def test_of_a_run_that_is_over_no_line_of_another_one_is_taken(running: bool, started: str) -> None:
    assert log_of_run(Client(Running=running, StartedAt=started, FinishedAt=LATER)) == b"more\n"
