# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One line in the syslog for each server's end, so that a run can be followed from a second terminal."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from .controller import Controller
from .lab import Lab
from .private_syslog import PrivateSyslog

# Facility daemon (3); severity informational (6) or warning (4).
INFORMATIONAL, WARNING = 3 * 8 + 6, 3 * 8 + 4
LINE = re.compile(r"<(?P<priority>\d+)>fleet-power\[\d+\]: (?P<text>.*)")


@pytest.fixture
def syslog(tmp_path: Path) -> Iterator[PrivateSyslog]:
    """A syslog of the test's own."""
    with PrivateSyslog(tmp_path / "syslog") as private:
        yield private


def lines_of(syslog: PrivateSyslog) -> list[tuple[int, str]]:
    """Priority and text of each line with our tag."""
    found = [LINE.fullmatch(line.rstrip("\0\n")) for line in syslog.close()]
    return [(int(match["priority"]), match["text"]) for match in found if match is not None]


def test_each_server_gets_a_line_that_says_what_became_of_it(lab: Lab, controller: Controller, syslog: PrivateSyslog) -> None:
    up, overdue = lab.server(name="Cobalt"), lab.server(name="Overdue", suspended=True)
    controller.run_module(
        through=syslog.through,
        **controller.options(action="start", server=[up, overdue, "Nobody"], origin="alice@web1", reason="the players wait"),
    )
    found = {text.split()[1]: (priority, text) for priority, text in lines_of(syslog)}
    (first, done), (second, refused), (third, unknown) = found[up], found[overdue], found["Nobody"]
    assert (first, second, third) == (INFORMATIONAL, WARNING, WARNING)
    asked = r"in \d+\.\d s by alice@web1 for 'the players wait' operation [-0-9a-f]{36}"
    assert re.fullmatch(rf"start {up} \(Cobalt\) done {asked}", done)
    assert re.fullmatch(rf"start {overdue} \(Overdue\) refused suspended {asked}: Cannot start server .*", refused)
    assert re.match(r"start Nobody refused server_not_found in \d+\.\d s", unknown)


def test_check_mode_says_nothing(lab: Lab, controller: Controller, syslog: PrivateSyslog) -> None:
    controller.run_module(through=syslog.through, **controller.options(action="start", server=lab.server(), _ansible_check_mode=True))
    assert lines_of(syslog) == []
