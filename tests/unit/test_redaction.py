# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""No secret survives, and what is none stays as it is."""

from __future__ import annotations

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.model.redaction import mask
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("text", "secrets", "masked"),
    [
        ("token=hunter22!", ["hunter22"], "token=********!"),
        ("no secret", ["hunter22"], "no secret"),
        ("hunter22hunter22", ["hunter22"], "****************"),
        ("hunter22-long", ["hunter22", "hunter22-long"], "********"),
        ("abcdefgh", ["abcdef", "cdefgh"], "********"),
        ("a.c abc", ["a.c"], "******** abc"),
        ("text", ["", "absent"], "text"),
    ],
)
def test_each_stretch_of_secrets_is_masked(text: str, secrets: list[str], masked: str) -> None:
    assert mask(text, secrets) == masked


@given(st.text("ab*", max_size=30), st.sets(st.text("ab", min_size=6, max_size=8), max_size=4))
def test_no_secret_survives(text: str, secrets: set[str]) -> None:
    masked = mask(text, secrets)
    assert not any(secret in masked for secret in secrets)
    assert mask(text, sorted(secrets)) == masked


@given(text=st.text("ab", max_size=60), secrets=st.lists(st.text("ab", min_size=1, max_size=9), max_size=3))
def test_mask_covers_what_a_look_at_every_place_would(text: str, secrets: list[str]) -> None:
    found = sorted((at, at + len(secret)) for secret in secrets for at in range(len(text)) if text.startswith(secret, at))
    merged: list[tuple[int, int]] = []
    for start, end in found:
        if merged and start < merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    expected = text
    for start, end in reversed(merged):
        expected = expected[:start] + "*" * 8 + expected[end:]
    assert mask(text, secrets) == expected
