# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a look did not show is told, to roles and to plays of users; what is not known is never absent."""

from __future__ import annotations

import importlib
from typing import Any

import pytest
from ansible_collections.fleet.power.plugins.module_utils._fleet.look_result import unseen_in

ONE, TWO, GONE = (f"{number:08x}-0000-4000-8000-000000000000" for number in (1, 2, 3))
SEEN = {"server": ONE, "name": "Lobby", "state": "offline"}
UNSEEN = {"server": TWO, "name": "", "short_id": TWO[:8], "state": None, "code": "engine_error", "msg": "Cannot inspect it:\n HTTP 500"}
SENTENCE = "Cannot see server 00000002: Cannot inspect it: HTTP 500 (engine_error)"
PART = {"servers": [SEEN], "complete": False, "msg": "Cannot ask the Panel: HTTP 500"}
LISTED = "Cannot list all servers: Cannot ask the Panel: HTTP 500"


@pytest.mark.parametrize(
    ("result", "among", "told"),
    [
        ({"servers": [SEEN], "complete": True}, None, []),
        ({"failed": True, "msg": "no engine"}, None, ["Cannot see any server: no engine"]),
        ({"failed": False, "failed_when_result": False, "msg": "no\n engine"}, [ONE], ["Cannot see any server: no engine"]),
        ({"unreachable": True, "changed": False}, None, ["Cannot see any server: it gave no reason"]),
        ({"failed": True, "msg": "no engine"}, [], []),
        ({"servers": [SEEN, UNSEEN]}, None, [SENTENCE]),
        ({"servers": [SEEN, UNSEEN]}, [ONE], []),
        ({"servers": [SEEN, UNSEEN]}, [ONE, TWO], [SENTENCE]),
        (PART, None, [LISTED]),
        (PART, [ONE], []),
        (PART, [ONE, GONE], [LISTED]),
        ({**PART, "servers": [UNSEEN]}, None, [SENTENCE, LISTED]),
    ],
)
def test_what_was_not_seen_is_a_sentence_each(result: dict[str, Any], among: list[str] | None, told: list[str]) -> None:
    assert unseen_in(result, among) == told


def test_plays_ask_it_by_a_filter() -> None:
    pytest.importorskip("ansible.plugins.action")
    plugin = importlib.import_module("ansible_collections.fleet.power.plugins.filter.unseen")
    unseen = plugin.FilterModule().filters()["unseen"]
    assert unseen({"servers": [SEEN, UNSEEN]}) == [SENTENCE]
    assert unseen({"servers": [SEEN, UNSEEN]}, [ONE]) == []
