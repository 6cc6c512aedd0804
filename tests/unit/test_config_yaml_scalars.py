# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys and scalars of YAML: every reader reads back what is written, in blocks and within brackets."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest
import yaml
from ansible_collections.fleet.power.plugins.module_utils._power.config_files.yaml_file import replace_yaml
from ansible_collections.fleet.power.plugins.module_utils._power.config_files.yaml_read import key, scalar
from ansible_collections.fleet.power.plugins.module_utils._power.definitions.definition import ConfigRule
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
def test_a_question_mark_within_brackets_is_quoted(word: str) -> None:
    rules = [ConfigRule("a", word), ConfigRule(f'["{word}"]', word), ConfigRule("l[0]", word)]
    for value in read_by_each(replace_yaml("{a: 1, l: [x]}\n", rules)):
        assert value == {"a": word, "l": [word], word: word}


def test_a_question_mark_in_a_block_needs_no_quotes() -> None:
    assert replace_yaml("a: 1\n", [ConfigRule("a", "Ready?")]) == "a: Ready?\n"


@settings(max_examples=80, deadline=None)
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


#: What a process takes at most, in bytes, before and after a file of a MiB more or less.
MEASURED = """
import resource, sys
from ansible_collections.fleet.power.plugins.module_utils._power.config_files import yaml_read
count, character = int(sys.argv[1]), sys.argv[2]
yaml_read.read("k: 1\\n")
text = "k: 1" + character * (count // len(character)) + "\\n"
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
assert yaml_read.read(text).items
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)
"""


@pytest.mark.parametrize("repeated", [":1", "_", "1"])
def test_a_long_plain_value_takes_a_few_times_its_own_memory_and_no_more(repeated: str) -> None:
    size = 16 * 1024 * 1024
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", MEASURED, str(size), repeated]
    told = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    assert int(told.stdout) < 16 * size


@pytest.mark.parametrize("value", ["1" * 300, "1" + ":1" * 200, "1" * 150 + "." + "1" * 150])
def test_text_too_long_to_look_at_is_quoted_and_never_a_number(value: str) -> None:
    after = replace_yaml("a: old\n", [ConfigRule("a", value)])
    assert read_by_each(after) == [{"a": value}] * len(READERS)
    assert replace_yaml(after, [ConfigRule("a", value)]) == after


def test_a_long_plain_value_that_is_already_there_stays_as_it_is() -> None:
    text = f"a: {'1' * 300}\nb: 1\n"
    assert replace_yaml(text, [ConfigRule("a", "1" * 300), ConfigRule("b", 2)]) == text.replace("b: 1", "b: 2")
