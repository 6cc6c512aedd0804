# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The documentation as a site: made without a warning, and in a real browser whole, wide and narrow, from these files alone."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.fleet.power.tests.unit.browser_support import Browser, Look, browser
from ansible_collections.fleet.power.tests.unit.docs_support import CHECKOUT, GUIDES

pytestmark = pytest.mark.long
PAGES = ["index", "changelog", "server_power_module", "node_role", *(f"docsite/{guide.stem}" for guide in sorted(GUIDES.glob("*.rst")))]


@pytest.fixture(scope="module")
def site() -> Path:
    """The site, made anew: Sphinx fails at a warning."""
    made = subprocess.run(["tests/tools/site"], cwd=CHECKOUT, text=True, capture_output=True, timeout=600, check=False)
    assert made.returncode == 0, made.stdout + made.stderr
    assert "WARNING" not in made.stdout + made.stderr
    return CHECKOUT / ".build/site/html"


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("chromium")) as found:
        yield found


@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize("page", PAGES)
def test_a_page_fits_and_asks_nobody_else(site: Path, chromium: Browser, page: str, width: int) -> None:
    found = chromium.show(site / f"{page}.html", Look(width=width))
    assert (found.overflow, found.wide) == (0, [])
    assert found.logged == []
    assert [address for address in found.requested if not address.startswith(("file:", "data:"))] == []


def test_what_the_guides_show_is_there(site: Path) -> None:
    assert {path.name for path in (GUIDES / "images").iterdir()} <= {path.name for path in (site / "_images").iterdir()}


def test_beside_each_page_the_contents_have_the_parts_in_order(site: Path, chromium: Browser) -> None:
    text = chromium.show(site / "index.html", Look()).content
    parts = [
        "To begin with",
        "Which page do I need",
        "Day by day",
        "Many nodes",
        "Beside Pterodactyl",
        "To look things up",
        "server_power module",
    ]
    places = [text.index(part) for part in parts]
    assert places == sorted(places)
