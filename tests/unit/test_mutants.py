# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The list of mutants follows the code."""

from __future__ import annotations

from ansible_collections.fleet.power.tests.mutants import run


def test_each_mutant_occurs_exactly_once_in_the_code() -> None:
    where = run.places()
    for mutant in run.read()[1]:
        run.find(mutant, where)
