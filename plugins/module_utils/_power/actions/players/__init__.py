# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an action does for the sake of players before its turn: what is next, who is told, what ends the wait, and what a dead process left.

`actions/turn`, the HTTP face and the supervisor may import it.
"""
