# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An event of the engine becomes a value or nothing, and no event raises an error."""

from __future__ import annotations

import json
from typing import Any

from ansible_collections.fleet.power.plugins.module_utils._power.engine.event_stream import ContainerEvent, container_event
from hypothesis import given
from hypothesis import strategies as st

UUID = "11111111-2222-3333-4444-555555555555"
ID = "a" * 64
AT = 1_795_787_441_406_151_512


def told(action: str = "die", **attributes: object) -> dict[str, Any]:
    actor = {"ID": ID, "Attributes": {"image": "game", "name": UUID, **attributes}}
    return {"status": action, "id": ID, "Type": "container", "Action": action, "Actor": actor, "time": AT // 10**9, "timeNano": AT}


def test_a_signal_and_an_exit_code_are_read_from_their_texts() -> None:
    assert container_event(told("kill", signal="15")) == ContainerEvent(AT, "kill", ID, UUID, signal=15)
    assert container_event(told("die", exitCode="137")) == ContainerEvent(AT, "die", ID, UUID, exit_code=137)
    assert container_event(told("start")) == ContainerEvent(AT, "start", ID, UUID)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["ID", "Attributes", "signal", "name"]) | st.text(), inner),
    max_leaves=10,
)


@given(JSON, st.dictionaries(st.sampled_from(["Type", "Action", "Actor", "id", "time", "timeNano"]), JSON))
def test_nothing_that_is_told_raises(whatever: object, changes: dict[str, Any]) -> None:
    for event in (container_event(whatever), container_event({**told(), **changes})):
        assert event is None or json.dumps(event.container)
