# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One client of a websocket: its token and what that allows, the frames it sends and is sent, and how much of both there may be.

The consoles above import it.
"""
