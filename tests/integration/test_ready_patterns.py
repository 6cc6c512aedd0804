# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A readiness pattern that takes longer than the world lasts, met by a server that prints what it takes so long for."""

from __future__ import annotations

import asyncio
import time

import pytest

from .lab import Lab
from .many import power_each
from .shim import shim_on
from .websockets import PANEL, console

HOSTILE, TRIGGER = "regex:(a+)+$", "a" * 40 + "b"


@pytest.mark.long
def test_such_a_server_is_never_ready_and_the_pattern_is_named_while_others_of_the_task_are(lab: Lab) -> None:
    hostile = [lab.server(done=(HOSTILE,), READY_LINE=TRIGGER) for _unused in range(3)]
    sane = [lab.server(done=(r"regex:^up in \d\.\ds$",), READY_LINE="up in 0.5s", BOOT_SECONDS=0.5) for _unused in range(3)]
    began = time.monotonic()
    results = power_each(lab, "start", [*hostile, *sane], wait_for="running", wait_timeout=15)
    assert time.monotonic() - began < 30
    assert [(result.outcome.value, result.code) for result in results] == [("failed", "start_timeout")] * 3 + [("done", "")] * 3
    for uuid, result in zip(hostile, results):
        (warning,) = result.warnings
        assert uuid in warning and HOSTILE in warning and "takes too long" in warning
        assert lab.is_up(uuid)
    assert not any(result.warnings for result in results[3:])


@pytest.mark.long
def test_the_http_face_answers_at_once_while_the_console_of_such_a_server_is_open(lab: Lab) -> None:
    server = lab.server(done=(HOSTILE,), READY_LINE=TRIGGER)

    with shim_on(lab, allowed_origins=[PANEL]) as shim:

        async def story() -> None:
            loop = asyncio.get_running_loop()
            async with console(shim, server) as page:
                await page.until("status", "offline")
                await page.send("set state", "start")
                await page.until("console output", TRIGGER)
                slowest = 0.0
                until = time.monotonic() + 20
                while not shim.events("readiness"):
                    assert time.monotonic() < until
                    began = time.monotonic()
                    answer = await loop.run_in_executor(None, lambda: shim.ask("GET", "/healthz", token=None))
                    assert answer.status == 200
                    slowest = max(slowest, time.monotonic() - began)
                    await asyncio.sleep(0.02)
                assert slowest < 1.0
                await page.send("set state", "kill")
                await page.until("daemon message", "kill: done")
                await page.until_states("offline", "starting", "offline")

        asyncio.run(story())
        (entry,) = shim.events("readiness")
        assert (entry["level"], entry["server"]) == ("warning", server)
        assert HOSTILE in entry["reason"] and "takes too long" in entry["reason"]
