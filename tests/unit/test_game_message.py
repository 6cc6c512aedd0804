# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What players are told is one line of plain text, whatever it was made from."""

from __future__ import annotations

import re
from typing import ClassVar

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.games.message import LONGEST_MESSAGE, clean, filled, for_console, for_word
from hypothesis import given
from hypothesis import strategies as st

ANYTHING = st.text(st.characters(exclude_categories=()), max_size=400) | st.text(
    "§\x1b[]31mk;\"'$@a\\/{}% \n\r\0\u202e\u200b\x9b\x07", max_size=80
)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("two\r\nlines\vand\u2028more\u0085\ttoo", "two lines and more too"),
        ("\x1b[31mred\x1b[0m \x1b]0;title\x07text \x1b]8;;http://x\x1b\\link \x9b1mbold", "red text link bold"),
        ("§cRed §kmagic §§aa § alone", "Red magic a alone"),
        ("\u202eright to left\u2066\u200b\u200d\ufeff", "right to left"),
        ("{time} {} {0.__class__} %s ${HOME}", "{time} {} {0.__class__} %s ${HOME}"),
    ],
)
def test_a_text_becomes_one_line_of_plain_text(text: str, line: str) -> None:
    assert clean(text) == line


@given(ANYTHING)
def test_whatever_is_cleaned_is_one_printable_line_without_codes(text: str) -> None:
    line = clean(text)
    assert line.isprintable()
    assert len(line) <= LONGEST_MESSAGE
    assert not set(line) & set("§\n\r\0\x1b")
    assert line == line.strip() == clean(line)
    line.encode()


@given(ANYTHING)
def test_a_message_for_a_console_ends_no_command_and_no_quotation(text: str) -> None:
    line = for_console(text)
    assert not set(line) & set(';"\\\n\r\0§')
    assert not re.search(r"@[A-Za-z]|\$[^0-9 .]", line)
    assert clean(line) == line


def test_a_message_is_no_option_of_a_program() -> None:
    assert for_word("--help") == "help"
    assert for_word("- /op somebody; $(x)") == "op somebody; $(x)"


class TestFilled:
    VALUES: ClassVar[dict[str, str]] = {"time": "10 minutes", "action": "restart", "reason": "Update", "server": "Lobby"}

    def test_what_stands_in_a_value_is_not_filled_again(self) -> None:
        assert filled("{server}: {reason}", {**self.VALUES, "server": "{reason}", "reason": "{time}\n§a{"}) == "{reason}: {time} {"

    def test_a_long_reason_does_not_push_out_the_time(self) -> None:
        line = filled("{reason} {action} in {time}", {**self.VALUES, "reason": "r" * 10_000})
        assert line.endswith("... restart in 10 minutes")

    @given(ANYTHING, st.fixed_dictionaries(dict.fromkeys(VALUES, ANYTHING)))
    def test_whatever_is_filled_with_whatever_is_one_line(self, template: str, values: dict[str, str]) -> None:
        line = filled(template, values)
        assert line.isprintable() and "§" not in line and len(line) <= LONGEST_MESSAGE
