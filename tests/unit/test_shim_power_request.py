# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bodies of power requests: what Wings' reader makes of them. The HTTP face's own tests send them; here are those that none may crash."""

from __future__ import annotations

import contextlib
import json

import pytest
from ansible_collections.fleet.power.plugins.module_utils._http_shim.wire.power_request import (
    BodyEmpty,
    BodyInvalid,
    PowerBody,
    read_power_body,
)
from ansible_collections.fleet.power.plugins.module_utils._power.model.request import PowerAction
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    "given_wait, used",
    [("null", 30), ("0", 0), ("-0", 0), ("300", 300), ("301", 30), ("-1", 30), (str(2**63 - 1), 30)],
)
def test_the_wait_that_counts(given_wait: str, used: int) -> None:
    assert read_power_body(f'{{"action":"stop","wait_seconds":{given_wait}}}'.encode()) == PowerBody(PowerAction.STOP, used)


@given(st.binary(max_size=200))
def test_whatever_comes_is_read_or_refused(body: bytes) -> None:
    with contextlib.suppress(BodyEmpty, BodyInvalid):
        read_power_body(body)


VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=5)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
    max_leaves=8,
)


@given(
    action=VALUES, wait=VALUES, rest=st.dictionaries(st.sampled_from(["x", "y"]), VALUES), tail=st.sampled_from([b"", b" ", b"}", b"\x00"])
)
def test_a_field_counts_if_it_has_its_type_and_refuses_all_if_it_has_another(
    action: object, wait: object, rest: dict[str, object], tail: bytes
) -> None:
    body = json.dumps({"action": action, "wait_seconds": wait, **rest}).encode() + tail
    action_is_text = action is None or isinstance(action, str)
    wait_is_whole = wait is None or (isinstance(wait, int) and not isinstance(wait, bool) and -(2**63) <= wait < 2**63)
    if not (action_is_text and wait_is_whole):
        with pytest.raises(BodyInvalid):
            read_power_body(body)
        return
    found = read_power_body(body)
    assert found.action == (PowerAction(action) if action in [each.value for each in PowerAction] else None)
    assert found.wait_seconds == (wait if isinstance(wait, int) and 0 <= wait <= 300 else 30)


# ----- with regard to players


@pytest.mark.parametrize(
    "fields",
    [
        '"players_at_most":"0"',
        '"players_at_most":1.0',
        '"max_delay":true',
        '"max_delay":{}',
        '"warn":60',
        '"warn":["60"]',
        '"warn_message":["x"]',
        '"warn":"x","warn":[60]',
    ],
)
def test_a_field_of_another_type_refuses_all(fields: str) -> None:
    with pytest.raises(BodyInvalid):
        read_power_body(f'{{"action":"restart",{fields}}}'.encode())


@given(st.dictionaries(st.sampled_from(["players_at_most", "max_delay", "on_max_delay", "warn", "warn_message"]), VALUES))
def test_whatever_is_asked_for_the_sake_of_players_is_read_or_refused(options: dict[str, object]) -> None:
    with contextlib.suppress(BodyInvalid):
        found = read_power_body(json.dumps({"action": "stop", **options}).encode())
        assert found.players is None or not found.refused


# ----- when a start counts as done


@pytest.mark.parametrize("action", ["stop", "kill"])
def test_what_starts_nothing_waits_for_nothing_and_takes_no_place_of_what_does(action: str) -> None:
    body = f'{{"action":"{action}","wait_for":"running","wait_timeout":7}}'
    assert read_power_body(body.encode()) == PowerBody(PowerAction(action), 30)
    assert read_power_body(body.replace("running", "soon").encode()).refused


def test_deep_nesting_is_refused_and_costs_nothing() -> None:
    for opening in (b"[", b'{"a":'):
        with pytest.raises(BodyInvalid):
            read_power_body(b'{"a":' + opening * 20_000)
