# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The depth of JSON, told without parsing it."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.model.schema import is_nested_deeper
from hypothesis import given
from hypothesis import strategies as st

VALUES = st.recursive(
    st.none() | st.text(alphabet='[]{}"\\a'), lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3)
)


def depth_of(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if inner is None else 1 + max((depth_of(each) for each in inner), default=0)


@given(VALUES)
def test_it_is_the_depth_of_the_value(value: Any) -> None:
    depth = depth_of(value)
    assert not is_nested_deeper(json.dumps(value), depth)
    assert depth == 0 or is_nested_deeper(json.dumps(value), depth - 1)


@pytest.mark.parametrize("text", ["[" * 65, "[" * 1_000_000, '{"a":' * 65, '["[]", ' * 65])
def test_what_is_too_deep_is_told_of_even_if_it_never_ends(text: str) -> None:
    assert is_nested_deeper(text, 64)


@pytest.mark.parametrize("text", ["[]" * 100, '["' + "[" * 100, '["' + '\\"[' * 100, "]" * 100 + "[" * 150, "", '"'])
def test_what_is_wide_or_text_is_not_deep(text: str) -> None:
    assert not is_nested_deeper(text, 64)


@pytest.mark.parametrize("piece", ["[],", '"[",', '\\"[', '"\\', "[" + '"' * 3])
def test_a_large_text_takes_time_in_proportion(piece: str) -> None:
    small, large = piece * 20_000, piece * 200_000
    began = time.process_time()
    is_nested_deeper(small, 10**9)
    is_nested_deeper("[" * 10 + small, 9)
    middle = time.process_time()
    is_nested_deeper("[" * 10 + large, 10**7)
    assert time.process_time() - middle < 100 * (middle - began + 0.01)
