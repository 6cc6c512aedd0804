# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The things an action has in hand: its context, the node, its own progress, its turn among others, what somebody left unfinished.

Every action may import it.
"""
