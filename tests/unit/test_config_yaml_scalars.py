# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys and scalars of YAML: every reader reads back what is written, in blocks and within brackets."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from ansible_collections.fleet.power.plugins.module_utils.power.config_files.yaml_file import replace_yaml
from ansible_collections.fleet.power.plugins.module_utils.power.config_files.yaml_write import key, scalar
from ansible_collections.fleet.power.plugins.module_utils.power.definition import ConfigRule
from hypothesis import given, settings
from hypothesis import strategies as st

#: PyYAML has two readers, and the one in Python takes less than libyaml does.
READERS = [yaml.SafeLoader, *([yaml.CSafeLoader] if yaml.__with_libyaml__ else [])]
#: Characters that mean something to YAML somewhere, and some that do not.
SPECIAL = st.text(st.sampled_from("ab1 ?:-,[]{}#&*!|>'\"%@`=<~\\.;$^/+\t\n\r\x00\x85\u2028\ufeff\xe9"), max_size=5)
WORDS = st.one_of(SPECIAL, st.text(st.characters(exclude_categories=["Cs"]), max_size=4))


def read_by_each(text: str) -> list[Any]:
    return [yaml.load(text, reader) for reader in READERS]


@pytest.mark.parametrize("word", ["Ready?", "a?b", "Ready? yes", "-?"])
def test_a_question_mark_within_brackets_is_quoted_since_some_readers_take_it_for_a_key(word: str) -> None:
    rules = [ConfigRule("a", word), ConfigRule(f'["{word}"]', word), ConfigRule("l[0]", word)]
    for value in read_by_each(replace_yaml("{a: 1, l: [x]}\n", rules)):
        assert value == {"a": word, "l": [word], word: word}


def test_a_question_mark_in_a_block_needs_no_quotes() -> None:
    assert replace_yaml("a: 1\n", [ConfigRule("a", "Ready?")]) == "a: Ready?\n"


@settings(max_examples=300, deadline=None)
@given(
    name=WORDS.filter(bool),
    value=st.one_of(WORDS, st.none(), st.booleans()),
    style=st.sampled_from(["", "'", '"']),
)
def test_keys_and_scalars_read_back_within_brackets_and_without(name: str, value: Any, style: str) -> None:
    for flow in (False, True):
        written_key, written = key(name, quoted=style == '"', flow=flow), scalar(value, style=style, flow=flow)
        entry, items = f"{written_key}: {written}", [written] * 2
        assert read_by_each(f"{{{entry}}}" if flow else f"{entry}\n") == [{name: value}] * len(READERS)
        listed = f"[{', '.join(items)}]" if flow else "".join(f"- {item}\n" for item in items)
        assert read_by_each(listed) == [[value] * 2] * len(READERS)
