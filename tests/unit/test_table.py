# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tables stay aligned and harmless, whatever stands in a cell."""

from __future__ import annotations

import pytest
from ansible_collections.fleet.power.plugins.module_utils._fleet.table import render


def test_columns_are_aligned_and_no_line_ends_in_blanks() -> None:
    text = render(["NODE", "STATE"], [["node-1", "running"], ["n2", "offline"]])
    assert text == "NODE    STATE\nnode-1  running\nn2      offline"


def test_numbers_are_aligned_to_the_right_with_their_heading() -> None:
    assert render(["EXIT", "NAME"], [[0, "a"], [137, "b"], [None, "c"]]) == "EXIT  NAME\n   0  a\n 137  b\n   -  c"


def test_a_column_of_numbers_and_text_is_text() -> None:
    assert render(["X", "Y"], [[1, "a"], ["12345", "b"]]) == "X      Y\n1      a\n12345  b"


def test_what_is_not_known_or_empty_is_a_dash() -> None:
    assert render(["A", "B"], [[None, ""]]) == "A  B\n-  -"


def test_truth_is_told_in_words() -> None:
    assert render(["A", "B"], [[True, False]]) == "A    B\nyes  no"


def test_a_table_without_rows_has_its_headings() -> None:
    assert render(["A", "B"], []) == "A  B"


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


def test_a_cell_is_cut_where_it_would_fill_the_screen() -> None:
    assert render(["A"], [["x" * 10_000]]).split("\n")[1] == "x" * 199 + "…"


@pytest.mark.parametrize("row", [[1], [1, 2, 3]])
def test_a_row_that_does_not_fit_its_headings_is_a_mistake(row: list[int]) -> None:
    with pytest.raises(ValueError, match="expected 2"):
        render(["A", "B"], [row])
