# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who is told of a rolling run, from the variables of its play: a task's arguments may be shown, and these hold addresses and secrets."""

from __future__ import annotations

import socket
from typing import Any

from ansible_collections.fleet.power.plugins.module_utils._fleet.told.receivers import VARIABLE, read_receivers
from ansible_collections.fleet.power.plugins.module_utils._fleet.told.telling import RunTelling
from ansible_collections.fleet.power.plugins.plugin_utils.rollout_play import RolloutPlay


def telling_of(play: RolloutPlay, templar: Any, *, check: bool) -> RunTelling:
    """Return how those of the role's variable are told; in check mode nobody is."""
    return RunTelling(lambda: () if check else read_receivers(play.value(VARIABLE, templar)), socket.gethostname())
