# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Waiting for something with a deadline: asked at once, at its end, and in between, and given up where the work must not go on."""

from __future__ import annotations

import ast
from pathlib import Path

#: Where everything that waits is, and the one file of it that reckons with moments to come.
MODULE_UTILS = Path(__file__).resolve().parents[2] / "plugins" / "module_utils"
DEADLINES = MODULE_UTILS / "_power" / "model" / "cancellation.py"


def asks_the_clock(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "monotonic"


def test_who_asks_for_the_time_makes_no_deadline_of_it_by_hand() -> None:
    """How long ago something was may be reckoned anywhere, what is to come as a `Deadline` alone."""
    by_hand = [
        f"{path.relative_to(MODULE_UTILS)}:{node.lineno}"
        for path in sorted(MODULE_UTILS.rglob("*.py"))
        if path != DEADLINES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.BinOp) and (asks_the_clock(node.right) or (isinstance(node.op, ast.Add) and asks_the_clock(node.left)))
    ]
    assert by_hand == []
