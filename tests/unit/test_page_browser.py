# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The page of a rolling run in a real browser: nothing overflows, is logged or loaded, and all of it is there without script."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from ansible_collections.fleet.power.plugins.module_utils._fleet.page.page import page
from ansible_collections.fleet.power.plugins.module_utils._fleet.rollout.record import Record
from ansible_collections.fleet.power.plugins.module_utils._power.model.schema import one_line
from ansible_collections.fleet.power.tests.unit.browser_support import Browser, Look, browser
from ansible_collections.fleet.power.tests.unit.page_support import over, page_of, record
from ansible_collections.fleet.power.tests.unit.test_page import hostile

pytest.importorskip("jinja2")
pytestmark = pytest.mark.long

LOOKS = [Look(360), Look(1280), Look(1280, dark=True)]


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("chromium")) as found:
        yield found


def long_words() -> Record:
    """A run in which every name is as long as it may be, and has no place to be broken."""
    made = record(3, 4)
    for each in made.rows:
        each.name, each.node, each.msg, each.code = "N" * 200, "n" * 200, "m" * 600, "c" * 200
        each.log = ["l" * 900]
    made.reason, made.by, made.stopped = "r" * 900, "b" * 900, "s" * 900
    return made


def written(folder: Path, text: str) -> Path:
    file = folder / "run.html"
    file.write_text(text, errors="replace")
    return file


def words(text: str) -> str:
    return re.sub(r"\s+", " ", text)


@pytest.mark.parametrize("look", LOOKS, ids=str)
@pytest.mark.parametrize("made", [record, long_words], ids=["usual", "long words"])
def test_it_fits_and_nothing_goes_wrong(chromium: Browser, tmp_path: Path, look: Look, made: object) -> None:
    assert callable(made)
    found = chromium.show(written(tmp_path, page_of(made())), look)
    assert (found.overflow, found.wide, found.logged) == (0, [], [])
    assert found.requested == [(tmp_path / "run.html").as_uri()]
    assert "Timeline" in found.text and "Did not end well" in found.text


def test_hostile_texts_are_texts_to_a_browser_too(chromium: Browser, tmp_path: Path) -> None:
    # 400 of them on each page: ten thousand.
    chance = random.Random(7)
    for _page in range(25):
        made = record(10, 20, failed=200, for_players=False)
        for each in made.rows:
            each.name, each.msg, each.code, each.log = hostile(chance), hostile(chance), hostile(chance), [hostile(chance)]
        found = chromium.show(written(tmp_path, page(made, replace(over(made), going_on=[hostile(chance), hostile(chance)]))), Look())
        assert found.logged == [] and len(found.requested) == 1
        assert (found.scripts, found.images) == (0, 0)
        text = words(found.content)
        for each in made.rows:
            assert words(one_line(each.name, 60)).strip() in text
            assert words(one_line(each.code, 60)).strip() in text
