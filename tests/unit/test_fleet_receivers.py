# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The status playbook tells of receivers what somebody has to look after, and nothing where there are none."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import pytest
from ansible_collections.fleet.power.plugins.module_utils._fleet.status_cells import event_lines, receiver_rows

NOON = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)
FAILING = {"failing_since": "2026-01-31T04:12:01.000Z", "error": "it answered with status 503"}
WAITING = {"waiting": 12, "oldest_at": "2026-01-31T04:12:00.123Z"}


def receiver(name: str = "pager", **more: Any) -> dict[str, Any]:
    nothing = {
        "waiting": 0,
        "oldest_at": None,
        "off": False,
        "failing_since": None,
        "error": None,
        "dropped": 0,
        "sent": 5,
        "sent_at": None,
    }
    return {"receiver": name, **nothing, **more}


def events(*receivers: dict[str, Any], running: bool | None = True, kept: bool | None = True) -> dict[str, Any]:
    return {"running": running, "since": None, "enabled": kept, "receivers": list(receivers) if kept else None}


NONE = events(running=False, kept=False)


@pytest.mark.parametrize(
    ("nodes", "lines"),
    [
        ([], []),
        ([events(receiver(), receiver("chat"))], ["Events: 2 receivers"]),
        ([events(receiver(waiting=2)), events(receiver(waiting=1, dropped=4))], ["Events: 2 receivers, 3 wait, 4 dropped"]),
        ([events(receiver(), running=False)], ["Events: 1 receiver", "fleet-power-events does not run: node-1"]),
        ([events(), NONE, None, NONE], ["No events: node-2, node-4"]),
    ],
    ids=lambda value: str(value)[:60],
)
def test_a_line_says_what_waits_and_where_nothing_is_sent(nodes: list[dict[str, Any] | None], lines: list[str]) -> None:
    assert event_lines([(f"node-{number}", each) for number, each in enumerate(nodes, 1)]) == lines


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({}, None),
        ({**WAITING, **FAILING}, "12 wait since 04:12:00, failing since 04:12:01, it answered with status 503"),
        ({"off": True, "error": "it answers 410"}, "switched off, it answers 410"),
        ({"dropped": 7}, "7 dropped"),
        ({**FAILING, "error": "x" * 5000}, f"failing since 04:12:01, {'x' * 200}"),
    ],
    ids=str,
)
def test_a_receiver_that_has_not_taken_all_is_named_with_the_reason(told: dict[str, Any], words: str | None) -> None:
    assert receiver_rows([("node-1", events(receiver(**told)))], NOON) == ([] if words is None else [("node-1, pager", words)])
