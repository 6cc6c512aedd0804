# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every parser: its corpus, and what holds for all of them whatever comes in."""

from __future__ import annotations

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.config_files import PARSERS
from ansible_collections.fleet.power.plugins.module_utils._power.config_files.rules import ConfigFault
from ansible_collections.fleet.power.plugins.module_utils._power.definitions.definition import ConfigRule
from ansible_collections.fleet.power.tests.unit.config_support import CORPUS, Case, cases
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

CASES = [case for path in sorted(CORPUS.iterdir()) for case in cases(path.name)]
PATIENT = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
PARSER = st.sampled_from(sorted(PARSERS))
VALUES = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=12))
MATCHES = st.one_of(
    st.sampled_from(["a", "a.b", "a[0]", "a.*", "*", "a.*.c", "b.c.d", "[0]", "[s].k", "x.y[1].z", "", "a..b", "#", "<<"]),
    st.text(max_size=8),
)
RULES = st.lists(st.builds(ConfigRule, MATCHES, VALUES, st.one_of(st.none(), st.none(), st.text(max_size=4))), max_size=4)
PIECES = st.lists(
    st.sampled_from(
        [*"ab0 \n\t:-,{}[]<>/=\"'#&*!|?%@;.~\\", "\r\n", "\ufeff", "\udcff", "\x00", "<a>", "</a>", "- ", ": ", "[a]\n", "\u2028"]
    ),
    max_size=25,
).map("".join)


def outcome(parser: str, text: str, rules: list[ConfigRule]) -> str | None:
    """What becomes of a text, or None where that is a fault with a sentence."""
    try:
        return PARSERS[parser](text, rules)
    except ConfigFault as fault:
        assert str(fault)
        assert "\n" not in str(fault)
        return None


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.parser}-{case.name}")
def test_the_corpus_comes_out_as_expected(case: Case) -> None:
    case.check()


@PATIENT
@given(parser=PARSER, text=PIECES, rules=RULES)
def test_whatever_the_file_holds_it_is_edited_or_a_fault(parser: str, text: str, rules: list[ConfigRule]) -> None:
    outcome(parser, text, rules)


@PATIENT
@given(parser=PARSER, raw=st.binary(max_size=40), rules=RULES)
def test_any_bytes_are_edited_or_a_fault(parser: str, raw: bytes, rules: list[ConfigRule]) -> None:
    after = outcome(parser, raw.decode("utf-8", "surrogateescape"), rules)
    if after is not None:
        after.encode("utf-8", "surrogateescape")


@PATIENT
@given(case=st.sampled_from(CASES), cut=st.integers(0, 400), piece=PIECES, rules=RULES)
def test_a_damaged_file_is_edited_or_a_fault(case: Case, cut: int, piece: str, rules: list[ConfigRule]) -> None:
    outcome(case.parser, case.before[:cut] + piece + case.before[cut + 3 :], [*case.rules, *rules])


@PATIENT
@given(case=st.sampled_from(CASES), choice=st.data())
def test_values_that_are_set_once_are_not_set_again(case: Case, choice: st.DataObject) -> None:
    """Rules of the corpus, with other values, and rules that nobody wrote for this file."""
    # Rules that disagree undo each other for ever. So: one for each match, none for what another's path leads through, and by itself a
    # wildcard, which may name any other's place, and the beginning of a line, which may begin what another makes of one.
    matches = sorted({rule.match for rule in [*case.rules, *choice.draw(RULES)]})
    alone = [match for match in matches if "*" in match or case.parser == "file"]
    places = [match for match in matches if match not in alone]
    together = [match for match in places if not any(other.startswith(match) for other in places if other != match)]
    chosen = choice.draw(st.one_of(st.permutations(together), *(st.just([match]) for match in alone)))
    rules = [ConfigRule(match, choice.draw(VALUES)) for match in chosen]
    once = outcome(case.parser, case.before, rules)
    if once is not None:
        assert outcome(case.parser, once, rules) == once


@PATIENT
@given(case=st.sampled_from(CASES))
def test_without_rules_a_file_comes_back_as_it_is(case: Case) -> None:
    assert PARSERS[case.parser](case.after, []) == case.after
