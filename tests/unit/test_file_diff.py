# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The diff of a configuration file: no secret is shown, in whatever spelling a parser writes it."""

from __future__ import annotations

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.config_files import PARSERS
from ansible_collections.fleet.power.plugins.module_utils._power.config_files.file_diff import file_diff
from ansible_collections.fleet.power.plugins.module_utils._power.definitions.definition import ConfigRule

FILES = (
    ("yaml", 'k: "old"\n'),
    ("yaml", "k: old\n"),
    ("properties", "k=old\n"),
    ("properties", "j=\u00e9\nk=old\n"),
    ("properties", "k old\n"),
    ("toml", 'k = "old"\n'),
    ("json", '{"k": "old"}\n'),
)
SECRETS = (
    "hunter\x07two",
    "hunter\x1btwo",
    "hunter\x7ftwo",
    "hunter\x85two\u2028\u00e9",
    "hunter\U000e0001two",
    "hunter\ttwo\\\"'",
    "=hunter\btwo:#!",
)


@pytest.mark.parametrize("secret", SECRETS, ids=ascii)
@pytest.mark.parametrize("parser, before", FILES)
def test_a_secret_with_odd_characters_is_masked_as_each_parser_writes_it(parser: str, before: str, secret: str) -> None:
    after = PARSERS[parser](before, [ConfigRule("k", secret)])
    assert "two" in after
    shown = file_diff("f", before.encode(), after.encode(), [secret])
    assert shown.before == before
    assert "hunter" not in shown.after
    assert "two" not in shown.after


def test_what_a_terminal_acts_on_is_shown_as_an_escape_and_lines_stay_as_they_end() -> None:
    before = "motd=\x1b[2J\x1b]0;title\x07\x9b31m\u202egnp\u2066.\u200bexe\n\tk=\u0434\U0001f3ae\\\r\nover\rwritten\nnext\x0bline\u2028\x85"
    shown = file_diff("a\x1b[2J\nb", before.encode(), b"\xff\r", ())
    assert shown.path == "a\\x1b[2J\\nb"
    assert shown.before == (
        "motd=\\x1b[2J\\x1b]0;title\\x07\\x9b31m\\u202egnp\\u2066.\\u200bexe\n"
        "\tk=\u0434\U0001f3ae\\\r\nover\\rwritten\nnext\\x0bline\\u2028\\x85"
    )
    assert shown.after == "\ufffd\\r"


def test_a_secret_is_masked_before_its_characters_are_shown_as_escapes() -> None:
    assert file_diff("f", b"k=hunter\x1btwo\x1b\n", b"", ["hunter\x1btwo"]).before == "k=********\\x1b\n"
