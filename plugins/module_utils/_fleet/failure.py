# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Why a task failed on a node, in the words of its result; pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: Ansible puts it before each failure.
_PREFIX = "Task failed: "


def reason_in(result: Mapping[str, Any], otherwise: str) -> str:
    """Return the reason that a result gives, ``otherwise`` where it gives none."""
    return str(result.get("msg") or otherwise).removeprefix(_PREFIX)
