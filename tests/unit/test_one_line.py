# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Somebody else's words in a sentence of ours: one line, of bounded length, without secrets."""

from __future__ import annotations

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.model.errors import EngineError
from ansible_collections.fleet.power.plugins.module_utils._power.model.schema import one_line
from ansible_collections.fleet.power.tests.unit.fake_node import FakeNode


@pytest.mark.parametrize("foul", ["\n", "\0", "\x1b", "\x9b", "\u2028", "\u202e", "\ud800"])
def test_nothing_in_it_moves_a_cursor_or_ends_a_line(foul: str) -> None:
    assert one_line(f"a{foul}b{foul}") == "a b"


def test_what_is_longer_is_cut_and_looks_so() -> None:
    assert one_line("x" * 1000) == "x" * 1000
    assert one_line("x" * 1001) == "x" * 997 + "..."
    assert one_line("\n" * 5000 + "x") == "..."
    assert one_line("abcdefgh", 6) == "abc..."


def test_words_in_other_alphabets_stay() -> None:
    assert one_line("Größe 大きさ 🎮") == "Größe 大きさ 🎮"


@pytest.mark.parametrize("secret", ["hunter22-is-secret", "hunter22\nis\tsecret", "hunter22-is-secret\n"])
@pytest.mark.parametrize("before", [*range(970, 1003), 0])
def test_a_secret_that_the_engine_repeats_is_masked_also_where_its_words_were_cut(fake: FakeNode, secret: str, before: int) -> None:
    progress = fake.progress()
    progress.secrets = frozenset((secret, "another-secret"))
    said = EngineError(f"Cannot create it: {one_line('x' * before + secret + ' and so on')}")
    assert "h" not in progress.sentence(said).partition(": ")[2].replace("...", "")
