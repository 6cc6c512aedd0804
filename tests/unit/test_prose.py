# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The check of prose reports banned constructions, reads only prose, and passes plain English."""

from __future__ import annotations

from pathlib import Path

import pytest

prose = pytest.importorskip("ansible_collections.fleet.power.tests.tools.prose")

BAD = {
    "a.md": "# Crashes\n\n- Webhooks report crashes.\n- Who has to know is\n  told by a webhook.\n\n```\nnobody\n```\n",
    "a.rst": '.. _nobody:\n\nNot ``nobody``.\n\n.. code-block:: yaml\n\n   a: nobody\n\n.. csv-table::\n\n   "x", "As ever."\n',
    "a.yml": "server:\n  description:\n    - A server.\n    - >-\n      Long,\n      nobody has it.\n  default: nobody\n",
    "a.py": '"""One line."""\n\n\ndef of(nobody):\n    """A value.\n\n    It is to be kept.\n    """\n    return 1  # goes on with it\n',
}
LINES = {"a.md": [4, 4], "a.rst": [11], "a.yml": [6], "a.py": [7, 9]}


@pytest.mark.parametrize("name", BAD)
def test_a_banned_construction_is_reported_on_its_line_and_code_is_ignored(name: str) -> None:
    assert [line for line, what in prose.findings(Path(name), BAD[name])] == LINES[name]


def test_a_finding_names_the_replacement() -> None:
    assert prose.findings(Path("a.md"), "The HTTP face answers.\n") == [(1, "'face': HTTP shim")]


def test_plain_english_passes() -> None:
    text = (
        "Webhooks report crashes. If another action holds the lock, the message names it.\n\nWho may start a server? See [there](a.md).\n"
    )
    assert prose.findings(Path("a.md"), text) == []


def test_a_sentence_has_a_maximum_length() -> None:
    assert [line for line, what in prose.findings(Path("a.md"), f"Short.\n{'word and ' * 18}end.\n")] == [2]
    assert prose.findings(Path("a.md"), f"{'word and ' * 9}end. {'word and ' * 9}end.\n") == []


def test_only_a_reason_allows_a_line() -> None:
    assert prose.findings(Path("a.py"), "# prose-ok: the user's name\n# nobody\n") == []
    assert len(prose.findings(Path("a.py"), "# prose-ok:\n# nobody\n")) == 1


def test_each_path_pattern_matches_files() -> None:
    assert [pattern for pattern in prose.SETTINGS["paths"] if not list(prose.CHECKOUT.glob(pattern))] == []
