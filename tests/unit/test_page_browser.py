# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The page of a rolling run in a real browser: nothing is wider than its window."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from ansible_collections.fleet.power.plugins.module_utils._fleet.rollout.record import Record
from ansible_collections.fleet.power.tests.unit.page_support import page_of, record

pytest.importorskip("jinja2")
pytestmark = pytest.mark.long

#: Has the title of a page say by how much it is too wide. The page itself allows no script.
_MEASURE = "<script>const page = document.documentElement; document.title = page.scrollWidth - page.clientWidth</script>"
_POLICY = re.compile(r'<meta http-equiv="Content-Security-Policy"[^>]*>')


def long_words() -> Record:
    """A run in which every name is as long as it may be, and has no place to be broken."""
    made = record(3, 4)
    for each in made.rows:
        each.name, each.node, each.msg, each.code = "N" * 200, "n" * 200, "m" * 600, "c" * 200
        each.log = ["l" * 900]
    made.reason, made.by, made.stopped = "r" * 900, "b" * 900, "s" * 900
    return made


@pytest.mark.parametrize("width", [500, 1280])
@pytest.mark.parametrize("made", [record, long_words], ids=["usual", "long words"])
def test_it_fits_its_window(tmp_path: Path, made: object, width: int) -> None:
    subprocess.run([Path(__file__).parents[1] / "lab" / "needs", "browser"], check=True)
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    assert callable(made) and program is not None
    text, allowed = _POLICY.subn("", page_of(made()))
    assert allowed == 1
    file = tmp_path / "run.html"
    file.write_text(text + _MEASURE)
    options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--user-data-dir={tmp_path}"]
    shown = subprocess.run(
        [program, *options, f"--window-size={width},900", "--dump-dom", file.as_uri()],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "<title>0</title>" in shown.stdout
