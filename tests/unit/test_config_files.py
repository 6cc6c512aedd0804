# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Parser ``file``: whole lines by their beginning, and not one byte more."""

from __future__ import annotations

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.config_files import PARSERS
from ansible_collections.fleet.power.plugins.module_utils._power.definitions.definition import ConfigRule


def edited(text: str, *rules: tuple[str, object]) -> str:
    return PARSERS["file"](text, [ConfigRule(match, value) for match, value in rules])  # type: ignore[arg-type]


def test_a_line_that_begins_with_the_match_is_replaced_whole_and_the_rest_stays() -> None:
    assert (
        edited("hostname old\n\n  hostname kept\n#hostname\n", ("hostname", "hostname new"))
        == "hostname new\n\n  hostname kept\n#hostname\n"
    )


def test_nothing_is_added_where_no_line_matches() -> None:
    assert edited("a\n", ("b", "b=1")) == "a\n"
    assert edited("", ("b", "b=1")) == ""


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_line_ends_stay_what_they_are_also_where_the_last_one_is_missing(end: str) -> None:
    assert edited(f"x{end}a=1{end}y\r{end}a=2", ("a=", "a=3")) == f"x{end}a=3{end}y\r{end}a=3"


@pytest.mark.parametrize("separator", ["\x0b", "\x85", "\u2028", "\r"])
def test_only_line_feeds_end_a_line(separator: str) -> None:
    assert edited(f"x{separator}a=1\n", ("a=", "a=3")) == f"x{separator}a=1\n"


def test_a_byte_order_mark_is_kept_and_does_not_hide_the_first_line() -> None:
    assert edited("\ufeffa=1\n", ("a=", "a=2")) == "\ufeffa=2\n"


def test_the_longest_match_wins_and_the_first_of_equals() -> None:
    rules = (("rcon", "rcon=on"), ("rcon_password", "rcon_password=x"), ("rcon", "rcon=off"))
    assert edited("rcon_password=\nrcon=\n", *rules) == "rcon_password=x\nrcon=on\n"


def test_a_value_of_several_lines_is_written_once_and_not_again_at_the_next_boot() -> None:
    once = edited("motd old\r\nend\r\n", ("motd", "motd a\nmotd b"))
    assert once == "motd a\r\nmotd b\r\nend\r\n"
    assert edited(once, ("motd", "motd a\nmotd b")) == once
