# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a rule says about a value, and the paths to it: the same in all files that have maps and lists."""

from __future__ import annotations

import contextlib
import time

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.config_files.paths import Every, Index, Key, Step, steps_of
from ansible_collections.fleet.power.plugins.module_utils._power.config_files.rules import (
    ABSENT,
    KEEP,
    ConfigFault,
    Number,
    Present,
    typed,
    wanted,
)
from ansible_collections.fleet.power.plugins.module_utils._power.definitions.definition import ConfigRule


@pytest.mark.parametrize(
    ("value", "present", "written"),
    [
        ("25565", "old", "25565"),
        (25565, "old", "25565"),
        ("25565", Number("1"), Number("25565")),
        ("1e400", Number("1"), Number("1e400")),
        ("0123", Number("1"), "0123"),
        ("auto", Number("1"), "auto"),
        (True, False, True),
        ("true", False, True),
        ("off", True, False),
        ("25565", ABSENT, Number("25565")),
        ("0123", ABSENT, "0123"),
        ("0.75", ABSENT, "0.75"),
        ("true", ABSENT, "true"),
        ("482910374651829301", ABSENT, "482910374651829301"),
        (None, Number("1"), None),
        (None, ABSENT, None),
    ],
)
def test_a_value_keeps_the_type_that_stands(value: str | int | float | bool | None, present: Present, written: Present) -> None:
    assert typed(value, present) == written
    assert type(typed(value, present)) is type(written)


@pytest.mark.parametrize(
    ("present", "if_value", "holds"),
    [
        ("world", "world", True),
        ("world", "World", False),
        (Number("25565"), "25565", True),
        (Number("1.50"), "1.5", True),
        (True, "true", True),
        (None, "", True),
        (ABSENT, "", False),
        (ABSENT, "regex:", False),
        ("localhost:1", "regex:^localhost", True),
        ("my localhost", "regex:^localhost", False),
        (Number("25565"), "regex:^25", True),
    ],
)
def test_a_rule_with_an_if_value_holds_only_where_it_says(present: Present, if_value: str, holds: bool) -> None:
    assert (wanted(ConfigRule("a", "new", if_value), present) is not KEEP) is holds


@pytest.mark.parametrize(
    "rule",
    [
        ConfigRule("a", "x", "regex:("),
        ConfigRule("a", "\ud800"),
        ConfigRule("\udfff", "x"),
        ConfigRule("a", 10**5000),
    ],
)
def test_a_rule_that_nothing_can_be_made_of_is_a_fault_that_names_it(rule: ConfigRule) -> None:
    with pytest.raises(ConfigFault) as caught:
        wanted(rule, "x")
    assert caught.value.rule is rule


A, B = Key("a"), Key("b")


@pytest.mark.parametrize(
    ("match", "steps"),
    [
        ("a", (A,)),
        ("a[1].b", (A, Index(1), B)),
        ("a[0][12]", (A, Index(0), Index(12))),
        ("a.*.b", (A, Every(), B)),
        ("[0].a", (Index(0), A)),
        ('a["b.c"].b', (A, Key("b.c"), B)),
        ("a['*'][\"\"]", (A, Key("*"), Key(""))),
        ("log~1level.a~0b", (Key("log.level"), Key("a~b"))),
    ],
)
def test_a_path_is_read_step_by_step(match: str, steps: tuple[Step, ...]) -> None:
    assert steps_of(ConfigRule(match, "x")) == steps


@pytest.mark.parametrize("match", ["", "a.", "a..b", "a" * 1001, "a." * 64 + "a"])
def test_a_path_with_empty_parts_or_without_end_is_a_fault_that_names_its_rule(match: str) -> None:
    rule = ConfigRule(match, "x")
    with pytest.raises(ConfigFault, match="its match") as caught:
        steps_of(rule)
    assert caught.value.rule is rule


@pytest.mark.parametrize("match", ["[0]" * 333 + "x", '["' * 500, "['" * 500, "[" * 1000, "~" * 1000])
def test_a_hostile_path_is_read_in_no_time(match: str) -> None:
    began = time.process_time()
    with contextlib.suppress(ConfigFault):
        steps_of(ConfigRule(match, "x"))
    assert time.process_time() - began < 0.5
