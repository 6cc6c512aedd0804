# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A link to an engine is over when another life of it answers, and not where nobody can tell."""

from __future__ import annotations

import pytest
from ansible_collections.fleet.power.plugins.module_utils._supervisor import engine_link
from ansible_collections.fleet.power.plugins.module_utils._supervisor.engine_link import EngineLink

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
