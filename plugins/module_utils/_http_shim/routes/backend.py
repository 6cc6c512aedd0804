# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The parts behind the routes and the consoles of one process."""

from __future__ import annotations

from dataclasses import dataclass

from ..acceptance.actions import Actions
from ..acceptance.operations import Operations
from ..acceptance.shared_node import SharedNode
from ..process.log import Log
from ..servers.commands import Commands
from ..servers.disks import Disks
from ..servers.server_cache import ServerCache


@dataclass(frozen=True)
class Backend:
    """The parts of one process that handlers of requests work with."""

    node: SharedNode
    known: ServerCache
    actions: Actions
    operations: Operations
    commands: Commands
    disks: Disks
    log: Log
