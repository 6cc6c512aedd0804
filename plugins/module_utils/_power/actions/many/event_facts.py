# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Facts of the node's events: whether they are kept and sent, and how far each receiver has come. Changes nothing."""

from __future__ import annotations

from typing import Any

from ...host.events_record import events_facts
from ...journal.journal import Journal
from ...journal.journal_rows import JournalUnusable


def event_facts(journal: Journal, state_directory: str) -> tuple[dict[str, Any], str]:
    """Return what readers are told of a node's events, and a warning, empty where it can be told.

    ``kept`` is None where nobody can tell, and so are then ``receivers``, which a node without events has none of.
    """
    sender, warning = events_facts(state_directory)
    try:
        is_kept = journal.events.state() is not None
    except (JournalUnusable, OSError):
        # Whoever reads what was done before is told of it.
        return {**sender, "enabled": None, "receivers": None}, warning
    return {**sender, "enabled": is_kept, "receivers": journal.deliveries.told() if is_kept else None}, warning
