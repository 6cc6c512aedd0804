# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Adds the server to a server_power_info task if the host is one."""

from __future__ import annotations

from ansible_collections.fleet.power.plugins.plugin_utils._server_action import ServerAction


class ActionModule(ServerAction):
    _run = "run_info_module"
