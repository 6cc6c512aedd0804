# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which runs are those of another life of the engine, which ended while this one came up, and when the link to it is over."""

from __future__ import annotations

import os
from datetime import datetime, timedelta, timezone

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.host.engine_process import engine_began
from ansible_collections.fleet.power.plugins.module_utils._power.host.liveness import boot_id, start_of
from ansible_collections.fleet.power.plugins.module_utils._power.model.server import Run
from ansible_collections.fleet.power.plugins.module_utils._power.model.supervision import SeenRun
from ansible_collections.fleet.power.plugins.module_utils._supervisor import engine_link
from ansible_collections.fleet.power.plugins.module_utils._supervisor.engine_link import EngineLink

#: This process stands for the engine's.
LIFE = f"{boot_id()}/{os.getpid()}/{start_of(os.getpid())}"
OTHER = f"{boot_id()}/1/1"


def began() -> float:
    found = engine_began(LIFE)
    assert found is not None
    return found


def moment(seconds: float) -> str:
    """So many seconds after the engine began, as the engine writes it."""
    at = datetime.fromtimestamp(began(), timezone.utc) + timedelta(seconds=seconds)
    return f"{at:%Y-%m-%dT%H:%M:%S.%f}000Z"


@pytest.mark.parametrize(
    "started, ended, expected", [(-100, 10, True), (-100, 3600, True), (-100, -5, False), (5, 10, False)], ids=["", "late", "before", "own"]
)
def test_what_an_earlier_engine_left_and_ended_in_this_one_was_stopped_by_it(started: float, ended: float, expected: bool) -> None:
    run = Run("c", moment(started))
    assert EngineLink(LIFE).stopped_in_startup(run, moment(ended)) is expected
    # Where what ran goes on, a person may have stopped it at any time.
    assert not EngineLink(LIFE, live_restore=True).stopped_in_startup(run, moment(ended))


@pytest.mark.parametrize(
    "life, seen_by, another",
    [
        (LIFE, LIFE, False),
        (LIFE, OTHER, True),
        # Where its process is not known the boot stands for its life.
        (f"{boot_id()}/", OTHER, False),
        (f"{boot_id()}/", "another-boot/1/1", True),
    ],
    # Not by the values: each process of a run has its own.
    ids=["itself", "another process", "the boot", "another boot"],
)
def test_a_run_is_another_lifes_if_that_saw_it_up_last(life: str, seen_by: str, another: bool) -> None:
    run = Run("c", moment(-100))
    assert EngineLink(life).is_another(SeenRun(run, engine=seen_by), run) is another


BOOT = "49ddf5a0-6669-4709-a518-23fee45e03fc"
OLD, NEW = f"{BOOT}/169/316", f"{BOOT}/3127/19904"


@pytest.mark.parametrize(
    ("linked", "answers", "over"),
    [
        (OLD, OLD, False),
        (OLD, NEW, True),
        (OLD, "", False),
        (f"{BOOT}/", NEW, False),
        (f"{BOOT}/?2", NEW, False),
        (f"{BOOT}/?2", "", False),
    ],
)
def test_a_link_is_over_when_another_process_answers_for_sure(
    monkeypatch: pytest.MonkeyPatch, linked: str, answers: str, over: bool
) -> None:
    monkeypatch.setattr(engine_link, "engine_life", lambda _host: answers)
    assert EngineLink(linked, host="unix:///run/docker.sock").is_over() is over
