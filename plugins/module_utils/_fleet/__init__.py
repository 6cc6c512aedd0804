# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's part over many nodes: it reads, chooses and shows.

Action, filter and inventory plugins may import it; of the core it knows only what acts on nothing.
"""
