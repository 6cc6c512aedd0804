# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tables are aligned, harmless and no wider than the terminal."""

from __future__ import annotations

import pytest
from ansible_collections.fleet.power.plugins.module_utils._fleet.table import (
    Column,
    cut,
    render,
    render_within,
    width_of,
    wrapped,
)
from hypothesis import given
from hypothesis import strategies as st


def test_wide_and_combining_characters_keep_the_columns() -> None:
    lines = render(["NAME", "X"], [["生存", 1], ["e\u0301te", 2], ["abcd", 3]]).split("\n")
    assert lines == ["NAME  X", "生存  1", "e\u0301te   2", "abcd  3"]


@pytest.mark.parametrize("hostile", ["\x1b[2J", "\x07", "\u202e", "\x9b", "\udc80", "\u200b", "\x00"])
def test_nothing_reaches_the_terminal_that_it_would_act_on(hostile: str) -> None:
    text = render(["A"], [[f"x{hostile}y"]])
    assert text.replace("\n", "").isprintable()
    assert text.encode()


@pytest.mark.parametrize("blank", ["\n", "\r\n", "\t", "\u2028", "\x0b"])
def test_a_cell_never_breaks_its_line(blank: str) -> None:
    assert len(render(["A"], [[f"x{blank}y"]]).splitlines()) == 2


@pytest.mark.parametrize("row", [[1], [1, 2, 3]])
def test_a_row_that_does_not_fit_its_headings_is_a_mistake(row: list[int]) -> None:
    with pytest.raises(ValueError, match="expected 2"):
        render(["A", "B"], [row])


NAME = Column("NAME", enough=8, least=4, fills=2, ends_count=True)
STATE = Column("STATE", enough=10, least=7, fills=1)
CODE = Column("CODE", goes=2)
NOTE = Column("NOTE", enough=6, goes=1, fills=3)
ALL = (NAME, STATE, CODE, NOTE)
ROW = ("a-long-server-name-1", "offline, and much more", 137, "some reason or other")


def shown(width: int, *rows: tuple[object, ...]) -> list[str]:
    return render_within(ALL, rows or (ROW,), width).split("\n")


def test_the_least_important_column_goes_first() -> None:
    assert shown(33) == ["NAME      STATE              CODE", "a-lo…e-1  offline, and muc…   137"]
    assert shown(20) == ["NAME      STATE", "a-lo…e-1  offline, …"]


TEXT = st.text(st.characters(codec="utf-8"), max_size=30)


@given(st.lists(st.tuples(TEXT, TEXT, st.integers(0, 255) | st.none(), TEXT | st.none()), max_size=4), st.integers(13, 120))
def test_no_line_is_wider_than_the_terminal_whatever_stands_in_it(rows: list[tuple[object, ...]], width: int) -> None:
    lines = render_within(ALL, rows, width).split("\n")
    assert len(lines) == len(rows) + 1
    assert all(width_of(line) <= width for line in lines)


@pytest.mark.parametrize(
    ("text", "width", "whole", "ends"),
    [
        ("abcdefgh", 8, "abcdefgh", "abcdefgh"),
        ("abcdefgh", 5, "abcd…", "ab…gh"),
        ("abcdefgh", 1, "…", "…"),
        ("abcdefgh", 0, "", ""),
        ("生存生存生存", 6, "生存…", "生…存"),
        ("e\u0301e\u0301e\u0301e\u0301", 3, "e\u0301e\u0301…", "e\u0301…e\u0301"),
    ],
)
def test_a_text_is_cut_by_the_columns_it_takes(text: str, width: int, whole: str, ends: str) -> None:
    assert (cut(text, width), cut(text, width, ends_count=True)) == (whole, ends)


@given(st.text(), st.integers(2, 40))
def test_wrapping_loses_nothing_and_keeps_to_the_width(text: str, width: int) -> None:
    lines = wrapped(text, width)
    assert all(width_of(line) <= width for line in lines)
    assert len("".join(lines).replace(" ", "")) == len("".join(text.split()))
