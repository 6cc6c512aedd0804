# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a task means on a host that is a server: that server, unless it names others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_SERVER_NAMES = ("server", "servers", "uuid")


def with_server_of_host(arguments: Mapping[str, Any], task_vars: Mapping[str, Any], templar: Any) -> dict[str, Any]:
    """A task's arguments, with the server that its host is, where they name none.

    An empty server is a mistake that the module tells, not one that is left out.
    """
    if task_vars.get("server_uuid") and all(arguments.get(name) is None for name in _SERVER_NAMES):
        return {**arguments, "server": templar.template(task_vars["server_uuid"])}
    return dict(arguments)
