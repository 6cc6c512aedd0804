# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The exclusive right to act on one server: the lock with its readable holder, and the kill generations.

`actions` and the HTTP face may import it.
"""
