# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What keeps the supervisor from starting anything: Wings, a maintenance, a journal that cannot be written."""

from __future__ import annotations

from .._power.actions.node.node import Node
from .._power.host.maintenance import maintenance_pause
from .._power.journal.schema import JournalUnusable


def beside_wings(node: Node) -> bool:
    """Tell if Wings is alive on the node, and nobody said that this does not matter."""
    return not node.settings.allow_wings and node.wings_pid() is not None


def pause_of(node: Node, *, in_trouble: bool) -> str:
    """Return why nothing is to be started now, as readers are told it; empty if nothing speaks against it.

    ``in_trouble``: the journal could not be used when that was tried last.
    """
    if beside_wings(node):
        return "wings"
    return maintenance_pause(node.settings.state_directory) or (_journal(node) if in_trouble else "")


def _journal(node: Node) -> str:
    try:
        node.journal.store.rewrite()
    except (JournalUnusable, OSError):
        return "journal"
    return ""
