# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The core: power actions on the servers of one node, from a request to its result.

The front doors import `call`, `options` and the values they show. Code outside the collection imports nothing from here.
"""
