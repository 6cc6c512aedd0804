# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tables stay aligned and harmless, whatever stands in a cell."""

from __future__ import annotations

import pytest
from ansible_collections.fleet.power.plugins.module_utils._fleet.table import render


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
